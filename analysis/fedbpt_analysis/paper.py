"""The tables of the FedBPT paper (Sun et al. 2023, arXiv 2310.01467) with our numbers beside the published ones.

Published accuracies are the best test accuracy over the rounds of one seed. Ours are at the round that is best on dev samples, and,
to compare like with like, also the best test accuracy over the rounds; both in per cent, mean and standard deviation over the seeds.
"""

from __future__ import annotations

from pathlib import PurePath

import pandas as pd

from .axes import Axes, vary_besides
from .errors import AnalysisError
from .stats import estimate
from .tables import Table
from .words import bytes_text, spread_text

MODEL = "roberta-large"
TASKS = {"sst2": "SST-2", "agnews": "AG News", "yelpp": "Yelp"}
PARTITIONS = {"iid": "IID", "dirichlet": "non-IID"}
RATES = (0.0, 0.2, 0.4, 0.6, 0.8)
METHODS = {"nvflare": "FedBPT", "paper": "FedBPT", "fedavg-bbt": "FedAvg-BBT"}

# Method, tuned parameters, then IID and non-IID accuracy (per cent) on SST-2, AG News and Yelp.
RESULTS = (
    ("FedPrompt", "51K", (90.25, 85.55, 87.72, 85.62, 91.44, 91.47)),
    ("FedP-tuning", "15M", (90.6, 87.16, 88.17, 86.11, 93.61, 91.63)),
    ("FedAvg", "355M", (84.7, 82.4, 77.43, 76.54, 88.25, 88.03)),
    ("Manual prompt", "0", (83.6, 83.6, 75.75, 75.75, 88.37, 88.37)),
    ("In-context learning", "0", (79.7, 79.7, 76.96, 76.96, 89.65, 89.65)),
    ("FedAvg-BBT", "500", (84.45, 84.17, 76.54, 76.46, 89.64, 89.72)),
    ("FedBPT", "500", (87.16, 86.47, 82.36, 81.03, 91.12, 90.8)),
)
# Non-IID accuracy by perturbation rate.
ABLATION = {"sst2": (84.86, 85.21, 86.03, 86.47, 86.12), "agnews": (78.28, 80.92, 81.03, 80.75, 80.83)}
# SST-2: memory of a client, uplink of a client and round; a dash where none is cited.
COST = (("FedPrompt", "5.8 GB", "–"), ("FedP-tuning", "–", "120 MB"), ("FedBPT", "1.8 GB", "4 KB"))

BEST_DEV, BEST_TEST = "†", "‡"
NOTES = (
    f"{BEST_DEV} Ours, at the round that is best on dev samples. {BEST_TEST} Ours, at the round that is best on the test set, as the "
    "published numbers are. Mean ± standard deviation over seeds. Unmarked: published (Sun et al. 2023, arXiv 2310.01467), one seed.",
)


