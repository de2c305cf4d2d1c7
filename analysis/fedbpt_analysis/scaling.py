"""Pictures of what `fedbpt bench --scale --json` predicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from . import style
from .errors import AnalysisError

Row = dict[str, Any]
PARTS = ("search", "optimise", "exchange", "score", "record", "check")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))


def read(path: Path) -> list[Row]:
    """The predictions of a file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows: list[Row] = found["predictions"]
        known = all({"ranks", "clients", "seconds", "efficiency", "rank_bytes", "phases"} <= set(row) for row in rows)
    except OSError as error:
        raise AnalysisError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise AnalysisError(f"{path} is not what `fedbpt bench --scale --json` prints") from error
    if not rows or not known:
        raise AnalysisError(f"{path} has no predictions; make it with `fedbpt bench --scale --json`")
    return rows


def _by_clients(rows: list[Row], value: Callable[[Row], float], label: str, log: bool, axes: Axes) -> None:
    """A line for each number of clients."""
    for number, clients in enumerate(sorted({row["clients"] for row in rows})):
        line = sorted((row["ranks"], value(row)) for row in rows if row["clients"] == clients)
        axes.plot(*zip(*line, strict=True), label=f"{clients:,} clients", marker="o", markersize=3, linestyle=DASHES[number % len(DASHES)],
                  color=style.CYCLE[number % len(style.CYCLE)])
    style.log_scale(axes, "x", lambda value, _: f"{value:,.0f}")
    if log:
        style.log_scale(axes, "y")
    axes.set_xlabel("ranks")
    axes.set_ylabel(label)
    style.legend_below(axes, 2)


def _parts(rows: list[Row], clients: int, axes: Axes) -> None:
    """A line for each part of a round."""
    chosen = sorted((row for row in rows if row["clients"] == clients), key=lambda row: row["ranks"])
    for number, part in enumerate(PARTS):
        line = [(row["ranks"], row["phases"][part]) for row in chosen if row["phases"][part] > 0]
        if line:
            axes.plot(*zip(*line, strict=True), label=part, marker="o", markersize=3, linestyle=DASHES[number % len(DASHES)],
                      color=style.CYCLE[number % len(style.CYCLE)])
    style.log_scale(axes, "x", lambda value, _: f"{value:,.0f}")
    style.log_scale(axes, "y")
    axes.set_xlabel("ranks")
    axes.set_ylabel("seconds")
    style.legend_below(axes, 3)


def overview(path: Path, target: Path, clients: int | None = None) -> None:
    """Efficiency, seconds, the parts of a round of so many clients (default: the number nearest to 1,024) and memory: four pictures in
    one file."""
    rows = read(path)
    counts = sorted({row["clients"] for row in rows})
    chosen = min(counts, key=lambda count: abs(count - 1024)) if clients is None else clients
    if chosen not in counts:
        raise AnalysisError(f"{path} has no predictions for {chosen} clients; it has {', '.join(map(str, counts))}")
    lines = partial(partial, _by_clients, rows)
    charts = [("Efficiency", lines(lambda row: 100 * row["efficiency"], "% of one rank's", False)),
              ("Time of a round", lines(lambda row: row["seconds"], "seconds", True)),
              (f"Parts of a round, {chosen:,} clients", partial(_parts, rows, chosen)),
              ("Memory of a rank, without shared weights", lines(lambda row: row["rank_bytes"] * 1e-9, "GB", True))]
    style.save(style.panel(charts, 2, 3.6), target)
