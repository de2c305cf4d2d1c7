"""What differs among runs: the axes of a sweep, whether the sweep said so or not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

import pandas as pd

from .settings import NEVER_DECIDE, SEED, text_of

_KEY = re.compile(r"(?:^| )([a-z][a-z0-9_]*\.[a-z][a-z0-9_]*)=")


@dataclass(frozen=True)
class Axes:
    """`names`: settings that vary by themselves. `follow`: setting -> the axis that it follows from (a value of the axis allows one
    value of the setting only)."""

    names: tuple[str, ...]
    follow: dict[str, str]


def keys_of(sweep_axes: str) -> list[str]:
    """`fed.protocol=paper cma.sigma=1.5` names two settings."""
    return _KEY.findall(sweep_axes)


def find(frame: pd.DataFrame, declared: Iterable[str] = ()) -> Axes:
    """The axes of runs (rows as of `collect`): the declared settings if there are any, else all settings that differ."""
    settings = [name for name in frame.columns if "." in str(name)]
    wanted = [name for name in dict.fromkeys(declared) if name in settings] or settings
    varying = [name for name in wanted if name not in NEVER_DECIDE and name != SEED and _n_values(frame, name) > 1]
    follow: dict[str, str] = {}
    names: list[str] = []
    for name in varying:
        leader = next((other for other in varying if other != name and other not in follow and _follows(frame, name, other)), None)
        if leader is None:
            names.append(name)
        else:
            follow[name] = leader
    return Axes(tuple(names), follow)


def _n_values(frame: pd.DataFrame, name: str) -> int:
    return int(frame[name].nunique(dropna=False))


def _follows(frame: pd.DataFrame, name: str, leader: str) -> bool:
    """Of two settings that determine each other the first in the order of the settings leads."""
    pairs = frame[[leader, name]].drop_duplicates()
    if len(pairs) != _n_values(frame, leader):
        return False
    mutual = len(pairs) == _n_values(frame, name)
    columns = list(frame.columns)
    return not mutual or columns.index(leader) < columns.index(name)


def label(name: str, value: object) -> str:
    """A value in a table or a picture; of a path, what tells it apart."""
    if name.endswith(".path"):
        return PurePath(str(value)).stem if str(value).endswith(".h5") else PurePath(str(value)).name
    return text_of(value)


def is_numeric(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
