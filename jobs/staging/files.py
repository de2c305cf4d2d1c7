"""Opening a file for reading: what its name says it is, whether its first bytes agree, and compressed text."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import UserError

TEXT_KINDS = (".tsv", ".csv", ".jsonl", ".ndjson", ".json")
ARROW_KINDS = (".parquet", ".arrow", ".feather", ".ipc")
KINDS = TEXT_KINDS + ARROW_KINDS

# First bytes of a file -> what it is, and what to do about it.
FOREIGN = {
    b"version https://git-lfs": "a Git LFS pointer, not the data; fetch the data with git lfs pull",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV (UTF-8)",
    b"\xff\xfe": "UTF-16; convert it with iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "UTF-16; convert it with iconv -f UTF-16 -t UTF-8",
    b"\x1f\x8b": "compressed with gzip; add .gz to its name",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard; add .zst to its name",
    b"BZh": "compressed with bzip2; add .bz2 to its name",
    b"\xfd7zXZ": "compressed with xz; add .xz to its name",
    b"PAR1": "a Parquet file; give it a name that ends in .parquet",
    b"ARROW1": "an Arrow file; give it a name that ends in .arrow",
    b"FEA1": "a Feather file of version 1, which is not supported; write it again as Parquet or Feather version 2",
    b"<!DOCTYPE": "a web page, not the data; download the file itself",
    b"<html": "a web page, not the data; download the file itself",
}
OWN = {".parquet": (b"PAR1",), ".arrow": (b"ARROW1",), ".feather": (b"ARROW1",), ".ipc": (b"ARROW1",)}


def _open_zstd(path: Path) -> IO[bytes]:
    import pyarrow as arrow

    return io.BufferedReader(arrow.CompressedInputStream(arrow.OSFile(str(path)), "zstd"), 1 << 20)


COMPRESSIONS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": _open_zstd}


def kind_of(path: Path) -> str | None:
    """The kind of a data file by its name's end, in lower case and without .gz and the like; None where it is none we read."""
    kind, inner = path.suffix.lower(), Path(path.stem).suffix.lower()
    if kind in COMPRESSIONS:
        return inner if inner in TEXT_KINDS else None
    return kind if kind in KINDS else None


def stem_of(path: Path) -> str:
    """A data file's name without what says its kind."""
    return Path(path.stem).stem if path.suffix.lower() in COMPRESSIONS else path.stem


def natural(path: object) -> list[Any]:
    """Sorts part2 before part10."""
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]+)", str(path)) if part]


def check_file(path: Path) -> str:
    """The kind of an existing data file whose first bytes do not contradict its name."""
    kind = kind_of(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give its files, for instance '{path}/*.parquet', or --dataset for a data set folder")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    if kind is None:
        raise UserError(
            f"{path}: unknown kind of file; known are {', '.join(KINDS)} (by the name's end), the text ones also with "
            f"{', '.join(COMPRESSIONS)} after it"
        )
    with open_bytes(path) as file, intact(path):
        start = file.read(32)
    for magic, what in FOREIGN.items():
        if start.startswith(magic) and magic not in OWN.get(kind, ()):
            raise UserError(f"{path}: is {what}")
    return kind


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked."""
    opener = COMPRESSIONS.get(path.suffix.lower())
    return opener(path) if opener else path.open("rb")


@contextmanager
def intact(path: Path) -> Iterator[None]:
    """Says which file it is where a compressed one turns out to be damaged."""
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: not a complete {path.suffix} file ({error})") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise UserError(f"{path}: not a complete {path.suffix} file ({error})") from None


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """The file's lines, split at line feeds only; names the line of a byte that is not UTF-8."""
    with open_bytes(path) as file, intact(path):
        try:
            yield io.TextIOWrapper(file, encoding="utf-8-sig", newline="\n")
        except UnicodeDecodeError:
            raise _not_utf8(path) from None


def _not_utf8(path: Path) -> UserError:
    with open_bytes(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return UserError(f"{path}:{number}: not UTF-8 (byte {error.start + 1} of the line); convert the file to UTF-8")
    return UserError(f"{path}: not UTF-8; convert the file to UTF-8")


def lone_returns(path: Path, number: int, line: str) -> str:
    """Advise on carriage returns that end no line."""
    if number == 1 and not line.endswith("\n"):
        return f"its lines end with a carriage return alone, as on old Macs; convert it with tr '\\r' '\\n' < {path.name} > NEW"
    return "a carriage return stands inside a field; put the field in double quotes (CSV), or take the character out"
