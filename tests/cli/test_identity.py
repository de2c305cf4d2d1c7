"""The same numbers however the work is cut: digests of runs on other numbers of ranks and threads, and with other batches."""

from __future__ import annotations

import re

import pytest
from conftest import SANITIZED, Study, call
from toy import write

RANKS = (3, 7) if SANITIZED else (2, 3, 4, 5, 7)
PROTOCOLS = ("nvflare", "paper", "fedavg-bbt", "synchronous")


def has_bf16() -> bool:
    """Also where it is not fast, and `auto` is fp32."""
    return re.search("\ninstruction set: avx512_core_(bf16|amx)", call("info").good().out) is not None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_ranks(mask: Study, protocol: str) -> None:
    """Five clients of two or three samples on fewer, as many, and more ranks than clients."""
    changes = {"fed__protocol": protocol}
    expected = mask.digest(**changes)
    for ranks in RANKS:
        assert mask.digest(ranks=ranks, **changes) == expected, f"{ranks} ranks"


@pytest.mark.thorough
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_ranks_with_everything_on(mask: Study, protocol: str) -> None:
    """Half of the clients take part, perturbed samples, unequal mixes, recorded means, scores every other round."""
    changes = {"fed__protocol": protocol, "fed__clients": 6, "fed__participation": 0.5, "fed__partition": "dirichlet",
               "fed__dirichlet_alpha": 0.3, "perturb__rate": 0.5, "run__client_means": "true", "eval__every": 2}
    expected = mask.digest(**changes)
    for ranks in (2, 4, 7):
        assert mask.digest(ranks=ranks, **changes) == expected, f"{ranks} ranks"


def test_few_take_part(mask: Study) -> None:
    """Ranks whose clients all sit out a round, and groups of ranks for one client, with perturbed samples."""
    changes = {"fed__clients": 3, "fed__participation": 0.67, "perturb__rate": 0.4, "perturb__fitness": "sum_of_ratios"}
    expected = mask.digest(**changes)
    for ranks in (3, 5):
        assert mask.digest(ranks=ranks, **changes) == expected, f"{ranks} ranks"


@pytest.mark.parametrize("mode", ["cat", "input"])
def test_embedding_readout(embedding: Study, mode: str) -> None:
    study = embedding
    if mode != study.toy.mode:
        study.toy.mode = mode
        write(study.data, study.toy)
        study.values["prompt"]["mode"] = mode
    expected = study.digest()
    for ranks in (4,) if SANITIZED else (2, 3, 7):
        assert study.digest(ranks=ranks) == expected, f"{ranks} ranks"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_threads_and_batches(mask: Study, precision: str) -> None:
    """One thread or two, one sequence at a time or all at once."""
    if precision == "bf16" and not has_bf16():
        pytest.skip("this processor does not compute in bf16")
    changes = {"backend__precision": precision, "perturb__rate": 0.3, "fed__rounds": 2}
    expected = mask.digest(**changes)
    assert mask.digest(backend__threads=2, **changes) == expected
    assert mask.digest(backend__batch_tokens=1, **changes) == expected
    assert mask.digest(backend__batch_tokens=100, backend__threads=2, **changes) == expected
    assert mask.digest(backend__batch_tokens=10_000_000, **changes) == expected
    assert mask.digest(ranks=2, backend__batch_tokens=500, backend__threads=2, **changes) == expected


@pytest.mark.thorough
@pytest.mark.parametrize("covariance", ["separable", "isotropic"])
def test_covariances(mask: Study, covariance: str) -> None:
    changes = {"cma__covariance": covariance, "fed__protocol": "fedavg-bbt", "fed__client_seeds": "shared"}
    expected = mask.digest(**changes)
    assert mask.digest(ranks=3, **changes) == expected
    assert mask.digest(ranks=7, **changes) == expected


@pytest.mark.thorough
def test_repeated_updates_of_the_covariance(mask: Study) -> None:
    """Long local searches, so that decompositions of clients' covariances fall due."""
    changes = {"fed__local_generations": 40, "cma__dimension": 6, "fed__rounds": 2}
    expected = mask.digest(**changes)
    for ranks in (2, 7):
        assert mask.digest(ranks=ranks, **changes) == expected, f"{ranks} ranks"


def test_one_client(mask: Study) -> None:
    """All ranks share the only client."""
    changes = {"fed__clients": 1, "fed__protocol": "synchronous"}
    assert mask.digest(ranks=3, **changes) == mask.digest(**changes)


def test_seeds_differ(mask: Study) -> None:
    """A digest that never changes would pass every test above."""
    digests = {mask.digest(run__seed=seed) for seed in (0, 1, 2**63 - 1)}
    digests.add(mask.digest(run__seed=1, cma__sigma=1.001))
    assert len(digests) == 4


def test_repeat(mask: Study) -> None:
    assert mask.digest() == mask.digest()
