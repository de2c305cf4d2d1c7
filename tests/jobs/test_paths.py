"""Outputs that are links: what they name is written, there or not, and the link stays."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
from fedbpt_analysis.output import write_text
from staging import writer
from staging.errors import UserError


def test_data_set(tmp_path: Path) -> None:
    """Breaks if the writer replaces the link itself: the data set would not be where it was wanted."""
    (tmp_path / "disk").mkdir()
    link = tmp_path / "data.h5"
    link.symlink_to("disk/target.h5")
    for task in ("first", "second"):
        writer.write(link, {"task": task}, {}, [])
        assert link.is_symlink()
        with h5py.File(tmp_path / "disk" / "target.h5") as file:
            assert file.attrs["task"] == task
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.h5", "disk"]
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["target.h5"]


def test_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UserError, match="circle"):
        writer.write(tmp_path / "a", {}, {}, [])


def test_report(tmp_path: Path) -> None:
    link = tmp_path / "report.html"
    link.symlink_to("target.html")
    write_text(link, "page")
    assert link.is_symlink() and (tmp_path / "target.html").read_text() == "page"
