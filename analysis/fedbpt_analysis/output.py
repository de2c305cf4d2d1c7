"""Where results go: files that overwrite neither an input nor each other, and a standard output that may be narrow, full or closed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from . import claims
from .errors import AnalysisError
from .naming import ASCII_ERRORS, printable

if TYPE_CHECKING:
    import pandas as pd


def prepare_streams() -> None:
    """Spell in ASCII the characters that the output's encoding lacks, where they would be errors. A closed standard output is one."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ASCII_ERRORS)
    if sys.stdout is None:
        raise AnalysisError("the standard output is closed; nothing can be printed")


def is_unicode() -> bool:
    """Whether the standard output takes every character."""
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")


@contextmanager
def arriving() -> Iterator[None]:
    """Around what prints. A reader that stopped reading, as `| head` does, is no error: the rest goes nowhere."""
    try:
        yield
    except BrokenPipeError:
        abandon()
    except OSError as error:
        if error.filename is not None:  # of a file
            raise
        abandon()
        raise AnalysisError(f"the standard output cannot be written: {error.strerror or error}") from error


def say(*lines: object) -> None:
    """Prints lines without control characters."""
    with arriving():
        print(*(printable(line, keep="\n\t") for line in lines), sep="\n")


def flush() -> None:
    """Everything printed has arrived when this returns."""
    with arriving():
        sys.stdout.flush()


def note(text: str) -> None:
    """A line beside the results."""
    if sys.stderr is not None:
        print(printable(text), file=sys.stderr)


def guarded(name: str, work: Callable[[], int]) -> int:
    """Does the work of the command `name`; its exit code. What a user can cause is told in one sentence."""
    try:
        prepare_streams()
        code = work()
        flush()
        return code
    except AnalysisError as error:
        return _fail(name, str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(name, f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        note("")
        return 130


def _fail(name: str, text: str) -> int:
    note(f"{name}: error: {' '.join(text.split())}")
    return 1


def abandon() -> None:
    """Sends the rest of the output nowhere, so that the interpreter does not try once more when it ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def check(option: str, path: Path, endings: tuple[str, ...], inputs: Iterable[Path]) -> Path:
    """The path, if it has one of the endings and is none of the inputs, under whatever name."""
    if path.suffix.lower() not in endings:
        raise AnalysisError(f"{option} {path}: name a file that ends in {' or '.join(endings)}")
    if any(_same(path, given) for given in inputs):
        raise AnalysisError(f"{option} {path}: is one of the runs that are read; name another file")
    return path


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return one.resolve() == other.resolve()


def real_path(path: Path) -> Path:
    """Follow a path's links, whether or not they lead to a file: a link stays one, and its target is written."""
    real = Path(os.path.realpath(path))
    if real.is_symlink():  # only a circle is left so
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return real


def _sync(folder: Path) -> None:
    """Make a renaming last. Some file systems cannot sync a folder, and the renaming itself has succeeded."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def replacing(target: Path, anew: bool = False) -> Iterator[BinaryIO]:
    """A new file beside the real path `target`, which takes its place once it is whole and on the disk: a reader never sees half of it.
    `anew`: an error where there is a file by then."""
    temporary = target.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if anew:
            target.open("xb").close()  # takes the name, as one process alone can
        elif target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """A whole file, in place of one that is there. Pipes and devices are written as they are."""
    target = real_path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_file():
            target.write_bytes(content)
            return
        with replacing(target) as file:
            file.write(content)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Characters that UTF-8 lacks are spelt as escapes."""
    write_whole(path, text.encode("utf-8", errors="backslashreplace"))


def write_csv(path: Path, frame: pd.DataFrame, index: bool) -> None:
    """All digits."""
    write_text(path, frame.to_csv(index=index))


@dataclass(frozen=True)
class Kind:
    """How files of a kind begin: all that an overwrite may replace."""

    name: str
    offset: int
    begins: bytes


SAFETENSORS = Kind("a safetensors file", 8, b"{")  # behind the length of its header
ZIP = Kind("a zip archive", 0, b"PK\x03\x04")
SEALED = Kind("a file that fedbpt has sealed", 0, b"fedbpt-seal ")
JSON = Kind("a JSON file", 0, b"{")


@dataclass(frozen=True)
class Part:
    """A file to be written."""

    path: Path
    content: bytes
    kind: Kind


def _check_writer(part: Part) -> None:
    holder = claims.writer_of(part.path)
    if holder is not None:
        raise AnalysisError(f"{part.path} is being written by another run ({holder.text}); choose another path, or stop that run")


def _check_place(part: Part, overwrite: bool) -> None:
    """Refuse to replace a file unless the user says so and it is of this kind; no run may be writing it."""
    path = part.path
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        raise AnalysisError(f"{path} is {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}; give the path of a file")
    if mode is not None and not overwrite:
        raise AnalysisError(f"{path} exists; choose another path, or add --overwrite")
    begins = b""
    if mode is not None:
        with path.open("rb") as file:
            begins = file.read(16)
    if begins and not begins[part.kind.offset :].startswith(part.kind.begins):
        raise AnalysisError(f"{path} is not {part.kind.name}, so it is not overwritten; choose another path")
    _check_writer(part)


def write_parts(parts: Sequence[Part], overwrite: bool) -> None:
    """Whole files, whose places are all looked at before the first is written, and once more as late as can be."""
    for part in parts:
        _check_place(part, overwrite)
    for part in parts:
        try:
            with replacing(real_path(part.path), anew=not overwrite) as file:
                file.write(part.content)
                _check_writer(part)
        except OSError as error:
            raise AnalysisError(f"{part.path} cannot be written ({len(part.content)} bytes): {error.strerror or error}; what was there "
                                "before is kept") from error
