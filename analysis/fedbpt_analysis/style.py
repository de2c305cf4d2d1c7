"""How pictures look: dark text on white, colours told apart by colour-blind readers, and line styles that tell them apart without
colour. Every picture is drawn small, so that its text keeps its size on a phone and on paper."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

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

SETTINGS: Any = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.labelsize": 9, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "legend.fontsize": 8.5, "legend.frameon": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": SOFT, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y", "grid.color": RULE,
    "grid.linewidth": 0.8, "axes.axisbelow": True, "axes.formatter.useoffset": False, "axes.formatter.limits": (-4, 6),
    "figure.facecolor": "white", "savefig.facecolor": "white", "svg.fonttype": "path", "svg.hashsalt": "fedbpt-analysis",
    "legend.handlelength": 2.2, "legend.columnspacing": 1.4, "lines.markersize": 5.5,
}

Draw = Callable[[Axes], None]


@contextmanager
def styled() -> Iterator[None]:
    """Pictures made inside look as above; matplotlib's own settings are as before afterwards."""
    with matplotlib.rc_context(SETTINGS):
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


def legend_below(axes: Axes, columns: int, **options: Any) -> None:
    """Where it can cover no data: a fixed way below the axis and its label."""
    below = axes.transAxes + ScaledTranslation(0, -0.46, axes.get_figure(root=True).dpi_scale_trans)  # type: ignore[union-attr]
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, 0), bbox_transform=below, ncols=columns, borderaxespad=0, **options)


def save(figure: Figure, path: Path) -> None:
    """Writes .svg, .png or .pdf; the same picture gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata: dict[str, Any] = {"Date": None} if path.suffix == ".svg" else {}
    with styled():
        figure.savefig(path, dpi=192, metadata=metadata)


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
