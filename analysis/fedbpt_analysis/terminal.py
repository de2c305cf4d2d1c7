"""Line plots in plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

GUTTER = 9  # columns left of a plot, for the numbers of its axis


def plot(series: Sequence[tuple[str, np.ndarray]], rounds: np.ndarray, last: int, title: str, width: int, height: int) -> list[str]:
    """A plot of `width` columns and `height` + 3 lines: each series is (mark, values by round), the first one on top; NaN is left
    out. `last`: where the axis of rounds ends."""
    inner = max(10, width - GUTTER - 1)
    values = np.concatenate([part[np.isfinite(part)] for _, part in series])
    if len(values) == 0:
        return [title, *[" " * width] * (height + 2)]
    low, high = _limits(float(values.min()), float(values.max()))
    cells = [[" "] * inner for _ in range(height)]
    for mark, part in reversed(list(series)):
        for index, value in zip(rounds, part, strict=True):
            if math.isfinite(value):
                column = round((inner - 1) * index / max(1, last))
                row = round((height - 1) * (high - value) / (high - low))
                cells[row][min(column, inner - 1)] = mark
    decimals = _decimals(high - low)
    lines = [title.ljust(width)[:width]]
    for row, line in enumerate(cells):
        numbered = row in (0, height // 2, height - 1)
        number = f"{high - (high - low) * row / (height - 1):.{decimals}f}" if numbered else ""
        lines.append(f"{number:>{GUTTER - 1}} |{''.join(line)}")
    ends = f"{'0':<{inner - len(str(last))}}{last}"
    return [*lines, " " * GUTTER + "+" + "-" * inner, " " * (GUTTER + 1) + ends]


def _limits(low: float, high: float) -> tuple[float, float]:
    spread = high - low
    return (low - 0.05 * spread, high + 0.05 * spread) if spread > 0 else (low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1))


def _decimals(spread: float) -> int:
    return min(6, max(0, 1 - math.floor(math.log10(spread))))


def beside(left: list[str], right: list[str], gap: int = 3) -> list[str]:
    """Two plots of equal height side by side."""
    width = max(map(len, left))
    return [f"{one:<{width}}{' ' * gap}{other}".rstrip() for one, other in zip(left, right, strict=True)]


def bar(done: int, total: int, width: int) -> str:
    """[#######...] of `width` columns."""
    filled = round((width - 2) * done / max(1, total))
    return "[" + "#" * filled + "." * (width - 2 - filled) + "]"
