"""The packaged model on real headlines, where both have been staged in."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
from conftest import ROOT, SANITIZED, call, digest_of

MODEL = ROOT / "models" / "all-MiniLM-L6-v2"
DATA = ROOT / "datasets" / "bbc-headlines.h5"

pytestmark = pytest.mark.skipif(not (MODEL.is_dir() and DATA.is_file()), reason="the packaged model or corpus is not staged in")


def run(path: Path, ranks: int, **changes: object) -> Path:
    settings = {"run.output": path, "fed.rounds": 1, "fed.local_generations": 1, "data.shots": 6, "data.dev_shots": 4,
                "data.test_limit": 10, "model.path": MODEL, "data.path": DATA}
    settings |= {key.replace("__", "."): value for key, value in changes.items()}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    call("run", ROOT / "configs" / "bbc-headlines.yaml", *words, ranks=ranks).good()
    return path


@pytest.mark.parametrize("precision", ["auto", pytest.param("fp32", marks=pytest.mark.thorough)])
def test_ranks(tmp_path: Path, precision: str) -> None:
    """Ten clients, all of which take part, on fewer ranks and on more."""
    expected = digest_of(run(tmp_path / "1.h5", 1, backend__precision=precision))
    for ranks in (3,) if SANITIZED else (2, 5, 12):
        path = run(tmp_path / f"{ranks}.h5", ranks, backend__precision=precision, backend__batch_tokens=100 * ranks)
        assert digest_of(path) == expected, f"{ranks} ranks"


def test_scores_are_sensible(tmp_path: Path) -> None:
    """Without any tuning the model tells topics apart far better than chance (0.2)."""
    with h5py.File(run(tmp_path / "run.h5", 2), "r") as file:
        assert file["rounds/train_accuracy"][0] > 0.4
        assert file["rounds/dev_accuracy"][0] > 0.3
