"""Clients of unequal sizes: the same run on any number of ranks, stopped or made again; what is told of them; what is refused."""

from __future__ import annotations

import re

import h5py
import numpy as np
import pytest
from conftest import Study, call, digest_of

UNEQUAL = {"fed__sizes": "lognormal", "fed__size_sigma": 1.2, "data__shots": 15, "fed__clients": 6}
MIXED = {"fed__sizes": "dirichlet", "fed__size_alpha": 0.5, "fed__partition": "dirichlet", "fed__dirichlet_alpha": 0.3, "data__shots": 15,
         "fed__clients": 6, "fed__participation": 0.67}
ONE_ROUND = {"run__max_seconds": 1e-6}  # a session of one round: its time is up at once


def sizes_of(file: h5py.File) -> np.ndarray:
    return np.diff(file["partition/sample_offsets"][:])


@pytest.mark.thorough
@pytest.mark.parametrize("changes", [UNEQUAL, MIXED], ids=["iid", "mixed"])
@pytest.mark.parametrize("protocol", ["nvflare", "synchronous"])
def test_ranks_and_stops(mask: Study, protocol: str, changes: dict[str, object]) -> None:
    """Broken by work that is shared out as if clients were equal, and by a partition that depends on who asks for it."""
    changes = {**changes, "fed__protocol": protocol}
    path = mask.finished(**changes)
    for ranks in (3, 5, 7):
        assert mask.digest(ranks=ranks, **changes) == digest_of(path), f"{ranks} ranks"
    stopped = mask.output()
    assert mask.run(run__output=stopped, **ONE_ROUND, **changes).code == 75
    call("run", mask.config, "--resume", *mask.set(run__output=stopped, **changes), ranks=3).good()
    assert digest_of(stopped) == digest_of(path)
    assert "the same results again" in call("rerun", path, ranks=2).good().out
    with h5py.File(path) as file:
        sizes, counts = sizes_of(file), file["partition/class_count"][:]
        assert sizes.sum() == 45 and sizes.min() >= 1 and sizes.max() > 3 * sizes.min()
        assert np.array_equal(counts.sum(axis=1), sizes) and np.array_equal(counts.sum(axis=0), [15, 15, 15])
        assert np.array_equal(np.sort(np.unique(file["partition/sample_index"][:])), np.sort(file["partition/sample_index"][:]))


def test_tokens_are_counted(mask: Study) -> None:
    """A dry run tells the tokens of the largest round and of all rounds that the run then counts, whoever takes part. Broken by a
    cost of clients of mean size."""
    changes = {**MIXED, "fed__participation": 0.34, "eval__test_every": 1}
    dry = call("run", mask.config, "--dry-run", *mask.set(**changes)).good().out
    with h5py.File(mask.finished(**changes)) as file:
        tokens = file["rounds/cost/tokens"][:]
    found = re.search(r"# tokens through the model: (\d+) in the largest round, (\d+) to score one, (\d+) in all rounds", dry)
    assert found is not None
    largest, scores, total = map(int, found.groups())
    assert total == tokens.sum() and largest == tokens[1:].max() - scores


def described(file: h5py.File) -> str:
    """The line about the clients, by NumPy."""
    sizes, counts = sizes_of(file), file["partition/class_count"][:]
    classes = (counts > 0).sum(axis=1)
    middle = (len(sizes) - 1) // 2
    return (f"{len(sizes)} clients, {sizes.min()} to {sizes.max()} samples each (median {np.sort(sizes)[middle]}), of {classes.min()} to "
            f"{classes.max()} of {counts.shape[1]} classes (median {np.sort(classes)[middle]})")


@pytest.mark.parametrize("changes", [{}, UNEQUAL, MIXED], ids=["equal", "iid", "mixed"])
def test_the_sizes_are_told(mask: Study, changes: dict[str, object]) -> None:
    path = mask.finished(**changes)
    with h5py.File(path) as file:
        line = described(file)
    assert f"# {line}\n" in call("run", mask.config, "--dry-run", *mask.set(**changes)).good().out
    assert f"Clients\n  {line}\n" in call("show", path).good().out


def test_refused(mask: Study) -> None:
    """Before anything is computed, by the settings' names."""
    mask.run(fed__sizes="lognormal", perturb__rate=0.5, perturb__fitness="sum_of_ratios").sentence(
        "perturb.fitness", "sum_of_ratios", "fed.sizes lognormal", "ratio_of_means")
    mask.run(fed__sizes="dirichlet", fed__clients=13).sentence("12 training samples", "13 clients", "data.shots", "fed.clients")
    assert not mask.folder.joinpath("run.h5").exists()
    mask.run(fed__sizes="equal", perturb__rate=0.5, perturb__fitness="sum_of_ratios").good()
    path = mask.output()
    assert mask.run(run__output=path, **ONE_ROUND, **UNEQUAL).code == 75
    call("run", mask.config, "--resume", *mask.set(run__output=path, **{**UNEQUAL, "fed__size_sigma": 1})).sentence("fed.size_sigma")
