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
from .claims import LifeSigns
from .files import RunError
from .naming import printable
from .run import Run
from .settings import method
from .words import age_text, bytes_text, is_killed, number_text, time_text

MARKS = {"test": "o", "dev": "x", "train": "."}
UNITS = {"accuracy": "fraction", "loss": "mean over samples"}
ROWS_LEAST, ROWS_MOST, WIDTH_LEAST = 4, 16, 30  # of a plot
RECENT = 5  # rounds whose time predicts the next one's
HOME, CLEAR_BELOW, CLEAR_LINE = "\x1b[H", "\x1b[J", "\x1b[K"


def time_left(run: Run) -> float:
    """Seconds, at the pace of the last rounds; NaN before the first one."""
    seconds = run.cost["seconds"].to_numpy()[1:]
    return float(np.mean(seconds[-RECENT:])) * (run.n_rounds - run.last_round) if len(seconds) else np.nan


def _scores_line(run: Run, row: int, name: str) -> str:
    scores = run.rounds.iloc[row]
    parts = [f"{split} {number_text(scores[f'{split}_accuracy'])} ({number_text(scores[f'{split}_loss'])})"
             for split in MARKS if np.isfinite(scores[f"{split}_loss"]) or np.isfinite(scores[f"{split}_accuracy"])]
    return f"{name:<15}{'   '.join(parts) or 'not scored'}".rstrip()


def _reports_line(run: Run) -> list[str]:
    """Of the last round, and the simulated time so far; nothing where neither is simulated."""
    last = run.reports.iloc[-1]
    if run.last_round == 0 or not np.isfinite(last["reported"]):
        return []
    chosen = last["reported"] + last["dropped"] + last["late"]
    elapsed = f"   simulated time {time_text(last['elapsed_s'])}" if np.isfinite(last["elapsed_s"]) else ""
    return [f"last round: {last['reported']:.0f} of {chosen:.0f} clients reported, {last['dropped']:.0f} dropped out, "
            f"{last['late']:.0f} were late{elapsed}"]


def head(run: Run, width: int) -> list[str]:
    """Say what the run is, how far it is, and its scores as accuracy (loss) with the rounds they were taken in: the first line is the one
    to keep if there is room for one only. A long line goes on in the next one."""
    settings = run.settings
    clients, partition = (settings.get(f"fed.{name}") for name in ("clients", "partition"))
    what = f"{run.task}: {method(settings)}, {clients} clients, {partition}, seed {run.seed}"
    left = time_left(run)
    status = "killed" if is_killed(run) else run.status
    pace = f", about {time_text(left)} to go" if status == "running" and np.isfinite(left) else ""
    written = f", last written {age_text(run)} ago" if run.status == "running" else f" in {time_text(run.wall_time_s)}"
    sent = f"sent up {bytes_text(float(run.cost['bytes_up'].sum()))}, down {bytes_text(float(run.cost['bytes_down'].sum()))}"
    bar = f"{terminal.bar(run.last_round, run.n_rounds, min(32, width // 3))} " if width >= 24 else ""
    lines = [f"{bar}round {run.last_round} of {run.n_rounds}, {status}{written}{pace}"]
    last = run.last_scored_row
    if last > 0:
        lines.append(_scores_line(run, last, f"last {run.rounds.index[last]}"))
    if run.best_row:
        lines.append(_scores_line(run, run.best_row, f"best dev {run.best_round}"))
    lines += [_scores_line(run, 0, "before tuning"), f"{run.name}   {what}",
              f"step size {run.rounds['step_size'].iloc[-1]:.4g}   {sent}", *_reports_line(run)]
    return [part for line in lines for part in terminal.fold(printable(line), width)]


def screen(run: Run, width: int, height: int) -> list[str]:
    """The whole picture in less than `height` lines, so that a terminal does not scroll its top away: of the plots those for which there
    is room, side by side or one below the other."""
    lines = head(run, width)[: max(1, height - 1)]
    series = {measure: [(mark, run.rounds[f"{split}_{measure}"].to_numpy()) for split, mark in MARKS.items()]
              for measure in ("accuracy", "loss")}
    wanted = [measure for measure, parts in series.items() if any(np.isfinite(values).any() for _, values in parts)]
    together = width >= 100
    room = height - 1 - len(lines) - 1  # below the legend
    least = terminal.FRAME + ROWS_LEAST
    n = len(wanted) if together or room >= len(wanted) * least else 1
    if not wanted or room < least or width < WIDTH_LEAST:
        return lines
    rows = min(ROWS_MOST, (room if together else room // n) - terminal.FRAME)
    columns = (width - 3) // 2 if together else width
    rounds = run.rounds.index.to_numpy()
    plots = [terminal.plot(series[measure], rounds, run.n_rounds, f"{measure} ({UNITS[measure]}) by round", columns, rows)
             for measure in wanted[:n]]
    legend = "   ".join(f"{mark} {split}" for split, mark in MARKS.items() if np.isfinite(run.rounds[f"{split}_loss"]).any())
    drawn = terminal.beside(plots[0], plots[1]) if together and n == 2 else [line for plot in plots for line in plot]
    return [*lines, legend[:width], *drawn]


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
                print(printable(f"waiting for {path}"), file=out, flush=True)
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
    """Follows a run until it ends or nobody writes it any more; 1 if it failed, or was killed. Where the stream (default: the standard
    output) is no terminal, a line a round."""
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
    seen, signs = _stamp(path), LifeSigns(path)
    while run.status == "running":
        why = signs.why_dead()  # before the last look: what a process wrote before it ended is seen
        stamp = _stamp(path) if path.exists() else seen
        if stamp != seen and _look_again(run):
            seen = stamp
            draw(run)
        elif why is not None:
            print(printable(f"{path}: ended at round {run.last_round} of {run.n_rounds} without saying so: {why}; "
                            "`fedbpt run` with its settings and --resume goes on"), file=out, flush=True)
            return 1
        else:
            if live:
                draw(run)
            time.sleep(interval)
    return 1 if run.status == "failed" else 0
