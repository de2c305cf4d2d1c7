"""The guard of a low precision: what its checks find, what they change, and the fallback to fp32."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Study, call, digest_of
from test_identity import PROTOCOLS, has_bf16

FOUND = ("precision_tau", "precision_overlap", "precision_loss_error")
# A large population a hair's breadth apart: bf16 cannot rank it as fp32 does, and a tau of 1 is asked for.
CLOSE = {"backend__precision": "bf16", "cma__population": 30, "cma__alpha": 0.02, "backend__precision_guard_tau": 1}
TOKENS = re.compile(r"(\d+) in all rounds, of which (\d+) check the precision")
ALWAYS = {"backend__precision": "bf16", "backend__precision_check_every": 1}

pytestmark = pytest.mark.skipif(not has_bf16(), reason="this processor does not compute in bf16")


def columns(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file["rounds"][name][:] for name in (*FOUND, "precision_fell_back")}


def results(path: Path) -> list[np.ndarray]:
    with h5py.File(path) as file:
        return [file[f"rounds/{name}"][...] for name in ("z", "step_size", "train_loss", "test_loss", "client/fitness")]


def same(first: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, other, strict=True))


def test_rounds_that_are_checked(mask: Study) -> None:
    """The first and every so many behind it; nothing else of the run depends on them. Broken by a check that draws from the search's
    random numbers, or by one in a round that has none."""
    unchecked = mask.finished(backend__precision="bf16", backend__precision_check_every=0, fed__rounds=5)
    for every, expected in ((1, [1, 2, 3, 4, 5]), (2, [1, 3, 5]), (4, [1, 5]), (9, [1])):
        path = mask.finished(backend__precision="bf16", backend__precision_check_every=every, fed__rounds=5)
        found = columns(path)
        for name in FOUND:
            assert np.flatnonzero(np.isfinite(found[name])).tolist() == expected
        checked = [found[name][expected] for name in FOUND]
        assert (np.abs(checked[0]) <= 1).all() and (checked[1] <= 1).all() and (checked[1] >= 0).all()
        assert (checked[2] > 0).all() and (checked[2] < 0.2).all()
        assert not found["precision_fell_back"].any()
        assert same(results(path), results(unchecked))
    with h5py.File(path) as file:
        seconds, phases = file["rounds/cost/seconds"], [str(name) for name in file["rounds/cost/seconds"].attrs["phases"]]
        assert phases[-1] == "check" and seconds[1, -1] > 0 and not seconds[2:, -1].any()


def test_nothing_is_kept_without_checks(mask: Study) -> None:
    """In fp32, or where they are turned off, the file is that of earlier versions. Broken by columns or a phase of their own there."""
    for changes in ({"backend__precision": "fp32"}, {"backend__precision": "bf16", "backend__precision_check_every": 0}):
        with h5py.File(mask.finished(**changes)) as file:
            assert not [name for name in file["rounds"] if name.startswith("precision")]
            assert file["rounds/cost/seconds"].shape[1] == 5 == len(file["rounds/cost/seconds"].attrs["phases"])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_any_number_of_ranks(mask: Study, protocol: str) -> None:
    """Checks are shared over all ranks; groups of ranks share a client. Broken by a choice that follows the placement, by members of a
    group that each put their population into the sum."""
    changes = {**ALWAYS, "fed__protocol": protocol, "perturb__rate": 0.4, "fed__participation": 0.6}
    paths = [mask.finished(**changes), mask.finished(ranks=3, **changes), mask.finished(ranks=7, backend__batch_tokens=60, **changes)]
    assert len({digest_of(path) for path in paths}) == 1
    assert np.isfinite(columns(paths[0])["precision_tau"][1:]).all()


@pytest.mark.parametrize("kind", ["embedding", "decoder", "labels"])
def test_other_readouts(request: pytest.FixtureRequest, kind: str) -> None:
    study: Study = request.getfixturevalue(kind)
    first, other = study.finished(**ALWAYS), study.finished(ranks=3, backend__batch_tokens=50, **ALWAYS)
    assert digest_of(first) == digest_of(other)
    assert np.isfinite(columns(first)["precision_tau"][1:]).all()


@pytest.mark.parametrize("protocol", ["nvflare", "synchronous"])
def test_what_is_compared(mask: Study, protocol: str) -> None:
    """One client with one generation: a run in fp32 scores the same first population, and its server makes of it what bf16's does if
    the rankings are one. Broken by other samples, another perturbed copy, or a low precision compared with itself."""
    changes = {"fed__protocol": protocol, "fed__local_generations": 1, "fed__rounds": 1, "perturb__rate": 0.3, **ALWAYS}
    found = columns(mask.finished(cma__alpha=8.0, **changes))
    assert found["precision_tau"][1] > 0.3 and 1e-5 < found["precision_loss_error"][1] < 0.2


def test_fallback(mask: Study) -> None:
    """From the round behind the one whose check is low on, all is computed in fp32: the rounds before are those of a run that was not
    guarded, and those behind have no check. Broken by a switch one round early or late, or by none."""
    free = mask.finished(**CLOSE, backend__precision_check_every=2, backend__precision_guard="record", fed__rounds=5)
    low = np.flatnonzero(columns(free)["precision_tau"] < 1)
    assert len(low), "bf16 ranks these candidates as fp32 does: the test needs others"
    at = int(low[0])
    path = mask.finished(**CLOSE, backend__precision_check_every=2, backend__precision_guard="fallback", fed__rounds=5)
    found = columns(path)
    assert found["precision_fell_back"].tolist() == [int(r >= at) for r in range(6)]
    assert np.isnan(found["precision_tau"][at + 1 :]).all() and found["precision_tau"][at] == columns(free)["precision_tau"][at]
    assert same([values[: at + 1] for values in results(path)], [values[: at + 1] for values in results(free)])
    assert not same(results(path), results(free))
    out = call("show", path).good().out
    assert f"fell back to fp32 after round {at}" in out and re.search(r"checks? of the ranking against fp32, the lowest tau \S+ in round", out)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_fallback_stopped_and_made_again(mask: Study, protocol: str) -> None:
    """Stopped after every round, on other numbers of ranks, and made again from the file: the same digest, and the file says in which
    precision it was begun. Broken by a resumed run that goes on in bf16, by a rerun that begins in fp32."""
    precision = "auto" if "\nprecision (auto): bf16\n" in call("info").good().out else "bf16"
    changes = {**CLOSE, "backend__precision": precision, "backend__precision_guard": "fallback", "fed__rounds": 4, "fed__protocol": protocol}
    whole = mask.finished(**changes)
    assert columns(whole)["precision_fell_back"][-1] == 1
    path = mask.output()
    words = mask.set(run__output=path, **changes)
    for ranks in (1, 3, 2):
        assert call("run", mask.config, "--resume", *words, "--set", "run.max_seconds=1e-6", ranks=ranks).code == 75
    call("run", mask.config, "--resume", *words, ranks=7).good()
    assert digest_of(path) == digest_of(whole)
    with h5py.File(path) as file:
        assert {file["environment"].attrs["precision"], *(s.attrs["precision"] for s in file["environment/sessions"].values())} == {"bf16"}
    for ranks in (1, 3):
        assert "the same results again" in call("rerun", path, ranks=ranks).good().out


def test_another_precision_is_refused_after_a_fallback(mask: Study) -> None:
    """A run that was begun in bf16 is gone on with as that, although its rounds are computed in fp32 by now."""
    path = mask.output()
    words = mask.set(run__output=path, backend__precision_guard="fallback", **CLOSE)
    assert call("run", mask.config, "--resume", *words, "--set", "run.max_seconds=1e-6").code == 75
    assert columns(path)["precision_fell_back"][-1] == 1
    before = path.read_bytes()
    call("run", mask.config, "--resume", *words, "--set", "backend.precision=fp32").sentence("backend.precision is fp32", "was run with bf16")
    call("run", mask.config, "--resume", *words, "--set", "backend.precision_guard=warn").sentence("precision_guard is warn", "fallback")
    assert path.read_bytes() == before
    call("run", mask.config, "--resume", *words).good()


def test_warnings(mask: Study) -> None:
    """A sentence for the first low check and the eleventh, none to record; the round's line tells every one. Rank 0 alone speaks."""
    changes = {**CLOSE, "backend__precision_check_every": 1, "fed__rounds": 12, "fed__local_generations": 1, "data__shots": 2}
    for guard, expected in (("warn", 2), ("record", 0)):
        path = mask.output()
        told = mask.run(ranks=2, run__output=path, backend__precision_guard=guard, **changes).good().err
        low = int((columns(path)["precision_tau"] < 1).sum())
        assert low > 10, "bf16 ranks these candidates as fp32 does: the test needs others"
        assert len(re.findall("warning: .*does not rank candidates as fp32 does", told)) == expected
        assert len(re.findall(r"round .*, ranks as fp32 tau -?\d", told)) == low
    assert "tau" not in mask.run(run__output=mask.output(), **{**changes, "backend__precision_guard_tau": -1}).good().err


