"""Line plots in plain text. Not by plotext 6.1: it stops at NaN, frames plots in characters that an ASCII terminal lacks, numbers rounds
by fractions, and would save 20 lines."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from .naming import width_of

GUTTER = 9  # columns left of a plot, for the numbers of its axis
INDENT = "  "
HUGE = 1e100  # of numbers that are drawn
FRAME = 3  # lines of a plot beside its rows: title, axis, numbers of the axis


def plot(series: Sequence[tuple[str, np.ndarray]], rounds: np.ndarray, last: int, title: str, width: int, height: int) -> list[str]:
    """A plot of `width` columns and `height` + 3 lines: each series is (mark, values by round), the first one on top; what is
    not finite is left out. `last`: where the axis of rounds ends."""
    inner = max(10, width - GUTTER - 1)
    values = np.concatenate([part[np.abs(part) < HUGE] for _, part in series])
    if len(values) == 0:
        return [title, *[" " * width] * (height + 2)]
    low, high = _limits(float(values.min()), float(values.max()))
    cells = [[" "] * inner for _ in range(height)]
    for mark, part in reversed(list(series)):
        for index, value in zip(rounds, part, strict=True):
            if abs(value) < HUGE:
                column = round((inner - 1) * index / max(1, last))
                row = round((height - 1) * (high - value) / (high - low))
                cells[row][min(column, inner - 1)] = mark
    decimals = _decimals(high - low)
    lines = [title.ljust(width)[:width]]
    for row, line in enumerate(cells):
        numbered = row in (0, height // 2, height - 1)
        number = _number(high - (high - low) * row / (height - 1), decimals) if numbered else ""
        lines.append(f"{number:>{GUTTER - 1}} |{''.join(line)}")
    ends = f"{'0':<{inner - len(str(last))}}{last}"
    return [*lines, " " * GUTTER + "+" + "-" * inner, " " * (GUTTER + 1) + ends]


def _limits(low: float, high: float) -> tuple[float, float]:
    spread = high - low
    return (low - 0.05 * spread, high + 0.05 * spread) if spread > 0 else (low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1))


def _number(value: float, decimals: int) -> str:
    """In the columns left of an axis."""
    text = f"{value:.{decimals}f}"
    return text if len(text) < GUTTER else f"{value:.2g}"


def _decimals(spread: float) -> int:
    return min(6, max(0, 1 - math.floor(math.log10(spread))))


def fold(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, cut between words; those after the first begin a little to the right."""
    lines, line = [], ""
    for word in re.findall(r"\s*\S+", text):
        if line.strip() and width_of(line) + width_of(word) > width:
            lines.append(line)
            line = INDENT if width > 4 * len(INDENT) else ""
            word = word.lstrip()
        while width_of(line) + width_of(word) > width and word:
            n = next((n for n in range(len(word), 0, -1) if width_of(line) + width_of(word[:n]) <= width), 1)
            lines.append(line + word[:n])
            line, word = "", word[n:]
        line += word
    return [*lines, line] if line.strip() or not lines else lines


def beside(left: list[str], right: list[str], gap: int = 3) -> list[str]:
    """Two plots of equal height side by side."""
    width = max(map(len, left))
    return [f"{one:<{width}}{' ' * gap}{other}".rstrip() for one, other in zip(left, right, strict=True)]


def bar(done: int, total: int, width: int) -> str:
    """[#######...] of `width` columns."""
    filled = round((width - 2) * done / max(1, total))
    return "[" + "#" * filled + "." * (width - 2 - filled) + "]"
