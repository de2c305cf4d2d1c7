"""Runs against each other: means over seeds, paired differences on equal seeds, main effects, the setting to choose."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.typing import DataFrameGroupBy

from . import axes as axes_module
from .axes import UNRECORDED, Axes
from .errors import AnalysisError
from .files import RunError
from .frame import collect_files, limits_of, undeciding
from .naming import distinct
from .schema import ENERGY, ORIGINS
from .settings import SEED
from .stats import DIFFERENCE, Estimate, estimate

COLUMNS = ("train_loss_start", "train_loss_last", "test_loss_start", "test_loss_last", "test_accuracy_start",
           "test_accuracy_last", "test_accuracy_best", "dev_accuracy_best", "bytes_up_client", *ENERGY, "simulated_s")


Group = tuple[tuple[object, ...], pd.DataFrame]  # a setting, as the values of the axes, and its runs


@dataclass(frozen=True)
class Comparison:
    """Runs, their axes, and what follows. `runs`: a row a run, as of `collect`. `metric`: the column that is compared.
    `left_out`: sentences on files that do not count. `besides`: settings, and what runs were made on, that differ although the
    axes' values are equal; nothing is averaged over them but within a seed, and differences are of runs with equal ones."""

    runs: pd.DataFrame
    axes: Axes
    metric: str
    left_out: list[str] = field(default_factory=list)
    besides: tuple[str, ...] = ()

    def groups(self) -> list[Group]:
        """Each setting (values of the axes, in their order) with its runs."""
        if not self.axes.names:
            return [((), self.runs)]
        return [(tuple(values), part) for values, part in self.runs.groupby(list(self.axes.names), sort=False, dropna=False)]

    @cached_property
    def value_names(self) -> dict[str, dict[object, str]]:
        """Of each axis what its values are called; no two of an axis are called the same."""
        return {name: axes_module.names_of(name, list(self.runs[name].drop_duplicates())) for name in self.axes.names}

    @cached_property
    def _names(self) -> dict[tuple[object, ...], str]:
        """Of each setting. Where joined values look alike (`a, b` and `c`; `a` and `b, c`), with the names of the axes."""
        settings = [values for values, _ in self.groups()]
        parts = [[self.value_names[name][value] for name, value in zip(self.axes.names, values, strict=True)] for values in settings]
        named = [[f"{name}={part}" for name, part in zip(self.axes.names, row, strict=True)] for row in parts]
        candidates = [(", ".join(row) or "all runs", "; ".join(long)) for row, long in zip(parts, named, strict=True)]
        return dict(zip(settings, distinct(candidates), strict=True))

    def name_of(self, values: tuple[object, ...]) -> str:
        """`dirichlet, synchronous`; no two settings have one name."""
        return self._names[values]

    @cached_property
    def cells(self) -> pd.Series:
        """Of each run a number for its values of `besides`."""
        if not self.besides:
            return pd.Series(0, index=self.runs.index)
        return self.runs.groupby(list(self.besides), dropna=False).ngroup()

    def over_seeds(self, part: pd.DataFrame, column: str) -> Estimate:
        """Of runs of one setting: a seed counts once, as the mean over what varies besides. Seeds that lack some of that do not
        count; where all do, there is a mean of means and no interval."""
        return self._over_seeds(self._by_seed(part)[column].mean(), column)

    def _by_seed(self, part: pd.DataFrame) -> DataFrameGroupBy:
        """Runs of one setting by their seed and what varies besides."""
        return part.groupby([part[SEED], self.cells[part.index]])

    @staticmethod
    def _over_seeds(means: pd.Series, column: str) -> Estimate:
        table = means.unstack()
        complete = table.dropna(axis=1, how="all").dropna()
        limits = limits_of(column)
        if len(complete) or not table.notna().any(axis=None):
            return estimate(complete.mean(axis=1).to_numpy(dtype=float), limits)
        return Estimate(0, float(table.mean().mean()))

    def n_seeds(self, part: pd.DataFrame) -> int:
        """Seeds that were run with all values of `besides`; where there are none, the fewest that any of those were run with."""
        by_cell = [set(seeds) for _, seeds in part.groupby(self.cells[part.index])[SEED]]
        return len(set.intersection(*by_cell)) or min(map(len, by_cell))

    @property
    def unequal(self) -> bool:
        """Whether some settings were run with other values of `besides` than others, so that their means do not compare."""
        return len({frozenset(self.cells[part.index]) for _, part in self.groups()}) > 1

    def settings(self, columns: tuple[str, ...] = COLUMNS) -> pd.DataFrame:
        """A row a setting: the axes, the number of seeds and of runs, and for each column its mean and standard deviation over seeds (_sd)
        and the ends of the 95% interval of the mean (_low95, _high95)."""
        rows = []
        for values, part in self.groups():
            row: dict[str, object] = dict(zip(self.axes.names, values, strict=True)) | {"seeds": self.n_seeds(part), "runs": len(part)}
            means = self._by_seed(part)[list(columns)].mean()
            for column in columns:
                found = self._over_seeds(means[column], column)
                row |= {column: found.mean, f"{column}_sd": found.sd, f"{column}_low95": found.low, f"{column}_high95": found.high}
            rows.append(row)
        return pd.DataFrame(rows)

    def best(self) -> tuple[object, ...] | None:
        """The setting with the largest mean dev accuracy, then the smallest mean dev loss; the test set never chooses. Only values of
        `besides` that every setting was run with count; None where there are none."""
        return self._best

    @cached_property
    def _best(self) -> tuple[object, ...] | None:
        groups = self.groups()
        common = set.intersection(*({*self.cells[part.index]} for _, part in groups))
        scored = [(values, part[self.cells[part.index].isin(common)]) for values, part in groups]
        scored = [(values, part) for values, part in scored if len(part) and part["dev_accuracy_best"].notna().all()]
        if not scored:
            return None
        return max(scored, key=lambda group: (self.over_seeds(group[1], "dev_accuracy_best").mean,
                                              -self.over_seeds(group[1], "dev_loss_best").mean))[0]

    def differences_to_best(self) -> pd.DataFrame:
        """Each other setting less the best one, on equal seeds and all else equal: mean, sd, the 95% interval, number of seeds."""
        best, rows = self.best(), []
        by_run = {values: self._by_seed(part)[self.metric].mean() for values, part in self.groups()}
        for values, part in by_run.items():
            if best is not None and values != best:
                by_seed = (part - by_run[best]).dropna().groupby(level=0).mean()
                rows.append({"setting": self.name_of(values), "less": self.name_of(best)} | self._difference(by_seed))
        return pd.DataFrame(rows, columns=["setting", "less", *self._difference(pd.Series(dtype=float))])

    def _difference(self, by_seed: pd.Series) -> dict[str, object]:
        found = estimate(by_seed.to_numpy(dtype=float), DIFFERENCE if limits_of(self.metric) else None)
        return {"difference": found.mean, "sd": found.sd, "low95": found.low, "high95": found.high, "seeds": found.n}

    def pairs(self, axis: str) -> pd.DataFrame:
        """For each two values of an axis, their difference with all other settings and the seed equal: the mean over the other settings
        is taken within a seed, and the interval is that of the seeds."""
        rows = []
        table, names = self._by_value(axis), self.value_names[axis]
        for one, other in combinations(table.columns, 2):
            difference = (table[other] - table[one]).dropna()
            by_seed = difference.groupby(level=SEED).mean()
            rows.append({"axis": axis, "value": names[other], "less": names[one]} | self._difference(by_seed) | {"pairs": len(difference)})
        return pd.DataFrame(rows)

    def main_effects(self, axis: str) -> pd.DataFrame:
        """The mean at each value of an axis over all other settings. Only other settings under which every value was run count, so that
        unequal company does not pass for an effect; `others` says how many there are, 0: none, and then all count.
        The interval is of the seeds that were run with all of them."""
        table = self._by_value(axis)
        others = self._others(axis)
        cells = table.groupby(level=others, sort=False, dropna=False).mean() if others else table.mean().to_frame().T
        complete = cells.notna().all(axis=1)
        cells = cells[complete] if complete.any() else cells
        if others:
            table = table[table.index.droplevel(SEED).isin(cells.index)]  # type: ignore[arg-type]
        rows = []
        for value in table.columns:
            by_seed = table[value].unstack(SEED).dropna(how="all").dropna(axis=1).mean() if others else table[value].dropna()
            found = estimate(by_seed.to_numpy(dtype=float), limits_of(self.metric))
            rows.append({"axis": axis, "value": self.value_names[axis][value], "mean": cells[value].mean(), "low95": found.low,
                         "high95": found.high, "seeds": found.n, "others": int(complete.sum())})
        frame = pd.DataFrame(rows)
        frame.insert(3, "effect", frame["mean"] - frame["mean"].mean())
        return frame

    def counted(self, axis: str) -> pd.Series:
        """Which runs the main effects of an axis count."""
        others = self._others(axis)
        values = self.runs.groupby(others, dropna=False)[axis].transform("nunique") if others else None
        complete = values == self.runs[axis].nunique() if values is not None else pd.Series(True, index=self.runs.index)
        return complete if complete.any() else ~complete

    def _others(self, axis: str) -> list[str]:
        """All that varies but an axis and the seed."""
        return [name for name in (*self.axes.names, *self.besides) if name != axis]

    def _by_value(self, axis: str) -> pd.DataFrame:
        """Rows: other settings and seed; columns: values of the axis."""
        table = self.runs.groupby([*self._others(axis), SEED, axis], sort=False, dropna=False)[self.metric].mean().unstack(axis, sort=False)
        return table[in_order(self.runs[axis])]

    def grid(self, one: str, other: str) -> pd.DataFrame:
        """Mean of the metric: rows the values of `one`, columns those of `other`."""
        table = self.runs.pivot_table(index=one, columns=other, values=self.metric, aggfunc="mean", sort=False, dropna=False)
        return table.reindex(index=in_order(self.runs[one]), columns=in_order(self.runs[other]))


