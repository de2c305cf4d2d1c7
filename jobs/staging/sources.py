"""Where samples come from: files in any of the kinds we read, one after another, as one split.

Every reader gives a row's number and its wanted columns; everything else about a row is made only when a message needs it.
"""

from __future__ import annotations

import glob
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .archives import sha256_of
from .arrowrows import count_parquet, read_arrow, read_parquet
from .delimited import Dialect, read_delimited
from .errors import UserError, warn
from .files import KINDS, check_file, kind_of, natural
from .jsonrows import read_json
from .records import Origin, Record, Split, combined_sha256, listed, short, some
from .splits import check_parts

Rows = Iterator[tuple[int, Any]]
AS_NAMED = Dialect()


def _read(path: Path, kind: str, columns: list[str], dialect: Dialect, tell: Callable[[str], None]) -> tuple[Origin, Rows]:
    if kind == ".parquet":
        return read_parquet(path, columns)
    if kind in (".arrow", ".feather", ".ipc"):
        return read_arrow(path, columns)
    if kind in (".csv", ".tsv"):
        return Origin(str(path)), read_delimited(path, kind, columns, dialect, tell)
    return Origin(str(path)), read_json(path, columns)


class FileRecords:
    """The rows of some files, numbered through; can be gone through any number of times, and warns once."""

    def __init__(self, paths: Sequence[Path], columns: list[str], dialect: Dialect) -> None:
        self.columns, self.dialect = columns, dialect
        self.files = [(path, check_file(path)) for path in paths]
        self.told: set[str] = set()

    def _tell(self, text: str) -> None:
        if text not in self.told:
            self.told.add(text)
            warn(text)

    def __iter__(self) -> Iterator[Record]:
        row = itertools.count()
        for path, kind in self.files:
            origin, rows = _read(path, kind, self.columns, self.dialect, self._tell)
            for number, cells in rows:
                yield Record(next(row), origin, number, cells)


def from_files(paths: Sequence[Path], columns: list[str], dialect: Dialect = AS_NAMED) -> Split:
    """A split that lies in one file, or in several to be read one after another."""
    records = FileRecords(paths, columns, dialect)
    kinds = {kind for _, kind in records.files}
    if not kinds & {".csv", ".tsv"} and dialect != AS_NAMED:
        raise UserError(f"{paths[0]}: --names, --quoting and --delimiter are for CSV and TSV files")
    count = sum(map(count_parquet, paths)) if kinds == {".parquet"} else None
    return Split(records, combined_sha256([sha256_of(path) for path in paths]), some([path.name for path in paths]), count)


def expand(given: Sequence[str], option: str) -> list[Path]:
    """Files by their names and patterns, each once."""
    paths: list[Path] = []
    for name in given:
        if Path(name).exists() or not glob.has_magic(name):
            paths.append(Path(name))
            continue
        found = [path for path in map(Path, sorted(glob.glob(name, recursive=True), key=natural)) if path.is_file()]
        if not found:
            raise UserError(f"{option} {short(name)}: no file matches this pattern; {_nearby(Path(name))}")
        check_parts(f"{option} {short(name)}", found)
        paths += found
    resolved = [path.resolve() for path in paths]
    for number, path in enumerate(resolved):
        if path in resolved[:number]:
            raise UserError(f"{option}: the file {paths[number]} is given twice")
    return paths


def _nearby(pattern: Path) -> str:
    folder = next(parent for parent in pattern.parents if not glob.has_magic(str(parent)))
    if not folder.is_dir():
        return f"there is no folder {folder}"
    files = sorted(path.name for path in folder.iterdir() if path.is_file() and kind_of(path))
    return f"{folder} holds {listed(files)}" if files else f"{folder} holds no data files ({', '.join(KINDS)})"
