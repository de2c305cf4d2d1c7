"""How pictures look: dark text on white, colours told apart by colour-blind readers, and line styles that tell them apart without
colour. Every picture is drawn small, so that its text keeps its size on a phone and on paper."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, Locator, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from .naming import cut, distinct
from .output import write_whole

# Okabe and Ito's palette, in an order whose neighbours differ in lightness too.
BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE, YELLOW = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW)
INK, SOFT, RULE, MISSING = "#1a1a1a", "#4a4a4a", "#e3e3e3", "#d9d9d9"
SPLITS: dict[str, dict[str, Any]] = {
    "test": {"color": BLUE, "linestyle": "-", "linewidth": 1.9},
    "dev": {"color": ORANGE, "linestyle": (0, (5, 1.5)), "linewidth": 1.6},
    "train": {"color": GREEN, "linestyle": (0, (1, 1.2)), "linewidth": 1.6},
}
SEQUENTIAL = "cividis"
WIDTH, HEIGHT = 4.2, 3.3  # inches, of one chart
NAME_WIDTH = 30  # columns of a name in a picture
# In the order in which a character is looked for; the first comes with matplotlib, the others are used where they are installed.
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
         "Droid Sans Fallback", "IPAGothic", "Noto Sans", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai",
         "FreeSans", "Noto Emoji", "Symbola", "Unifont")

SETTINGS: Any = {
    "font.size": 9, "text.parse_math": False, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.labelsize": 9, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "legend.fontsize": 8.5, "legend.frameon": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": SOFT, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y", "grid.color": RULE,
    "grid.linewidth": 0.8, "axes.axisbelow": True, "axes.formatter.useoffset": False, "axes.formatter.limits": (-4, 6),
    "figure.facecolor": "white", "savefig.facecolor": "white", "svg.fonttype": "path", "svg.hashsalt": "fedbpt-analysis",
    "legend.handlelength": 2.2, "legend.columnspacing": 1.4, "lines.markersize": 5.5,
}

Draw = Callable[[Axes], None]


@lru_cache(maxsize=1)
def fonts() -> list[str]:
    """Those of FONTS that are installed."""
    installed = set(font_manager.fontManager.get_font_names())
    return [name for name in FONTS if name in installed]


@lru_cache(maxsize=1)
def _drawn_characters() -> frozenset[int]:
    """All characters that the fonts have."""
    found: set[int] = set()
    for name in fonts():
        found.update(font_manager.get_font(font_manager.findfont(name)).get_charmap())
    return frozenset(found)


def drawable(text: str) -> bool:
    """Whether the fonts have every character; what they lack would be drawn as boxes."""
    return text.isascii() or all(ord(character) in _drawn_characters() for character in text)


def picture_names(names: Sequence[str], kind: str, width: int = NAME_WIDTH) -> list[str]:
    """Names as pictures show them, no two alike: shortened, and `label 3` (`kind` and number) for one that cannot be drawn or whose
    beginning does not tell it apart."""
    return distinct([[cut(name, width), f"{kind} {i}"] if drawable(name) else [f"{kind} {i}"] for i, name in enumerate(names)])


def names_behind(names: Sequence[str], kind: str, width: int = NAME_WIDTH, most: int = 20) -> str:
    """The names that those in a picture stand for, where they differ: `label 3: ...`."""
    pairs = [f"{shown}: {name}" for shown, name in zip(picture_names(names, kind, width), names, strict=True) if shown != name]
    return "; ".join(pairs[:most]) + (f"; and {len(pairs) - most} more" if len(pairs) > most else "")


@contextmanager
def styled() -> Iterator[None]:
    """Pictures made inside look as above; matplotlib's own settings are as before afterwards."""
    with matplotlib.rc_context(SETTINGS | {"font.family": fonts()}):
        yield


def single(draw: Draw, title: str, height: float = HEIGHT) -> Figure:
    """One chart as a picture of its own."""
    return panel([(title, draw)], columns=1, height=height)


