"""Run files (docs/run-file.md) of rounds that another method than the program's made: same layout, same partition, same inputs."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np

from . import __version__, schema
from .files import opened
from .output import SEALED, Part, write_parts
from .seal import sealed
from .settings import Value, text_of
from .verify import best_so_far

PROTOCOL = "gradients"  # fed.protocol of such files: the program refuses it by this name
TEXT = h5py.string_dtype("utf-8")
# Meanings where they are others than in the file that the partition is taken from.
MEANINGS = {
    "z": "the server's prompt, [P * H]",
    "step_size": "learning rate",
    "step_size_local": "learning rate",
    "client/fitness": "loss of the client's prompt on its samples",
    "client/loss": "loss of the client's prompt on its samples",
    "client/step_size": "learning rate of each of the client's steps",
    "client/evaluations": "forward and backward passes over the client's samples",
    "cost/tokens": "tokens through the model, forwards and backwards",
}


def now() -> str:
    """UTC, as run files have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Record:
    """A finished run. `columns`: below /rounds, [R, ...]; those that the method does not have are filled in. `like`: the run file whose
    partition and inputs it shares."""

    like: Path
    settings: Mapping[str, Value]
    decides: Mapping[str, str]
    given: str
    columns: dict[str, np.ndarray]
    phases: list[str]
    shape: tuple[int, int]  # of the prompt, P and H
    environment: dict[str, str]
    created: str
    wall_time_s: float
    inputs: dict[str, str] = field(default_factory=dict)  # in place of the like-run's


def settings_text(settings: Mapping[str, Value]) -> str:
    """As the program prints settings: sections of keys."""
    sections: dict[str, list[str]] = {}
    for name, value in settings.items():
        section, key = name.split(".")
        quoted = value.replace("\\", "\\\\").replace('"', '\\"') if isinstance(value, str) else ""
        text = f'"{quoted}"' if isinstance(value, str) and name in ("run.output", "model.path", "data.path") else text_of(value)
        sections.setdefault(section, []).append(f"  {key}: {text}")
    return "".join(f"{section}:\n" + "".join(f"{line}\n" for line in lines) for section, lines in sections.items())


def _empty(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a column that the method does not have: no numbers, or no count."""
    return np.full(shape, np.nan) if kind == "f" else np.zeros(shape, np.int64)


def _filled(record: Record) -> dict[str, np.ndarray]:
    """All columns of the layout that every run file has."""
    given = record.columns
    n_rows, m = given["participants"].shape
    sizes = {"m": m, "d": given["z"].shape[1], "I": given["client/step_size"].shape[2], "phases": len(record.phases)}
    filled = {}
    for name, (kind, letters) in schema.COLUMNS.items():
        if name in given:
            filled[name] = given[name]
        elif name not in schema.OPTIONAL:
            filled[name] = _empty(kind, (n_rows, *(sizes[letter] for letter in letters)))
    return filled


def _write_rounds(file: h5py.File, like: h5py.File, record: Record) -> None:
    for name, values in _filled(record).items():
        dataset = file.create_dataset(f"rounds/{name}", data=values, maxshape=(None, *values.shape[1:]), chunks=True)
        theirs = like[f"rounds/{name}"].attrs
        dataset.attrs.create("long_name", MEANINGS.get(name, theirs["long_name"]), dtype=TEXT)
        dataset.attrs.create("unit", theirs["unit"], dtype=TEXT)
    file["rounds/cost/seconds"].attrs.create("phases", np.array(record.phases, object), dtype=TEXT)
    file["rounds/cost"].attrs["value_bytes"] = np.int64(4)


def _write_result(file: h5py.File, like: h5py.File, record: Record) -> None:
    columns, result = record.columns, file.create_group("result")
    rows = best_so_far(columns["dev_accuracy"], columns["dev_loss"])
    best, last = (int(rows[-1]) if len(rows) else -1), len(columns["index"]) - 1
    result.attrs["best_round"], result.attrs["last_round"] = np.int64(best), np.int64(last)
    for which, row in (("best", best), ("last", last)):
        if row < 0:
            continue
        z = columns["z"][row]
        result[f"{which}_z"], result[f"{which}_prompt"] = z, z.astype(np.float32).reshape(record.shape)
        for name, of in (("z", "prompt, [P * H],"), ("prompt", "soft prompt")):
            result[f"{which}_{name}"].attrs.create("long_name", f"{of} of the {'last ' if which == 'last' else ''}round"
                                                   f"{' that is best on the dev samples' if which == 'best' else ''}", dtype=TEXT)
            result[f"{which}_{name}"].attrs.create("unit", "1", dtype=TEXT)
    file.create_group("checkpoint").attrs["round"] = np.int64(last)


def _set_texts(group: h5py.Group, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        group.attrs.create(name, text, dtype=TEXT)


def _write_head(file: h5py.File, record: Record) -> None:
    maker = {"program_version": __version__, "git_commit": "unknown"}
    file.attrs["format_version"], file.attrs["wall_time_s"] = np.int64(schema.FORMAT_VERSION), record.wall_time_s
    _set_texts(file, maker | {"created": record.created, "status": "finished"})
    decides = "".join(f"{name}: {what}\n" for name, what in record.decides.items())
    _set_texts(file.create_group("config"), {"given": record.given, "resolved": settings_text(record.settings), "decides": decides})
    environment = {"hosts": os.uname().nodename, "ranks": "1"} | record.environment
    _set_texts(file.create_group("environment"), environment)
    session = file.create_group("environment/sessions/0001")
    session.attrs["first_round"] = np.int64(1)
    _set_texts(session, environment | maker | {"started": record.created})


def content(record: Record) -> bytes:
    """The sealed file."""
    buffer = io.BytesIO()
    with opened(record.like) as like, h5py.File(buffer, "w") as file:
        _write_head(file, record)
        like.copy("partition", file)
        like.copy("inputs", file)
        _set_texts(file["inputs"], record.inputs)
        _write_rounds(file, like, record)
        _write_result(file, like, record)
    return sealed(buffer.getvalue())


def write(path: Path, record: Record, overwrite: bool) -> None:
    """Writes the file, whole or not at all; one that is there only with `overwrite`, and only if fedbpt has sealed it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parts([Part(path, content(record), SEALED)], overwrite)
