"""Runs against each other: means over seeds, paired differences on equal seeds, main effects, the setting to choose."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from . import axes as axes_module
from .axes import Axes
from .errors import AnalysisError
from .frame import collect_files
from .run import RunError
from .settings import NEVER_DECIDE, SEED
from .stats import Estimate, estimate

COLUMNS = ("train_loss_start", "train_loss_last", "test_loss_start", "test_loss_last", "test_accuracy_start",
           "test_accuracy_last", "test_accuracy_best", "dev_accuracy_best", "floats_up")


@dataclass(frozen=True)
class Comparison:
    """Runs, their axes, and what follows. `runs`: a row a run, as of `collect`. `metric`: the column that is compared.
    `left_out`: sentences on files that do not count."""

    runs: pd.DataFrame
    axes: Axes
    metric: str
    left_out: list[str] = field(default_factory=list)

    def groups(self) -> list[tuple[tuple[object, ...], pd.DataFrame]]:
        """Each setting (values of the axes, in their order) with its runs."""
        if not self.axes.names:
            return [((), self.runs)]
        return [(tuple(values), part) for values, part in self.runs.groupby(list(self.axes.names), sort=False, dropna=False)]

    def settings(self, columns: tuple[str, ...] = COLUMNS) -> pd.DataFrame:
        """A row a setting: the axes, the number of seeds, and for each column its mean, standard deviation (_sd) and half-width of
        the 95% interval of the mean (_ci95)."""
        rows = []
        for values, part in self.groups():
            row: dict[str, object] = dict(zip(self.axes.names, values, strict=True)) | {"seeds": len(part)}
            for column in columns:
                found = estimate(part[column].to_numpy(dtype=float))
                row |= {column: found.mean, f"{column}_sd": found.sd, f"{column}_ci95": found.half}
            rows.append(row)
        return pd.DataFrame(rows)

    def name_of(self, values: tuple[object, ...]) -> str:
        """`dirichlet, synchronous`."""
        parts = [axes_module.label(name, value) for name, value in zip(self.axes.names, values, strict=True)]
        return ", ".join(parts) or "all runs"

    def best(self) -> tuple[object, ...] | None:
        """The setting with the largest mean dev accuracy, then the smallest mean dev loss; the test set never chooses."""
        scored = [(values, part) for values, part in self.groups() if part["dev_accuracy_best"].notna().all()]
        if not scored:
            return None
        return max(scored, key=lambda group: (group[1]["dev_accuracy_best"].mean(), -group[1]["dev_loss_best"].mean()))[0]

    def differences_to_best(self) -> pd.DataFrame:
        """Each other setting less the best one, on equal seeds: mean, sd, half-width of the 95% interval, number of seeds."""
        best, rows = self.best(), []
        by_seed = {values: part.groupby(SEED)[self.metric].mean() for values, part in self.groups()}
        for values, part in by_seed.items():
            if best is not None and values != best:
                found = estimate((part - by_seed[best]).to_numpy(dtype=float))
                rows.append({"setting": self.name_of(values), "less": self.name_of(best)} | _describe(found))
        return pd.DataFrame(rows, columns=["setting", "less", *_describe(estimate([]))])

    def pairs(self, axis: str) -> pd.DataFrame:
        """For each two values of an axis, their difference with all other axes and the seed equal: the mean over the other axes is
        taken within a seed, and the interval is that of the seeds."""
        rows = []
        table = self._by_value(axis)
        for one, other in combinations(table.columns, 2):
            difference = (table[other] - table[one]).dropna()
            by_seed = difference.groupby(level=SEED).mean()
            named = {"axis": axis, "value": axes_module.label(axis, other), "less": axes_module.label(axis, one)}
            rows.append(named | _describe(estimate(by_seed.to_numpy(dtype=float))) | {"pairs": len(difference)})
        return pd.DataFrame(rows)

    def main_effects(self, axis: str) -> pd.DataFrame:
        """The mean at each value of an axis over the settings of the other axes, and its distance from the mean over all values. Only
        settings of the other axes under which every value was run count, so that unequal company does not pass for an effect;
        `others` says how many there are, 0: none, and then all count."""
        table = self._by_value(axis)
        others = [name for name in self.axes.names if name != axis]
        cells = table.groupby(level=others, sort=False, dropna=False).mean() if others else table.mean().to_frame().T
        complete = cells.notna().all(axis=1)
        cells = cells[complete] if complete.any() else cells
        if others:
            table = table[table.index.droplevel(SEED).isin(cells.index)]  # type: ignore[arg-type]
        rows = []
        for value in table.columns:
            found = estimate(table[value].groupby(level=SEED).mean().to_numpy(dtype=float))
            rows.append({"axis": axis, "value": axes_module.label(axis, value), "mean": cells[value].mean(), "ci95": found.half,
                         "seeds": found.n, "others": int(complete.sum())})
        frame = pd.DataFrame(rows)
        frame.insert(3, "effect", frame["mean"] - frame["mean"].mean())
        return frame

    def counted(self, axis: str) -> pd.Series:
        """Which runs the main effects of an axis count."""
        others = [name for name in self.axes.names if name != axis]
        values = self.runs.groupby(others, dropna=False)[axis].transform("nunique") if others else None
        complete = values == self.runs[axis].nunique() if values is not None else pd.Series(True, index=self.runs.index)
        return complete if complete.any() else ~complete

    def _by_value(self, axis: str) -> pd.DataFrame:
        """Rows: other axes and seed; columns: values of the axis."""
        others = [name for name in self.axes.names if name != axis]
        table = self.runs.groupby([*others, SEED, axis], sort=False, dropna=False)[self.metric].mean().unstack(axis)
        return table[_in_order(self.runs[axis])]

    def grid(self, one: str, other: str) -> pd.DataFrame:
        """Mean of the metric: rows the values of `one`, columns those of `other`."""
        table = self.runs.pivot_table(index=one, columns=other, values=self.metric, aggfunc="mean", sort=False)
        return table.reindex(index=_in_order(self.runs[one]), columns=_in_order(self.runs[other]))


def _describe(found: Estimate) -> dict[str, object]:
    return {"difference": found.mean, "sd": found.sd, "ci95": found.half, "seeds": found.n}


def _in_order(values: pd.Series) -> list[object]:
    """Numbers by size, words as they come."""
    found = list(values.drop_duplicates())
    return sorted(found) if axes_module.is_numeric(values) else found


def _only_newest(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Of runs with equal settings and seed the newest."""
    deciding = [name for name in frame.columns if "." in str(name) and name not in NEVER_DECIDE]
    ordered = frame.sort_values("created", kind="stable")
    keep = ~ordered.duplicated(deciding, keep="last")
    dropped = [f"{path}: has the settings and the seed of a newer run" for path in ordered.loc[~keep, "path"]]
    return frame.loc[ordered.index[keep].sort_values()], dropped


