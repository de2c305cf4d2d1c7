"""Searches beside CMA-ES, whole runs: the same numbers however the work is cut and whenever it stops, and what is refused."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from conftest import Study, call, digest_of

SEARCHERS = ("openai-es", "spsa", "lm-ma", "cem", "random", "kseed")
EVEN = {"cma__population": 4, "cma__dimension": 8}


def changes_of(name: str, protocol: str) -> dict[str, object]:
    return {"fed__optimiser": name, "fed__protocol": protocol, **EVEN}


@pytest.mark.thorough
@pytest.mark.parametrize("protocol", ["synchronous", "fedavg-bbt"])
@pytest.mark.parametrize("name", SEARCHERS)
def test_ranks_and_stops(mask: Study, name: str, protocol: str) -> None:
    """Broken by a state that not every rank keeps alike, or that a checkpoint leaves out."""
    changes = changes_of(name, protocol)
    path = mask.output()
    assert mask.run(run__output=path, run__max_seconds=1e-6, **changes).code == 75
    call("run", mask.config, "--resume", *mask.set(run__output=path, **changes), ranks=2).good()
    expected = mask.expected(**changes)
    assert digest_of(path) == expected
    assert mask.digest(ranks=7, **changes) == expected


@pytest.mark.thorough
@pytest.mark.parametrize("name", SEARCHERS)
def test_scale_of_z(mask: Study, name: str) -> None:
    """Broken by a step that is not in step sizes: sigma0 would change what the run file says it does not."""
    found = []
    for sigma in (0.25, 1, 4):
        with h5py.File(mask.finished(cma__sigma=sigma, es__weight_decay=0.125, **changes_of(name, "synchronous"))) as file:
            found.append(np.concatenate([file["rounds/z"][:].ravel() / sigma, file["rounds/train_loss"][:]]))
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[1], found[2])
    assert np.ptp(found[0][-3:]) > 0


@pytest.mark.thorough
@pytest.mark.parametrize("name", SEARCHERS)
def test_settings_of_its_own(mask: Study, name: str) -> None:
    """Settings that it does not read change nothing and are said to; those that it reads change something. Broken by a column of
    FBT_OPTIMISER_LIST that is wrong."""
    changes = changes_of(name, "synchronous") | {"fed__rounds": 3, "fed__local_generations": 4}
    with h5py.File(mask.finished(**changes)) as file:
        without = file["rounds/z"][:]
    others = {"cma.covariance": "separable", "cma.active": "false", "cma.constants": "tutorial", "es.learning_rate": 0.1, "es.momentum": 0.5,
              "es.weight_decay": 0.1, "es.elite": 1, "es.smoothing": 0.5, "es.deviation_smoothing": 0.5, "es.seeds": 3}
    for key, value in others.items():
        path = mask.output()
        words = mask.set(run__output=path, **{**changes, key.replace(".", "__"): value})
        told = f"# {key}: {value} has no effect: " in call("run", mask.config, *words, "--dry-run").good().out
        call("run", mask.config, *words).good()
        with h5py.File(path) as file:
            assert np.array_equal(file["rounds/z"][:], without) == told, key


REFUSED = [
    (["fed.optimiser=openai-es", "fed.protocol=synchronous", "cma.population=5"], ["cma.population", "openai-es", "even", "use 6"]),
    (["fed.optimiser=spsa", "fed.protocol=fedavg-bbt", "cma.population=3"], ["cma.population", "spsa", "even"]),
    (["fed.optimiser=lm-ma", "fed.protocol=synchronous", "cma.population=8", "cma.dimension=8"], ["cma.population", "lm-ma", "cma.dimension"]),
    (["fed.optimiser=cem", "fed.protocol=synchronous", "cma.population=5", "es.elite=0.3"], ["es.elite", "0.3 of 5", "cem"]),
    (["fed.optimiser=cem", "fed.protocol=paper", "fed.clients=3"], ["es.elite", "0.5 of 3", "clients"]),
    (["fed.optimiser=cma", "es.elite=0"], ["es.elite", "out of range"]),
    (["fed.optimiser=kseed", "fed.protocol=fedavg-bbt", "cma.population=4", "cma.norm_bound=1"], ["cma.norm_bound", "kseed", "0"]),
] + [([f"fed.optimiser={name}", f"fed.protocol={protocol}", "cma.population=4"], ["fed.optimiser", name, "fed.protocol", protocol])
     for name in SEARCHERS if name != "cem" for protocol in ("nvflare", "paper")]


@pytest.mark.parametrize(("assignments", "words"), REFUSED, ids=[" ".join(assignments) for assignments, _ in REFUSED])
def test_refused(mask: Study, assignments: list[str], words: list[str]) -> None:
    """By the settings' names, before anything is written."""
    call("run", mask.config, *[word for a in assignments for word in ("--set", a)]).sentence(*words)
    assert not mask.folder.joinpath("run.h5").exists()


def test_many_dimensions(mask: Study) -> None:
    """100,000 of them, without a matrix. Broken by a limit of dimensions that counts a covariance which is not there."""
    changes = {"fed__optimiser": "lm-ma", "fed__protocol": "synchronous", "cma__dimension": 100_000, "cma__population": 38, "fed__rounds": 2}
    with h5py.File(mask.finished(**changes)) as file:
        assert np.isfinite(file["rounds/z"][-1]).all() and file["rounds/step_size"][-1] != 1
