"""The runner itself, asked what it makes of a model folder: one check, so that nothing is prepared that a run would refuse."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from .errors import UserError

ROOT = Path(__file__).resolve().parents[2]
BUILDS = tuple(str(ROOT / folder / "fedbpt") for folder in ("bin", "build/release/bin", "build/debug/bin", "build/cuda/bin"))
SENTENCE = "fedbpt: error: "


def find_program() -> str | None:
    """The program that the variable FEDBPT names, else the one installed with these files or built here, else the one in PATH."""
    given = os.environ.get("FEDBPT")
    candidates = (given,) if given else (*BUILDS, "fedbpt")
    return next((found for found in map(shutil.which, candidates) if found), None)


def describe_model(folder: Path, readout: str | None = None, config_only: bool = False) -> dict[str, Any] | None:
    """`fedbpt info --model`: what the folder holds; None, with a note, where the program cannot be asked.

    Refuses what the program refuses, with its sentence. `readout`: the one that must be possible.
    """
    program = find_program()
    if program is None:
        return _leave_to_run(folder, "fedbpt is not built yet")
    options = ["--readout", readout] if readout else []
    options += ["--config-only"] if config_only else []
    try:
        result = subprocess.run([program, "info", "--json", "--model", str(folder), *options], capture_output=True, text=True, check=False)
    except OSError as error:
        return _leave_to_run(folder, f"{program} does not start ({error.strerror})")
    if result.returncode == 0:
        try:
            return dict(json.loads(result.stdout))
        except ValueError:
            return _leave_to_run(folder, f"{program} gave no description")
    lines = [line for line in result.stderr.splitlines() if line.startswith(SENTENCE)]
    if lines:
        raise UserError(lines[-1].removeprefix(SENTENCE))
    return _leave_to_run(folder, f"{program} does not know `info --model`: build it again")


def _leave_to_run(folder: Path, why: str) -> None:
    print(f"note: {why}; whether it can run {folder} is left to the run", file=sys.stderr)
