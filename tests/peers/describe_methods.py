"""Writes docs/methods-study.md, its picture and the README's table from docs/methods-study.csv, which has a row a run of
configs/sweeps/methods.yaml and methods-reviews.yaml.

.venv/bin/python tests/peers/describe_methods.py --runs runs/methods   put these runs' rows into the csv first
.venv/bin/python tests/peers/describe_methods.py                       write page, picture and README
.venv/bin/python tests/peers/describe_methods.py --check               compare page and README; exit code 1 if one is out of date
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from fedbpt_analysis import open_run, style
from fedbpt_analysis.axes import Axes
from fedbpt_analysis.compare import Comparison
from fedbpt_analysis.frame import collect_files
from fedbpt_analysis.settings import SEED
from fedbpt_analysis.stats import DIFFERENCE, Estimate, estimate
from fedbpt_analysis.tables import Table
from fedbpt_analysis.words import bytes_tick, plural
from matplotlib.axes import Axes as PlotAxes
from pages import DOCS, README, compare_pages, filled, readme_with, write_pages

PROGRAM = "describe_methods.py"
TABLE, PAGE, PICTURE = DOCS / "methods-study.csv", DOCS / "methods-study.md", DOCS / "methods-study.svg"
TASK, PARTITION, METHOD, METRIC = "task", "fed.partition", "method", "test_accuracy_last"
KEY = [TASK, PARTITION, METHOD, SEED]
TASKS = {"bbc-headlines": "BBC News headlines", "movie-reviews": "Movie reviews"}  # the first is the README's
SCORES = ["test_accuracy_start", "test_accuracy_best", METRIC, "dev_accuracy_best", "dev_loss_best"]
COSTS = ["bytes_up_client", "bytes_down_client", "evaluations"]
COLUMNS = [*KEY, *SCORES, *COSTS, "git_commit", "device"]
OFFICIAL = "nvflare"
IN_README = ["synchronous", "fedavg-bbt", "feedsign, spsa", "nvflare", "nvflare, by improvement", "nvflare, 4 bits", "paper",
             "fedavg-bbt, one client alone"]
GOAL_LAST = 0.005  # of an accuracy, by which the last round may be below the one chosen on dev samples


def method_of(row: dict[str, Any]) -> str:
    """A name by which a run's method is told apart from the others of the sweep."""
    words = [row["fed.protocol"]]
    if row["fed.optimiser"] != "cma":
        words.append(row["fed.optimiser"])
    if row["fed.ranking"] != "loss":
        words.append(f"by {row['fed.ranking']}")
    if row["fed.average_means"] > 1:
        words.append(f"mean of {row['fed.average_means']} rounds")
    if row["cma.keep_paths"]:
        words.append("kept paths")
    if row["fed.quantise_bits"] > 0:
        words.append(plural(row["fed.quantise_bits"], "bit"))
    if row["fed.clients"] == 1:
        words.append("one client has all data")
    if row["fed.only_client"] >= 0:
        words.append("one client alone")
    return ", ".join(words)


def device_of(path: str) -> str:
    """The processor, and how far its instructions go: they decide the last digits."""
    environment = open_run(path).environment
    return f"{environment['device']} ({environment['instruction_set']})"


def take(folder: Path) -> None:
    """The finished runs' rows replace those of the same partition, method and seed."""
    frame, _ = collect_files([folder])
    frame = frame[frame["status"] == "finished"]
    frame[METHOD] = [method_of(row) for row in frame.to_dict("records")]
    frame["device"] = [device_of(path) for path in frame["path"]]
    rows = frame[COLUMNS].round(6)
    if TABLE.exists():
        kept = read().set_index(KEY)
        rows = pd.concat([kept[~kept.index.isin(rows.set_index(KEY).index)].reset_index(), rows])
    rows.sort_values(KEY).to_csv(TABLE, index=False)


def read() -> pd.DataFrame:
    return pd.read_csv(TABLE)


def compare(runs: pd.DataFrame) -> dict[str, Comparison]:
    """Of each task."""
    return {task: compare_methods(runs[runs[TASK] == task]) for task in TASKS if (runs[TASK] == task).any()}


def compare_methods(runs: pd.DataFrame) -> Comparison:
    """The methods in the order of their accuracy over both partitions."""
    by_accuracy = runs.groupby(METHOD)[METRIC].mean()
    order = runs.assign(rank=runs[METHOD].map(by_accuracy)).sort_values([PARTITION, "rank", SEED], ascending=[False, False, True])
    return Comparison(order.drop(columns="rank").reset_index(drop=True), Axes((PARTITION, METHOD), {}), METRIC)


