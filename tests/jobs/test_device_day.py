"""jobs/device_day.py: with stand-ins for what needs a device, and with the program itself on the processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "tests" / "cli"))

import toy  # noqa: E402


class Machine:
    """A folder of stand-ins, first on PATH as well; each is a line of shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name in ("fedbpt", "conformance", "test_row_kernels", "test_attention_kernels", "compute-sanitizer", "nvidia-smi"):
            self.stand_in(name, "echo fine")

    def stand_in(self, name: str, line: str) -> None:
        (self.programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (self.programs / name).chmod(0o755)

    def day(self, part: str, *more: object, programs: Path | None = None) -> tuple[int, dict[str, Any]]:
        """Exit code and what was written."""
        environment = {**os.environ, "PATH": f"{self.programs}:/usr/bin:/bin"}
        words = [sys.executable, ROOT / "jobs" / "device_day.py", part, "--programs", programs or self.programs, "--output", self.folder / "out"]
        done = subprocess.run([*map(str, words), *map(str, more)], capture_output=True, text=True, check=False, env=environment)
        return done.returncode, json.loads((self.folder / "out" / f"{part}.json").read_text())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def statuses(written: dict[str, Any]) -> dict[str, str]:
    return {result["name"]: result["status"] for result in written["results"]}


def test_everything_passes(machine: Machine) -> None:
    """Breaks if a check is left out, or a sanitizer's finding would not be seen (its exit code must be asked for)."""
    code, written = machine.day("correct")
    assert code == 0 and written["passed"] and set(statuses(written).values()) == {"passed"}
    names = list(statuses(written))
    assert [name for name in names if name.startswith("conformance")] == ["conformance bf16", "conformance fp32", "conformance tf32"]
    watched = [result for result in written["results"] if result["command"][0].endswith("compute-sanitizer")]
    assert len(watched) == 9 and all("--error-exitcode" in result["command"] for result in watched)


def test_a_failure_stops_the_part_and_is_explained(machine: Machine) -> None:
    machine.stand_in("conformance", 'case "$*" in *tf32*) echo "row 3 differs" >&2; exit 1;; esac')
    code, written = machine.day("correct")
    assert code == 1 and not written["passed"]
    found = statuses(written)
    assert found["conformance tf32"] == "failed" and found["memcheck conformance tf32"] == "passed" and "driver" in found
    assert not any(name.startswith(("racecheck", "initcheck")) for name in found)
    assert any("row 3 differs" in result["output"] for result in written["results"])


def test_what_is_lacking_is_no_failure(machine: Machine) -> None:
    """Breaks if a machine without a device passes for one that was checked, or one without sanitizers for one that failed."""
    for name in ("conformance", "test_row_kernels", "test_attention_kernels"):
        machine.stand_in(name, "exit 77")
    machine.stand_in("compute-sanitizer", "exit 77")
    code, written = machine.day("correct")
    assert code == 77 and "failed" not in statuses(written).values()
    machine.stand_in("conformance", "exit 0")
    (machine.programs / "compute-sanitizer").unlink()
    code, written = machine.day("correct")
    assert code == 0 and statuses(written)["memcheck conformance bf16"] == "lacking"


def test_time_is_kept(machine: Machine) -> None:
    """Breaks if one program that hangs takes the time of the whole call, whose results would then be lost."""
    machine.stand_in("conformance", "echo begun; exec sleep 60")
    code, written = machine.day("correct", "--minutes", 0.02)
    found = statuses(written)
    assert found["info"] == "passed" and found["conformance bf16"] == found["test_row_kernels"] == "no time"
    assert code == 77 and "begun" in written["results"][1]["output"]


def test_timings_are_kept(machine: Machine) -> None:
    machine.stand_in("fedbpt", "echo '[{\"seconds\": 1}]'")
    code, written = machine.day("fast")
    benches = [result for result in written["results"] if result["name"].startswith("bench")]
    assert code == 0 and len(benches) == 8 and all(result["value"] == [{"seconds": 1}] for result in benches)
    assert statuses(written)["counters"] == statuses(written)["PyTorch at 71 tokens"] == "lacking"


def test_runs_are_compared(machine: Machine) -> None:
    """On the processor, in one precision. Breaks if runs that ought to be equal are not made, or are not compared."""
    data = toy.write(machine.folder / "data.h5", toy.Toy())
    values = toy.settings(toy.MASK_MODEL, data, machine.folder / "run.h5", toy.Toy())
    settings = toy.write_settings(machine.folder / "settings.yaml", values)
    program = Path(os.environ["FEDBPT"]).resolve().parent
    options = ("--backend", "cpu", "--precision", "fp32", "--settings", settings, "--beside", "cpu:int8")
    code, written = machine.day("same", *options, programs=program)
    found = {result["name"]: result for result in written["results"]}
    assert code == 0, written
    assert len(set(found["equal digests"]["value"].values())) == 1 and len(found["equal digests"]["value"]) == 6
    assert set(found["close losses"]["value"]) == {"once", "cpu-int8"}
    values["run"]["seed"] = "not a number"
    toy.write_settings(settings, values)
    code, written = machine.day("same", *options, programs=program)
    assert code == 1 and statuses(written)["equal digests"] == statuses(written)["close losses"] == "failed"


def test_programs_must_be_there(machine: Machine) -> None:
    words = [sys.executable, ROOT / "jobs" / "device_day.py", "same", "--programs", machine.folder, "--output", machine.folder / "out"]
    refused = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and refused.stderr.startswith("error: ") and not (machine.folder / "out").exists()
