"""Files that the package writes are whole: in their place at once, on the disk, and never in that of somebody else's."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import made
import pandas as pd
import pytest
from fedbpt_analysis import output, style
from fedbpt_analysis.errors import AnalysisError
from matplotlib.figure import Figure

Writer = Callable[[Path], None]


def write_part(path: Path, overwrite: bool = True) -> None:
    output.write_parts([output.Part(path, b"{new}", output.JSON)], overwrite)


WRITERS: dict[str, Writer] = {
    "text": lambda path: output.write_text(path, "new"),
    "csv": lambda path: output.write_csv(path, pd.DataFrame({"new": [1.5]}), index=False),
    "picture": lambda path: style.save(Figure(), path),
    "part": write_part,
}


@pytest.fixture(params=WRITERS.values(), ids=WRITERS)
def writer(request: pytest.FixtureRequest) -> Writer:
    given: Writer = request.param
    return given


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A file whose writing every writer accepts."""
    path = tmp_path / "out.svg"
    path.write_text("{old}")
    return path


def synced(monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], None]) -> None:
    """Calls `act` with the path of whatever is synced, after it was."""
    fsync = os.fsync

    def sync_and_act(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)
        act(path)

    monkeypatch.setattr(os, "fsync", sync_and_act)


def test_links_stay(writer: Writer, place: Path) -> None:
    """Broken by a link that is replaced, its target as it was; and by a link to a file yet to be made."""
    links = [place.with_name("link.svg"), place.with_name("early.svg")]
    links[0].symlink_to(place)
    links[1].symlink_to("yet.svg")
    for link in links:
        writer(link)
        assert link.is_symlink() and "old" not in link.read_text()
    assert place.read_bytes() == links[1].read_bytes() != b"{old}"


def test_circles_of_links(writer: Writer, tmp_path: Path) -> None:
    """Broken by a link of the circle that is replaced by a file."""
    one, other = tmp_path / "one.svg", tmp_path / "other.svg"
    one.symlink_to(other)
    other.symlink_to(one)
    with pytest.raises(OSError, match="Too many levels"):
        writer(one)
    assert one.is_symlink() and other.is_symlink()


def test_whole_and_on_the_disk(writer: Writer, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken by a new file that is in its place before it is synced, or by a folder that is not synced once it is."""
    seen: list[tuple[Path, str]] = []
    synced(monkeypatch, lambda path: seen.append((path, place.read_text())))
    place.chmod(0o640)
    writer(place)
    (file, before), (folder, after) = seen
    assert (file.parent, before) == (place.parent, "{old}") and file != place
    assert (folder, after) == (place.parent, place.read_text()) and after != before
    assert stat.S_IMODE(place.stat().st_mode) == 0o640


def test_a_write_that_fails(writer: Writer, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken by half a file in the place of a whole one, and by files that are left."""

    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    synced(monkeypatch, fail)
    with pytest.raises((OSError, AnalysisError), match=r"out\.svg.*No space left on device|No space left on device.*out\.svg"):
        writer(place)
    assert place.read_text() == "{old}" and os.listdir(place.parent) == [place.name]


def test_a_file_that_comes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken by a file replaced without --overwrite that was made after the place was looked at."""
    path = tmp_path / "out.json"
    synced(monkeypatch, lambda _: path.write_text("another's"))
    with pytest.raises(AnalysisError, match="File exists"):
        write_part(path, overwrite=False)
    assert path.read_text() == "another's" and os.listdir(tmp_path) == [path.name]


def test_a_run_that_begins_meanwhile(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken by a file put where a run, begun after the place was looked at, will put its own."""
    write = output.replacing

    def begin_and_write(target: Path, anew: bool = False) -> object:
        made.lock(place)
        return write(target, anew)

    monkeypatch.setattr(output, "replacing", begin_and_write)
    with pytest.raises(AnalysisError, match="is being written by another run"):
        write_part(place)
    assert place.read_text() == "{old}"
