"""Labels of several tokens: what `model.label_scoring` refuses before work starts, and what it says of settings without effect."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from conftest import Study, call
from toy import Toy, write, write_settings

LONG = [[7], [5, 9], [5, 9, 11]]


def scored(study: Study, scoring: str, texts: list[list[int]]) -> list[str]:
    """A dry run with labels of these tokens, read at the last one."""
    write(study.data, Toy(readout="last", label_texts=texts))
    return ["run", str(study.config), "--dry-run", "--set", f"model.label_scoring={scoring}"]


def test_a_choice_must_be_made(mask: Study) -> None:
    """Broken by a first token that silently stands for a label of several."""
    said = call(*scored(mask, "auto", LONG))
    said.sentence(mask.data.name, "'green' (2 tokens), 'blue' (3 tokens)", "model.label_scoring", "first", "sum", "mean")


def test_first_tokens_alike(mask: Study) -> None:
    call(*scored(mask, "first", LONG)).sentence("'green' and 'blue'", "same token 5", "sum or mean")


@pytest.mark.parametrize("scoring", ["sum", "mean"])
def test_encoders_have_no_sums(mask: Study, embedding: Study, scoring: str) -> None:
    for study, readout in ((mask, "mask"), (embedding, "embedding")):
        said = call("run", study.config, "--dry-run", "--set", f"model.label_scoring={scoring}")
        said.sentence(f"model.label_scoring is {scoring}", f"readout {readout}", "auto")


def test_evaluate_refuses_alike(mask: Study) -> None:
    write(mask.data, Toy(readout="last", label_texts=LONG))
    call("evaluate", "--model", mask.model, "--data", mask.data).sentence("'green' (2 tokens)", "model.label_scoring")


def test_first_changes_nothing(mask: Study) -> None:
    assert "no effect" not in call("run", mask.config, "--dry-run").good().out
    said = call("run", mask.config, "--dry-run", "--set", "model.label_scoring=first").good().out
    assert "# model.label_scoring: first has no effect" in said


def test_resume_keeps_the_scoring(mask: Study) -> None:
    """A run goes on as it began: the setting decides its numbers."""
    path = mask.finished()
    call("run", mask.config, "--resume", "--set", f"run.output={path}", "--set", "fed.rounds=4", "--set", "model.label_scoring=first").sentence(
        "model.label_scoring", "auto", "first"
    )


@pytest.mark.parametrize("scoring", ["sum", "mean"])
def test_cuts(labels: Study, scoring: str) -> None:
    """Broken by a score whose bits depend on what else is in the batch, by ranks, or by a perturbed copy whose label words are replaced."""
    changes = {"model__label_scoring": scoring, "perturb__rate": 0.4}
    expected = labels.digest(**changes)
    assert labels.digest(ranks=3, **changes) == expected
    for batch_tokens in (1, 40, 10_000_000):
        assert labels.digest(backend__batch_tokens=batch_tokens, backend__threads=2, **changes) == expected, batch_tokens


def test_scorings_differ(labels: Study) -> None:
    """The setting reaches the numbers: digests that never change would pass the test above."""
    assert len({labels.digest(model__label_scoring=scoring) for scoring in ("first", "sum", "mean")}) == 3


def test_evaluate_scores_as_told(labels: Study) -> None:
    """Otherwise than the run, where --set says so."""
    path = labels.finished()
    sums, means = (json.loads(call("evaluate", "--run", path, "--round", "last", "--json", *words).good().out)
                   for words in ((), ("--set", "model.label_scoring=mean")))
    assert sums["loss"] != means["loss"]


def planned_rows(study: Study, **changes: object) -> int:
    found = re.search("batches of at most ([0-9]+) rows", call("run", study.config, "--dry-run", *study.set(**changes)).good().out)
    assert found
    return int(found[1])


def test_planned_rows(labels: Study) -> None:
    """Three rows of labels behind each of 12 samples of 4 candidates, within batch_tokens. Broken by rows that are computed beside those that a
    batch is cut by."""
    first, large, one = {"model__label_scoring": "first"}, {"backend__batch_tokens": 10_000_000}, {"backend__batch_tokens": 1}
    assert planned_rows(labels, **large) - planned_rows(labels, **first, **large) == 3 * 12 * 4
    assert planned_rows(labels, backend__batch_tokens=90) == 90
    assert planned_rows(labels, **one) - planned_rows(labels, **first, **one) == 3


def test_a_sweep_checks_every_scoring(labels: Study) -> None:
    """Before its first run. Broken by runs that count as checked with those of another scoring."""
    runs = labels.folder / "runs"
    values = {"name": "trial", "base": labels.config.name, "output": str(runs), "grid": {"model.label_scoring": ["sum", "auto"]}}
    call("sweep", write_settings(labels.folder / "sweep.yaml", values)).sentence("'green' (2 tokens)", "model.label_scoring")
    assert not runs.exists()


def test_label_words_need_positions(labels: Study) -> None:
    """A sample that fits the model alone does not fit with the longest label behind it."""
    write(labels.data, replace(labels.toy, label_texts=[[7], [5, 9], [5] * 60]))
    call("run", labels.config, "--dry-run").sentence("and the label words behind it", "positions")
