"""The data set file as a whole."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Result
from fedbpt_analysis import seal
from staging import task as task_module
from staging import writer
from staging.encode import Block

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "run-file.md"


def write(path: Path) -> Path:
    sample = Block(array("i", [2, 5, 4, 3]), bytearray([1, 0, 1, 1]), array("q", [4]), array("i", [0]), array("i", [2]), array("q", [7]))
    writer.write(path, {"format_version": writer.FORMAT_VERSION, "label_words": ["good", "bad"]}, {"train": writer.collect([sample])}, [])
    return path


def test_documented(call: Callable[..., Result], bert: Path, task: Callable[..., Path], table: Callable[..., Path], tmp_path: Path) -> None:
    """docs/run-file.md names every attribute and column with its type, unit and meaning, and no others. Broken by one that it lacks."""
    output = tmp_path / "out.h5"
    result = call("prepare_data", "--model", bert, "--task", task(), "--train", table(("film", 0)), "--output", output)
    assert result.code == 0, result.err
    document = DOCUMENT.read_text(encoding="utf-8")
    attributes, splits = document.split("### Data set attributes")[1].split("### Splits")
    with h5py.File(output) as file:
        assert set(file.attrs) == set(re.findall(r"^\| `(\w+)` \|", attributes, re.MULTILINE))
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| \[.*?\] \| (.+?) \| (.+) \|$", splits.split("\n## ")[0], re.MULTILINE)
    assert {name: (kind, meaning, unit) for name, kind, unit, meaning in rows} == {
        name: (np.dtype(kind).name, meaning, unit) for name, (kind, meaning, unit) in writer.COLUMNS.items()}


@pytest.mark.parametrize(("chosen", "names"), [
    ("READOUT", task_module.READOUTS), ("PROMPT_MODE", ("none", *task_module.MODES)), ("METRIC", task_module.METRICS),
    ("LOSS", task_module.LOSSES)])
def test_names_are_the_programs(chosen: str, names: tuple[str, ...]) -> None:
    """Broken by a choice that the program (src/base/choices.h) or the staging alone knows."""
    header = (ROOT / "src" / "base" / "choices.h").read_text(encoding="utf-8")
    listed = re.search(rf"#define FBT_{chosen}_LIST\(X\)((?:.*\\\n)+.*)", header)
    assert listed and tuple(re.findall(r'X\(\w+, "(\w+)"', listed[1])) == names


def test_sealed(tmp_path: Path) -> None:
    """Breaks when what the staging writes as a seal is not what readers compare, or plain h5py cannot open the file."""
    path = write(tmp_path / "data.h5")
    seal.check(path)
    with h5py.File(path) as file:
        assert file.userblock_size == seal.SEAL_BYTES == writer.SEAL_BYTES
        assert file["train/tokens"][:].tolist() == [2, 5, 4, 3]
    content = path.read_bytes()
    seal.write(path)
    assert path.read_bytes() == content


def test_damaged(tmp_path: Path) -> None:
    """Any flipped bit is told before HDF5 reads the file."""
    path = write(tmp_path / "data.h5")
    content = path.read_bytes()
    draw = np.random.default_rng(3)
    for place in draw.integers(0, len(content), 300).tolist():
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(seal.SealError, match="damaged"):
            seal.check(path)