def _prepare(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of the paper's tasks, with the columns task and model."""
    found = runs.assign(model=[PurePath(str(path)).name.lower() for path in runs["model.path"]])
    found = found[found["task"].isin(TASKS)]
    if found.empty:
        tasks = ", ".join(sorted(set(map(str, runs["task"]))))
        raise AnalysisError(f"the paper's tables are of the tasks {', '.join(TASKS)}; these runs are of {tasks}")
    return found


def _cell(runs: pd.DataFrame, column: str) -> str:
    found = estimate(100 * runs[column].to_numpy(dtype=float))
    return spread_text(found.mean, found.sd, 2)


def _other_models(runs: pd.DataFrame) -> list[str]:
    others = sorted(set(runs["model"]) - {MODEL})
    return [f"Ours with another model than the paper's {MODEL}: {', '.join(others)}."] if others else []


def _pooled(runs: pd.DataFrame) -> list[str]:
    """Names what differs among the runs of one cell besides their seeds."""
    keys = ("task", "fed.partition", "fed.protocol", "perturb.rate")
    names = [name for name in vary_besides(runs, Axes(keys, {})).names if name not in keys]
    return [f"Not only seeds differ within a cell, but also {', '.join(names)}."] if names else []


def _standard(runs: pd.DataFrame) -> pd.DataFrame:
    """Of runs over several perturbation rates, per task, partition and protocol the rate that is best on dev samples, as the paper takes
    its best rate."""
    keys = ["task", "fed.partition", "fed.protocol"]
    means = runs.groupby([*keys, "perturb.rate"])["dev_accuracy_best"].mean().reset_index()
    chosen = means.loc[means.groupby(keys)["dev_accuracy_best"].idxmax().dropna(), [*keys, "perturb.rate"]]
    return runs.merge(chosen, on=[*keys, "perturb.rate"]) if len(chosen) else runs


def results_table(all_runs: pd.DataFrame) -> Table:
    """Accuracy by method, data set and partition."""
    runs = _prepare(all_runs)
    chosen = _standard(runs)
    places = [(task, partition) for task in TASKS for partition in PARTITIONS]
    head = ["method", "tuned", *(f"{TASKS[task]} {PARTITIONS[partition]}" for task, partition in places)]
    rows: list[list[str]] = []
    bold: set[int] = set()

    def add(name: str, tuned: str, part: pd.DataFrame, column: str) -> None:
        cells = [_cell(part[(part["task"] == task) & (part["fed.partition"] == partition)], column) for task, partition in places]
        bold.add(len(rows))
        rows.append([name, tuned, *cells])

    for method, tuned, published in RESULTS:
        rows.append([method, tuned, *(f"{value:g}" for value in published)])
        if method == "Manual prompt":
            add(f"z = 0 {BEST_DEV}", "0", runs, "test_accuracy_start")
        for protocol in [name for name, of in METHODS.items() if of == method]:
            ours = chosen[chosen["fed.protocol"] == protocol]
            if len(ours):
                dimension = ", ".join(str(value) for value in sorted(set(ours["cma.dimension"])))
                add(f"{protocol} {BEST_DEV}", dimension, ours, "test_accuracy_best")
                add(f"{protocol} {BEST_TEST}", dimension, ours, "test_accuracy_max")
    for protocol in sorted(set(chosen["fed.protocol"]) - set(METHODS)):
        ours = chosen[chosen["fed.protocol"] == protocol]
        dimension = ", ".join(str(value) for value in sorted(set(ours["cma.dimension"])))
        add(f"{protocol} {BEST_DEV}", dimension, ours, "test_accuracy_best")
        add(f"{protocol} {BEST_TEST}", dimension, ours, "test_accuracy_max")
    return Table("Test accuracy (per cent), RoBERTa-large", head, rows, words=2, bold=frozenset(bold), rules=frozenset({3}),
                 notes=[*NOTES, *_pooled(runs), *_other_models(runs)])


def ablation_table(all_runs: pd.DataFrame) -> Table:
    """Accuracy by perturbation rate, non-IID."""
    runs = _prepare(all_runs)
    runs = runs[(runs["fed.partition"] == "dirichlet") & runs["fed.protocol"].isin(["nvflare", "paper"])]
    rows: list[list[str]] = []
    bold: set[int] = set()
    for task, title in TASKS.items():
        if task in ABLATION:
            rows.append([title, *(f"{value:g}" for value in ABLATION[task])])
        for protocol in ("nvflare", "paper"):
            mine = runs[(runs["task"] == task) & (runs["fed.protocol"] == protocol)]
            for mark, column in ((BEST_DEV, "test_accuracy_best"), (BEST_TEST, "test_accuracy_max")):
                if len(mine):
                    bold.add(len(rows))
                    rows.append([f"{title}, {protocol} {mark}", *(_cell(mine[mine["perturb.rate"] == rate], column) for rate in RATES)])
    if not bold:
        raise AnalysisError("the ablation is of fed.partition dirichlet with fed.protocol nvflare or paper; there are no such runs")
    return Table("Test accuracy (per cent) by perturbation rate, non-IID", ["data set", *(f"{rate:g}" for rate in RATES)], rows,
                 bold=frozenset(bold), notes=[*NOTES, *_pooled(runs), *_other_models(runs)])


def cost_table(all_runs: pd.DataFrame) -> Table:
    """Memory and uplink, SST-2."""
    runs = _prepare(all_runs)
    runs = runs[runs["task"] == "sst2"]
    if runs.empty:
        raise AnalysisError("the cost table is of the task sst2; there are no such runs")
    rows, bold = [list(row) for row in COST], set()
    for protocol, part in runs.groupby("fed.protocol", sort=True):
        bold.add(len(rows))
        uplink = bytes_text(float(part["bytes_up_client"].mean()))
        rows.append([f"{protocol} {BEST_DEV}", bytes_text(float(part["peak_memory"].mean())), uplink])
    note = f"{BEST_DEV} Ours: largest resident memory of a rank, which may host several clients; a client's upload as its run counted it."
    return Table("Memory of a client and uplink of a client and round, SST-2", ["method", "memory", "uplink"], rows, bold=frozenset(bold),
                 notes=[note, *_pooled(runs), *_other_models(runs)])


TABLES = {"results": results_table, "ablation": ablation_table, "cost": cost_table}
