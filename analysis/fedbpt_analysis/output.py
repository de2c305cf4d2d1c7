"""Where results go: files that overwrite neither an input nor each other, and a standard output that may be narrow, full or closed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

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
        raise AnalysisError(f"the standard output: {error.strerror or error}") from error


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


def write_text(path: Path, text: str) -> None:
    """Writes beside the file's place and renames, so that a reader never sees half of it; a link stays one, and its target is
    written."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:200]}.{os.getpid()}")
    with writing(target):
        try:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def write_csv(path: Path, frame: pd.DataFrame, index: bool) -> None:
    """All digits."""
    with writing(path):
        frame.to_csv(path, index=index, encoding="utf-8", errors="backslashreplace")