def in_order(values: pd.Series) -> list[object]:
    """The values of an axis: numbers by size, words as they come."""
    found = list(values.drop_duplicates())
    return sorted(found) if axes_module.is_numeric(values) else found


def _only_newest(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Of runs with equal settings and seed, on the same model and data, the newest."""
    ignored = undeciding(frame)
    deciding = [name for name in frame.columns if ("." in str(name) and name not in ignored) or name in ORIGINS]
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
    settings = [name for name in frame.columns if "." in str(name)]
    gaps = [name for name in settings if frame[name].isna().any()]
    frame = frame.astype(dict.fromkeys(gaps, object)).fillna(dict.fromkeys(gaps, UNRECORDED))
    for name in axes or []:
        if name not in frame.columns or "." not in name:
            raise AnalysisError(f"--axes {name}: there is no such setting; `fedbpt run --options` lists them")
    frame, dropped = _only_newest(frame)
    found = Axes(tuple(dict.fromkeys(axes)), {}) if axes else axes_module.find(frame, _declared_axes(frame))
    rest = axes_module.vary_besides(frame, found)
    return Comparison(frame.reset_index(drop=True), Axes(found.names, rest.follow), _choose_metric(frame, metric), left_out + dropped,
                      rest.names)


def overall(comparison: Comparison) -> dict[str, float]:
    """Sum up the cost of all runs: seconds, bytes, tokens; joules where all of them measured them."""
    names = ("seconds", "bytes_up", "bytes_down", "tokens", "evaluations")
    found = {name: float(np.nansum(comparison.runs[name].to_numpy(dtype=float))) for name in names}
    return found | {name: float(comparison.runs[name].sum(skipna=False)) for name in ENERGY}
