"""Figures of a dry run are those that the run then counts."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Study, call
from toy import write

A_ROUND = re.compile(r"# a round: (\d+) generations of (\d+) candidates on (\d+) of (\d+) clients, (\d+) bytes up and (\d+) down for each")
TOKENS = re.compile(r"# tokens through the model: (\d+) in the largest round, (\d+) to score one, (\d+) in all rounds")
FEW = {"fed__participation": 0.5, "fed__partition": "dirichlet", "fed__dirichlet_alpha": 0.3, "fed__rounds": 5, "eval__every": 2}


def figures(study: Study, **changes: object) -> tuple[list[int], list[int]]:
    """The numbers of the two lines."""
    out = call("run", study.config, "--dry-run", *study.set(**changes)).good().out
    found = [pattern.search(out) for pattern in (A_ROUND, TOKENS)]
    assert all(found), out
    round_, tokens = ([int(number) for number in match.groups()] for match in found if match)
    return round_, tokens


def compare(study: Study, path: Path, **changes: object) -> None:
    (generations, candidates, participants, clients, up, down), (largest, scores, every) = figures(study, **changes)
    with h5py.File(path) as file:
        rounds, tokens, scored = file["rounds"], file["rounds/cost/tokens"][:], np.isfinite(file["rounds/test_loss"][:])
        assert tokens[0] == scores
        assert (tokens - scores * scored)[1:].max() == largest
        assert tokens.sum() == every
        assert rounds["participants"].shape[1] == participants and (rounds["participants"][1:] >= 0).all()
        assert len(file["partition/class_count"]) == clients
        assert (rounds["cost/bytes_up"][1:] == up * participants).all() and (rounds["cost/bytes_down"][1:] == down * participants).all()
        assert rounds["client/step_size"].shape[2] == generations
        copies = 2 if float(changes.get("perturb__rate", 0)) > 0 else 1
        assert rounds["client/evaluations"][:].max() in [copies * (generations * candidates + extra) for extra in (0, 1)]


def test_energy(mask: Study) -> None:
    """Whatever this machine lets a program read. Broken by joules that nothing measured, and by a word about counters where there
    are none, or none where they cannot be read."""
    path = mask.output()
    told = call("run", mask.config, *mask.set(run__output=path)).good().err
    with h5py.File(path) as file:
        cpu, gpu = (file[f"rounds/cost/energy_{name}"][:] for name in ("cpu", "gpu"))
    assert np.isnan(gpu).all()  # it computes on no GPU
    packages = [name for name in Path("/sys/class/powercap").glob("*:*/name") if name.read_text().startswith("package-")]
    assert told.count("energy of the processors is not measured") == (np.isnan(cpu).all() and len(packages) > 0)
    assert np.isnan(cpu).all() or (cpu > 0).all()
    assert ("CPU J" in call("show", path).good().out) == np.isfinite(cpu).all()


@pytest.mark.parametrize("protocol", ["nvflare", "synchronous"])
def test_encoder(mask: Study, protocol: str) -> None:
    """Broken by the tokens of clients that take no part, of rounds that are not scored, of copies, or of the final means' scores."""
    for changes in ({}, FEW, {**FEW, "perturb__rate": 0.3, "data__test_limit": 7, "fed__wire": "float64"}):
        changes = {"fed__protocol": protocol, **changes}
        compare(mask, mask.finished(**changes), **changes)


def test_prompt_in_front(embedding: Study) -> None:
    """Dev samples of the train split; a last round that is not an eval.every-th one is scored, too."""
    embedding.toy.splits = {"train": [20, 20, 20], "test": [5, 5, 5]}
    write(embedding.data, embedding.toy)
    changes = {**FEW, "eval__every": 4}
    compare(embedding, embedding.finished(ranks=3, **changes), **changes)


@pytest.mark.parametrize("scoring", ["first", "sum"])
def test_decoder(labels: Study, scoring: str) -> None:
    """The tokens of every sequence, shared or not, with those of label words behind it where these are scored."""
    changes = {"model__label_scoring": scoring, "perturb__rate": 0.4, **FEW}
    compare(labels, labels.finished(backend__batch_tokens=60, **changes), **changes)


def test_label_words_are_tokens(labels: Study) -> None:
    """Three rows behind every sample: of two tokens one, of three two. 21 + 12 + 12 samples are scored."""
    first, every = (figures(labels, model__label_scoring=scoring)[1] for scoring in ("first", "sum"))
    assert every[1] - first[1] == 3 * (21 + 12 + 12)
    assert every[0] - first[0] == 3 * 12 * (2 * 4 + 1)


def test_a_run_that_goes_on(mask: Study) -> None:
    """All rounds of its file, not those that are left."""
    path = mask.output()
    assert mask.run(run__output=path, run__max_seconds=1e-6, **FEW).code == 75
    words = ["run", mask.config, "--resume", *mask.set(run__output=path, **FEW)]
    found = TOKENS.search(call(*words, "--dry-run").good().out)
    call(*words).good()
    with h5py.File(path) as file:
        assert found and int(found[3]) == file["rounds/cost/tokens"][:].sum()
