"""Transforms of what clients send: quantisation, differential privacy, secure aggregation; whole runs of each."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Study, call, digest_of

BASE = {"fed__rounds": 4, "fed__participation": 0.6}
AVERAGE = {"fed__protocol": "fedavg-bbt", "cma__covariance": "isotropic"}
RUNS = {
    "quantised": {"fed__protocol": "synchronous", "fed__quantise_bits": 2},
    "fed back": {"fed__protocol": "nvflare", "fed__quantise_bits": 1, "fed__error_feedback": "true"},
    "private": {**AVERAGE, "privacy__clip": 3, "privacy__noise_multiplier": 0.5},
    "secure": {"fed__protocol": "synchronous", "fed__secure_aggregation": "true", "privacy__clip": 1, "privacy__noise_multiplier": 1},
}


def rounds(path: Path, name: str) -> np.ndarray:
    with h5py.File(path) as file:
        return np.array(file["rounds"][name][:])


@pytest.mark.thorough
@pytest.mark.parametrize("name", RUNS)
def test_the_same_bits(mask: Study, name: str) -> None:
    """On one rank, on three and on five, after a stop in the middle, and made again. Broken by random numbers of the order of calls, by
    residuals that a rank keeps to itself or that a checkpoint lacks."""
    settings = {**BASE, **RUNS[name]}
    expected = mask.digest(**settings)
    assert mask.digest(ranks=3, **settings) == expected == mask.digest(ranks=5, **settings)
    stopped = mask.output()
    mask.run(ranks=3, run__output=stopped, run__max_seconds=1e-6, **settings)
    words = mask.set(run__output=stopped, **settings)
    call("run", mask.config, "--resume", *words, ranks=2).good()
    assert digest_of(stopped) == expected
    call("rerun", stopped).good()


@pytest.mark.parametrize("name", RUNS)
def test_the_transform_is_there(mask: Study, name: str) -> None:
    """Broken by a setting that is read and not used."""
    plain = {key: value for key, value in RUNS[name].items() if key in ("fed__protocol", "cma__covariance")}
    assert mask.digest(**BASE, **plain) != mask.digest(**BASE, **RUNS[name])


def test_bytes_of_a_quantised_round(mask: Study) -> None:
    """By hand: a scale of 4 bytes and d numbers of 2 bits; I step sizes and a fitness in float32. The dry run tells the same."""
    settings = {"fed__protocol": "paper", "fed__quantise_bits": 2}
    path = mask.finished(**settings)
    with h5py.File(path) as file:
        n_participants, n_generations = file["rounds/client/step_size"].shape[1:]
        each = 4 + math.ceil(2 * file["rounds/z"].shape[1] / 8) + 4 * n_generations + 4
    assert (rounds(path, "cost/bytes_up")[1:] == n_participants * each).all()
    assert f" {each} bytes up " in call("run", mask.config, "--dry-run", *mask.set(**settings)).good().out


def test_a_secure_run_is_nearly_the_plain_one(mask: Study) -> None:
    """Masks cancel; what is left is the rounding of numbers to a power of two below 1e-6. One round: later ones magnify it. Broken by
    masks that do not cancel, by an average that is not weighted as the plain one."""
    for settings in ({**AVERAGE, "fed__weighting": "samples"}, {"fed__protocol": "synchronous", "fed__local_generations": 1}):
        one = {"fed__rounds": 1, "fed__wire": "float64", **settings}
        secure, plain = mask.finished(fed__secure_aggregation="true", **one), mask.finished(**one)
        np.testing.assert_allclose(rounds(secure, "z")[1], rounds(plain, "z")[1], atol=2e-6)
        assert (rounds(secure, "z")[1] != rounds(plain, "z")[1]).any() or "fed__weighting" not in settings


def test_epsilon(mask: Study) -> None:
    """By hand from the formula of Bun and Steinke; round 0 has released nothing, a run without noise has no number."""
    settings = {"fed__protocol": "synchronous", "fed__local_generations": 2, "privacy__clip": 1}
    path = mask.finished(privacy__noise_multiplier=4, privacy__delta=0.001, **settings)
    found = rounds(path, "epsilon")
    rho = np.arange(len(found)) * 2 / 32
    np.testing.assert_allclose(found, rho + 2 * np.sqrt(rho * math.log(1000)), rtol=1e-12)
    assert np.isnan(rounds(mask.finished(**settings), "epsilon")).all()


@pytest.mark.parametrize(("settings", "words"), [
    ({"privacy__clip": 1}, ("privacy.clip", "fed.protocol nvflare")),
    ({"fed__secure_aggregation": "true"}, ("fed.secure_aggregation", "fed.protocol nvflare")),
    ({"fed__quantise_bits": 5}, ("fed.quantise_bits", "1, 2, 4 or 8")),
    ({"fed__protocol": "synchronous", "privacy__noise_multiplier": 1}, ("privacy.noise_multiplier", "privacy.clip")),
    ({**AVERAGE, "fed__secure_aggregation": "true", "fed__secure_range": 1e-6}, ("fed.secure_range", "raise it")),
    ({**AVERAGE, "fed__secure_aggregation": "true", "cma__sigma": 1e-9}, ("step_size_end", "fed.secure_range", "lower it")),
])
@pytest.mark.parametrize("ranks", [1, 3])
def test_refused(mask: Study, settings: dict[str, object], words: tuple[str, ...], ranks: int) -> None:
    mask.run(ranks=ranks, **settings).sentence(*words)