def _declared_axes(frame: pd.DataFrame) -> list[str]:
    """The axes that a sweep recorded, if every run is of the same sweep. A run names those that it has a value for."""
    if frame["sweep_name"].nunique() != 1 or (frame["sweep_axes"] == "").any():
        return []
    return [key for text in frame["sweep_axes"].unique() for key in axes_module.keys_of(text)]


def _choose_metric(frame: pd.DataFrame, metric: str | None) -> str:
    if metric is None:
        metric = next((name for name in ("test_accuracy_best", "test_accuracy_last", "dev_accuracy_best") if frame[name].notna().any()),
                      "train_loss_last")
    if metric not in frame.columns or not axes_module.is_numeric(frame[metric]):
        known = ", ".join(name for name in frame.columns if str(name).endswith(("_best", "_last")) and not str(name).startswith("best"))
        raise AnalysisError(f"there is no metric {metric}; choose one of {known}")
    return metric


def compare(paths: list[Path], metric: str | None = None, axes: list[str] | None = None, unfinished: bool = False) -> Comparison:
    """Compares run files and folders of them. Without `unfinished` only finished runs count."""
    frame, left_out = collect_files(paths)
    if frame.empty:
        reason = f"; the first of {len(left_out)} that are none: {left_out[0]}" if left_out else ""
        raise RunError(f"{', '.join(map(str, paths))}: no run files{reason}")
    if not unfinished:
        done = frame["status"] == "finished"
        left_out += [f"{row['path']}: is {row['status']}, {row['rounds']} of {row['rounds_planned']} rounds"
                     for row in frame[~done].to_dict("records")]
        frame = frame[done]
        if frame.empty:
            raise AnalysisError(f"none of the {len(done)} runs is finished; --unfinished compares them as they are")
    for name in axes or []:
        if name not in frame.columns or "." not in name:
            raise AnalysisError(f"--axes {name}: there is no such setting; `fedbpt run --options` lists them")
    found = Axes(tuple(axes), {}) if axes else axes_module.find(frame, _declared_axes(frame))
    frame, dropped = _only_newest(frame)
    return Comparison(frame.reset_index(drop=True), found, _choose_metric(frame, metric), left_out + dropped)


def overall(comparison: Comparison) -> dict[str, float]:
    """What all runs together cost: seconds, bytes, tokens."""
    names = ("seconds", "bytes_up", "bytes_down", "tokens", "evaluations")
    return {name: float(np.nansum(comparison.runs[name].to_numpy(dtype=float))) for name in names}
