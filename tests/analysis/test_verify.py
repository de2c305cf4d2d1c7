"""Findings of verify: each kind of damage, and nothing in whole files."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import made
import numpy as np
import pytest
import toy
from conftest import Result, program
from fedbpt_analysis import seal
from fedbpt_analysis.verify import best_so_far, verify
from made import NAN, Made


def test_whole_run_of_the_program(real: Path, call: Callable[..., Result]) -> None:
    out = call("verify", real).good().out
    assert re.fullmatch(rf"ok       {re.escape(str(real))}: finished, 3 of 3 rounds, digest [0-9a-f]{{64}}\n", out)


@pytest.mark.parametrize("variant", [Made(), Made(rows=2, status="running"), Made(rows=1, status="interrupted"), Made(dev=False),
                                     Made({"eval.every": 3, "fed.rounds": 7}), Made({"fed.participation": 0.5}),
                                     Made({"fed.participation": 0.5}, version=1),
                                     Made({"eval.every": 2, "eval.test_every": 2, "fed.rounds": 9})])
def test_whole_made_runs(variant: Made, tmp_path: Path) -> None:
    assert verify(made.write(tmp_path / "run.h5", variant), None).problems == []


def test_a_client_alone(tmp_path: Path) -> None:
    """Runs of fed.only_client are whole, unless they name somebody else."""
    shape = toy.Toy()
    data = toy.write(tmp_path / "data.h5", shape)
    values = toy.settings(toy.MASK_MODEL, data, tmp_path / "run.h5", shape)
    values["fed"] |= {"protocol": "fedavg-bbt", "only_client": 2}
    values["faults"] = {"dropout": 0.4}
    program("run", toy.write_settings(tmp_path / "settings.yaml", values))
    assert verify(tmp_path / "run.h5", None).problems == []
    with h5py.File(tmp_path / "run.h5", "r+") as file:
        there = file["rounds/participants"][:] >= 0
        file["rounds/participants"][there] = 1
    seal.write(tmp_path / "run.h5")
    assert "names others than client 2" in verify(tmp_path / "run.h5", None).problems[0]


def replace(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        attributes, unit = dict(file[name].attrs), value
        del file[name]
        file[name] = unit
        file[name].attrs.update(attributes)

    return change


def put(name: str, place: object, value: float) -> Callable[[h5py.File], None]:
    return lambda file: file[name].__setitem__(place, value)


def drop(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def attribute(group: str, name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file[group].attrs.__setitem__(name, value)


DAMAGE: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "no group": (drop("partition"), "partition is missing"),
    "no column": (drop("rounds/dev_f1"), "rounds/dev_f1 is missing"),
    "no status": (lambda file: file.attrs.__delitem__("status"), "status"),
    "unknown status": (attribute("/", "status", "lost"), "'lost'"),
    "short column": (replace("rounds/train_loss", np.zeros(3)), "rounds/train_loss has type float64 and shape (3,), not (5,)"),
    "other type": (replace("rounds/client/evaluations", np.zeros((5, 4))), "rounds/client/evaluations has type float64"),
    "other shape": (replace("rounds/client/loss", np.zeros((5, 3))), "shape (5, 3), not (5, 4)"),
    "no unit": (lambda file: file["rounds/z"].attrs.__delitem__("unit"), "lacks the attribute unit"),
    "missing round": (put("rounds/index", slice(3, 5), 4), "1 rounds are missing, the first of them 3"),
    "round twice": (put("rounds/index", slice(0, 2), 0), "1 rounds are missing"),
    "unfinished": (attribute("config", "resolved", made.yaml_text(made.SETTINGS | {"fed.rounds": 9})), "has 4 of 9 rounds"),
    "too many rounds": (attribute("config", "resolved", made.yaml_text(made.SETTINGS | {"fed.rounds": 3})), "only 3 were planned"),
    "other clients": (attribute("config", "resolved", made.yaml_text(made.SETTINGS | {"fed.clients": 5})), "fed.clients is 5, but"),
    "infinite z": (put("rounds/z", (2, 1), np.inf), "rounds/z has a value that is not finite in round 2"),
    "no loss": (put("rounds/train_loss", 3, NAN), "rounds/train_loss has a value that is not finite in round 3"),
    "no test score": (put("rounds/test_accuracy", 4, NAN), "rounds/test_accuracy has a value that is not finite in round 4"),
    "no fitness": (put("rounds/client/fitness", (1, 0), NAN), "client/fitness has a value that is not finite in round 1"),
    "no client step": (put("rounds/client/step_size", (1, 0, 1), NAN), "client/step_size has a value that is not finite in round 1"),
    "negative time": (put("rounds/cost/seconds", (1, 0), -1), "cost/seconds has a negative value"),
    "no evaluations": (put("rounds/client/evaluations", (1, 0), 0), "without any evaluation"),
    "too few": (put("rounds/participants", (2, 3), -1), "3 clients took part in round 2, not 4"),
    "too early": (put("rounds/participants", (0, 0), 0), "1 clients took part in round 0, not 0"),
    "client twice": (put("rounds/participants", (1, 1), 0), "rounds/participants does not rise"),
    "unknown client": (put("rounds/participants", (1, 3), 4), "names a client that the run does not have"),
    "sample twice": (put("partition/sample_index", 0, 1), "has a row twice"),
    "offsets": (put("partition/sample_offsets", 0, 1), "sample_offsets does not cut"),
    "counts": (put("partition/class_count", (0, 0), 50), "does not add up"),
    "other best": (attribute("result", "best_round", 0), "but result says"),
    "other best z": (put("result/best_z", 0, 9.0), "result/best_z is not z of round"),
    "other last z": (put("result/last_z", 0, 9.0), "result/last_z is not z of round 4"),
    "no prompt": (drop("result/last_prompt"), "result/last_prompt is missing"),
    "bad prompt": (put("result/best_prompt", (0, 0), NAN), "result/best_prompt has a value that is not finite"),
    "old checkpoint": (attribute("checkpoint", "round", 3), "the checkpoint is of round 3, the last round is 4"),
    "wall time": (attribute("/", "wall_time_s", NAN), "wall_time_s is nan"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage(name: str, tmp_path: Path, call: Callable[..., Result]) -> None:
    """Each kind is told in one line with exit code 1."""
    path = made.write(tmp_path / "run.h5")
    change, expected = DAMAGE[name]
    with h5py.File(path, "r+") as file:
        change(file)
    verdict = verify(path, None)
    assert any(expected in problem for problem in verdict.problems), verdict.problems
    result = call("verify", path)
    assert result.code == 1 and result.out.startswith(f"problem  {path}: ") and result.out.count("\n") == 1


def test_bytes_changed_within(real: Path, tmp_path: Path) -> None:
    """Any flipped bit is told, before HDF5 might crash on it, and so are bytes that are missing or too many."""
    whole = bytearray(real.read_bytes())
    path = tmp_path / "run.h5"
    draw = np.random.default_rng(4)
    for place in [*range(0, 3000, 20), *draw.integers(0, len(whole), 100).tolist()]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(damaged)
        (problem,) = verify(path, None).problems
        assert "damaged" in problem, place
    for share in (0.001, 0.1, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        assert len(verify(path, None).problems) == 1
    assert "is truncated or damaged: it has " in verify(path, None).problems[0]
    path.write_bytes(whole + b"\0")
    assert "changed after it was written" in verify(path, None).problems[0]
    path.write_bytes(whole)
    assert verify(path, None).problems == []


def test_seal(real: Path, tmp_path: Path, call: Callable[..., Result]) -> None:
    """A file that its user has changed, and one of an earlier version, are sealed: the program and this package then read both."""
    changed, unsealed = (Path(shutil.copy(real, tmp_path / name)) for name in ("changed.h5", "unsealed.h5"))
    with h5py.File(changed, "r+") as file:
        file.attrs["note"] = "mine"
    unsealed.write_bytes(real.read_bytes()[seal.SEAL_BYTES :])
    assert "fedbpt-analysis seal" in call("verify", changed).out
    call("verify", unsealed).good()
    for path in (changed, unsealed):
        call("seal", path).good()
        call("verify", "--same", real, path).good()
    assert unsealed.read_bytes() == real.read_bytes()  # HDF5 itself keeps where its file begins
    with h5py.File(changed) as file:
        assert file.attrs["note"] == "mine" and file.userblock_size == seal.SEAL_BYTES
    assert not list(tmp_path.glob(".*"))
    lock = made.lock(changed)
    call("seal", changed).sentence("a run writes it", str(lock))
    elsewhere = made.lock(changed, host="elsewhere")
    call("seal", changed).sentence("a run writes it", "on elsewhere")
    os.utime(elsewhere, (1e9, 1e9))  # no sign of life for years
    call("seal", changed).good()
    made.lock(changed, **made.dead_process())
    call("seal", changed).good()
    (tmp_path / "text.h5").write_text("no HDF5")
    call("seal", tmp_path / "text.h5").sentence("text.h5", "not an HDF5 file")


def test_one_line_a_file(real: Path, tmp_path: Path, call: Callable[..., Result]) -> None:
    result = call("verify", real, tmp_path / "no.h5", real)
    lines = result.out.splitlines()
    assert result.code == 1 and [line.split()[0] for line in lines] == ["ok", "problem", "ok"]


def test_same(real: Path, tmp_path: Path, call: Callable[..., Result]) -> None:
    """Equal results but other times pass; one other number does not."""
    equal, other = (Path(shutil.copy(real, tmp_path / name)) for name in ("equal.h5", "other.h5"))
    with h5py.File(equal, "r+") as file:
        file["rounds/cost/seconds"][1] = 99.0
    with h5py.File(other, "r+") as file:
        file["rounds/client/loss"][1, 0] += 1e-12
    call("seal", equal, other).good()
    call("verify", "--same", real, equal).good()
    result = call("verify", "--same", real, equal, other)
    assert result.code == 1 and [line.split()[0] for line in result.out.splitlines()] == ["ok", "ok", "problem"]
    assert "has the digest" in result.out
    call("verify", real, equal, other).good()


def test_program(real: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: Callable[..., Result]) -> None:
    """A program that reads other numbers, or fails, is found out; one that is named must be there."""
    for text, expected in (('{"rounds": [], "best_round": null, "status": "finished"}', "reads other rounds"), (None, "cannot")):
        script = tmp_path / "fedbpt"
        script.write_text("#!/bin/sh\n" + (f"echo '{text}'\n" if text else "echo 'fedbpt: error: it cannot' >&2; exit 1\n"))
        script.chmod(0o755)
        result = call("verify", "--program", script, real)
        assert result.code == 1 and expected in result.out
    call("verify", "--program", tmp_path / "nothing", real).sentence("nothing", "there is no such program")
    monkeypatch.setenv("FEDBPT", "")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fedbpt_analysis.program.CHECKOUT", tmp_path / "nowhere")
    result = call("verify", real).good()
    assert "digest" not in result.out and "was not found" in result.err
    call("verify", "--same", real).sentence("--program")


def test_rule_of_the_best_round() -> None:
    assert best_so_far(np.array([0.5, 0.7, 0.7, 0.7, NAN, 0.6]), np.array([1.0, 0.9, 0.8, 0.8, NAN, 0.1])).tolist() == [0, 1, 2]
    assert best_so_far(np.array([NAN, NAN]), np.array([NAN, NAN])).tolist() == []


@pytest.mark.parametrize(("row", "is_told"), [(1, True), (2, False), (3, True), (4, False), (6, True), (7, True)])
def test_test_scores_of_every_third_round(row: int, is_told: bool, tmp_path: Path) -> None:
    """Those of round 3 and 6, of the last round, and of one that is better on dev samples than all before it must be there."""
    dev = [0.5, 0.6, 0.6, 0.4, 0.4, 0.4, 0.4, 0.4]
    path = made.write(tmp_path / "run.h5", Made({"eval.test_every": 3, "fed.rounds": 7}, scores={"dev_accuracy": dev, "dev_loss": [1.0] * 8}))
    with h5py.File(path, "r+") as file:
        assert np.isfinite(file["rounds/test_loss"][row]) == is_told
        file["rounds/test_loss"][row] = NAN
    expected = [f"rounds/test_loss has a value that is not finite in round {row}"] if is_told else []
    assert verify(path, None).problems == expected
