"""A run in the terminal while it is being written."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import numpy as np

from . import terminal
from .run import Run, RunError
from .words import age_text, bytes_text, number_text, time_text

MARKS = {"test": "o", "dev": "x", "train": "."}
RECENT = 5  # rounds whose time predicts the next one's
HOME, CLEAR_BELOW, CLEAR_LINE = "\x1b[H", "\x1b[J", "\x1b[K"


def time_left(run: Run) -> float:
    """Seconds, at the pace of the last rounds; NaN before the first one."""
    seconds = run.cost["seconds"].to_numpy()[1:]
    return float(np.mean(seconds[-RECENT:])) * (run.n_rounds - run.last_round) if len(seconds) else np.nan


def _scores_line(run: Run, row: int, name: str, width: int = 1000) -> str:
    """As many splits as there is room for."""
    scores = run.rounds.iloc[row]
    line = f"{name:<15}"
    for split in MARKS:
        part = f"{split} {number_text(scores[f'{split}_accuracy'])} ({number_text(scores[f'{split}_loss'])})"
        if np.isfinite(scores[f"{split}_loss"]) and len(line) + len(part) <= width:
            line += part + "   "
    return line.rstrip()


def head(run: Run, width: int) -> list[str]:
    """What the run is, how far it is, and its scores as accuracy (loss) with the rounds they were taken in."""
    settings = run.settings
    protocol, clients, partition = (settings.get(f"fed.{name}") for name in ("protocol", "clients", "partition"))
    what = f"{run.task}: {protocol}, {clients} clients, {partition}, seed {run.seed}"
    left = time_left(run)
    pace = f", about {time_text(left)} to go" if run.status == "running" and np.isfinite(left) else ""
    written = f", last written {age_text(run)} ago" if run.status == "running" else f" in {time_text(run.wall_time_s)}"
    sent = f"sent up {bytes_text(float(run.cost['bytes_up'].sum()))}, down {bytes_text(float(run.cost['bytes_down'].sum()))}"
    lines = [
        f"{run.name}   {what}",
        f"{terminal.bar(run.last_round, run.n_rounds, 32)} round {run.last_round} of {run.n_rounds}, {run.status}{written}{pace}",
        _scores_line(run, 0, "before tuning", width),
    ]
    if run.best_row:
        lines.append(_scores_line(run, run.best_row, f"best dev {run.best_round}", width))
    last = run.last_scored_row
    if last > 0:
        lines.append(_scores_line(run, last, f"last {run.rounds.index[last]}", width))
    lines.append(f"step size {run.rounds['step_size'].iloc[-1]:.4g}   {sent}")
    return [line[:width] for line in lines]


def screen(run: Run, width: int, height: int) -> list[str]:
    """The whole picture in at most `height` lines where they suffice."""
    lines = head(run, width)
    together = width >= 100
    room = height - len(lines) - 3
    rows = max(5, min(16, room - 3 if together else (room - 6) // 2))
    plots = []
    for measure, unit in (("accuracy", "fraction"), ("loss", "mean over samples")):
        series = [(mark, run.rounds[f"{split}_{measure}"].to_numpy()) for split, mark in MARKS.items()]
        columns = (width - 3) // 2 if together else width
        plots.append(terminal.plot(series, run.rounds.index.to_numpy(), run.n_rounds, f"{measure} ({unit}) by round", columns, rows))
    legend = "   ".join(f"{mark} {split}" for split, mark in MARKS.items() if np.isfinite(run.rounds[f"{split}_loss"]).any())
    return [*lines, legend, *(terminal.beside(plots[0], plots[1]) if together else [*plots[0], *plots[1]])]


def _line(run: Run) -> str:
    """One line a round, where the output is no terminal."""
    return f"round {run.last_round} of {run.n_rounds}, {run.status}: {_scores_line(run, run.last_scored_row, '').strip()}"


def _wait_for(path: Path, interval: float, out: TextIO) -> Run:
    """The run, once it is there: the first file appears after round 0."""
    told = False
    while True:
        try:
            return Run(path)
        except RunError:
            if path.exists():
                raise
            if not told:
                print(f"waiting for {path}", file=out, flush=True)
                told = True
            time.sleep(interval)


def _stamp(path: Path) -> tuple[int, int]:
    """Changes whenever the file is replaced."""
    status = os.stat(path)
    return status.st_ino, status.st_mtime_ns


def _look_again(run: Run) -> Run | None:
    """The run as it is by now; None while it cannot be read, as when a network file system still shows the file replaced last."""
    try:
        return run.refresh()
    except (RunError, OSError):
        return None


def show(run: Run, out: TextIO, live: bool) -> None:
    size = shutil.get_terminal_size((100, 40))
    lines = screen(run, size.columns, size.lines)
    if live:
        out.write(HOME + "".join(f"{line}{CLEAR_LINE}\n" for line in lines) + CLEAR_BELOW)
    else:
        out.write("\n".join(lines) + "\n")
    out.flush()


def watch(path: Path, once: bool, interval: float, stream: TextIO | None = None) -> int:
    """Follows a run until it ends; 1 if it failed. Where the stream (default: the standard output) is no terminal, a line a round."""
    out = sys.stdout if stream is None else stream
    if once:
        show(Run(path), out, live=False)
        return 0
    run = _wait_for(path, interval, out)
    live = out.isatty()
    draw: Callable[[Run], object] = (lambda r: show(r, out, live=True)) if live else (lambda r: print(_line(r), file=out, flush=True))
    if live:
        out.write("\x1b[2J")
    draw(run)
    seen = _stamp(path)
    while run.status == "running":
        time.sleep(interval)
        stamp = _stamp(path) if path.exists() else seen
        if stamp != seen and _look_again(run):
            seen = stamp
            draw(run)
        elif live:
            draw(run)
    return 1 if run.status == "failed" else 0
