"""The command line and the package as it is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import fedbpt_analysis
import made
import pytest
from conftest import ROOT, Result
from fedbpt_analysis import cli


@pytest.mark.parametrize("command", ["", *cli.COMMANDS])
def test_help(command: str, call: Callable[..., Result]) -> None:
    """Every command has examples, and every example's options exist."""
    out = call(*([command] if command else []), "--help").good().out
    assert "examples:" in out
    lines = [line.strip() for line in cli.EXAMPLES[command].splitlines()]
    examples = [line.split("  ")[0] for line in lines if line.startswith("fedbpt-analysis")]
    assert len(examples) >= 2
    for example in examples:
        words = re.split(r"[<>|]", example)[0].split()[1:]
        assert cli.make_parser().parse_args(words).command in cli.COMMANDS


def test_wrong_command_line(call: Callable[..., Result]) -> None:
    for words in ([], ["draw"], ["report"], ["compare", "a", "--format", "word"], ["watch"], ["verify", "--loudly", "a"]):
        result = call(*words)
        assert result.code == 2 and "usage:" in result.err and result.out == ""


def test_as_a_program(tmp_path: Path) -> None:
    """A reader that stops reading, as `| head` does, is no error."""
    path = made.write(tmp_path / "run.h5")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "analysis")}
    words = f"{sys.executable} -m fedbpt_analysis watch --once {path} | head -1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", words], capture_output=True, text=True, env=environment, check=False)
    assert (result.returncode, result.stderr, result.stdout.count("\n")) == (0, "", 1)


def test_pins() -> None:
    """The package asks for the versions that the checkout's environment has."""
    project = tomllib.loads((ROOT / "analysis" / "pyproject.toml").read_text())["project"]
    pinned = {line.split("#")[0].strip() for line in (ROOT / "jobs" / "requirements.txt").read_text().splitlines()}
    assert len(project["dependencies"]) == 5 and set(project["dependencies"]) <= pinned
    assert project["scripts"]["fedbpt-analysis"] == "fedbpt_analysis.cli:main"


def test_what_is_installed() -> None:
    """Pages need their style and script, type checkers need py.typed."""
    package = Path(fedbpt_analysis.__file__).parent
    assert (package / "py.typed").exists()
    assert {path.name for path in (package / "assets").iterdir()} == {"page.css", "page.html", "sort.js"}
    for name in fedbpt_analysis.__all__:
        assert getattr(fedbpt_analysis, name)
