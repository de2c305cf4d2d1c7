"""Which rounds are scored on test samples, and that nothing else depends on it."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Study, call, digest_of
from fedbpt_analysis.verify import best_so_far, verify
from test_resume import resume, stopped
from toy import write

TEST = ("test_loss", "test_accuracy")
SHARES = re.compile(r"eval\.test_every is (\d+): scoring the test samples takes (\d+) tokens, the search of a round (\d+)")
COST = re.compile(r"(\d+) to score one, (\d+) in all rounds(?:, at most (\d+) more)?")
MANY = {"fed__local_generations": 1, "cma__population": 2, "data__shots": 2, "fed__clients": 2, "fed__rounds": 7}


@pytest.fixture
def much(mask: Study) -> Study:
    """With so many test samples that scoring them takes more than a round of search by settings MANY."""
    mask.toy.splits = {"train": [20, 20, 20], "dev": [8, 8, 8], "test": [30, 30, 30]}
    write(mask.data, mask.toy)
    return mask


def shares(study: Study, **changes: object) -> tuple[int, int, int]:
    """n, tokens of test samples and of a round's search, as the dry run has them."""
    found = SHARES.search(call("run", study.config, "--dry-run", *study.set(**changes)).good().out)
    assert found
    return int(found[1]), int(found[2]), int(found[3])


def scored_rows(path: Path) -> list[int]:
    with h5py.File(path) as file:
        return np.flatnonzero(np.isfinite(file["rounds/test_loss"][:])).tolist()


def rows_of(path: Path, *, without: tuple[str, ...]) -> dict[str, np.ndarray]:
    """All columns of the rounds, apart from time and memory and those."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file["rounds"].visititems(lambda name, item: found.update({name: item[:]}) if isinstance(item, h5py.Dataset) else None)
    return {name: values for name, values in found.items() if name not in {"cost/seconds", "cost/peak_memory", *without}}


def expected_rows(path: Path, every: int, n_rounds: int) -> list[int]:
    """By the rule, from the file's own scores on dev samples."""
    with h5py.File(path) as file:
        best = best_so_far(file["rounds/dev_accuracy"][:], file["rounds/dev_loss"][:])
    return sorted({*range(0, n_rounds + 1, every), *best.tolist(), n_rounds})


@pytest.mark.parametrize("ranks", [1, 3])
def test_by_default_no_more_than_the_search(much: Study, ranks: int) -> None:
    """Broken by a number that is not the least, by a round that is best on dev samples without test scores, by one of other bits than
    where all rounds are scored, and by anything else that is then not the same."""
    n, test, search = shares(much, **MANY)
    assert n > 1 and test <= n * search and test > (n - 1) * search
    path, full = much.output(), much.finished(eval__test_every=1, **MANY)
    result = much.run(ranks=ranks, run__output=path, **MANY).good()
    found = SHARES.search(result.err)
    assert found and [int(number) for number in found.groups()] == [n, test, search]
    rows = expected_rows(path, n, 7)
    assert scored_rows(path) == rows and len(rows) < 8 and set(rows) - {*range(0, 8, n), 7}, "the toy shows nothing: choose another seed"
    with h5py.File(path) as file, h5py.File(full) as every:
        assert f"test_every: {n}\n" in file["config"].attrs["resolved"] and "eval.test_every: content\n" in file["config"].attrs["decides"]
        for name in TEST:
            assert np.array_equal(file[f"rounds/{name}"][rows], every[f"rounds/{name}"][rows])
        assert file["result"].attrs["best_round"] == every["result"].attrs["best_round"]
    ours, theirs = (rows_of(each, without=(*TEST, "test_f1", "cost/tokens")) for each in (path, full))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert np.array_equal(ours[name], theirs[name], equal_nan=True), name
    assert verify(path, None).problems == []


