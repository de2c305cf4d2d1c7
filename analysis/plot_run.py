#!/usr/bin/env python3
"""Draws a run: accuracy, loss and step size by round; prints accuracy and loss before and after tuning.

Works on a finished run file and on one that is still being written.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("MPLCONFIGDIR", str(Path(__file__).resolve().parents[1] / ".cache" / "matplotlib"))

import h5py
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

EXAMPLES = """example:
  .venv/bin/python analysis/plot_run.py runs/quickstart.h5 runs/quickstart.png"""

# Okabe and Ito's palette, told apart by colour-blind readers; line styles tell the splits apart without colour.
STYLES = {
    "train": {"color": "#009E73", "linestyle": (0, (1, 1.2))},
    "dev": {"color": "#E69F00", "linestyle": (0, (5, 1.5))},
    "test": {"color": "#0072B2", "linestyle": "-"},
}
STEP_COLOUR = "#404040"
NAMES = {"train": "training", "dev": "dev", "test": "test"}


@dataclass(frozen=True)
class Run:
    """The columns of /rounds that are drawn. Scores that were not taken are NaN; row 0 is the state before tuning."""

    rounds: np.ndarray
    accuracy: dict[str, np.ndarray]
    loss: dict[str, np.ndarray]
    step_size: dict[str, np.ndarray]  # of the server, and with which clients start the next round
    loss_unit: str
    best: int | None  # row of the best round, chosen on dev

    def last(self) -> int:
        """The last row with a test loss, or, without a test split, with another loss."""
        scored = np.flatnonzero(np.isfinite(self.loss.get("test", next(iter(self.loss.values())))))
        return int(scored[-1]) if scored.size else 0


def read_run(path: Path) -> Run:
    """Reads what is drawn from a run file."""
    with h5py.File(path, "r") as file:
        if "rounds/index" not in file or file["rounds/index"].shape[0] == 0:
            raise ValueError("holds no rounds; is it a run file?")
        group = file["rounds"]

        def column(name: str) -> np.ndarray | None:
            values = group[name][:] if name in group else None
            return values if values is not None and np.isfinite(values).any() else None

        def by_split(measure: str) -> dict[str, np.ndarray]:
            found = {split: column(f"{split}_{measure}") for split in STYLES}
            return {split: values for split, values in found.items() if values is not None}

        accuracy, loss = by_split("accuracy"), by_split("loss")
        if not loss:
            raise ValueError("holds no losses")
        steps = {"server": column("step_size"), "clients": column("step_size_local")}
        steps = {name: values for name, values in steps.items() if values is not None}
        if len(steps) == 2 and np.allclose(steps["server"], steps["clients"], equal_nan=True):
            del steps["clients"]
        unit = next(str(group[f"{split}_loss"].attrs.get("unit", "1")) for split in loss)
        best = best_row(accuracy.get("dev"), loss.get("dev"))
        return Run(group["index"][:], accuracy, loss, steps, "mean over samples" if unit == "1" else unit, best)


def best_row(dev_accuracy: np.ndarray | None, dev_loss: np.ndarray | None) -> int | None:
    """Largest dev accuracy, then smallest dev loss, then earliest: the rule that the program itself follows."""
    if dev_accuracy is None or dev_loss is None:
        return None
    rows = np.flatnonzero(np.isfinite(dev_accuracy) & np.isfinite(dev_loss))
    return int(min(rows, key=lambda row: (-dev_accuracy[row], dev_loss[row], row))) if rows.size else None


def draw_scores(axes: Axes, run: Run, scores: dict[str, np.ndarray], show: str) -> None:
    """One line per split; the split `show` has its values before and after written beside its ends."""
    for split, values in scores.items():
        taken = np.isfinite(values)
        width = 2.0 if split == show else 1.5
        layer = 3 if split == show else 2
        axes.plot(run.rounds[taken], values[taken], label=NAMES[split], linewidth=width, zorder=layer, **STYLES[split])
    if show in scores:
        mark_ends(axes, run, scores[show], STYLES[show]["color"])


def mark_ends(axes: Axes, run: Run, values: np.ndarray, colour: str) -> None:
    """An open circle before tuning, a filled one after the last round, each with its value outside of the lines."""
    for row, face, side in ((0, "white", -1), (run.last(), colour, 1)):
        if not np.isfinite(values[row]) or (row == 0 and side == 1):
            continue
        axes.plot(run.rounds[row], values[row], "o", color=colour, markerfacecolor=face, markersize=6.5, zorder=5, clip_on=False)
        axes.annotate(
            f"{values[row]:.3f}",
            (run.rounds[row], values[row]),
            xytext=(8 * side, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=9,
            color=colour,
        )


def draw_step_sizes(axes: Axes, run: Run) -> None:
    """The server's step size and that of the clients, each named at its end."""
    for (name, values), style in zip(run.step_size.items(), ("-", (0, (4, 1.5))), strict=False):
        axes.plot(run.rounds, values, color=STEP_COLOUR, linewidth=1.6, linestyle=style)
        place = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "fontsize": 9, "color": STEP_COLOUR}
        axes.annotate(name if len(run.step_size) > 1 else "", (run.rounds[-1], values[-1]), **place)
    label_axes(axes, "step size σ (no unit)")