def panel(charts: Sequence[tuple[str, Draw]], columns: int, height: float = HEIGHT, heading: str = "") -> Figure:
    """Several charts in one picture."""
    with styled():
        rows = -(-len(charts) // columns)
        figure = Figure(figsize=(WIDTH * columns, height * rows + (0.3 if heading else 0)), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
        if heading:
            figure.suptitle(heading, x=0.012, ha="left", fontsize=11)
        for number, (title, draw) in enumerate(charts):
            axes = figure.add_subplot(rows, columns, number + 1)
            axes.set_title(title)
            draw(axes)
        return figure


def legend_below(axes: Axes, columns: int, entries: Sequence[tuple[Any, str]] | None = None, **options: Any) -> None:
    """Where it can cover no data: a fixed way below the axis and its label. Entries (what is drawn, its name) whose names come from
    users are given: gathered from the axes, those that begin with an underscore would be left out."""
    handles, names = axes.get_legend_handles_labels() if entries is None else zip(*entries, strict=True)
    below = axes.transAxes + ScaledTranslation(0, -0.46, axes.get_figure(root=True).dpi_scale_trans)  # type: ignore[union-attr]
    axes.legend(handles, names, loc="upper center", bbox_to_anchor=(0.45, 0), bbox_transform=below, ncols=columns, borderaxespad=0,
                **options)


class LogTicks(Locator):
    """Ticks of a logarithmic axis, enough of them on any stretch: powers of ten, else 1, 2 and 5 times those, else round numbers."""

    def __call__(self) -> Any:
        return self.tick_values(*sorted(self.axis.get_view_interval()))  # type: ignore[union-attr]

    def tick_values(self, vmin: float, vmax: float) -> Any:
        if not 0 < vmin < vmax < math.inf:
            return np.array([])
        first, last = math.floor(math.log10(vmin)), math.ceil(math.log10(vmax))
        step = max(1, round((last - first) / 6))
        for factors in ((1.0,), (1.0, 2.0, 5.0)):
            ticks = np.array([factor * 10.0**power for power in range(first, last + 1, step) for factor in factors])
            ticks = ticks[(ticks >= vmin * (1 - 1e-9)) & (ticks <= vmax * (1 + 1e-9))]
            if len(ticks) >= 3:
                return ticks
        ticks = np.asarray(MaxNLocator(nbins=5).tick_values(vmin, vmax))
        return ticks[(ticks >= vmin) & (ticks <= vmax)]


class LogLabels(Formatter):
    """Numbers beside the ticks with as many digits as tell them apart. `write(value, digits)` writes one."""

    def __init__(self, write: Callable[[float, int], str]) -> None:
        self.write, self.digits = write, 3

    def format_ticks(self, values: Any) -> list[str]:
        given = [float(value) for value in values]
        for self.digits in range(3, 16):
            labels = [self.write(value, self.digits) for value in given]
            if len(set(labels)) == len(set(given)):
                break
        return [self.write(value, self.digits) for value in given]

    def __call__(self, x: float, pos: int | None = None) -> str:
        return self.write(x, self.digits)


def log_scale(axes: Axes, which: str, write: Callable[[float, int], str] = lambda value, digits: f"{value:.{digits}g}") -> None:
    """Makes an axis ("x" or "y") logarithmic, with numbers beside its ticks however short its stretch is."""
    axis: Axis = getattr(axes, f"{which}axis")
    getattr(axes, f"set_{which}scale")("log")
    axis.set_major_locator(LogTicks())
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(LogLabels(write))


def save(figure: Figure, path: Path) -> None:
    """Writes .svg, .png or .pdf; the same picture gives the same bytes."""
    kind, content = path.suffix.lower().lstrip("."), io.BytesIO()
    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
    with styled():
        figure.savefig(content, format=kind, dpi=192, metadata=metadata)
    write_whole(path, content.getvalue())


def inline_svg(figure: Figure, name: str, label: str) -> str:
    """The picture as an <svg> element for a page. `name` makes its ids its own within the page; `label` is read to blind readers."""
    buffer = io.StringIO()
    with styled():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", text, count=1)
    text = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", text, count=1)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
