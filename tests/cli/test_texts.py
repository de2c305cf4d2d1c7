"""Texts that are not UTF-8: the user's own are refused with their place, others' are recorded so that every reader can read them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import PROGRAM, ROOT, SANITIZED, Study, call, edited, environment


def checked(path: Path) -> dict[str, object]:
    """The run file as JSON; `fedbpt-analysis verify` has nothing against it."""
    if not SANITIZED:
        verify = subprocess.run([ROOT / ".venv/bin/python", "-m", "fedbpt_analysis", "verify", str(path)], capture_output=True, text=True,
                                check=False, cwd=ROOT / "analysis")
        assert verify.returncode == 0, verify.stdout + verify.stderr
    shown = call("show", "--json", path).good().out
    return json.loads(shown)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("encoding", "place"), [("utf-16", "byte 0"), ("utf-16-le", "byte 1"), ("utf-16-be", "byte 0"), ("utf-32", "byte"),
                                                 ("utf-8-sig", "byte 0")])
def test_settings_of_another_encoding(mask: Study, encoding: str, place: str) -> None:
    path = mask.folder / "other.yaml"
    path.write_text(mask.config.read_text(), encoding=encoding)
    call("run", path).sentence(f"{path}: {place}", "UTF-8")


def test_sweeps_of_another_encoding(mask: Study) -> None:
    base, path = mask.folder / "base.yaml", mask.folder / "sweep.yaml"
    sweep = {"name": "s", "base": base.name, "output": str(mask.folder / "runs"), "repeats": 2}
    base.write_text(mask.config.read_text(), encoding="utf-16")
    path.write_text(json.dumps(sweep))
    call("sweep", path, "--list").sentence(f"{base}: byte 0", "UTF-16")
    base.write_text(mask.config.read_text())
    path.write_text(json.dumps(sweep), encoding="utf-16")
    call("sweep", path, "--list").sentence(f"{path}: byte 0", "UTF-16")
    path.write_bytes(json.dumps(sweep).encode() + b" # \xe9\n")
    call("sweep", path, "--list").sentence(f"{path}: byte {len(json.dumps(sweep)) + 3}: not UTF-8")


def test_latin1_comment(mask: Study) -> None:
    """Breaks if a comment, which no reader of settings looks at, gets into the recorded text."""
    path = mask.folder / "latin1.yaml"
    path.write_bytes(b"# Versuch f\xfcr M\xe4rz\n" + mask.config.read_bytes())
    call("run", path).sentence(f"{path}: byte 11: not UTF-8")


@pytest.mark.parametrize("key", ["run.output", "data.path", "model.path"])
def test_values_on_the_command_line(mask: Study, key: str) -> None:
    words = [os.fsencode(PROGRAM), b"run", os.fsencode(mask.config), b"--set", key.encode() + b"=a\xe9b"]
    done = subprocess.run(words, capture_output=True, check=False, env=environment({}))
    assert done.returncode == 1 and done.stdout == b""
    assert f"--set: {key}: the value is not UTF-8 text (its byte 1)".encode() in done.stderr


def test_names_of_jobs(mask: Study) -> None:
    """Site names are not the user's to change: the run is made, and its record is sound."""
    path = mask.output()
    broken = os.fsdecode(b"caf\xe9")
    mask.run(run__output=path, env={"SLURM_JOB_NAME": broken, "SLURM_CLUSTER_NAME": "caf\u00e9", "SLURM_JOB_NODELIST": broken}).good()
    environment_of = checked(path)["environment"]
    assert environment_of["slurm_job_name"] == "caf\ufffd"  # type: ignore[index]
    assert environment_of["slurm_cluster"] == "caf\u00e9"  # type: ignore[index]


def test_names_of_files(mask: Study) -> None:
    """A file of any name can be shown, exported and made again."""
    odd = Path(os.fsdecode(os.fsencode(mask.folder) + b"/m\xe4rz.h5"))
    shutil.copyfile(mask.finished(), odd)
    assert "m\ufffdrz.h5" in json.loads(call("show", "--json", odd).good().out)["path"]
    call("export", odd, "--format", "safetensors", "--output", mask.folder / "prompt.safetensors").good()
    again = mask.folder / "again.h5"
    call("rerun", odd, "--output", again).good()
    checked(again)


def test_files_of_an_earlier_version(mask: Study) -> None:
    """Their texts may be anything: every reader reads them."""
    path = mask.finished()
    with edited(path) as file:
        for group, name in (("config", "given"), ("inputs", "task"), ("environment", "hosts")):
            del file[group].attrs[name]
            file[group].attrs.create(name, b"\xff\xfea\xe9", dtype=h5py.string_dtype("utf-8"))
    assert checked(path)["inputs"]["task"] == "\ufffd\ufffda\ufffd"  # type: ignore[index]
    call("show", path).good()
    if not SANITIZED:
        words = [ROOT / ".venv/bin/python", "-m", "fedbpt_analysis", "report", str(path), "-o", str(mask.folder / "report.html")]
        subprocess.run(words, check=True, cwd=ROOT / "analysis")


@pytest.mark.parametrize("name", ["task", "template", "source", "label_words"])
def test_data_sets(mask: Study, name: str) -> None:
    with h5py.File(mask.data, "a") as file:
        del file.attrs[name]
        file.attrs[name] = np.array([b"red", b"gr\xfcn", b"blue"]) if name == "label_words" else np.bytes_(b"gr\xfcn")
    mask.run().sentence(str(mask.data), name, "label 1" if name == "label_words" else name, "byte 2 is not UTF-8")
