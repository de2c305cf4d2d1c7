"""The data set file: tokens of every split packed end to end, in HDF5."""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .clients import Clients
from .encode import Block
from .errors import UserError
from .paths import real_path
from .vocabulary import Vocabulary

FORMAT_VERSION = 1
SEAL_BYTES = 512  # before the file proper: HDF5's user block

# name -> (type in the file, long name, unit)
COLUMNS = {
    "tokens": (np.int32, "token ids of all samples, end to end", "token id"),
    "offsets": (np.int64, "first token of each sample, and one past the last", "token"),
    "labels": (np.int32, "label number", "label"),
    "readout": (np.int32, "position within the sample where the model is read", "token"),
    "frozen": (np.uint8, "1: template, prompt or special token; 0: token of the text", "1"),
    "row": (np.int64, "row in the source, from 0", "row"),
    "client": (np.int32, "client that the sample comes from", "client"),
    "names": (np.uint8, "names of the clients in UTF-8, end to end", "byte"),
}
OF_SPLITS = ("tokens", "offsets", "labels", "readout", "frozen", "row")


@dataclass
class Table:
    """A split in memory while it grows."""

    tokens: array[int] = field(default_factory=lambda: array("i"))
    frozen: array[int] = field(default_factory=lambda: array("B"))
    offsets: array[int] = field(default_factory=lambda: array("q", [0]))
    labels: array[int] = field(default_factory=lambda: array("i"))
    readout: array[int] = field(default_factory=lambda: array("i"))
    row: array[int] = field(default_factory=lambda: array("q"))
    client: array[int] = field(default_factory=lambda: array("i"))
    n_truncated: int = 0

    def add(self, block: Block) -> None:
        """Appends some samples."""
        ends = np.cumsum(block.lengths, dtype=np.int64) + self.offsets[-1]
        self.offsets.frombytes(ends.tobytes())
        self.tokens.extend(block.tokens)
        self.frozen.frombytes(block.frozen)
        self.labels.extend(block.labels)
        self.readout.extend(block.readout)
        self.row.extend(block.row)
        self.client.extend(block.client)
        self.n_truncated += block.n_truncated

    def __len__(self) -> int:
        return len(self.labels)


def collect(blocks: Iterable[Block]) -> Table:
    """All samples of a split."""
    table = Table()
    for block in blocks:
        table.add(block)
    return table


def write(
    path: Path, attributes: dict[str, Any], splits: dict[str, Table], label_texts: list[list[int]], clients: Clients | None = None,
    vocabulary: Vocabulary | None = None,
) -> None:
    """Writes the file beside its final place and renames it, so that no one ever sees half a file. `clients`: those that the training
    samples come from; `vocabulary`: words that prompts may be made of."""
    path = real_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; --output names the file to write")
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=path.parent) as scratch:
        temporary = Path(scratch) / "dataset.h5"
        with h5py.File(temporary, "w", userblock_size=SEAL_BYTES) as file:
            _write_attributes(file, attributes)
            for name, table in splits.items():
                group = file.create_group(name)
                group.attrs["n_truncated"] = table.n_truncated
                for column in OF_SPLITS:
                    _write_column(group, column, getattr(table, column))
            if label_texts:
                group = file.create_group("labels")
                _write_column(group, "tokens", [token for row in label_texts for token in row])
                _write_column(group, "offsets", np.cumsum([0, *map(len, label_texts)]))
            if clients is not None:
                _write_clients(file, *clients.order(splits["train"].client))
            if vocabulary is not None:
                group = file.create_group("vocabulary")
                _write_column(group, "tokens", vocabulary.tokens)
                _write_attributes(group, {"words": vocabulary.words})
        _seal(temporary)
        temporary.replace(path)


def _write_clients(file: h5py.File, names: list[str], client: np.ndarray) -> None:
    group = file.create_group("clients")
    encoded = [name.encode("utf-8") for name in names]
    _write_column(group, "names", np.frombuffer(b"".join(encoded), dtype=np.uint8))
    _write_column(group, "offsets", np.cumsum([0, *map(len, encoded)]))
    _write_column(file["train"], "client", client)


def _seal(path: Path) -> None:
    """Puts the SHA-256 of the file's bytes before them (docs/run-file.md): a damaged file is then told before HDF5 reads it."""
    with path.open("r+b") as file:
        file.seek(SEAL_BYTES)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        n_bytes = file.seek(0, 2) - SEAL_BYTES
        file.seek(0)
        file.write(f"fedbpt-seal 1 sha256 {digest} {n_bytes}\n".encode())


def _write_attributes(file: h5py.Group, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        if isinstance(value, list) and value and isinstance(value[0], str):
            file.attrs.create(name, np.array(value, dtype=object), dtype=h5py.string_dtype("utf-8"))
        elif isinstance(value, list):
            file.attrs[name] = np.array(value, dtype=np.int32)
        else:
            file.attrs[name] = value


def _write_column(group: h5py.Group, name: str, values: Any) -> None:
    kind, long_name, unit = COLUMNS[name]
    dataset = group.create_dataset(name, data=np.asarray(values, dtype=kind))
    dataset.attrs["long_name"] = long_name
    dataset.attrs["unit"] = unit
