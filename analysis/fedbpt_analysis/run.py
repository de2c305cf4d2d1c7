"""Run files as pandas data frames and numpy arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import pandas as pd

from . import schema
from .files import RunError, opened, text_of, texts_of
from .naming import label_names
from .settings import Value, decides_of, recorded

Result = TypeVar("Result")


def _texts(group: h5py.Group) -> dict[str, str]:
    return {name: ", ".join(texts_of(value)) if isinstance(value, np.ndarray) else text_of(value) for name, value in group.attrs.items()}


def _words(group: h5py.Group) -> list[str]:
    """The label words that a run's /inputs, or a data set, records."""
    return [word.strip() for word in texts_of(group.attrs.get("label_words", []))]


def _round_or_none(value: Any) -> int | None:
    return None if value is None or int(value) < 0 else int(value)


def _whole(file: h5py.File, name: str) -> np.ndarray:
    """All values of a data set. By h5py's low-level interface, which reads the many small columns of many files three times as fast."""
    dataset = h5py.h5d.open(file.id, name.encode())
    values = np.empty(dataset.shape, dataset.dtype)
    dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values


def last_scored(loss: np.ndarray) -> int:
    """The last row whose losses were taken (eval.every and eval.test_every may leave rounds out)."""
    scored = np.flatnonzero(np.isfinite(loss))
    return int(scored[-1]) if scored.size else 0


