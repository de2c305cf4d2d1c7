"""The pictures of a comparison: one an axis, one a pair of axes, all runs by round."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from . import style
from .axes import is_numeric
from .charts import finite
from .compare import Comparison, Group, in_order
from .frame import COSTS, title_of
from .naming import width_of
from .words import bytes_tick

NUMBERED_MAX = 8  # values of a numeric axis that stand at their own places
TICKS_MAX = 16  # names under an axis
SETTING_WIDTH = 52  # columns of a setting's name in a legend
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
    values = in_order(runs[axis])
    names = shown_values(comparison, axis, values)
    numeric = is_numeric(runs[axis]) and len(values) > 2 and bool(np.isfinite(np.array(values, dtype=float)).all())
    places = np.array(values, dtype=float) if numeric else np.arange(len(values), dtype=float)
    logarithmic = numeric and places.min() > 0 and places.max() / places.min() >= 20
    numeric = numeric and _apart(np.log(places) if logarithmic else places)
    places = places if numeric else np.arange(len(values), dtype=float)
    for place, value in zip(places, values, strict=True):
        mine = runs[axis] == value
        _runs(axes, float(place), finite(runs.loc[mine, metric]), counted[mine].to_numpy(), beside=not numeric)
    means = effects["mean"].to_numpy(dtype=float)
    bars = _bars(means, effects["low95"], effects["high95"])
    axes.errorbar(places, means, yerr=bars, color=style.BLUE, linestyle="-" if numeric else "", marker="D", markersize=6, capsize=4,
                  linewidth=1.5, markeredgecolor="white", zorder=4)
    if logarithmic and numeric:
        style.log_scale(axes, "x")
    if numeric and len(values) <= NUMBERED_MAX:
        axes.set_xticks(places, names)
        axes.minorticks_off()
    elif not numeric:
        _name_ticks(axes, names)
        axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_xlabel(axis)
    axes.set_ylabel(metric_label(metric))
    axes.margins(y=0.1)


def _apart(places: np.ndarray) -> bool:
    """Whether numbers can stand at their own places: beside an axis no two of them touch."""
    return bool(np.diff(places).min() > 0.04 * np.ptp(places)) if len(places) <= NUMBERED_MAX else True


def _bars(means: np.ndarray, low: pd.Series, high: pd.Series) -> np.ndarray:
    """Error bars [2, n] down and up; none where there is no interval."""
    bars = np.array([means - low.to_numpy(dtype=float), high.to_numpy(dtype=float) - means])
    return np.asarray(np.maximum(np.nan_to_num(bars), 0))


def shown_values(comparison: Comparison, axis: str, values: Sequence[object]) -> list[str]:
    """Values of an axis as pictures show them."""
    return style.picture_names([comparison.value_names[axis][value] for value in values], "value")


def _name_ticks(axes: Axes, names: list[str]) -> None:
    """Words under an axis; aslant where they would touch each other, and of many every second or third one."""
    step = -(-len(names) // TICKS_MAX)
    shown = names[::step]
    crowded = sum(map(width_of, shown)) > 34
    axes.set_xticks(range(0, len(names), step), shown, rotation=25 if crowded else 0, ha="right" if crowded else "center",
                    rotation_mode="anchor")


def draw_pair(axes: Axes, comparison: Comparison, one: str, other: str) -> None:
    """Mean of the metric for each two values; what was not run stays grey."""
    grid = comparison.grid(one, other)
    colours = matplotlib.colormaps[style.SEQUENTIAL].with_extremes(bad=style.MISSING)
    values = finite(grid.to_numpy(dtype=float))
    image = axes.imshow(values, aspect="auto", cmap=colours, interpolation="none")
    axes.grid(False)
    _ticks(axes, comparison, grid, one, other)
    if max(grid.shape) <= HEAT_MAX:
        _write_cells(axes, values)
    bar = axes.get_figure().colorbar(image, ax=axes, pad=0.02)  # type: ignore[union-attr]
    bar.set_label(metric_label(comparison.metric))
    bar.outline.set_visible(False)


def _ticks(axes: Axes, comparison: Comparison, grid: pd.DataFrame, one: str, other: str) -> None:
    rows, columns = (shown_values(comparison, name, list(index)) for name, index in ((one, grid.index), (other, grid.columns)))
    if len(columns) <= HEAT_MAX:
        _name_ticks(axes, columns)
    if len(rows) <= HEAT_MAX:
        axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel(other)
    axes.set_ylabel(one)


def _write_cells(axes: Axes, values: np.ndarray) -> None:
    taken = values[np.isfinite(values)]
    low, high = (taken.min(), taken.max()) if len(taken) else (0.0, 0.0)
    decimals = 3 if max(abs(low), abs(high)) < 10 else 0
    size = 8.5 if values.shape[1] <= 6 else 7
    for i, j in np.ndindex(*values.shape):
        if np.isnan(values[i, j]):
            axes.text(j, i, "not run", ha="center", va="center", fontsize=size, color=style.SOFT)
        else:
            light = high > low and (values[i, j] - low) / (high - low) > 0.55
            axes.text(j, i, f"{values[i, j]:.{decimals}f}", ha="center", va="center", fontsize=size, color=style.INK if light else "white")


def draw_curves(axes: Axes, curves: Sequence[tuple[str, pd.DataFrame]], ylabel: str, xlabel: str = "round (0: before tuning)") -> None:
    """Mean over runs by round, or by what else the tables' index is, for each setting (its name, rounds x runs), and the band between its
    smallest and largest run."""
    lines = ["-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5))]
    names = style.picture_names([name for name, _ in curves], "setting", SETTING_WIDTH)
    entries = []
    for number, (name, (_, table)) in enumerate(zip(names, curves, strict=True)):
        colour = style.CYCLE[number % len(style.CYCLE)]
        rounds, values = table.index.to_numpy(), table.to_numpy(dtype=float)
        axes.fill_between(rounds, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.16, linewidth=0)
        drawn = axes.plot(rounds, values.mean(axis=1), color=colour, linestyle=lines[number % 4], linewidth=1.8,
                          marker="o" if len(rounds) == 1 else None)
        entries.append((drawn[0], name))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=xlabel.startswith("round")))
    axes.margins(x=0.02, y=0.08)
    style.legend_below(axes, legend_columns(names), entries)


def legend_columns(names: Sequence[str]) -> int:
    return 1 if max(map(width_of, names), default=0) > 22 else 2


def draw_cost(axes: Axes, comparison: Comparison, groups: Sequence[Group]) -> None:
    """The metric of each of these settings against what a client sends up in a round."""
    names = style.picture_names([comparison.name_of(values) for values, _ in groups], "setting", SETTING_WIDTH)
    entries = []
    for number, (name, (_, part)) in enumerate(zip(names, groups, strict=True)):
        found = comparison.over_seeds(part, comparison.metric)
        bars = _bars(np.array([found.mean]), pd.Series([found.low]), pd.Series([found.high]))
        drawn = axes.errorbar([part["bytes_up_client"].mean()], [found.mean], yerr=bars, color=style.CYCLE[number % len(style.CYCLE)],
                              marker="oDs^vP*X"[number % 8], markersize=7, capsize=4, linewidth=1.4, linestyle="")
        entries.append((drawn, name))
    style.log_scale(axes, "x", bytes_tick)
    axes.set_xlabel("uplink a round and client (bytes)")
    axes.set_ylabel(metric_label(comparison.metric))
    axes.margins(x=0.12, y=0.1)
    style.legend_below(axes, legend_columns(names), entries)
