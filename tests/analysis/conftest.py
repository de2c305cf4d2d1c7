"""Run files of the program and made ones, and the command as the shell would call it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "analysis"), str(Path(__file__).parent), str(ROOT / "tests" / "cli")]

import toy  # noqa: E402
from fedbpt_analysis import cli  # noqa: E402

PROGRAM = os.environ.get("FEDBPT", str(ROOT / "build" / "release" / "bin" / "fedbpt"))


@dataclass
class Result:
    """How the command ended."""

    code: int
    out: str
    err: str

    def good(self) -> Result:
        assert self.code == 0, self.err
        return self

    def sentence(self, *words: str) -> str:
        """Asserts that the command failed and told why in one sentence, holding all of the words."""
        assert self.code == 1 and self.out == "", f"exit code {self.code}: {self.out}"
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("fedbpt-analysis: error: "), self.err
        for word in words:
            assert word in lines[0], f"{word!r} is not in: {lines[0]}"
        return lines[0]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Calls the command in this process."""

    def run(*words: object) -> Result:
        capsys.readouterr()
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


def program(*words: object) -> str:
    """Calls the C program to a good end."""
    mpi = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    result = subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True, check=False, env=os.environ | mpi, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the program: 5 clients, of which 4 take part in a round, 3 rounds, scored every second one."""
    folder = tmp_path_factory.mktemp("real")
    shape = toy.Toy()
    data = toy.write(folder / "data.h5", shape)
    values = toy.settings(toy.MASK_MODEL, data, folder / "run.h5", shape)
    values["fed"]["participation"] = 0.8
    values["eval"] = {"every": 2}
    values["run"]["client_means"] = True
    program("run", toy.write_settings(folder / "settings.yaml", values))
    return folder / "run.h5"


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the program in bf16, 3 rounds, each of which was checked."""
    if not re.search("\ninstruction set: avx512_core_(bf16|amx)", program("info")):
        pytest.skip("this processor does not compute in bf16")
    folder = tmp_path_factory.mktemp("checked")
    shape = toy.Toy()
    values = toy.settings(toy.MASK_MODEL, toy.write(folder / "data.h5", shape), folder / "run.h5", shape)
    values["backend"] = {"threads": 1, "precision": "bf16", "precision_check_every": 1}
    program("run", toy.write_settings(folder / "settings.yaml", values))
    return folder / "run.h5"


@pytest.fixture(autouse=True)
def _this_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDBPT", PROGRAM)
