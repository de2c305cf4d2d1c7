"""Participation by number, training samples that are scored in part, and a million clients."""

from __future__ import annotations

import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Result, Study, call, command, digest_of, environment
from toy import write_settings

N_CLIENTS, N_PARTICIPANTS, N_ROUNDS = 1_000_000, 1000, 3
PEAK_BYTES, FILE_BYTES = 2_000_000_000, 8_000_000


@pytest.mark.parametrize("protocol", ["nvflare", "paper", "fedavg-bbt", "synchronous"])
def test_a_number_is_its_fraction(mask: Study, protocol: str) -> None:
    """The same clients, on any number of ranks. Broken by another draw, or by memory that is planned for other batches."""
    same = {"fed__protocol": protocol, "fed__clients": 6, "perturb__rate": 0.5}
    expected = mask.digest(fed__participation=0.5, **same)
    assert mask.digest(fed__participants=3, **same) == expected == mask.digest(fed__participants=3, ranks=5, **same)
    assert mask.digest(fed__participants=2, **same) != expected


@pytest.mark.parametrize("ranks", [1, 3])
def test_refused(mask: Study, ranks: int) -> None:
    mask.run(fed__participants=3, fed__participation=0.5, ranks=ranks).sentence("fed.participants", "fed.participation", "one of the two")
    mask.run(fed__participants=6, ranks=ranks).sentence("fed.participants: 6", "fed.clients are 5")


def test_told_before(mask: Study) -> None:
    out = call("run", mask.config, "--dry-run", *mask.set(fed__participants=2)).good().out
    assert " on 2 of 5 clients, " in out and "participants: 2\n" in out


def test_some_training_samples_are_scored(mask: Study) -> None:
    """The first of the partition's; their mean is what evaluate finds. Broken by a limit that changes what clients search with."""
    limited, whole = mask.finished(eval__train_limit=5), mask.finished()
    with h5py.File(limited) as some, h5py.File(whole) as all_:
        np.testing.assert_array_equal(some["rounds/z"][:], all_["rounds/z"][:])
        np.testing.assert_array_equal(some["rounds/dev_loss"][:], all_["rounds/dev_loss"][:])
        assert (some["rounds/train_loss"][:] != all_["rounds/train_loss"][:]).all()
        loss = some["rounds/train_loss"][-1]
    logits = mask.folder / "logits.h5"
    call("evaluate", "--run", limited, "--round", "last", "--split", "train", "--logits", logits).good()
    with h5py.File(logits) as file:
        values, labels = file["logits"][:].astype(float), file["labels"][:]
    assert len(labels) == 5
    own = np.log(np.exp(values).sum(axis=1)) - values[np.arange(5), labels]
    assert np.isclose(own.mean(), loss, rtol=1e-5)


def make_large(path: Path) -> None:
    """Puts a training sample of one random word for each client in the place of the data set's."""
    draw = np.random.default_rng(1)
    tokens = np.tile(np.array([0, 5, 6, 7, 0, 3, 2], np.int32), (N_CLIENTS, 1))
    tokens[:, 4] = draw.integers(4, 97, N_CLIENTS)
    with h5py.File(path, "r+") as file:
        train = file["train"]
        for name in list(train):
            del train[name]
        train["tokens"], train["frozen"] = tokens.ravel(), np.tile(np.array([1, 1, 1, 1, 0, 1, 1], np.uint8), N_CLIENTS)
        train["offsets"] = 7 * np.arange(N_CLIENTS + 1, dtype=np.int64)
        train["labels"], train["readout"] = draw.integers(0, 3, N_CLIENTS).astype(np.int32), np.full(N_CLIENTS, 5, np.int32)
        train["row"] = np.arange(N_CLIENTS, dtype=np.int64)


def run_large(study: Study, path: Path, ranks: int, **changes: object) -> Result:
    words = command(("run", study.config, *study.set(run__output=path, **changes)), ranks)
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment({}), timeout=600)
    return Result(done.returncode, done.stdout, done.stderr, 0).good()


@pytest.mark.thorough
def test_a_million_clients(mask: Study) -> None:
    """Broken by memory or a file of K times rounds or dimensions, by client numbers that are cut to 16 bits, by a draw that depends on
    ranks."""
    make_large(mask.data)
    mask.values["data"] |= {"shots": 0, "dev_shots": 0}
    mask.values["fed"] = {"clients": N_CLIENTS, "participants": N_PARTICIPANTS, "rounds": N_ROUNDS, "local_generations": 2}
    mask.values["eval"] = {"train_limit": 1000}
    mask.values["perturb"] = {"rate": 0.5}
    write_settings(mask.config, mask.values)
    paths = {ranks: mask.output() for ranks in (1, 3)}
    for ranks, path in paths.items():
        run_large(mask, path, ranks)
    assert len({digest_of(path) for path in paths.values()}) == 1
    for path in paths.values():
        assert path.stat().st_size < FILE_BYTES
        with h5py.File(path) as file:
            participants = file["rounds/participants"][:]
            assert participants.shape == (1 + N_ROUNDS, N_PARTICIPANTS) and (np.diff(participants[1:], axis=1) > 0).all()
            assert participants[1:, -1].min() > N_CLIENTS - N_CLIENTS // 20 and file["rounds/client/loss"].shape == participants.shape
            assert np.array_equal(np.sort(file["partition/sample_index"][:]), np.arange(N_CLIENTS))
            assert file["rounds/cost/peak_memory"][-1] < PEAK_BYTES
            loss = file["rounds/client/loss_perturbed"][1]
    assert np.isfinite(loss).all()
    out = call("run", mask.config, "--dry-run").good().out
    assert " on 1000 of 1000000 clients, " in out and "and 999000 clients more, of 999000 samples in all" in out
