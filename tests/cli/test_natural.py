"""Clients by nature: the data set says whose samples are whose; what is told of them, and what does not go with them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Study, call, digest_of

NAMES = ["ana", "b\u00f6b", "carol\u2028x", "dan"]
NATURAL = {"fed__partition": "natural", "fed__clients": 4, "data__shots": 0}
ONE_ROUND = {"run__max_seconds": 1e-6}  # a session of one round: its time is up at once


def put_clients(path: Path, client: np.ndarray, names: list[str]) -> None:
    """In the form of jobs/prepare_data.py --client."""
    encoded = [name.encode() for name in names]
    with h5py.File(path, "r+") as file:
        file["train/client"] = client.astype(np.int32)
        file["clients/names"] = np.frombuffer(b"".join(encoded), np.uint8)
        file["clients/offsets"] = np.cumsum([0, *map(len, encoded)]).astype(np.int64)


@pytest.fixture
def natural(mask: Study) -> Study:
    """60 training samples of four clients, of sizes between 5 and 30."""
    client = np.random.default_rng(8).permutation(np.repeat(np.arange(4), [17, 5, 30, 8]))
    put_clients(mask.data, client, NAMES)
    return mask


@pytest.mark.parametrize("protocol", ["nvflare", "synchronous"])
def test_the_same_run(natural: Study, protocol: str) -> None:
    """On any number of ranks, stopped or made again. Broken by a sample that is with another client than its own, or by dev samples that
    are taken from the clients where there is a dev split."""
    changes = {**NATURAL, "fed__protocol": protocol, "fed__participation": 0.5}
    path = natural.finished(**changes)
    with h5py.File(path) as file, h5py.File(natural.data) as data:
        offsets, index = file["partition/sample_offsets"][:], file["partition/sample_index"][:]
        for k in range(4):
            assert index[offsets[k]:offsets[k + 1]].tolist() == np.flatnonzero(data["train/client"][:] == k).tolist()
    for ranks in (3, 5):
        assert natural.digest(ranks=ranks, **changes) == digest_of(path), f"{ranks} ranks"
    stopped = natural.output()
    assert natural.run(run__output=stopped, **ONE_ROUND, **changes).code == 75
    call("run", natural.config, "--resume", *natural.set(run__output=stopped, **changes), ranks=3).good()
    assert digest_of(stopped) == digest_of(path)
    assert "the same results again" in call("rerun", path, ranks=2).good().out


def test_the_clients_are_told(natural: Study) -> None:
    out = call("run", natural.config, "--dry-run", *natural.set(**NATURAL)).good().out
    assert "# 4 clients, 5 to 30 samples each (median 8), of 3 to 3 of 3 classes (median 3)\n" in out
    lines = [line for line in out.splitlines() if line.startswith("#   client")]
    assert [line.split(", ")[-1] for line in lines] == ["ana", "b\u00f6b", "carol?x", "dan"]


def test_refused(natural: Study) -> None:
    """Before anything is computed, by the settings' names."""

    def refused(*words: str, **changes: object) -> None:
        natural.run(**{**NATURAL, **changes}).sentence(*words)

    refused("fed.clients is 5", "set fed.clients to 4", fed__clients=5)
    refused("fed.clients is 3", "set fed.clients to 4", fed__clients=3)
    refused("data.shots: 4", "fed.partition natural", "set it to 0", data__shots=4)
    refused("fed.sizes", "fed.partition natural", "lognormal", fed__sizes="lognormal")
    refused("perturb.fitness", "sum_of_ratios", "fed.partition natural", perturb__rate=0.5, perturb__fitness="sum_of_ratios")
    assert not natural.folder.joinpath("run.h5").exists()


def test_a_data_set_without_clients(mask: Study) -> None:
    mask.run(**NATURAL).sentence("fed.partition is natural", "jobs/prepare_data.py --client COLUMN")


def test_other_partitions_do_not_mind(mask: Study) -> None:
    """A data set with clients is dealt out as one without."""
    before = mask.digest()
    put_clients(mask.data, np.arange(60) % 4, NAMES)
    assert mask.digest() == before


@pytest.mark.parametrize("client", [[0] * 30 + [4] * 30, [0] * 60, [0, 1, 2]], ids=["beyond", "none of some", "too few"])
def test_clients_that_contradict(mask: Study, client: list[int]) -> None:
    put_clients(mask.data, np.array(client), NAMES)
    mask.run(**NATURAL).sentence("client")