def spread(found: Estimate, sign: str = "") -> str:
    """0.604 (0.568 to 0.638); of one seed the value alone."""
    return f"{found.mean:{sign}.3f}" + (f" ({found.low:{sign}.3f} to {found.high:{sign}.3f})" if found.n > 1 else "")


def settings_table(comparison: Comparison) -> str:
    rows = []
    for (partition, method), part in comparison.groups():
        best, last = (comparison.over_seeds(part, name) for name in ("test_accuracy_best", METRIC))
        start = comparison.over_seeds(part, "test_accuracy_start").mean
        costs = [f"{part[name].mean():,.0f}" for name in COSTS]
        rows.append([str(partition), str(method), str(comparison.n_seeds(part)), f"{start:.3f}", spread(best), spread(last), *costs])
    head = ["partition", "method", "seeds", "before tuning", "best on dev (95%)", "last round (95%)", "bytes up", "bytes down", "evaluations"]
    return Table("", head, rows, words=2).markdown()


def differences_table(comparison: Comparison) -> str:
    """Of each method to the official one in the same partition, on equal seeds."""
    rows = []
    for partition in comparison.runs[PARTITION].unique():
        for method in comparison.runs[METHOD].unique():
            if method != OFFICIAL:
                found = difference(comparison, (partition, method), (partition, OFFICIAL))
                if found.n:
                    rows.append([partition, method, spread(found, "+"), str(found.n)])
    return Table("", ["partition", "method", f"last round less {OFFICIAL}'s (95%)", "seeds"], rows, words=2).markdown()


def difference(comparison: Comparison, one: tuple[str, str], other: tuple[str, str]) -> Estimate:
    """The one's accuracy in the last round less the other's, over equal seeds."""
    by_seed = comparison.runs.set_index(KEY[1:])[METRIC].sort_index()
    both = [by_seed.loc[where] if where in by_seed.index else pd.Series(dtype=float) for where in (one, other)]
    return estimate((both[0] - both[1]).dropna().to_numpy(dtype=float), DIFFERENCE)


def last_rounds(comparison: Comparison) -> str:
    """How far the last round is from the one that dev samples choose."""
    lost = {name: comparison.over_seeds(part, "test_accuracy_best").mean - comparison.over_seeds(part, METRIC).mean
            for name, part in comparison.groups()}
    missed = [f"{comparison.name_of(name)} ({value:.3f})" for name, value in lost.items() if value > GOAL_LAST]
    text = f"Behind the last round accuracy is within {GOAL_LAST} of that of the round chosen on dev samples, or above it, in {len(lost) - len(missed)} of {len(lost)} settings"
    return filled(f"{text}; it is lower in: {'; '.join(missed)}." if missed else f"{text}.")


def across(comparison: Comparison) -> str:
    """The methods under Dirichlet's partition against the official one under IID data."""
    reached, missed = [], []
    for method in comparison.runs[METHOD].unique():
        found = difference(comparison, ("dirichlet", method), ("iid", OFFICIAL))
        if found.n:
            (reached if found.mean >= 0 else missed).append(f"{method} ({found.mean:+.3f})")
    return filled(f"Accuracy of the last round under Dirichlet's partition less that of {OFFICIAL} under IID data, in the mean over equal "
                  f"seeds: not below it: {'; '.join(reached) or 'none'}; below it: {'; '.join(missed) or 'none'}.")


def readme_table(comparison: Comparison) -> str:
    """A row a method: accuracies of the last round by partition, and bytes."""
    parts = {(str(partition), str(method)): part for (partition, method), part in comparison.groups()}
    rows = []
    for method in comparison.runs[METHOD].unique():
        if method in IN_README:
            both = [parts[partition, method] for partition in ("iid", "dirichlet")]
            costs = [f"{both[0][name].mean():,.0f}" for name in COSTS[:2]]
            rows.append([method, *(spread(comparison.over_seeds(part, METRIC)) for part in both), *costs])
    return Table("", ["method", "IID (95%)", "Dirichlet 0.5 (95%)", "bytes up", "bytes down"], rows, words=1).markdown()


def set_rows(axes: PlotAxes, names: list[str], labels: list[str]) -> None:
    """A row a method, from the top down."""
    axes.set_yticks(range(0, -len(names), -1), labels)
    axes.set_ylim(-len(names) + 0.4, 0.6)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")


