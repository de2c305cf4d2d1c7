"""The live view: plots, replaced files, the end of the run."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import made
import numpy as np
import pytest
from conftest import Result
from fedbpt_analysis import claims, open_run, terminal, watch, words
from fedbpt_analysis.naming import width_of
from made import Made, dead_process, lock


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


def words_of(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


@pytest.mark.parametrize(("width", "height"), [(80, 12), (80, 24), (20, 12), (100, 12), (40, 60), (10, 5), (3, 3), (200, 2)])
def test_screen_of_a_small_terminal(width: int, height: int, tmp_path: Path) -> None:
    """Never more lines than scroll, nor wider ones; the line that says how far the run is comes first."""
    run = open_run(made.write(tmp_path / f"{'体育' * 20}.h5", Made({"fed.rounds": 150}, rows=30, status="running", task="\x1b[2J新闻")))
    lines = watch.screen(run, width, height)
    assert len(lines) < height or len(lines) == 1
    assert max(map(width_of, lines)) <= width and not any("\x1b" in line for line in lines)
    if width > 10:
        assert "round 29" in words_of(lines[:2])
    if (width, height) == (80, 24):
        text = words_of(lines)
        for word in ("round 29 of 150, running, last written", "to go", "before tuning", "train", "seed 1", "step size", "down",
                     "accuracy (fraction)"):
            assert word in text, word
    if (width, height) == (80, 12):
        assert len(lines) >= 7 and "seed 1" in words_of(lines)


def test_fold() -> None:
    assert terminal.fold("one two three", 9) == ["one two", "  three"] and terminal.fold("", 5) == [""]
    assert terminal.fold("abcdefgh", 3) == ["abc", "def", "gh"] and terminal.fold("体育新闻 a", 4) == ["体育", "新闻", "a"]
    text = "round 3 of 4, running, about 5 s to go"
    for width in range(1, 45):
        assert max(map(width_of, terminal.fold(text, width))) <= width
        assert "".join("".join(terminal.fold(text, width)).split()) == "".join(text.split())


def test_nothing_scored(tmp_path: Path) -> None:
    """A run whose losses are no numbers, or too large to draw, is shown without plots or with what there is."""
    for number, value in enumerate((np.nan, np.inf, 1e308)):
        scores = {name: [value] * 5 for name in ("train_loss", "train_accuracy", "dev_loss", "dev_accuracy", "test_loss", "test_accuracy")}
        run = open_run(made.write(tmp_path / f"{number}.h5", Made(scores=scores)))
        assert "round 4 of 4" in words_of(watch.screen(run, 80, 24))


@pytest.mark.parametrize("live", [False, True])
def test_killed_run(live: bool, tmp_path: Path) -> None:
    """Its process has ended and the file still says running: the view ends, says so and fails."""
    path, out = made.write(tmp_path / "run.h5", Made(rows=2, status="running")), Terminal() if live else io.StringIO()
    lock(path, **dead_process())
    assert watch.watch(path, False, 0.05, out) == 1
    assert "run.h5: ended at round 1 of 4 without saying so: process" in out.getvalue() and "--resume" in out.getvalue()
    run = open_run(path)
    assert "round 1 of 4, killed" in words_of(watch.screen(run, 80, 24)) and words.status_text(run) == "killed after 1 of 4 rounds"
    assert claims.look(path).dead and not claims.look(lock(path) and path).dead


def test_successor_of_a_killed_run(tmp_path: Path) -> None:
    """While a lock is taken over, who takes it counts; another host's process is not looked for here."""
    path = made.write(tmp_path / "run.h5")
    assert claims.look(path) is None
    first = lock(path, **dead_process())
    first.with_name(f"{first.name}.ab12").write_text(lock(path, identity="cd34").read_text())
    lock(path, **dead_process())
    assert not claims.look(path).dead
    assert not claims.look(lock(path, **dead_process(), host="elsewhere") and path).dead
    first.write_text("")
    assert claims.look(path).text == "unknown process"


def test_silent_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process on another host counts as dead when nothing has changed for a time by this one's own clock, whatever the times in the
    files say; signs of life put that off."""
    path = made.write(tmp_path / "run.h5", Made(rows=2, status="running"))
    file = lock(path, host="elsewhere")
    os.utime(file, (4e9, 4e9))  # in the future
    now = 1000.0
    monkeypatch.setattr(claims.time, "monotonic", lambda: now)
    signs = claims.LifeSigns(path)
    for later, dead in ((0, False), (100, False), (119, False), (121, True)):
        now = 1000.0 + later
        assert (signs.why_dead() is not None) == dead
    os.utime(file, (1, 1))
    assert signs.why_dead() is None
    now += 119
    file.unlink()
    assert signs.why_dead() is None
    now += 121
    assert "no process has it locked" in str(signs.why_dead())


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
