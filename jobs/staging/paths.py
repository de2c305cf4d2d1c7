"""Where an output really goes."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import UserError


def real_path(path: Path) -> Path:
    """Follow a path's links, whether or not they lead to a file: replacing a link itself would leave its target as it was."""
    real = Path(os.path.realpath(path))
    if real.is_symlink():  # only a circle is left so
        raise UserError(f"{path}: its links lead in a circle; choose another --output")
    return real
