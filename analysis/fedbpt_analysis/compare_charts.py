"""The pictures of a comparison: one an axis, one a pair of axes, all runs by round."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from . import style
from .axes import is_numeric, label
from .compare import Comparison
from .frame import COSTS, title_of
from .stats import estimate
from .words import bytes_tick

HEAT_MAX = 14  # values of an axis in a heat map with numbers in it


def metric_label(metric: str) -> str:
    if metric in COSTS:
        name, unit = COSTS[metric]
        return f"{name} ({unit})"
    what, _, when = title_of(metric).partition(", ")
    return f"{what} ({'mean over samples' if 'loss' in metric else 'fraction'}),\n{when}"


def _runs(axes: Axes, place: float, values: np.ndarray, counted: np.ndarray, beside: bool) -> None:
    """Each run as a small circle; side by side, left of its place, where there is room."""
    offsets = np.linspace(-0.34, -0.12, len(values)) if beside else np.zeros(len(values))
    for chosen, face in ((counted, style.SKY), (~counted, "none")):
        axes.plot(place + offsets[chosen], values[chosen], "o", color=style.SKY, markerfacecolor=face, markersize=4.5, zorder=2)


def draw_axis(axes: Axes, comparison: Comparison, axis: str) -> None:
    """Circles: runs. Points with bars: mean of the main effect and its 95% interval over seeds."""
    runs, metric = comparison.runs, comparison.metric
    effects = comparison.main_effects(axis)
    counted = comparison.counted(axis)
    values = _values(comparison, axis)
    numeric = is_numeric(runs[axis]) and len(values) > 2
    places = np.array(values, dtype=float) if numeric else np.arange(len(values), dtype=float)
    logarithmic = numeric and places.min() > 0 and places.max() / places.min() >= 20
    for place, value in zip(places, values, strict=True):
        mine = runs[axis] == value
        _runs(axes, float(place), runs.loc[mine, metric].to_numpy(dtype=float), counted[mine].to_numpy(), beside=not numeric)
    means, halves = effects["mean"].to_numpy(), effects["ci95"].to_numpy()
    bars = np.where(np.isfinite(halves), halves, 0)
    axes.errorbar(places, means, yerr=bars, color=style.BLUE, linestyle="-" if numeric else "", marker="D", markersize=6, capsize=4,
                  linewidth=1.5, markeredgecolor="white", zorder=4)
    if logarithmic:
        axes.set_xscale("log")
    if numeric and len(values) <= 8:
        axes.set_xticks(places, [label(axis, value) for value in values])
        axes.minorticks_off()
    elif not numeric:
        _name_ticks(axes, [label(axis, value) for value in values])
        axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_xlabel(axis)
    axes.set_ylabel(metric_label(metric))
    axes.margins(y=0.1)


def _name_ticks(axes: Axes, names: list[str]) -> None:
    """Words under an axis; aslant where they would touch each other."""
    crowded = sum(map(len, names)) > 34
    axes.set_xticks(range(len(names)), names, rotation=25 if crowded else 0, ha="right" if crowded else "center", rotation_mode="anchor")


def _values(comparison: Comparison, axis: str) -> list[object]:
    found = list(comparison.runs[axis].drop_duplicates())
    return sorted(found) if is_numeric(comparison.runs[axis]) else found


def draw_pair(axes: Axes, comparison: Comparison, one: str, other: str) -> None:
    """Mean of the metric for each two values; what was not run stays grey."""
    grid = comparison.grid(one, other)
    colours = matplotlib.colormaps[style.SEQUENTIAL].with_extremes(bad=style.MISSING)
    values = grid.to_numpy(dtype=float)
    image = axes.imshow(values, aspect="auto", cmap=colours, interpolation="none")
    axes.grid(False)
    _ticks(axes, grid, one, other)
    if max(grid.shape) <= HEAT_MAX:
        _write_cells(axes, values)
    bar = axes.get_figure().colorbar(image, ax=axes, pad=0.02)  # type: ignore[union-attr]
    bar.set_label(metric_label(comparison.metric))
    bar.outline.set_visible(False)


def _ticks(axes: Axes, grid: pd.DataFrame, one: str, other: str) -> None:
    rows, columns = ([label(name, value) for value in index] for name, index in ((one, grid.index), (other, grid.columns)))
    if len(columns) <= HEAT_MAX:
        _name_ticks(axes, columns)
    if len(rows) <= HEAT_MAX:
        axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel(other)
    axes.set_ylabel(one)


def _write_cells(axes: Axes, values: np.ndarray) -> None:
    low, high = np.nanmin(values), np.nanmax(values)
    decimals = 3 if np.nanmax(np.abs(values)) < 10 else 0
    size = 8.5 if values.shape[1] <= 6 else 7
    for i, j in np.ndindex(*values.shape):
        if np.isnan(values[i, j]):
            axes.text(j, i, "not run", ha="center", va="center", fontsize=size, color=style.SOFT)
        else:
            light = high > low and (values[i, j] - low) / (high - low) > 0.55
            axes.text(j, i, f"{values[i, j]:.{decimals}f}", ha="center", va="center", fontsize=size, color=style.INK if light else "white")


def draw_curves(axes: Axes, comparison: Comparison, curves: dict[str, pd.DataFrame], ylabel: str) -> None:
    """Mean over seeds by round for each setting, and the band between its smallest and largest seed."""
    ends = []
    lines = ["-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5))]
    for number, (name, table) in enumerate(curves.items()):
        colour = style.CYCLE[number % len(style.CYCLE)]
        rounds, values = table.index.to_numpy(), table.to_numpy(dtype=float)
        axes.fill_between(rounds, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.16, linewidth=0)
        axes.plot(rounds, values.mean(axis=1), color=colour, linestyle=lines[number % 4], linewidth=1.8, label=name)
        ends.append(rounds[-1])
    axes.set_xlabel("round (0: before tuning)")
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.margins(x=0.02, y=0.08)
    style.legend_below(axes, 1 if max(map(len, curves)) > 22 else 2)


def draw_cost(axes: Axes, comparison: Comparison) -> None:
    """Each setting's metric against what a client sends up in a round."""
    for number, (values, part) in enumerate(comparison.groups()):
        found = estimate(part[comparison.metric].to_numpy(dtype=float))
        sent = 4 * part["floats_up"].mean()
        half = found.half if np.isfinite(found.half) else 0.0
        marker = "oDs^vP*X"[number % 8]
        colour = style.CYCLE[number % len(style.CYCLE)]
        axes.errorbar([sent], [found.mean], yerr=[half], color=colour, marker=marker, markersize=7, capsize=4, linewidth=1.4, linestyle="",
                      label=comparison.name_of(values))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: bytes_tick(value))
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.set_xlabel("uplink a round and client (bytes)")
    axes.set_ylabel(metric_label(comparison.metric))
    axes.margins(x=0.12, y=0.1)
    longest = max(len(comparison.name_of(values)) for values, _ in comparison.groups())
    style.legend_below(axes, 1 if longest > 22 else 2)
