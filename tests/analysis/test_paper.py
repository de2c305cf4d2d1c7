"""The paper's tables: every number in its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import made
import pytest
from conftest import Result
from fedbpt_analysis import paper
from fedbpt_analysis.compare import compare
from made import Made


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """SST-2 under two protocols and two partitions, AG News with three perturbation rates; two seeds each."""

    def write(name: str, task: str, seed: int, best: float, settings: dict[str, object]) -> None:
        scores = {"test_accuracy": [0.8, best, 0.95, 0.85, 0.85], "dev_accuracy": [0.5, 0.9, 0.6, 0.6, 0.6], "dev_loss": [1.0] * 5}
        made.write(tmp_path / f"{name}-{seed}.h5", Made({"run.seed": seed} | settings, task=task, scores=scores))

    for seed, more in ((1, 0.01), (2, -0.01)):
        write("iid", "sst2", seed, 0.86 + more, {})
        write("dirichlet", "sst2", seed, 0.84 + more, {"fed.partition": "dirichlet"})
        write("average", "sst2", seed, 0.83 + more, {"fed.protocol": "fedavg-bbt"})
        for rate in (0, 0.2, 0.8):
            settings = {"fed.partition": "dirichlet", "perturb.rate": rate, "fed.protocol": "paper"}
            write(f"ag{rate}", "agnews", seed, 0.7 + rate / 10, settings)
    return tmp_path


def rows_of(table: paper.Table) -> dict[str, list[str]]:
    return {row[0]: list(row[1:]) for row in table.rows}


def test_results(runs: Path) -> None:
    table = paper.results_table(compare([runs]).runs)
    rows = rows_of(table)
    assert table.head[2:] == ["SST-2 IID", "SST-2 non-IID", "AG News IID", "AG News non-IID", "Yelp IID", "Yelp non-IID"]
    assert rows["FedBPT"] == ["500", "87.16", "86.47", "82.36", "81.03", "91.12", "90.8"]
    assert rows["nvflare †"] == ["6", "86.00 ± 1.41", "84.00 ± 1.41", "–", "–", "–", "–"]
    assert rows["nvflare ‡"][1] == "95.00" and rows["fedavg-bbt †"][1] == "83.00 ± 1.41"
    assert rows["z = 0 †"][1:5] == ["80.00", "80.00", "–", "80.00"]
    names = [row[0] for row in table.rows]
    assert names.index("nvflare †") == names.index("FedBPT") + 1 and names.index("fedavg-bbt †") == names.index("FedAvg-BBT") + 1
    assert {table.rows[i][0][-1] for i in table.bold} == {"†", "‡"} and not any("another model" in note for note in table.notes)


def test_ablation(runs: Path) -> None:
    rows = rows_of(paper.ablation_table(compare([runs]).runs))
    assert rows["AG News"] == ["78.28", "80.92", "81.03", "80.75", "80.83"] and rows["SST-2"][3] == "86.47"
    assert rows["AG News, paper †"] == ["70.00", "72.00", "–", "–", "78.00"]
    assert rows["SST-2, nvflare †"] == ["84.00 ± 1.41", "–", "–", "–", "–"]


def test_cost(runs: Path) -> None:
    rows = rows_of(paper.cost_table(compare([runs]).runs))
    assert rows["FedBPT"] == ["1.8 GB", "4 KB"] and rows["nvflare †"] == ["200 MB", "24 bytes"]


def test_what_else_differs_is_named(runs: Path) -> None:
    """Other settings than those of the table are not taken for seeds silently."""
    assert not any("Not only seeds" in note for note in paper.results_table(compare([runs]).runs).notes)
    made.write(runs / "more.h5", Made({"run.seed": 3, "cma.population": 20}))
    for table in (paper.results_table, paper.cost_table):
        assert any("Not only seeds differ within a cell, but also cma.population." in note for note in table(compare([runs]).runs).notes)


def test_printed(runs: Path, call: Callable[..., Result]) -> None:
    out = call("compare", runs, "--paper", "results", "--format", "latex").good().out
    assert r"\textbf{nvflare $\dagger$}" in out and r"86.00 $\pm$ 1.41" in out and "2310.01467" in out
    assert "| FedPrompt | 51K | 90.25 |" in call("compare", runs, "--paper", "results").good().out


def test_other_tasks_and_models(tmp_path: Path, call: Callable[..., Result]) -> None:
    path = made.write(tmp_path / "a.h5", Made(task="bbc-headlines"))
    call("compare", path, "--paper", "results").sentence("sst2, agnews, yelpp", "bbc-headlines")
    path = made.write(tmp_path / "b.h5", Made({"model.path": "models/bert-base"}))
    assert "another model than the paper's roberta-large: bert-base" in call("compare", path, "--paper", "results").good().out
    call("compare", path, "--paper", "ablation").sentence("fed.partition dirichlet")