def participants_of(flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the clients whose flags [R, K] are set, [R, m], rising, and which of these places are taken; m: most in a round."""
    n = (flags > 0).sum(axis=1)
    m = max(1, int(n.max(initial=0)))
    return np.argsort(flags == 0, axis=1, kind="stable")[:, :m], np.arange(m) < n[:, None]


class Run:
    """A run file as it was when it was opened. No file stays open: each attribute reads its part when it is first asked for. Given the
    file open (`opened(path)`), all is read from that instead, for as long as it is open.

    A run that is still being written can be opened at any time; later rounds appear after `refresh()`.

    Read at once:
      path, name        the file, and its name without .h5
      status            running, interrupted, finished or failed; a killed run says running
      created           time of the start, UTC
      settings          {"fed.rounds": 24, ...}: all settings, by the names of the command line
      settings_text     the same as the YAML text that the program recorded; settings_given: the configuration file as given
      decides           {"run.output": "nothing", ...}: what settings decide where that is not the results (settings.DECIDES_EARLIER)
      precision         what backend.precision came to
      task              name of the task;  origins: {"data_sha256": ..., "model_sha256": ...}, what it was run on
      n_rows            rows of /rounds: 1 + finished rounds;  last_round, n_rounds: finished and planned rounds
      best_round        best on dev samples, None without dev samples;  best_row: its row
      sweep             {"name": ..., "run": ..., "axes": "fed.protocol=paper run.seed=2"} of a run of a sweep, else empty
      wall_time_s, program_version, git_commit, format_version
    Read when asked for:
      environment       {"ranks": "2", "device": ...};  inputs: {"model": ..., "task": ...}
      rounds            data frame by round: losses, accuracies, step sizes, condition number, ...
      cost              data frame by round: seconds of each phase, bytes up and down, tokens, peak memory, joules of processors and GPUs
      epsilon           of the clients' differential privacy after each round; NaN: no noise is added
      precision_checks  data frame by checked round: tau, overlap, loss_error of the precision against fp32; fell_back: later rounds
                        were computed in fp32; without rows where nothing was checked
      participants      [R, m]: the clients that took part in each round, rising; -1: none
      clients           data frame by round and client, of those that took part: fitness, loss, evaluations, ...
      partition         data frame by client: training samples of each label
      samples           data frame of the training samples: client, row in the data set's train split;  dev_index [n]
      sessions          data frame of the program starts that wrote the file
      contents          data frame of all data sets in the file: shape, unit, meaning
      z [R, d], client_step_size [R, m, I], client_mean [R, m, d] or None (m as in `participants`), best_z [d], last_z [d],
      best_prompt [P, H], last_prompt [P, H]     numpy arrays
      labels            names of the labels (in `partition` made distinct where two are alike)
    """

    def __init__(self, path: str | os.PathLike[str], file: h5py.File | None = None) -> None:
        self.path = Path(path)
        self.name = self.path.stem
        self._kept = file
        self._read_head()

    def __repr__(self) -> str:
        return f"<Run {self.path}: {self.status}, {self.last_round} of {self.n_rounds} rounds>"

    def refresh(self) -> Run:
        """Looks at the file again; returns the run itself."""
        for name in [name for name in self.__dict__ if isinstance(getattr(type(self), name, None), cached_property)]:
            del self.__dict__[name]
        self._read_head()
        return self

    def _read_head(self) -> None:
        with self._open() as file:
            attributes = file.attrs
            if "rounds/index" not in file or "config" not in file or "format_version" not in attributes:
                raise RunError(f"{self.path}: is not a run file: it lacks rounds or config")
            self.format_version = int(attributes["format_version"])
            if self.format_version > schema.FORMAT_VERSION:
                raise RunError(f"{self.path}: has format version {self.format_version}; this package reads up to {schema.FORMAT_VERSION}")
            self.status = str(attributes["status"])
            self.created = str(attributes["created"])
            self.program_version, self.git_commit = str(attributes["program_version"]), str(attributes["git_commit"])
            self.wall_time_s = float(attributes["wall_time_s"])
            config, inputs, environment = (file[name].attrs for name in ("config", "inputs", "environment"))
            self.settings_text, self.settings_given = (text_of(config[name]) for name in ("resolved", "given"))
            self.decides = decides_of(text_of(config["decides"]) if "decides" in config else None)
            self.precision = text_of(environment.get("precision", ""))
            self.task = text_of(inputs.get("task", ""))
            self.origins = {name: text_of(inputs[name]) for name in schema.ORIGINS if name in inputs}
            self.sweep = {name.removeprefix("sweep_"): text_of(environment[name])
                          for name in ("sweep_name", "sweep_run", "sweep_axes") if name in environment}
            index = _whole(file, "rounds/index")
            best = file["result"].attrs.get("best_round") if "result" in file else None
        if len(index) == 0:
            raise RunError(f"{self.path}: holds no rounds yet")
        self._index = index
        self.n_rows, self.last_round, self.best_round = len(index), int(index[-1]), _round_or_none(best)
        try:
            self.settings: dict[str, Value] = recorded(self.settings_text)
        except ValueError as error:
            raise RunError(f"{self.path}: {error}") from error
        self.n_rounds = int(self.settings.get("fed.rounds", self.last_round))

    def _open(self) -> AbstractContextManager[h5py.File]:
        return opened(self.path) if self._kept is None else nullcontext(self._kept)

    @contextmanager
    def kept_open(self) -> Iterator[h5py.File]:
        """Opens the file once more, for all that is asked for meanwhile, if it still holds this run."""
        if self._kept is not None:
            yield self._kept
            return
        with opened(self.path) as file:
            same = str(file.attrs["created"]) == self.created and file["rounds/index"].shape[0] >= self.n_rows
            if not same:
                raise RunError(f"{self.path}: has been replaced by another run since it was opened; open it again")
            self._kept = file
            try:
                yield file
            finally:
                self._kept = None

    def _read(self, read: Callable[[h5py.File], Result]) -> Result:
        with self.kept_open() as file:
            return read(file)

    def _column(self, file: h5py.File, name: str) -> np.ndarray:
        """A column of /rounds, cut to the rows that were there when the file was opened."""
        values = _whole(file, f"rounds/{name}")
        if len(values) < self.n_rows:
            raise RunError(f"{self.path}: is damaged: rounds/{name} has {len(values)} rows, rounds/index {self.n_rows}")
        values = values[: self.n_rows]
        is_wide = self.format_version == schema.WIDE and schema.is_of_participants(name)
        return self._narrow(file, name, values) if is_wide else values

    def _narrow(self, file: h5py.File, name: str, values: np.ndarray) -> np.ndarray:
        """Values of version 1, [R, K, ...], as version 2 has them: those of the participants, [R, m, ...]."""
        flags = values if name == "participants" else _whole(file, "rounds/participants")[: self.n_rows]
        clients, there = participants_of(flags)
        if name == "participants":
            return np.where(there, clients, -1)
        found = np.take_along_axis(values, clients.reshape(*clients.shape, *[1] * (values.ndim - 2)), axis=1)
        found[~there] = np.nan if found.dtype.kind == "f" else 0
        return found

    def _joules(self, file: h5py.File, name: str) -> np.ndarray:
        """Joules by row; NaN in files of versions that did not measure them."""
        return self._column(file, f"cost/{name}") if f"rounds/cost/{name}" in file else np.full(self.n_rows, np.nan)

    @property
    def energy(self) -> dict[str, float]:
        """Joules of all rows, by the names of schema.ENERGY; NaN unless every row was measured."""
        return {name: float(self.cost[name].sum(skipna=False)) for name in schema.ENERGY}

    def _frame(self, columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
        return pd.DataFrame(columns, index=pd.Index(self._index, name="round"))

    def array(self, name: str) -> np.ndarray:
        """A data set below /rounds by its name, such as "client/step_size"; rows as in `rounds`, clients as in `participants`."""
        return self._read(lambda file: self._column(file, name))

    @property
    def best_row(self) -> int | None:
        """Row of the best round in `rounds` and in all arrays."""
        if self.best_round is None:
            return None
        found = np.flatnonzero(self._index == self.best_round)
        return int(found[0]) if len(found) else None

    @property
    def last_scored_row(self) -> int:
        return last_scored(self.rounds["train_loss"].to_numpy())

    @property
    def seed(self) -> int:
        return int(self.settings["run.seed"])

    @cached_property
    def environment(self) -> dict[str, str]:
        return self._read(lambda file: _texts(file["environment"]))

    @cached_property
    def inputs(self) -> dict[str, str]:
        return self._read(lambda file: _texts(file["inputs"]))

    @cached_property
    def rounds(self) -> pd.DataFrame:
        return self._read(lambda file: self._frame({name: self._column(file, name) for name in schema.SERVER}))

    @cached_property
    def epsilon(self) -> pd.Series[float]:
        def read(file: h5py.File) -> pd.Series[float]:
            there = "rounds/epsilon" in file
            found: pd.Series[float] = self._frame({"epsilon": self._column(file, "epsilon") if there else np.full(self.n_rows, np.nan)})["epsilon"]
            return found

        return self._read(read)

    @cached_property
    def cost(self) -> pd.DataFrame:
        def read(file: h5py.File) -> pd.DataFrame:
            seconds = self._column(file, "cost/seconds")
            phases = [str(phase) for phase in file["rounds/cost/seconds"].attrs["phases"]]
            columns = {f"seconds_{phase}": seconds[:, i] for i, phase in enumerate(phases)}
            columns["seconds"] = seconds.sum(axis=1)
            columns |= {name: self._column(file, f"cost/{name}") for name in schema.COST}
            return self._frame(columns | {name: self._joules(file, name) for name in schema.ENERGY})

        return self._read(read)

    @cached_property
    def precision_checks(self) -> pd.DataFrame:
        def read(file: h5py.File) -> pd.DataFrame:
            there = all(name in file["rounds"] for name in schema.CHECKS)
            columns = {name.removeprefix("precision_"): self._column(file, name) if there else np.full(self.n_rows, np.nan)
                       for name in schema.CHECKS}
            return self._frame(columns).dropna(subset="tau").astype({"fell_back": bool})

        return self._read(read)

    @property
    def phases(self) -> list[str]:
        """Names of the timed phases."""
        return [str(name).removeprefix("seconds_") for name in self.cost if str(name).startswith("seconds_")]

    @cached_property
    def clients(self) -> pd.DataFrame:
        def read(file: h5py.File) -> pd.DataFrame:
            participants = self._column(file, "participants")
            there = participants >= 0
            rounds = np.repeat(self._index, there.sum(axis=1))
            columns = {name.removeprefix("client/"): self._column(file, name)[there] for name in schema.CLIENT}
            return pd.DataFrame(columns, index=pd.MultiIndex.from_arrays([rounds, participants[there]], names=["round", "client"]))

        return self._read(read)

    @cached_property
    def participants(self) -> np.ndarray:
        return self.array("participants")

    @property
    def n_turns(self) -> int:
        """How often a client took part, all clients and rounds together."""
        return int((self.participants >= 0).sum())

    def by_client(self, name: str) -> np.ndarray:
        """An array such as "client/loss" with a column for each client, [R, K], NaN where it took no part: for few clients."""
        values = np.full((self.n_rows, len(self.partition)), np.nan)
        rows, slots = np.nonzero(self.participants >= 0)
        values[rows, self.participants[rows, slots]] = self.array(name)[rows, slots]
        return values

    @cached_property
    def partition(self) -> pd.DataFrame:
        counts = self._read(lambda file: file["partition/class_count"][:])
        clients = pd.RangeIndex(counts.shape[0], name="client")
        return pd.DataFrame(counts, index=clients, columns=pd.Index(label_names(self.labels), name="label"))

    @cached_property
    def samples(self) -> pd.DataFrame:
        def read(file: h5py.File) -> pd.DataFrame:
            sizes = np.diff(file["partition/sample_offsets"][:])
            return pd.DataFrame({"client": np.repeat(np.arange(len(sizes)), sizes), "row": file["partition/sample_index"][:]})

        return self._read(read)

    @cached_property
    def dev_index(self) -> np.ndarray:
        return self._read(lambda file: np.asarray(file["partition/dev_index"][:]))

    @cached_property
    def sessions(self) -> pd.DataFrame:
        def read(file: h5py.File) -> pd.DataFrame:
            group = file.get("environment/sessions")
            if group is None:
                own = {"first_round": 0, "started": self.created, **self.environment}
                return pd.DataFrame([own], index=pd.Index(["0001"], name="session"))
            rows = {name: dict(session.attrs) for name, session in group.items()}
            return pd.DataFrame.from_dict(rows, orient="index").rename_axis("session")

        return self._read(read)

    @cached_property
    def contents(self) -> pd.DataFrame:
        def read(file: h5py.File) -> pd.DataFrame:
            rows: list[dict[str, object]] = []

            def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
                if isinstance(item, h5py.Dataset):
                    unit, meaning = (str(item.attrs.get(key, "")) for key in ("unit", "long_name"))
                    rows.append({"name": name, "shape": item.shape, "type": str(item.dtype), "unit": unit, "meaning": meaning})

            file.visititems(visit)
            return pd.DataFrame(rows).set_index("name")

        return self._read(read)

    @cached_property
    def z(self) -> np.ndarray:
        return self.array("z")

    @cached_property
    def client_step_size(self) -> np.ndarray:
        return self.array("client/step_size")

    @cached_property
    def client_mean(self) -> np.ndarray | None:
        return self._read(lambda file: self._column(file, "client/mean") if "client/mean" in file["rounds"] else None)

    @property
    def best_z(self) -> np.ndarray | None:
        return None if self.best_row is None else np.asarray(self.z[self.best_row])

    @property
    def last_z(self) -> np.ndarray:
        return np.asarray(self.z[-1])

    @cached_property
    def best_prompt(self) -> np.ndarray | None:
        return None if self.best_round is None else self._prompt("best")

    @cached_property
    def last_prompt(self) -> np.ndarray:
        return self._prompt("last")

    def _prompt(self, which: str) -> np.ndarray:
        """The file keeps the prompts of two rounds only, and the run may have moved on."""

        def read(file: h5py.File) -> np.ndarray:
            held = int(file["result"].attrs[f"{which}_round"])
            wanted = self.best_round if which == "best" else self.last_round
            if held != wanted:
                raise RunError(f"{self.path}: the {which} round is {held} by now, not {wanted}; call refresh()")
            return np.asarray(file[f"result/{which}_prompt"][:])

        return self._read(read)

    @cached_property
    def label_words(self) -> list[str]:
        """As recorded, or as the data set has them; empty where nobody knows them."""
        recorded = self._read(lambda file: _words(file["inputs"]))
        words = recorded if len(recorded) == self._n_labels else self._names_in_data_set()
        return words if len(words) == self._n_labels else []

    @property
    def labels(self) -> list[str]:
        return self.label_words or [f"label {i}" for i in range(self._n_labels)]

    @cached_property
    def _n_labels(self) -> int:
        return self._read(lambda file: int(file["partition/class_count"].shape[1]))

    def _names_in_data_set(self) -> list[str]:
        """Of a run that was recorded without them."""
        data = Path(self.inputs.get("data", ""))
        places = [data, *(folder / data for folder in self.path.resolve().parents)]
        for place in places:
            if place.is_file():
                with opened(place) as file:
                    if str(file.attrs.get("source_sha256")) == self.inputs.get("data_source_sha256"):
                        return _words(file)
        return []


def open_run(path: str | os.PathLike[str]) -> Run:
    """Opens a run file: finished, interrupted, failed, or still being written. Raises RunError, a sentence."""
    return Run(path)


def find_run_files(paths: list[Path]) -> list[Path]:
    """The files among `paths`, and for each folder all .h5 files below it, hidden ones left out."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.rglob("*.h5"))
            found += [file for file in inside if not any(part.startswith(".") for part in file.relative_to(path).parts)]
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def open_runs(folder: str | os.PathLike[str]) -> list[Run]:
    """All runs below a folder, in the order of their paths. HDF5 files that are no run files are passed over."""
    if not Path(folder).is_dir():
        raise RunError(f"{folder}: there is no such folder")
    runs = []
    for path in find_run_files([Path(folder)]):
        try:
            runs.append(Run(path))
        except RunError:
            continue
    return runs
