"""analysis/plot_run.py on small run files."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import plot_run
import pytest

NAN = float("nan")


@pytest.fixture
def run_file(tmp_path: Path):
    """Writes /rounds of a run."""

    def write(**columns: list[float]) -> Path:
        path = tmp_path / "run.h5"
        n = len(next(iter(columns.values())))
        with h5py.File(path, "w") as file:
            group = file.create_group("rounds")
            for name, values in {"index": list(range(n)), "step_size": [1.0] * n, **columns}.items():
                group[name] = np.array(values)
        return path

    return write


def plot(monkeypatch, run: Path, picture: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["plot_run.py", str(run), str(picture)])
    return plot_run.main()


SCORES = {
    "train_loss": [1.3, 1.1, 1.0, 0.9],
    "dev_loss": [1.3, 1.2, 1.1, 1.0],
    "dev_accuracy": [0.5, 0.7, 0.7, 0.6],
    "test_loss": [1.25, 1.15, 1.05, 0.95],
    "test_accuracy": [0.51, 0.61, 0.62, 0.63],
    "step_size_local": [1.0, 0.9, 0.8, 0.7],
}


def test_picture_and_summary(run_file, monkeypatch, capsys, tmp_path):
    """Best round: largest dev accuracy, then smallest dev loss (round 2), never by the test set (round 3)."""
    picture = tmp_path / "made" / "run.png"
    assert plot(monkeypatch, run_file(**SCORES), picture) == 0
    assert picture.read_bytes().startswith(b"\x89PNG") and [path.name for path in picture.parent.iterdir()] == ["run.png"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["test", "accuracy", "test", "loss", "dev", "accuracy", "dev", "loss", "train", "loss"]
    assert lines[1].split() == ["before", "tuning", "0.510", "1.250", "0.500", "1.300", "1.300"]
    assert lines[2].split() == ["after", "round", "3", "0.630", "0.950", "0.600", "1.000", "0.900"]
    assert lines[3].split() == ["best", "round", "on", "dev", "(2)", "0.620", "1.050", "0.700", "1.100", "1.000"]
    assert lines[4].endswith("run.h5") and lines[5].endswith("run.png")


def test_rounds_without_scores(run_file, monkeypatch, capsys, tmp_path):
    """eval.every 2 and no dev set: NaN is no value to draw, to mark or to print as the last."""
    path = run_file(train_loss=[1.3, NAN, 1.1, NAN], test_loss=[1.2, NAN, 1.0, NAN], test_accuracy=[0.5, NAN, 0.6, NAN], dev_loss=[NAN] * 4)
    assert plot(monkeypatch, path, tmp_path / "run.png") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:3] == ["after", "round", "2"] and "best" not in "".join(lines) and "nan" not in "".join(lines)


def test_run_that_has_only_started(run_file, monkeypatch, capsys, tmp_path):
    path = run_file(**{name: values[:1] for name, values in SCORES.items()})
    assert plot(monkeypatch, path, tmp_path / "run.png") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("before tuning")


@pytest.mark.parametrize(("content", "expected"), [(None, "no such run file"), (b"text", "error: "), (b"", "error: ")])
def test_not_a_run_file(content, expected, monkeypatch, capsys, tmp_path):
    path = tmp_path / "run.h5"
    if content is not None:
        path.write_bytes(content)
    assert plot(monkeypatch, path, tmp_path / "run.png") == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1
    assert not (tmp_path / "run.png").exists()


def test_file_without_rounds(monkeypatch, capsys, tmp_path):
    h5py.File(tmp_path / "run.h5", "w").close()
    assert plot(monkeypatch, tmp_path / "run.h5", tmp_path / "run.png") == 2
    assert "holds no rounds" in capsys.readouterr().err
