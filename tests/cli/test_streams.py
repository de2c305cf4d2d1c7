"""Output of a command is whole, or the command fails: full disks, closed streams, readers that have gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable

import pytest
from conftest import LOG_LINE, PROGRAM, Study, environment

COMMANDS: dict[str, Callable[[Study], list[object]]] = {
    "--version": lambda study: ["--version"],
    "--help": lambda study: ["--help"],
    "run --help": lambda study: ["run", "--help"],
    "sweep --usage": lambda study: ["sweep", "--usage"],
    "run --options": lambda study: ["run", "--options"],
    "run --dry-run": lambda study: ["run", study.config, "--dry-run"],
    "info": lambda study: ["info"],
    "show": lambda study: ["show", study.finished()],
    "show --digest": lambda study: ["show", "--digest", study.finished()],
    "show --json": lambda study: ["show", "--json", study.finished()],
    "evaluate": lambda study: ["evaluate", "--model", study.model, "--data", study.data],
    "export": lambda study: ["export", study.finished(), "--format", "npz"],
}


def sentences(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not LOG_LINE.match(line)]


def call_with(words: list[object], stdout: object, before: Callable[[], None] | None = None) -> tuple[int, list[str]]:
    done = subprocess.run([PROGRAM, *map(str, words)], stdout=stdout, stderr=subprocess.PIPE, text=True,  # type: ignore[call-overload]
                          check=False, timeout=120, env=environment({}), preexec_fn=before)
    return done.returncode, sentences(done.stderr)


def test_sweep_tables(mask: Study) -> None:
    file = mask.folder / "sweep.yaml"
    file.write_text(json.dumps({"name": "s", "base": mask.config.name, "output": str(mask.folder / "runs"), "repeats": 200}))
    for words in ("--list", "--status"):
        with open("/dev/full", "w", encoding="utf-8") as full:
            code, told = call_with(["sweep", file, words], full)
        assert code == 1 and len(told) == 1 and "the output is incomplete" in told[0], told


@pytest.mark.parametrize("name", COMMANDS)
def test_full_disk_and_closed_stream(mask: Study, name: str) -> None:
    words = COMMANDS[name](mask)
    with open("/dev/full", "w", encoding="utf-8") as full:
        code, told = call_with(words, full)
    assert code == 1 and len(told) == 1 and told[0].startswith("fedbpt: error: ") and "cannot be written" in told[0], told
    if name == "export":
        words += ["--overwrite"]
    code, told = call_with(words, None, before=lambda: os.close(1))
    assert code == 1 and len(told) == 1 and "cannot be written" in told[0], told


def test_a_failure_has_one_sentence(mask: Study) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        assert call_with(["show", mask.folder / "none.h5"], full)[0] == 1
        code, told = call_with(["run", mask.config, "--dry-run", "--set", "fed.clients=0"], full)
    assert code == 1 and len(told) == 1 and "fed.clients" in told[0]


@pytest.mark.parametrize("ignored", [False, True])
def test_a_reader_that_has_gone(mask: Study, ignored: bool) -> None:
    """Ends as other programs do, whether or not whoever started it ignores SIGPIPE."""
    def before() -> None:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN if ignored else signal.SIG_DFL)

    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen([PROGRAM, "run", "--options"], stdout=write, stderr=subprocess.PIPE, text=True,  # noqa: S603
                               preexec_fn=before, restore_signals=False)
    os.close(write)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (-signal.SIGPIPE, "")


def test_closed_streams_are_not_taken_by_files(mask: Study) -> None:
    """Breaks if a run whose streams are closed writes its words into the files that it opens."""
    path = mask.output()
    code, told = call_with(["run", mask.config, *mask.set(run__output=path)], None, before=lambda: (os.close(0), os.close(1)))
    assert (code, told) == (0, [])
    again = mask.finished()
    assert path.stat().st_size > 0
    digests = {subprocess.run([PROGRAM, "show", "--digest", str(file)], capture_output=True, check=True).stdout for file in (path, again)}
    assert len(digests) == 1