def test_tokens(much: Study) -> None:
    """Those that the dry run is sure of, and besides a scoring of test samples for each best round between."""
    n, test, _ = shares(much, **MANY)
    found = COST.search(call("run", much.config, "--dry-run", *much.set(**MANY)).good().out)
    path = much.finished(**MANY)
    between = set(scored_rows(path)) - {*range(0, 8, n), 7}
    with h5py.File(path) as file:
        tokens = file["rounds/cost/tokens"][:]
    assert found and tokens[0] == int(found[1]) and tokens.sum() == int(found[2]) + test * len(between)
    assert int(found[3]) == test * (8 - len({*range(0, 8, n), 7}))


def test_a_number_is_obeyed(much: Study) -> None:
    """1 is every round; a larger number counts scored rounds. Few test samples are scored in every round without being asked for."""
    assert scored_rows(much.finished(eval__test_every=1, **MANY)) == list(range(8))
    path = much.finished(eval__every=2, eval__test_every=2, **MANY)
    assert scored_rows(path) == expected_rows(path, 4, 7)
    assert shares(much, **{**MANY, "data__test_limit": 2})[0] == 1
    result = much.run(run__output=much.output(), **{**MANY, "data__test_limit": 2}).good()
    assert not SHARES.search(result.err)


def test_rounds_that_are_scored_seldom(much: Study) -> None:
    """Every third round has three rounds of search to it."""
    n = shares(much, **MANY)[0]
    assert shares(much, **MANY, eval__every=3)[0] == -(-n // 3)


def test_without_dev_samples(much: Study) -> None:
    """There is no best round: every n-th and the last."""
    much.toy.splits = {"train": [20, 20, 20], "test": [30, 30, 30]}
    write(much.data, much.toy)
    path = much.finished(eval__test_every=3, data__dev_shots=0, **MANY)
    assert scored_rows(path) == [0, 3, 6, 7]


def test_goes_on_with_what_was_found(much: Study) -> None:
    """On other ranks, also where 0 is written out; with what the file has, whatever would be found now. Broken by the best round that is
    forgotten: later ones would then be scored for it."""
    n, _, _ = shares(much, **MANY)
    expected = much.digest(**MANY)
    for changes in ({}, {"eval__test_every": 0}):
        path = stopped(much, **MANY)
        resume(much, path, ranks=2, **{**MANY, **changes}).good()
        assert digest_of(path) == expected
    path = stopped(much, **MANY, eval__test_every=n + 1)
    resume(much, path, **MANY).good()
    assert digest_of(path) == much.digest(**MANY, eval__test_every=n + 1)
    call("rerun", path).good()
    path = stopped(much, **MANY)
    resume(much, path, **MANY, eval__test_every=n + 1).sentence(f"eval.test_every is {n + 1}", f"run with {n}")


def test_more_rounds(much: Study) -> None:
    """Refused where the last round has scores that a longer run would not have."""
    shorter = {**MANY, "fed__rounds": 4, "eval__test_every": 2}
    path = much.finished(**shorter)
    resume(much, path, **{**shorter, "fed__rounds": 7}).good()
    assert digest_of(path) == much.expected(**{**shorter, "fed__rounds": 7})
    shorter["eval__test_every"] = 100
    path = much.finished(**shorter)
    with h5py.File(path) as file:
        assert file["result"].attrs["best_round"] < 4, "the toy shows nothing: choose another seed"
    resume(much, path, **{**shorter, "fed__rounds": 7}).sentence("fed.rounds", "eval.test_every 100", "round 4")


def test_of_a_sweep(much: Study) -> None:
    """A run of a sweep is known again by settings that do not name what was found."""
    sweep = much.folder / "sweep.yaml"
    settings = "".join(f"  {key.replace('__', '.')}: {value}\n" for key, value in MANY.items())
    sweep.write_text(f"name: some\nbase: {much.config}\noutput: {much.folder / 'runs'}\nsettings:\n{settings}grid:\n  run.seed: [1]\n")
    call("sweep", sweep).good()
    out = call("sweep", sweep, "--status").good().out
    assert "finished" in out and "other settings" not in out
