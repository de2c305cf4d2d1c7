"""The command line and the package as it is installed."""

from __future__ import annotations

import io
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


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """A line of bash in which $FA is the command."""
    variables = os.environ | {"PYTHONPATH": str(ROOT / "analysis"), "FA": f"{sys.executable} -m fedbpt_analysis"}
    return subprocess.run(["bash", "-c", line], capture_output=True, env=variables, check=False, cwd=folder)


def test_closed_and_full_output_in_a_shell(tmp_path: Path) -> None:
    """An error in one sentence, and none of the interpreter's own when it ends. A check fails whatever its reader does."""
    (tmp_path / "bad.h5").write_bytes(b"x")
    line = "$FA verify bad.h5 >/dev/full; echo $? >&2; $FA --help >&-; echo $? >&2; $FA verify bad.h5 | true; echo ${PIPESTATUS[0]} >&2"
    result = shell(line, tmp_path)
    expected = [b"fedbpt-analysis: error: the standard output cannot be written: No space left on device", b"1",
                b"fedbpt-analysis: error: the standard output is closed; nothing can be printed", b"1", b"1"]
    assert [text for text in result.stderr.splitlines() if not text.startswith(b"note:")] == expected


@pytest.mark.parametrize("words", ["--version", "report --help", "verify run.h5", "watch --once run.h5", "watch run.h5", "compare run.h5",
                                   "report run.h5"])
def test_full_output(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Result]) -> None:
    made.write(tmp_path / "run.h5")
    monkeypatch.chdir(tmp_path)
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        result = call(*words.split())
    assert result.code == 1 and result.err.splitlines()[-1] == "fedbpt-analysis: error: the standard output cannot be written: No space left on device"


def test_full_file(tmp_path: Path, call: Callable[..., Result]) -> None:
    """The error names the file."""
    path = tmp_path / "x.svg"
    path.symlink_to("/dev/full")
    call("report", made.write(tmp_path / "run.h5"), "--overview", path).sentence("x.svg: No space left")


def narrow(encoding: str, monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """A standard output of that encoding; what it receives."""
    bytes_out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_out, encoding=encoding, write_through=True))
    return bytes_out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_narrow_output(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters that the encoding lacks are spelt out: our own characters in words, those of users as escapes."""
    for seed in (1, 2):
        for number, name in enumerate(("daten/größe.h5", "数据.h5")):
            scores = {"test_accuracy": [0.5 + number / 10 + seed / 50] * 5}
            made.write(tmp_path / f"{seed}-{number}.h5", made.Made({"run.seed": seed, "data.path": name}, scores=scores))
    path = made.write(tmp_path / "体.h5", made.Made(task="测试", label_words=["体", "b", "c"]))
    received = narrow(encoding, monkeypatch)
    words = [["compare", *map(str, tmp_path.glob("?-?.h5"))], ["watch", "--once", str(path)]]
    assert [cli.main(line) for line in words] == [0, 0]
    out = received.getvalue().decode(encoding)
    assert "\\u6570\\u636e" in out and ("+-" if encoding == "ascii" else "±") in out and "\\u4f53   " in out
    assert ("gr\\xf6\\xdfe" if encoding == "ascii" else "größe") in out


def test_names_that_are_no_text(tmp_path: Path, call: Callable[..., Result]) -> None:
    """A file name that is not UTF-8, and a terminal's commands in names, are printed as escapes and written into the page."""
    hostile = made.Made(task="\x1b[31mred\u202e", label_words=["\x1b]0;title\x07", "a\nb", "c"])
    path = made.write(tmp_path / "run.h5", hostile).rename(tmp_path / "r\udcff\x1b[2J.h5")
    out = call("report", path).good().out + call("watch", "--once", path).good().out + call("verify", path, "no\x1b.h5").out
    assert not set("\x1b\x07\u202e\udcff") & set(out)
    assert "r\\udcff\\x1b[2J" in out and "\\x1b[31mred\\u202e" in out and "no\\x1b.h5: there is no such file" in out
    page = path.with_suffix(".html").read_text(encoding="utf-8")
    assert "\\x1b]0;title\\x07" in page and "a\\nb" in page and "\x1b" not in page


@pytest.mark.parametrize("command", ["verify -x.h5", "verify -- -x.h5", "verify --same -x.h5", "watch --once -x.h5", "compare -x.h5"])
def test_names_that_begin_with_a_dash(command: str, real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                      call: Callable[..., Result]) -> None:
    """As `verify *.h5` makes them of a shell's files; the program, too, is told that they are files."""
    (tmp_path / "-x.h5").write_bytes(real.read_bytes())
    monkeypatch.chdir(tmp_path)
    out = call(*command.split()).good().out
    assert "problem" not in out and ("verify" not in command or "ok       -x.h5: finished, 3 of 3 rounds, digest" in out)
    assert "-no.h5: there is no such file" in call("verify", "-no.h5").out
    assert call("verify", "-x.h5", "--loudly").code == 2


def test_pins() -> None:
    """The package asks for the versions that the checkout's environment has."""
    project = tomllib.loads((ROOT / "analysis" / "pyproject.toml").read_text())["project"]
    pinned = {line.split("#")[0].strip() for line in (ROOT / "jobs" / "requirements.txt").read_text().splitlines()}
    assert len(project["dependencies"]) == 8 and set(project["dependencies"]) <= pinned
    assert project["scripts"]["fedbpt-analysis"] == "fedbpt_analysis.cli:main"


def test_what_is_installed() -> None:
    """Pages need their templates, style and script, type checkers need py.typed."""
    package = Path(fedbpt_analysis.__file__).parent
    assert (package / "py.typed").exists()
    assert {path.name for path in (package / "templates").iterdir()} == {
        "comparison.html", "page.css", "page.html", "parts.html", "report.html", "sort.js", "table.html"}
    for name in fedbpt_analysis.__all__:
        assert getattr(fedbpt_analysis, name)
