"""A test split drawn out of a source that has none, in two passes, so that the texts need not lie in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

from .errors import UserError
from .records import Record, Split

KEY_BYTES = 16  # of SHA-256: that two texts of a source share them does not happen


def _keys(records: Iterable[Record], seed: int, n_texts: int) -> np.ndarray:
    """The first bytes of SHA-256(seed, texts) of every row, as two big-endian integers: [n, 2]."""
    keys = bytearray()
    start = hashlib.sha256(f"{seed}\n".encode())
    for record in records:
        digest = start.copy()
        digest.update("\n".join(map(str, record.cells[:n_texts])).encode("utf-8", "surrogatepass"))
        keys += digest.digest()[:KEY_BYTES]
    return np.frombuffer(keys, dtype=">u8").reshape(-1, 2)


def draw(keys: np.ndarray, test_size: int) -> np.ndarray:
    """Rows of the test split in the draw's order: by key, rows of one key in their own order, and all of them or none."""
    if not 0 < test_size < len(keys):
        raise UserError(f"--test-size {test_size}: must be between 1 and {len(keys) - 1}, as there are {len(keys)} samples")
    order = np.lexsort((np.arange(len(keys)), keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    starts = np.flatnonzero(np.r_[True, (ordered[1:] != ordered[:-1]).any(axis=1)])
    ends = np.r_[starts[1:], len(keys)]
    chosen, n_chosen = [], 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if n_chosen + end - start <= test_size:
            chosen.append(order[start:end])
            n_chosen += end - start
        if n_chosen == test_size:
            break
    return np.concatenate(chosen) if chosen else np.empty(0, dtype=np.int64)


class Drawn:
    """The rows of one side. The test side keeps the draw's order, so that the first n are a fair sample where a source is sorted."""

    def __init__(self, source: Split, test: np.ndarray, n_rows: int, is_test: bool) -> None:
        self.source, self.test, self.is_test = source, test, is_test
        self.chosen = np.zeros(n_rows, dtype=bool)
        self.chosen[test] = True

    def __iter__(self) -> Iterator[Record]:
        if not self.is_test:
            return self._rows()
        place = {row: number for number, row in enumerate(self.test.tolist())}
        return iter(sorted(self._rows(), key=lambda record: place[record.row]))

    def _rows(self) -> Iterator[Record]:
        """The side's rows in the source's order."""
        chosen, n_rows = self.chosen.tobytes(), 0
        for record in self.source.records:
            n_rows += 1
            if n_rows <= len(chosen) and chosen[record.row] == self.is_test:
                yield record
        if n_rows != len(chosen):
            raise UserError(
                f"{self.source.name}: had {len(chosen)} rows, and now has {n_rows}; leave the files as they are while they are read"
            )


def draw_test(source: Split, test_size: int, seed: int, n_texts: int) -> dict[str, Split]:
    """Train and test split by a seeded draw. Rows of the same texts (the first `n_texts` cells) all go to one side, so that no
    test sample was trained on.

    The draw goes by SHA-256(seed, texts): the same on every machine and with every library version.
    """
    keys = _keys(source.records, seed, n_texts)
    test = draw(keys, test_size)
    sides = {"train": len(keys) - len(test), "test": len(test)}
    return {name: Split(Drawn(source, test, len(keys), name == "test"), "", name, count) for name, count in sides.items()}
