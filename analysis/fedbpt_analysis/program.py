"""The C program, for what it computes better than a second implementation would."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .errors import AnalysisError

CHECKOUT = Path(__file__).resolve().parents[2]  # or PREFIX/share/fedbpt of an installed copy
BUILT = Path("build", "release", "bin", "fedbpt")


def find(given: str | None) -> str | None:
    """The program: as given, of the environment variable FEDBPT, on PATH, built in the current folder or in the checkout that this
    package lies in, or installed with it. None if there is none; a given one must be there."""
    if given is not None:
        found = shutil.which(given)
        if found is None:
            raise AnalysisError(f"--program {given}: there is no such program")
        return found
    candidates = [os.environ.get("FEDBPT", ""), "fedbpt", str(BUILT.absolute()), str(CHECKOUT / BUILT), str(CHECKOUT / "bin" / "fedbpt")]
    return next((found for found in (shutil.which(name) for name in candidates if name) if found), None)


def need(given: str | None) -> str:
    found = find(given)
    if found is None:
        raise AnalysisError("the program fedbpt is not on PATH and not in build/release/bin; name it with --program")
    return found


def file_argument(path: str | Path) -> str:
    """A path that the program takes for no option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def call(program: str, *arguments: str, named: bool = True) -> str:
    """Return the program's output; its own sentence as the error if it fails, with its name before it unless `named` is False."""
    mpi = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"} if os.geteuid() == 0 else {}
    result = subprocess.run([program, *arguments], capture_output=True, encoding="utf-8", errors="backslashreplace", check=False,
                            env=os.environ | mpi)
    if result.returncode != 0:
        lines = [line for line in result.stderr.splitlines() if line.strip()] or [f"ended with exit code {result.returncode}"]
        said = next((line for line in lines if "error: " in line), lines[-1])
        raise AnalysisError((f"{Path(program).name} {arguments[0]}: " if named else "") + said.removeprefix("fedbpt: error: "))
    return result.stdout
