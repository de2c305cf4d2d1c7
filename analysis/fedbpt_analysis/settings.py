"""The settings of a run: the YAML text that the program recorded, as one flat dictionary."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import yaml

Value = str | int | float | bool

# Where results go, how long they may take and how the work is cut: they never decide a number.
NEVER_DECIDE = frozenset({
    "run.output", "run.overwrite", "run.max_seconds", "run.stop_margin_seconds", "run.client_means",
    "backend.threads", "backend.batch_tokens",
})
SEED = "run.seed"

_FLOAT = re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """YAML 1.1 takes 1e-05 for a text; the program means a number."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


def parse(text: str) -> dict[str, Value]:
    """`fed:\\n  rounds: 24` becomes {"fed.rounds": 24}, in the order of the text. Raises ValueError for other YAML."""
    try:
        sections = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError("the recorded settings are not valid YAML") from error
    if not isinstance(sections, dict) or not all(isinstance(section, dict) for section in sections.values()):
        raise ValueError("the recorded settings are not sections of keys")
    return {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}


def text_of(value: object) -> str:
    """A value as the program writes it: true, 0.5, iid. No two numbers have one text."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value or value != value else repr(float(value))
