"""Differences among runs: the axes of a sweep, whether the sweep said so or not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from .frame import undeciding
from .naming import distinct, path_names, printable
from .schema import ORIGINS
from .settings import SEED, text_of

_KEY = re.compile(r"(?:^| )([a-z][a-z0-9_]*\.[a-z][a-z0-9_]*)=")

UNRECORDED = "not recorded"  # in place of a setting that a run does not have, or that its program did not have yet


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
    ignored = undeciding(frame)
    varying = [name for name in wanted if name not in ignored and name != SEED and _n_values(frame, name) > 1]
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
    """Of two settings that determine each other one that all runs have leads, then the first in the order of the settings."""
    pairs = frame[[leader, name]].drop_duplicates()
    if len(pairs) != _n_values(frame, leader):
        return False
    mutual = len(pairs) == _n_values(frame, name)
    columns = list(frame.columns)
    place = {one: ((frame[one] == UNRECORDED).any(), columns.index(one)) for one in (leader, name)}
    return not mutual or place[leader] < place[name]


def names_of(name: str, values: Sequence[object]) -> dict[object, str]:
    """Name each value of a setting for tables and pictures; no two are called the same. Of a path, the end that tells it
    apart."""
    candidates = [path_names(str(value)) if name.endswith(".path") else [printable(text_of(value))] for value in values]
    return dict(zip(values, distinct(candidates), strict=True))


def vary_besides(frame: pd.DataFrame, axes: Axes) -> Axes:
    """Of the settings and origins that differ among runs of one setting (values of the axes) as `names`; as `follow` those that differ
    only with the axes, with what they follow from."""
    columns = [str(name) for name in frame.columns if "." in str(name) or name in ORIGINS]
    ignored = undeciding(frame)
    others = [name for name in columns if name not in ignored and name not in (SEED, *axes.names) and _n_values(frame, name) > 1]
    names, follow = [], dict(axes.follow)
    for name in others:
        if not axes.names or int(frame.groupby(list(axes.names), dropna=False)[name].nunique(dropna=False).max()) > 1:
            names.append(name)
        elif name not in ORIGINS and name not in follow:
            leader = next((axis for axis in axes.names if _follows(frame, name, axis)), None)
            follow[name] = leader or " and ".join(axes.names)
    return Axes(tuple(names), follow)


def is_numeric(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
