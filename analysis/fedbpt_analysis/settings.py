"""The settings of a run: the YAML text that the program recorded, as one flat dictionary."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import yaml

Value = str | int | float | bool

SEED = "run.seed"

# Effects of settings where that is not a number of the results: the program's option table (src/config/options.h says what the words
# mean), as it was when run files did not say it yet. Files that do say it are read, not guessed at; a test compares this with the program.
DECIDES_EARLIER = {
    "run.output": "nothing", "run.overwrite": "nothing", "run.max_seconds": "nothing", "run.stop_margin_seconds": "nothing",
    "run.client_means": "content", "model.path": "input", "data.path": "input", "fed.rounds": "length",
    "backend.precision": "outcome", "backend.threads": "nothing", "backend.batch_tokens": "nothing",
}

_FLOAT = re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """YAML 1.1 takes 1e-05 for a text; the program means a number."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


# Values of settings in run files made before there was such a setting, as the program takes them: a test compares this with it.
EARLIER: dict[str, Value] = {
    "fed.client_work": "auto", "fed.aggregation": "auto", "fed.weighting": "auto", "fed.ranking": "loss",
    "fed.only_client": -1, "fed.average_means": 1, "cma.norm_bound": 0, "cma.norm_growth": 0, "cma.norm_max": 0,
    "fed.optimiser": "cma", "fed.participants": 0, "fed.wire": "float64", "cma.decomposition": "eigen", "model.label_scoring": "auto",
    "fed.sizes": "equal", "fed.size_alpha": 1, "fed.size_sigma": 1,
    "eval.test_every": 1, "eval.train_limit": 0, "fed.quantise_bits": 0, "fed.error_feedback": False,
    "fed.secure_aggregation": False, "fed.secure_range": 64, "privacy.clip": 0, "privacy.noise_multiplier": 0, "privacy.delta": 1e-05,
    "backend.precision_check_every": 0, "backend.precision_guard": "warn", "backend.precision_guard_tau": 0.5,
    "es.learning_rate": 0, "es.momentum": 0.9, "es.weight_decay": 0, "es.elite": 0.5, "es.smoothing": 0.8, "es.deviation_smoothing": 0.8,
    "es.seeds": 4096, "prompt.vocabulary": 200, "prompt.deep": "none", "prompt.hidden_std": "auto", "prompt.layers": 0,
    "cma.keep_paths": False,
    "fed.over_selection": 1, "faults.dropout": 0, "faults.dropout_kind": "round",
    "pace.compute_seconds": 0, "pace.compute_sigma": 0, "pace.bytes_per_second": 0, "pace.bandwidth_sigma": 0, "pace.latency_seconds": 0,
    "pace.deadline_seconds": 0,
}


def recorded(text: str) -> dict[str, Value]:
    """The settings that a run file has recorded: `parse`, and what was so by nature where they do not name it."""
    found = parse(text)
    return found | {name: value for name, value in EARLIER.items() if name not in found}


def method(settings: dict[str, Value]) -> str:
    """The protocol, and which of its parts are others than those that its name stands for."""
    parts = {"client_work": "auto", "aggregation": "auto", "weighting": "auto", "ranking": "loss"}
    given = {name: settings.get(f"fed.{name}", usual) for name, usual in parts.items()}
    others = [f"{name} {value}" for name, value in given.items() if value != parts[name]]
    return ", ".join([str(settings.get("fed.protocol")), *others])


def parse(text: str) -> dict[str, Value]:
    """`fed:\\n  rounds: 24` becomes {"fed.rounds": 24}, in the order of the text. Raises ValueError for other YAML."""
    try:
        sections = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError("the recorded settings are not valid YAML") from error
    if not isinstance(sections, dict) or not all(isinstance(section, dict) for section in sections.values()):
        raise ValueError("the recorded settings are not sections of keys")
    return {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}


def decides_of(text: str | None) -> dict[str, str]:
    """Parse a run file's text about what settings decide (`run.output: nothing` a line); None: of a file that has none."""
    if text is None:
        return DECIDES_EARLIER
    return dict(line.split(": ", 1) for line in text.splitlines())


def text_of(value: object) -> str:
    """A value as the program writes it: true, 0.5, iid. No two numbers have one text."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value or value != value else repr(float(value))
