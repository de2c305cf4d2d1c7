"""Where results go: files that overwrite neither an input nor each other, and a standard output that may be narrow, full or closed."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import claims
from .errors import AnalysisError
from .naming import ASCII_ERRORS, printable

if TYPE_CHECKING:
    import pandas as pd


def prepare_streams() -> None:
    """What the output's encoding lacks is spelt in ASCII, where it would be an error. A closed standard output is one."""
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


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around what writes a file: an error that names none, such as that of a full disk, names this one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise error if error.filename else OSError(error.errno, error.strerror or str(error), str(path)) from error


def _replace(target: Path, content: bytes, anew: bool = False) -> None:
    """Writes beside the file's place and renames, so that a reader never sees half of it. `anew`: an error where there is a file by
    now."""
    temporary = target.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if anew and target.exists():
            raise FileExistsError(17, "it exists by now", str(target))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """A whole file; a link stays one, and its target is written."""
    target = Path(os.path.realpath(path))
    with writing(target):
        _replace(target, text.encode("utf-8", errors="backslashreplace"))


@dataclass(frozen=True)
class Kind:
    """How files of a kind begin: all that an overwrite may replace."""

    name: str
    offset: int
    begins: bytes


SAFETENSORS = Kind("a safetensors file", 8, b"{")  # behind the length of its header
ZIP = Kind("a zip archive", 0, b"PK\x03\x04")
JSON = Kind("a JSON file", 0, b"{")


@dataclass(frozen=True)
class Part:
    """A file to be written."""

    path: Path
    content: bytes
    kind: Kind


def _check_place(part: Part, overwrite: bool) -> None:
    """What is there may be replaced when the user says so and it is of this kind; no run may be writing it."""
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
    holder = claims.writer_of(path)
    if holder is not None:
        raise AnalysisError(f"{path} is being written by another run ({holder.text}); choose another path, or stop that run")


def write_parts(parts: Sequence[Part], overwrite: bool) -> None:
    """Whole files, whose places are all looked at before the first is written; links stay links."""
    for part in parts:
        _check_place(part, overwrite)
    for part in parts:
        try:
            _replace(Path(os.path.realpath(part.path)), part.content, anew=not overwrite)
        except OSError as error:
            raise AnalysisError(f"{part.path} cannot be written ({len(part.content)} bytes): {error.strerror or error}; what was there "
                                "before is kept") from error


def write_csv(path: Path, frame: pd.DataFrame, index: bool) -> None:
    """All digits."""
    with writing(path):
        frame.to_csv(path, index=index, encoding="utf-8", errors="backslashreplace")
