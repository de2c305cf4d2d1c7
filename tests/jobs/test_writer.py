"""The data set file as a whole."""

from __future__ import annotations

from array import array
from pathlib import Path

import h5py
import numpy as np
import pytest
from fedbpt_analysis import seal
from staging import writer
from staging.encode import Block


def write(path: Path) -> Path:
    sample = Block(array("i", [2, 5, 4, 3]), bytearray([1, 0, 1, 1]), array("q", [4]), array("i", [0]), array("i", [2]), array("q", [7]))
    writer.write(path, {"format_version": writer.FORMAT_VERSION, "label_words": ["good", "bad"]}, {"train": writer.collect([sample])}, [])
    return path


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
