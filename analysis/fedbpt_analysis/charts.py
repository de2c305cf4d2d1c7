"""The pictures of one run. Each function draws on axes that it is given; CHARTS lists them for report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from . import style
from .naming import width_of
from .run import Run
from .words import bytes_text, bytes_tick, time_unit

LABELS_NAMED_MAX = 12  # more labels than that are numbered beside an axis
HUGE = 1e100  # of numbers that are drawn
BARS_MAX = 60  # more rounds than that share a bar
NAMED_MAX = 30  # more clients than that get a number now and then
CLIENTS_MAX = 200  # of more clients the spread is drawn, not each one
REPORTS = {"reported": "reported", "dropped out": "dropped", "late": "late"}  # columns of Run.reports by their names in pictures
LOSS_UNITS = {"ce": "nats a sample", "hinge": "hinge, per sample", "accuracy": "1 − correct"}


@dataclass(frozen=True)
class Chart:
    """A picture: its short name, title, what to say under it, how to draw it, and whether a run has what it shows."""

    name: str
    title: str
    caption: str
    draw: Callable[[Axes, Run], None]
    applies: Callable[[Run], bool] = lambda run: True


def loss_unit(run: Run) -> str:
    return LOSS_UNITS.get(str(run.settings.get("objective.loss")), "per sample")


def score_text(value: float) -> str:
    """With three decimals, or in powers of ten where those would fill a line."""
    return f"{value:.3f}" if abs(value) < 1e6 else f"{value:.4g}"


def finite(values: pd.Series | np.ndarray) -> np.ndarray:
    """NaN for what cannot be drawn: a diverged search may record infinite numbers, or some whose axis would have infinite ends."""
    given = np.asarray(values, dtype=float)
    return np.where(np.abs(given) < HUGE, given, np.nan)


def has(run: Run, column: str) -> bool:
    return bool(np.isfinite(finite(run.rounds[column])).any())


def scored_splits(run: Run, measure: str) -> list[str]:
    return [split for split in ("test", "dev", "train") if has(run, f"{split}_{measure}")]


def _rounds_axis(axes: Axes, run: Run) -> None:
    axes.set_xlabel("round (0: before tuning)")
    last = max(1, run.last_round)
    axes.set_xlim(-0.03 * last, 1.03 * last)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _clients_axis(axes: Axes, run: Run) -> None:
    n = len(run.partition)
    axes.set_ylabel("client")
    if n <= NAMED_MAX:
        step = 1 if n <= 12 else 2 if n <= 20 else 5
        axes.set_yticks(range(0, n, step))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def _line(axes: Axes, run: Run, values: np.ndarray, **look: object) -> None:
    """A line through the rounds that have a value; a point if there is one round only."""
    values = finite(values)
    taken = np.isfinite(values)
    marker = "o" if taken.sum() == 1 else None
    axes.plot(run.rounds.index.to_numpy()[taken], values[taken], marker=marker, **look)  # type: ignore[arg-type]


def _mark(axes: Axes, run: Run, split: str, measure: str) -> list[Line2D]:
    """Start, best and last round on the split's line, with their values in the legend."""
    values, colour = finite(run.rounds[f"{split}_{measure}"]), style.SPLITS[split]["color"]
    last, best = run.last_scored_row, run.best_row
    marks = [(0, "o", "white", "start")]
    if best is not None and best > 0:
        axes.axvline(run.rounds.index[best], color="#9a9a9a", linewidth=0.9, zorder=1)
        marks.append((best, "D", style.YELLOW, f"best on dev, round {run.rounds.index[best]}"))
    if last > 0:
        marks.append((last, "o", colour, "last"))
    handles = []
    for row, marker, face, name in [mark for mark in marks if np.isfinite(values[mark[0]])]:
        look = {"marker": marker, "color": style.INK if marker == "D" else colour, "markerfacecolor": face, "linestyle": ""}
        axes.plot([run.rounds.index[row]], [values[row]], zorder=6 if marker == "D" else 5, clip_on=False, **look)  # type: ignore[arg-type]
        handles.append(Line2D([], [], label=f"{name}: {score_text(values[row])}", **look))  # type: ignore[arg-type]
    return handles


