"""docs/methods-study.md is made of docs/methods-study.csv and of nothing else."""

from __future__ import annotations

from typing import Any

import describe_methods as describe
import pandas as pd
import pytest

SETTINGS = {"fed.protocol": "nvflare", "fed.optimiser": "cma", "fed.ranking": "loss", "fed.average_means": 1, "fed.quantise_bits": 0,
            "fed.clients": 10, "fed.only_client": -1, "cma.keep_paths": False}


def rows_of(accuracies: dict[tuple[str, str], list[float]], **columns: Any) -> pd.DataFrame:
    """A row a seed of each partition and method."""
    rest = dict.fromkeys([*describe.SCORES, *describe.COSTS], 0.5) | {"git_commit": "0123", "device": "P"} | columns
    rows = [{describe.TASK: "bbc-headlines", describe.PARTITION: partition, describe.METHOD: method, describe.SEED: seed + 1, **rest, describe.METRIC: value}
            for (partition, method), values in accuracies.items() for seed, value in enumerate(values)]
    return pd.DataFrame(rows)[describe.COLUMNS]


def test_document_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert describe.check() == 0, capsys.readouterr().err
    assert describe.PICTURE.exists()


def test_methods_have_names_of_their_own() -> None:
    """Broken by two methods of the sweep that are taken for one."""
    changes: list[dict[str, Any]] = [{}, {"fed.ranking": "improvement"}, {"fed.only_client": 0}, {"fed.clients": 1}, {"fed.average_means": 4},
                                     {"fed.optimiser": "spsa"}, {"fed.quantise_bits": 1}, {"cma.keep_paths": True},
                                     {"fed.protocol": "paper"}]
    names = [describe.method_of(SETTINGS | change) for change in changes]
    assert len(set(names)) == len(changes) and names[0] == describe.OFFICIAL


def test_differences_are_of_equal_seeds() -> None:
    """Broken by means over different seeds, and by the other sign: of seeds 1 and 2, which both have, 0.1 and 0.3."""
    runs = rows_of({("iid", "nvflare"): [0.5, 0.5, 0.9], ("iid", "paper"): [0.6, 0.8], ("dirichlet", "paper"): [0.3, 0.2]})
    comparison = describe.compare(runs)["bbc-headlines"]
    found = describe.difference(comparison, ("iid", "paper"), ("iid", "nvflare"))
    assert found.n == 2 and found.mean == pytest.approx(0.2)
    assert "paper (-0.250)" in describe.across(comparison).replace("\n", " ")


def test_tasks_stand_by_themselves() -> None:
    """Broken by means over both tasks' runs, and by a task that is not told."""
    headlines = rows_of({("iid", "nvflare"): [0.5, 0.6]})
    runs = pd.concat([headlines, headlines.assign(**{describe.TASK: "movie-reviews", describe.METRIC: 0.9})])
    comparisons = describe.compare(runs)
    assert [comparison.runs[describe.METRIC].mean() for comparison in comparisons.values()] == pytest.approx([0.55, 0.9])
    text = describe.document(comparisons)
    assert text.index("## BBC News headlines") < text.index("| 0.550") < text.index("## Movie reviews") < text.index("| 0.900")


def test_a_last_round_below_the_chosen_one_is_named() -> None:
    """Broken by a goal that nothing can miss."""
    runs = rows_of({("iid", "nvflare"): [0.5, 0.6], ("iid", "paper"): [0.4, 0.5]}, test_accuracy_best=0.55)
    text = describe.last_rounds(describe.compare_methods(runs)).replace("\n", " ")
    assert "in 1 of 2 settings" in text and "iid, paper (0.100)" in text


def test_runs_replace_their_rows(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that were made again take their rows' place; those of other seeds stay. Broken by a seed that counts twice."""
    monkeypatch.setattr(describe, "TABLE", tmp_path / "study.csv")
    rows_of({("iid", "nvflare"): [0.5, 0.6]}).to_csv(describe.TABLE, index=False)
    made = rows_of({("iid", "nvflare"): [0.7]}).drop(columns=[describe.METHOD, "device"]).assign(status="finished", path="", **SETTINGS)
    monkeypatch.setattr(describe, "device_of", lambda _: "P")
    monkeypatch.setattr(describe, "collect_files", lambda _: (pd.concat([made, made.assign(status="stopped", **{describe.SEED: 2})]), []))
    describe.take(tmp_path)
    assert list(describe.read()[describe.METRIC]) == [0.7, 0.6]