def draw_accuracy(comparison: Comparison, names: list[str], is_first: bool, axes: PlotAxes) -> None:
    """Mean and interval of each partition."""
    for k, (partition, colour, marker) in enumerate((("iid", style.BLUE, "o"), ("dirichlet", style.VERMILLION, "D"))):
        parts = {values[1]: part for values, part in comparison.groups() if values[0] == partition}
        for i, name in enumerate(names):
            if name in parts:
                found, y = comparison.over_seeds(parts[name], METRIC), -i + (0.16 if k == 0 else -0.16)
                axes.plot([found.low, found.high], [y, y], color=colour, linewidth=1.4)
                axes.plot([found.mean], [y], marker=marker, color=colour, linestyle="none")
        axes.plot([], [], marker=marker, color=colour, linestyle="none", label=partition)
    axes.axvline(comparison.runs["test_accuracy_start"].mean(), color=style.SOFT, linewidth=1, linestyle=(0, (2, 2)), label="before tuning")
    set_rows(axes, names, names if is_first else [""] * len(names))
    axes.set_xlabel("test accuracy after the last round")
    if is_first:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)


def draw_bytes(comparison: Comparison, names: list[str], axes: PlotAxes) -> None:
    """Bytes that a client sends and receives in a round, by method."""
    means = comparison.runs.groupby(METHOD)[COSTS].mean()
    for column, colour, marker, name in (("bytes_up_client", style.GREEN, "^", "up"), ("bytes_down_client", style.PURPLE, "v", "down")):
        sent = means.loc[names, column]
        axes.plot(sent, range(0, -len(names), -1), marker=marker, color=colour, linestyle="none", label=name)
    style.log_scale(axes, "x", lambda value, digits: bytes_tick(value, digits).replace(" bytes", " B"))
    set_rows(axes, names, [""] * len(names))
    axes.set_xlabel("sent a client and round (bytes)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)


def picture(comparisons: dict[str, Comparison]) -> None:
    first = next(iter(comparisons.values()))
    names = list(first.runs[METHOD].unique())
    parts = [(TASKS[task], partial(draw_accuracy, comparison, names, comparison is first)) for task, comparison in comparisons.items()]
    style.save(style.panel([*parts, ("Messages", partial(draw_bytes, first, names))], len(parts) + 1, 1.3 + 0.27 * len(names)), PICTURE)


HEAD = """# Methods measured

Written by `tests/peers/describe_methods.py` from the runs of
[configs/sweeps/methods.yaml](../configs/sweeps/methods.yaml) and
[methods-reviews.yaml](../configs/sweeps/methods-reviews.yaml) ([methods-study.csv](methods-study.csv)); do not edit.
all-MiniLM-L6-v2 on BBC News headlines (5 topics) and sentences of movie reviews (good or bad), each with 1,000 test
samples; 10 clients of 8 samples, all of which take part in each of 12 rounds, d = 500; 20 passes of every client over
its samples in a round, 21 or 22 where it scores the end or the beginning of its search, too. Runs of one seed begin
with the same clients, projection and prompts. Intervals are Student's t over seeds, 95%. Bytes: of a client in a round.

![Accuracy after the last round, and bytes of a client in a round](methods-study.svg)
"""


def task_text(task: str, comparison: Comparison) -> str:
    runs = comparison.runs
    made = "; ".join(f"{device}: {len(part)}" for device, part in runs.groupby("device"))
    about = filled(f"{plural(len(runs), 'run')} ({made}), commit {', '.join(sorted(runs['git_commit'].unique()))}.")
    return "\n".join([f"## {TASKS[task]}", "", settings_table(comparison), about, "", "### Against the official code", "",
                      differences_table(comparison), across(comparison), "", "### The last round", "", last_rounds(comparison), ""])


def document(comparisons: dict[str, Comparison]) -> str:
    return "\n".join([HEAD, *(task_text(task, comparison) for task, comparison in comparisons.items())])


def pages(comparisons: dict[str, Comparison]) -> dict[Path, str]:
    return {PAGE: document(comparisons), README: readme_with(PROGRAM, readme_table(next(iter(comparisons.values()))))}


def check() -> int:
    return compare_pages(pages(compare(read())), PROGRAM)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    parser.add_argument("--runs", type=Path, help="folder of finished runs to take into the table")
    arguments = parser.parse_args()
    if arguments.check:
        return check()
    if arguments.runs:
        take(arguments.runs)
    comparisons = compare(read())
    write_pages(pages(comparisons))
    picture(comparisons)
    print(f"wrote {PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