def _draw_scores(axes: Axes, run: Run, measure: str, label: str) -> None:
    splits = scored_splits(run, measure)
    for split in reversed(splits):
        _line(axes, run, run.rounds[f"{split}_{measure}"].to_numpy(), **style.SPLITS[split])
    marks = _mark(axes, run, splits[0], measure)
    axes.set_ylabel(label)
    axes.margins(y=0.1)
    _rounds_axis(axes, run)
    lines = [Line2D([], [], label=split, **style.SPLITS[split]) for split in splits]
    handles = lines + [Line2D([], [], linestyle="", label=" ")] * (3 - len(lines)) + marks
    style.legend_below(axes, 2, [(handle, str(handle.get_label())) for handle in handles])


def draw_accuracy(axes: Axes, run: Run) -> None:
    _draw_scores(axes, run, "accuracy", "accuracy (fraction)")


def draw_loss(axes: Axes, run: Run) -> None:
    _draw_scores(axes, run, "loss", f"loss ({loss_unit(run)})")


def draw_step_size(axes: Axes, run: Run) -> None:
    server, clients = finite(run.rounds["step_size"]), finite(run.rounds["step_size_local"])
    _line(axes, run, server, color=style.BLUE, linewidth=1.9, label="server")
    if not np.allclose(server, clients, equal_nan=True):
        _line(axes, run, clients, color=style.ORANGE, linestyle=(0, (5, 1.5)), linewidth=1.6, label="clients, at their start")
    axes.set_ylabel("step size σ (length in z)")
    _from_zero(axes)
    _rounds_axis(axes, run)
    style.legend_below(axes, 2)


def _from_zero(axes: Axes) -> None:
    """The axis starts at zero, and ends a little above what is drawn."""
    highest = axes.dataLim.y1
    axes.set_ylim(0, 1.08 * highest if 0 < highest < np.inf else 1)


def draw_condition(axes: Axes, run: Run) -> None:
    _line(axes, run, run.rounds["condition_number"].to_numpy(), color=style.BLUE, linewidth=1.9, label="server")
    clients = client_values(run, "condition")
    if np.isfinite(clients).any():
        taken = np.isfinite(clients).any(axis=1)
        largest = np.full(len(clients), np.nan)
        largest[taken] = np.nanmax(clients[taken], axis=1)
        _line(axes, run, largest, color=style.ORANGE, linestyle=(0, (5, 1.5)), linewidth=1.6, label="clients, largest")
    if axes.get_ylim()[1] > 20:
        style.log_scale(axes, "y")
    axes.set_ylabel("condition number (ratio)")
    _rounds_axis(axes, run)
    style.legend_below(axes, 2)


def draw_length(axes: Axes, run: Run) -> None:
    z = finite(run.z)
    length = np.linalg.norm(z, axis=1)
    moved = np.r_[np.nan, np.linalg.norm(np.diff(z, axis=0), axis=1)]
    _line(axes, run, length, color=style.BLUE, linewidth=1.9, label="|z|")
    _line(axes, run, moved, color=style.ORANGE, linestyle=(0, (5, 1.5)), linewidth=1.6, label="moved in the round")
    axes.set_ylabel("Euclidean length in z")
    _from_zero(axes)
    _rounds_axis(axes, run)
    style.legend_below(axes, 2)


def client_values(run: Run, name: str) -> np.ndarray:
    """[R, m], of the clients that took part; NaN where there are none."""
    return finite(run.array(f"client/{name}"))


def takes_all(run: Run) -> bool:
    """Whether all clients take part in every round."""
    return run.participants.shape[1] == len(run.partition) and bool((run.participants[1:] >= 0).all())


