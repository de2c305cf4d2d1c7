"""The seal of a run file or data set file: the SHA-256 of all that follows, in the 512 bytes before it (HDF5's user block), so that a
damaged file is told before the HDF5 library, which it might crash, reads it. The same as src/record/seal.c; the format is described in
docs/run-file.md."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import h5py

from . import claims, output
from .errors import AnalysisError

SEAL_BYTES = 512
MAGIC = b"fedbpt-seal "
HDF5 = b"\x89HDF\r\n\x1a\n"
PIECE_BYTES = 1 << 20
ADVICE = "copy or make it again, or, if you have changed it yourself, run 'fedbpt-analysis seal' on it"


class SealError(AnalysisError):
    """A file whose bytes are not those that were written."""


def _block(digest: str, n_bytes: int) -> bytes:
    return MAGIC + f"1 sha256 {digest} {n_bytes}\n".encode().ljust(SEAL_BYTES - len(MAGIC), b"\0")


def sealed(content: bytes) -> bytes:
    """The bytes of an HDF5 file, without room for a seal, as those of a sealed one."""
    return _block(hashlib.sha256(content).hexdigest(), len(content)) + content


def _digest_rest(file: BinaryIO, copy: BinaryIO | None = None) -> tuple[str, int]:
    """SHA-256 and number of the bytes that are left; they also go into `copy`."""
    digest, n_bytes = hashlib.sha256(), 0
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
        n_bytes += len(piece)
        if copy is not None:
            copy.write(piece)
    return digest.hexdigest(), n_bytes


def check(path: Path) -> None:
    """Raises SealError unless the file is as it was written. HDF5 files without a seal pass. A file is read again only when it has
    been replaced or written."""
    about = path.stat()
    _check(path, about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=65536)
def _check(path: Path, *_identity: int) -> None:
    with path.open("rb") as file:
        found = file.read(SEAL_BYTES)
        if found.startswith(HDF5):
            return
        if not found.startswith(MAGIC):
            raise SealError(f"{path}: is not an HDF5 file, or its beginning is damaged")
        digest, n_bytes = _digest_rest(file)
    if found == _block(digest, n_bytes):
        return
    words = found.split(b"\0")[0].decode("ascii", "replace").split()
    version, n_sealed = ([*words, "", "", "", "", ""][i] for i in (1, 4))
    if version == "1" and n_sealed.isdecimal() and n_bytes < int(n_sealed):
        there, sealed = n_bytes + SEAL_BYTES, int(n_sealed) + SEAL_BYTES
        raise SealError(f"{path}: is truncated or damaged: it has {there} of {sealed} bytes; copy or make it again")
    if version.isdecimal() and int(version) > 1:
        raise SealError(f"{path}: has a seal of version {version}, this package knows version 1; read it with a later one")
    raise SealError(f"{path}: is damaged, or was changed after it was written: its bytes do not have the SHA-256 of its seal; {ADVICE}")


def _beginning(path: Path) -> int:
    """Where the HDF5 file begins."""
    with path.open("rb") as file:
        for offset in (0, SEAL_BYTES):
            file.seek(offset)
            if file.read(len(HDF5)) == HDF5:
                return offset
    raise SealError(f"{path}: is not an HDF5 file, or its beginning is damaged")


def write(path: Path) -> None:
    """Seals a file as it is now, one without room for a seal too: HDF5 finds its beginning behind the seal. A reader never sees half
    of it."""
    offset = _beginning(path)
    place = output.real_path(path)
    if (writer := claims.writer_of(place)) is not None:
        raise SealError(f"{path}: a run writes it ({writer.text}; lock {claims.lock_of(place)}); seal it when that has ended")
    with path.open("rb") as old, output.replacing(place) as new:
        old.seek(offset)
        new.write(bytes(SEAL_BYTES))
        digest, n_bytes = _digest_rest(old, new)
        new.seek(0)
        new.write(_block(digest, n_bytes))
        new.flush()
        h5py.File(new.name, "r").close()
