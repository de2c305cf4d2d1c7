"""Run files and data set files, opened when they are whole; their texts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from . import seal
from .errors import AnalysisError


class RunError(AnalysisError):
    """A file that is not a run file, is damaged, or has become another run."""


def _open(path: Path) -> h5py.File:
    """Run files are only ever replaced as a whole, so that they are safe to read where the file system has no locks."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "lock" not in str(error):
            raise
        return h5py.File(path, "r", locking=False)


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, open for as long as one read takes."""
    if not path.is_file():
        raise RunError(f"{path}: is a folder, not a run file" if path.is_dir() else f"{path}: there is no such file")
    try:
        seal.check(path)
        with _open(path) as file:
            yield file
    except seal.SealError as error:
        raise RunError(str(error)) from error
    except OSError as error:
        if not os.access(path, os.R_OK):
            raise RunError(f"{path}: may not be read ({os.strerror(13)})") from error
        raise RunError(f"{path}: is not an HDF5 file, or is damaged") from error
    except (KeyError, RuntimeError) as error:
        raise RunError(f"{path}: is damaged, or not a run file ({' '.join(str(error).split())})") from error


def text_of(value: Any) -> str:
    """An attribute as text that can be written anywhere: bytes that are not UTF-8, which older files may have, become U+FFFD."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def texts_of(value: Any) -> list[str]:
    """An attribute of several texts."""
    return [text_of(one) for one in np.atleast_1d(value)]