def _bands(axes: Axes, run: Run, values: np.ndarray, outer: tuple[float, float], name: str) -> None:
    """Of values [R, m], their median by round, the middle half, and the outer quantiles (per cent). The axis says of how many."""
    taken = np.isfinite(values).any(axis=1)
    rounds = run.rounds.index.to_numpy()[taken]
    low, first, middle, third, high = quantiles(values[taken], (outer[0], 25, 50, 75, outer[1]))
    if len(rounds) == 1:  # bands of one round have no width
        rounds = np.array([rounds[0] - 0.1, rounds[0] + 0.1])
        low, first, middle, third, high = (np.repeat(part, 2) for part in (low, first, middle, third, high))
    axes.fill_between(rounds, low, high, color=style.SKY, alpha=0.3, linewidth=0, label=name)
    axes.fill_between(rounds, first, third, color=style.BLUE, alpha=0.4, linewidth=0, label="middle half")
    axes.plot(rounds, middle, color=style.INK, linewidth=1.6, label="median")
    axes.margins(y=0.1)
    _rounds_axis(axes, run)
    if not takes_all(run):
        axes.set_xlabel(f"round (each: {_most(run)} of {len(run.partition):,} clients that took part)")
    style.legend_below(axes, 3)


def _most(run: Run) -> str:
    m = run.participants.shape[1]
    return f"the {m:,}" if (run.participants[1:] >= 0).all() else f"at most {m:,}"


def quantiles(values: np.ndarray, per_cent: Sequence[float]) -> np.ndarray:
    """[len(per_cent), n] of values [n, K], NaN left out: as nanpercentile, which takes a second for ten thousand rows."""
    ordered = np.sort(values, axis=1)
    n = np.isfinite(ordered).sum(axis=1)
    rows = np.arange(len(ordered))
    found = np.full((len(per_cent), len(ordered)), np.nan)
    for i, share in enumerate(per_cent):
        place = share / 100 * np.maximum(n - 1, 0)
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, np.maximum(n - 1, 0))
        low, high = ordered[rows, below], ordered[rows, above]
        found[i] = low + (high - low) * (place - below)
    return found


def draw_fitness(axes: Axes, run: Run) -> None:
    axes.set_ylabel(f"fitness ({fitness_unit(run)})")
    _bands(axes, run, client_values(run, "fitness"), (0, 100), "all clients")


def fitness_unit(run: Run) -> str:
    return "loss / perturbed loss" if float(run.settings.get("perturb.rate", 0)) > 0 else loss_unit(run)


def draw_clients(axes: Axes, run: Run) -> None:
    if len(run.partition) > CLIENTS_MAX:
        axes.set_ylabel(f"loss on own samples ({loss_unit(run)})")
        _bands(axes, run, client_values(run, "loss"), (5, 95), "5% to 95% of clients")
        return
    values = finite(run.by_client("client/loss")).T
    colours = matplotlib.colormaps[style.SEQUENTIAL].with_extremes(bad=style.MISSING)
    extent = (run.rounds.index[0] - 0.5, run.rounds.index[-1] + 0.5, values.shape[0] - 0.5, -0.5)
    image = axes.imshow(values, aspect="auto", cmap=colours, interpolation="none", extent=extent)
    axes.grid(False)
    bar = axes.get_figure().colorbar(image, ax=axes, pad=0.02)  # type: ignore[union-attr]
    bar.set_label(f"loss on own samples ({loss_unit(run)})")
    bar.outline.set_visible(False)
    axes.set_xlabel("round (grey: took no part)")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    _clients_axis(axes, run)


def draw_labels(axes: Axes, run: Run) -> None:
    counts = run.partition
    if len(counts) > CLIENTS_MAX:
        _draw_label_shares(axes, counts)
        return
    if counts.shape[1] > len(style.CYCLE):
        image = axes.imshow(counts.to_numpy(), aspect="auto", cmap=style.SEQUENTIAL, interpolation="none")
        axes.grid(False)
        axes.set_xlabel("label number")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.get_figure().colorbar(image, ax=axes, pad=0.02, ticks=MaxNLocator(integer=True)).set_label("training samples")  # type: ignore[union-attr]
    else:
        _draw_label_bars(axes, counts)
    _clients_axis(axes, run)