def test_cost_is_told_before(mask: Study) -> None:
    """Tokens of a dry run are those that the run counts, and its memory holds the model in fp32 too."""
    changes = {"backend__precision": "bf16", "backend__precision_check_every": 2, "perturb__rate": 0.3, "fed__participation": 0.5,
               "fed__partition": "dirichlet", "fed__dirichlet_alpha": 0.3}
    out = call("run", mask.config, "--dry-run", *mask.set(**changes)).good().out
    match = TOKENS.search(out)
    assert match and "for precision checks in fp32" in out
    paths = [mask.finished(ranks=ranks, **{**changes, **more}) for ranks, more in ((2, {}), (1, {"backend__precision_check_every": 0}))]
    checked, unchecked = (int(h5py.File(path)["rounds/cost/tokens"][:].sum()) for path in paths)
    assert [int(number) for number in match.groups()] == [checked, checked - unchecked]
    out = call("run", mask.config, "--dry-run").good().out
    assert "check the precision" not in out and "for precision checks" not in out


def test_idle_settings(mask: Study) -> None:
    """In fp32 there is nothing to check."""
    words = mask.set(backend__precision_check_every=3, backend__precision_guard="fallback", backend__precision_guard_tau=0.9)
    out = call("run", mask.config, "--dry-run", *words).good().out
    assert len(re.findall(r"^# backend\.precision_\w+: \S+ has no effect", out, re.MULTILINE)) == 3
    out = call("run", mask.config, "--dry-run", *words, "--set", "backend.precision=bf16").good().out
    assert "has no effect" not in out
