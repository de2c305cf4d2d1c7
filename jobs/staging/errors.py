"""Errors of the user: one clear sentence on stderr, exit code 2, no traceback."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable

from tqdm import tqdm


class UserError(Exception):
    """A fault that a user can mend: what, where, and what to do, in one sentence."""


def run(main: Callable[[], None]) -> None:
    """Runs `main` and turns what a user can cause into one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names and words that the terminal's encoding lacks
    try:
        if sys.stdout is None:
            raise UserError("the standard output is closed; nothing can be printed")
        main()
        sys.stdout.flush()
    except UserError as error:
        sys.exit(_fail(str(error)))
    except KeyboardInterrupt:
        sys.exit(_fail("interrupted; nothing was written", 130))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _drop_output()
        sys.exit(_fail(f"{where}{error.strerror or error}"))


def _drop_output() -> None:
    """Sends what could not be printed nowhere, so that the interpreter does not try once more, and complain, when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(text: str) -> None:
    """One line on stderr about what the user should look at, above any progress bar."""
    tqdm.write(f"warning: {' '.join(text.split())}", file=sys.stderr)


def _fail(text: str, code: int = 2) -> int:
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    return code