def _draw_label_bars(axes: Axes, counts: pd.DataFrame) -> None:
    """A bar a client, cut into its labels."""
    left = np.zeros(len(counts))
    entries = []
    names = label_names(counts)
    for number, (values, name) in enumerate(zip(counts.to_numpy().T, names, strict=True)):
        bars = axes.barh(range(len(counts)), values, left=left, height=0.86, color=style.CYCLE[number], edgecolor="white",
                         linewidth=0.6 if len(counts) <= NAMED_MAX else 0)
        entries.append((bars, name))
        left = left + values
    axes.set_ylim(len(counts) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("training samples")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    longest = max(map(width_of, names))
    columns = 5 if longest < 5 else 3 if longest < 14 else 2 if longest < 24 else 1
    style.legend_below(axes, columns, entries, handlelength=1.0, columnspacing=1.0)


def label_names(counts: pd.DataFrame) -> list[str]:
    """The labels (columns) as pictures show them."""
    return style.picture_names([str(name) for name in counts.columns], "label")


def _draw_label_shares(axes: Axes, counts: pd.DataFrame) -> None:
    """How a label's share of a client's samples spreads over many clients."""
    samples = counts.to_numpy(dtype=float)
    shares = (samples / np.maximum(samples.sum(axis=1, keepdims=True), 1)).T
    low, first, middle, third, high = quantiles(shares, (5, 25, 50, 75, 95))
    places = np.arange(len(shares))
    axes.barh(places, high - low, left=low, height=0.7, color=style.SKY, alpha=0.4, linewidth=0, label="5% to 95% of clients")
    axes.barh(places, third - first, left=first, height=0.7, color=style.BLUE, alpha=0.5, linewidth=0, label="middle half")
    axes.plot(middle, places, "|", color=style.INK, markersize=9, markeredgewidth=1.6, label="median")
    axes.set_ylim(len(shares) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("share of a client's training samples")
    axes.set_ylabel("label")
    if len(shares) <= LABELS_NAMED_MAX:
        axes.set_yticks(places, style.picture_names([str(name) for name in counts.columns], "label", 16))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    style.legend_below(axes, 2)


def draw_traffic(axes: Axes, run: Run) -> None:
    split = scored_splits(run, "accuracy")[0]
    accuracy = finite(run.rounds[f"{split}_accuracy"])
    for way, colour, line, width in (("down", style.ORANGE, (0, (5, 1.5)), 2.4), ("up", style.BLUE, "-", 1.6)):
        total = np.cumsum(run.cost[f"bytes_{way}"].to_numpy())
        taken = np.isfinite(accuracy) & (total > 0)
        marker = "o" if taken.sum() == 1 else None
        axes.plot(total[taken], accuracy[taken], color=colour, linestyle=line, linewidth=width, marker=marker,
                  label=f"{way}: {bytes_text(float(total[-1]))} in all")
    style.log_scale(axes, "x", bytes_tick)
    axes.set_xlabel("bytes so far, all clients together")
    axes.set_ylabel(f"{split} accuracy (fraction)")
    axes.margins(y=0.1)
    style.legend_below(axes, 2)


def draw_elapsed(axes: Axes, run: Run) -> None:
    """Accuracies by the time that a deployment would have taken so far."""
    elapsed = finite(run.reports["elapsed_s"])
    unit, seconds = time_unit(float(elapsed[-1]))
    splits = scored_splits(run, "accuracy")
    for split in reversed(splits):
        accuracy = finite(run.rounds[f"{split}_accuracy"])
        taken = np.isfinite(accuracy)
        axes.plot(elapsed[taken] / seconds, accuracy[taken], marker="o" if taken.sum() == 1 else None, label=split, **style.SPLITS[split])
    axes.set_xlabel(f"simulated time so far ({unit})")
    axes.set_ylabel("accuracy (fraction)")
    axes.margins(y=0.1)
    style.legend_below(axes, 3)


def _stacked(axes: Axes, run: Run, parts: Sequence[tuple[str, np.ndarray]], ylabel: str) -> None:
    """Bars by round, one part upon the other; of many rounds means."""
    n = run.n_rows
    per_bar = -(-n // BARS_MAX)
    starts = np.arange(0, n, per_bar)
    sizes = np.diff(np.r_[starts, n])
    middles = run.rounds.index.to_numpy()[starts] + (sizes - 1) / 2
    bottom = np.zeros(len(starts))
    for number, (name, values) in enumerate(parts):
        means = np.add.reduceat(np.nan_to_num(finite(values)), starts) / sizes
        axes.bar(middles, means, width=0.86 * sizes, bottom=bottom, color=style.CYCLE[number % len(style.CYCLE)], linewidth=0, label=name)
        bottom += means
    axes.set_ylabel(ylabel if per_bar == 1 else f"{ylabel} (mean of {per_bar})")
    _from_zero(axes)
    _rounds_axis(axes, run)
    axes.set_xlim(-0.6, max(1, run.last_round) + 0.6)
    style.legend_below(axes, 3, handlelength=1.0)


def draw_reports(axes: Axes, run: Run) -> None:
    parts = [(name, run.reports[column].to_numpy(dtype=float)) for name, column in REPORTS.items()]
    _stacked(axes, run, parts, "chosen clients a round")


def draw_time(axes: Axes, run: Run) -> None:
    _stacked(axes, run, [(phase, run.cost[f"seconds_{phase}"].to_numpy()) for phase in run.phases], "seconds a round")


def _has_clients(name: str) -> Callable[[Run], bool]:
    return lambda run: bool(np.isfinite(client_values(run, name)).any())


def _has_traffic(run: Run) -> bool:
    """A round that was scored after something was sent."""
    splits = scored_splits(run, "accuracy")
    sent = np.minimum(*(np.cumsum(run.cost[f"bytes_{way}"].to_numpy()) for way in ("up", "down")))
    return bool(splits) and bool((np.isfinite(finite(run.rounds[f"{splits[0]}_accuracy"])) & (sent > 0)).any())


CHARTS = (
    Chart("accuracy", "Accuracy", "The best round is chosen on dev samples, never on the test set.", draw_accuracy,
          lambda run: bool(scored_splits(run, "accuracy"))),
    Chart("loss", "Loss", "Mean over the samples of a split.", draw_loss, lambda run: bool(scored_splits(run, "loss"))),
    Chart("traffic", "Accuracy by traffic", "What clients and server would have sent each other so far, in a real deployment.",
          draw_traffic, _has_traffic),
    Chart("elapsed", "Accuracy by simulated time", "Up to each round's last report or deadline, in a deployment of such clients.",
          draw_elapsed, lambda run: bool(scored_splits(run, "accuracy")) and bool(run.reports["elapsed_s"].iloc[-1] > 0)),
    Chart("reports", "Who reported", "Of the clients that were chosen for a round.", draw_reports,
          lambda run: bool(run.reports["reported"].notna().any())),
    Chart("step_size", "Step size", "Standard deviation with which candidates are drawn around the mean.", draw_step_size),
    Chart("length", "Length of z", "Distance of the server's mean from its start, and how far each round moved it.", draw_length),
    Chart("condition_number", "Condition number", "Largest over smallest eigenvalue of the search covariance; 1: a sphere.",
          draw_condition, lambda run: has(run, "condition_number")),
    Chart("fitness", "Spread of client fitness", "Fitness of each participant's final mean on its own samples; small is good.",
          draw_fitness, _has_clients("fitness")),
    Chart("clients", "Loss of the clients", "Loss of each client's final mean on its own samples.", draw_clients, _has_clients("loss")),
    Chart("labels", "Labels of the clients", "How the training samples are dealt out.", draw_labels),
    Chart("time", "Time by phase", "Wall-clock time, the slowest rank's. Round 0 scores the untuned model.", draw_time),
)
OVERVIEW = ("accuracy", "loss", "traffic", "clients")
