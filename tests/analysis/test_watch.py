"""The live view: plots, replaced files, the end of the run."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path

import made
import numpy as np
import pytest
from conftest import Result
from fedbpt_analysis import open_run, terminal, watch
from made import Made


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_plot_places_its_marks() -> None:
    """Round r of n stands r/n along the axis, and the largest value above the smallest."""
    values = np.array([0.5, 0.75, np.nan, 1.0])
    lines = terminal.plot([("o", values)], np.arange(4), 6, "title", width=41, height=11)
    assert lines[0].startswith("title") and len(lines) == 14 and max(map(len, lines)) == 41
    marks = {(row, line.index("o")) for row, line in enumerate(lines[1:12]) if "o" in line}
    left = terminal.GUTTER + 1
    assert marks == {(10, left), (5, left + 5), (0, left + 15)} or marks == {(9, left), (5, left + 5), (1, left + 15)}
    assert lines[-1].split() == ["0", "6"]


@pytest.mark.parametrize("values", [[np.nan, np.nan], [0.5, 0.5], [0.0], [1e-9, 2e-9], [1e12, -1e12]])
def test_plot_of_little(values: list[float]) -> None:
    lines = terminal.plot([("o", np.array(values))], np.arange(len(values)), 1, "t", 40, 8)
    assert len(lines) == 11 and ("o" in "".join(lines)) == bool(np.isfinite(values).any())


@pytest.mark.parametrize(("width", "height"), [(60, 24), (80, 40), (130, 30), (200, 60)])
def test_screen_fits(width: int, height: int, tmp_path: Path) -> None:
    run = open_run(made.write(tmp_path / "run.h5", Made({"fed.rounds": 150})))
    lines = watch.screen(run, width, height)
    assert max(map(len, lines)) <= width and len(lines) < height


def test_once(tmp_path: Path, call: Callable[..., Result]) -> None:
    scores = {"test_accuracy": [0.5, 0.6, 0.7, 0.8, 0.75], "dev_accuracy": [0.1, 0.2, 0.9, 0.3, 0.4]}
    out = call("watch", "--once", made.write(tmp_path / "run.h5", Made(scores=scores))).good().out
    assert "round 4 of 4, finished in 12 s" in out or "round 4 of 4, finished in 13 s" in out
    assert "best dev 2     test 0.700" in out and "last 4         test 0.750" in out and "o test   x dev   . train" in out
    assert "\x1b" not in out
    call("watch", "--once", tmp_path / "no.h5").sentence("there is no such file")


def follow(path: Path, out: io.StringIO) -> tuple[threading.Thread, list[int]]:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(watch.watch(path, False, 0.05, out)), daemon=True)
    thread.start()
    return thread, codes


def wait_for(text: str, out: io.StringIO) -> None:
    end = time.monotonic() + 20
    while text not in out.getvalue():
        assert time.monotonic() < end, f"{text!r} did not appear: {out.getvalue()}"
        time.sleep(0.01)


@pytest.mark.parametrize(("status", "code"), [("finished", 0), ("interrupted", 0), ("failed", 1)])
def test_follows_a_run_to_its_end(status: str, code: int, tmp_path: Path) -> None:
    """Waits for the file, sees it replaced, says each round once, and ends with the run."""
    path, out = tmp_path / "run.h5", io.StringIO()
    thread, codes = follow(path, out)
    wait_for("waiting for", out)
    for rows in (1, 2, 4):
        made.replace(path, Made(rows=rows, status="running"))
        wait_for(f"round {rows - 1} of 4, running", out)
    path.with_name("gone").write_bytes(path.read_bytes())
    path.unlink()  # a network file system may show no file for a moment
    time.sleep(0.2)
    assert thread.is_alive()
    made.replace(path, Made(status=status))
    thread.join(20)
    lines = out.getvalue().splitlines()
    assert codes == [code] and f"round 4 of 4, {status}" in lines[-1]
    assert len(lines) == 5


def test_on_a_terminal(tmp_path: Path) -> None:
    """Draws over itself, and again while nothing changes, since the time since the last round is shown."""
    path, out = made.write(tmp_path / "run.h5", Made(rows=2, status="running")), Terminal()
    thread, codes = follow(path, out)
    wait_for("about", out)
    end = time.monotonic() + 20
    while out.getvalue().count("\x1b[H") < 3 and time.monotonic() < end:
        time.sleep(0.01)
    made.replace(path, Made())
    thread.join(20)
    assert codes == [0] and out.getvalue().count("\x1b[H") >= 4 and out.getvalue().startswith("\x1b[2J")


def test_errors(tmp_path: Path, call: Callable[..., Result]) -> None:
    (tmp_path / "run.h5").write_bytes(b"no")
    call("watch", tmp_path / "run.h5").sentence("not an HDF5 file")
    call("watch", tmp_path / "run.h5", "--interval", "0").sentence("--interval 0", "seconds")