def mark_best(axes: Axes, run: Run, text: bool) -> None:
    """A thin line through the best round, where there is one after the start."""
    if run.best is None or run.best == 0:
        return
    axes.axvline(run.rounds[run.best], color="#999999", linewidth=0.9, zorder=1)
    if text:
        middle = run.rounds[run.best] > 0.5 * run.rounds[-1]
        axes.annotate(
            f"best round on dev: {run.rounds[run.best]}",
            (run.rounds[run.best], 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-4 if middle else 4, 4),
            textcoords="offset points",
            ha="right" if middle else "left",
            fontsize=8.5,
            color="#555555",
        )


def label_axes(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    axes.margins(y=0.12)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)


def draw(run: Run, title: str) -> Figure:
    """The whole picture."""
    figure, (top, middle, bottom) = plt.subplots(3, 1, sharex=True, figsize=(7.2, 7.6), height_ratios=(3, 3, 1.6), layout="constrained")
    figure.suptitle(title, fontsize=11, x=0.02, ha="left")
    draw_scores(top, run, {split: run.accuracy[split] for split in ("dev", "test") if split in run.accuracy}, "test")
    label_axes(top, "accuracy (fraction)")
    draw_scores(middle, run, run.loss, "test")
    label_axes(middle, f"loss ({run.loss_unit})")
    draw_step_sizes(bottom, run)
    for axes in (top, middle, bottom):
        mark_best(axes, run, text=axes is top)
    handles, labels = middle.get_legend_handles_labels()
    colour = STYLES["test"]["color"]
    for name, face in (("before tuning", "white"), ("last round", colour)):
        handles.append(Line2D([], [], marker="o", linestyle="", color=colour, markerfacecolor=face, markersize=6.5))
        labels.append(name)
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    bottom.set_xlabel("round (0: before tuning)")
    length = max(1, run.rounds[-1])
    bottom.set_xlim(-0.09 * length, length)
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels()
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes the picture beside its place and renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".plot-", dir=path.parent) as scratch:
        temporary = Path(scratch) / f"picture{path.suffix or '.png'}"
        figure.savefig(temporary, dpi=150)
        temporary.replace(path)


def summary(run: Run) -> list[str]:
    """Accuracy and loss before tuning, after the last round and at the best one."""
    rows = [("before tuning", 0)]
    if run.last() > 0:
        rows.append((f"after round {run.rounds[run.last()]}", run.last()))
    if run.best:
        rows.append((f"best round on dev ({run.rounds[run.best]})", run.best))
    wanted = [("test", "accuracy"), ("test", "loss"), ("dev", "accuracy"), ("dev", "loss"), ("train", "loss")]
    scores = {"accuracy": run.accuracy, "loss": run.loss}
    columns = [(f"{split} {measure}", scores[measure][split]) for split, measure in wanted if split in scores[measure]]
    width = max(len(name) for name, _ in rows)
    lines = [" " * width + "".join(f"{name:>15}" for name, _ in columns)]
    for name, row in rows:
        cells = "".join(f"{values[row]:15.3f}" if np.isfinite(values[row]) else f"{'-':>15}" for _, values in columns)
        lines.append(f"{name:<{width}}{cells}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run file")
    parser.add_argument("picture", type=Path, help="picture to write (.png, .pdf or .svg)")
    arguments = parser.parse_args()
    if not arguments.run.is_file():
        print(f"error: {arguments.run}: there is no such run file", file=sys.stderr)
        return 2
    try:
        run = read_run(arguments.run)
        save(draw(run, f"{arguments.run.name}: federated black-box prompt tuning"), arguments.picture)
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {arguments.run}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print("\n".join(summary(run)))
    print(f"run file: {arguments.run}")
    print(f"picture:  {arguments.picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
