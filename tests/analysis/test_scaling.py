"""Pictures of predictions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Result
from fedbpt_analysis import scaling


def test_overview(tmp_path: Path, call: Callable[..., Result]) -> None:
    """The same numbers make the same bytes; the clients whose parts are shown change them."""
    pictures = [tmp_path / f"{name}.svg" for name in ("one", "again", "other")]
    for picture, clients in zip(pictures, ("1024", "1024", "10"), strict=True):
        call("scale", ROOT / "docs" / "scaling.json", "--overview", picture, "--clients", clients).good()
    one, again, other = (picture.read_bytes() for picture in pictures)
    assert b"<svg" in one and one == again != other


def test_lines() -> None:
    """Every prediction is drawn, in the order of its ranks."""
    rows = scaling.read(ROOT / "docs" / "scaling.json")
    figure = scaling.style.Figure()
    axes = figure.add_subplot()
    scaling._by_clients(rows, lambda row: row["seconds"], "seconds", True, axes)
    drawn = [tuple(point) for line in axes.get_lines() for point in line.get_xydata()]
    assert sorted(drawn) == sorted((row["ranks"], row["seconds"]) for row in rows)


@pytest.mark.parametrize(("text", "told"), [("{}", "is not what"), ("no", "is not what"), ('{"predictions": []}', "has no predictions"),
                                            (json.dumps({"predictions": [{"ranks": 1}]}), "has no predictions")])
def test_refuses(text: str, told: str, tmp_path: Path, call: Callable[..., Result]) -> None:
    path = tmp_path / "scaling.json"
    path.write_text(text)
    call("scale", path, "--overview", tmp_path / "a.svg").sentence("scaling.json", told)


def test_refuses_other_clients(tmp_path: Path, call: Callable[..., Result]) -> None:
    call("scale", ROOT / "docs" / "scaling.json", "--overview", tmp_path / "a.svg", "--clients", 7).sentence("7 clients", "1024")
