"""Is a run file whole? Layout, rounds, numbers, and what the program itself reads from it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from . import schema
from .errors import AnalysisError
from .files import opened
from .program import call, file_argument
from .run import Run


@dataclass(frozen=True)
class Verdict:
    """`problems`: sentences, none for a whole file. `digest`: of the program, None where it was not asked."""

    path: Path
    problems: list[str]
    about: str = ""
    digest: str | None = None

    def line(self) -> str:
        """One line about the file."""
        if not self.problems:
            return f"ok       {self.path}: {self.about}" + (f", digest {self.digest}" if self.digest else "")
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        return f"problem  {self.path}: {self.problems[0].removeprefix(f'{self.path}: ')}{more}"


def verify(path: Path, program: str | None) -> Verdict:
    """Checks one file; with a program, also that the program reads the same numbers from it."""
    try:
        run = Run(path)
        with opened(path) as file:
            problems = [*_layout(file)]
            if not problems:
                problems = [*_rounds(file, run), *_participants(file, run), *_numbers(file, run), *_partition(file)]
                problems += _result(file, run)
        about = f"{run.status}, {run.last_round} of {run.n_rounds} rounds"
        if program is None or problems:
            return Verdict(path, problems, about)
        problems = [*_as_the_program_reads(run, program)]
        return Verdict(path, problems, about, None if problems else call(program, "show", "--digest", file_argument(path)).strip())
    except AnalysisError as error:
        return Verdict(path, [str(error)])


def _layout(file: h5py.File) -> Iterator[str]:
    """Groups, attributes and data sets with their types and shapes."""
    for name in schema.ROOT_ATTRIBUTES:
        if name not in file.attrs:
            yield f"the attribute {name} is missing"
    if str(file.attrs.get("status")) not in schema.STATUSES:
        yield f"the status is {file.attrs.get('status')!r}, none of {', '.join(schema.STATUSES)}"
    missing = [name for name in ("config", "environment", "inputs", "partition", "rounds/client", "rounds/cost") if name not in file]
    missing += [f"partition/{name}" for name in schema.PARTITION if f"partition/{name}" not in file]
    missing += [f"rounds/{name}" for name in schema.COLUMNS if f"rounds/{name}" not in file and name not in schema.OPTIONAL]
    if missing:
        yield from (f"{name} is missing" for name in missing)
        return
    for name, rank in schema.PARTITION.items():
        dataset = file["partition"][name]
        if dataset.ndim != rank or dataset.dtype.kind != "i":
            yield f"partition/{name} has type {dataset.dtype} and shape {dataset.shape}"
    if file["partition/class_count"].ndim == 2:
        yield from _columns(file)


def _columns(file: h5py.File) -> Iterator[str]:
    rounds = file["rounds"]
    sizes = {"K": file["partition/class_count"].shape[0], "m": rounds["participants"].shape[-1], "d": rounds["z"].shape[-1],
             "I": rounds["client/step_size"].shape[-1], "phases": len(rounds["cost/seconds"].attrs.get("phases", ()))}
    n_rows = rounds["index"].shape[0]
    for name, (kind, letters) in schema.columns(int(file.attrs["format_version"])).items():
        if name not in rounds:
            continue
        dataset, shape = rounds[name], (n_rows, *(sizes[letter] for letter in letters))
        if dataset.dtype.kind != kind or dataset.shape != shape:
            yield f"rounds/{name} has type {dataset.dtype} and shape {dataset.shape}, not {shape}"
        elif "unit" not in dataset.attrs or "long_name" not in dataset.attrs:
            yield f"rounds/{name} lacks the attribute unit or long_name"


def _rounds(file: h5py.File, run: Run) -> Iterator[str]:
    """All rounds are there, and as many as the status says."""
    index = file["rounds/index"][:]
    missing = np.setdiff1d(np.arange(index[-1] + 1), index)
    if len(missing):
        yield f"{len(missing)} rounds are missing, the first of them {missing[0]}"
    elif not np.array_equal(index, np.arange(len(index))):
        yield "rounds/index does not count 0, 1, 2, ..."
    if run.status == "finished" and run.last_round != run.n_rounds:
        yield f"says finished, but has {run.last_round} of {run.n_rounds} rounds"
    if run.last_round > run.n_rounds:
        yield f"has {run.last_round} rounds, but only {run.n_rounds} were planned"
    if not math.isfinite(run.wall_time_s) or run.wall_time_s < 0:
        yield f"wall_time_s is {run.wall_time_s}"
    sizes = {"fed.clients": file["partition/class_count"].shape[0], "cma.dimension": file["rounds/z"].shape[1]}
    for name, size in sizes.items():
        if run.settings.get(name) != size:
            yield f"the setting {name} is {run.settings.get(name)}, but the file has {size}"


def took_part_in(file: h5py.File) -> np.ndarray:
    """Which places of the clients' columns are taken, [R, m], or [R, K] in files of version 1."""
    values = file["rounds/participants"][:]
    return values > 0 if int(file.attrs["format_version"]) == schema.WIDE else values >= 0


def _participants(file: h5py.File, run: Run) -> Iterator[str]:
    """As many clients as the settings say take part in every round but the first, each of them once; in runs that simulate reports as many
    as have reported, or none."""
    n_clients, index = file["partition/class_count"].shape[0], file["rounds/index"][:]
    wanted = np.where(index == 0, 0, _most_participants(run, n_clients))
    took_part = took_part_in(file)
    found = took_part.sum(axis=1)
    if "reported" in file["rounds"]:
        yield from _reports(file, run, wanted)
        reported = file["rounds/reported"][:]
        wanted = np.where(found == 0, 0, reported)
    if (found != wanted).any():
        row = int(np.argmax(found != wanted))
        yield f"{found[row]} clients took part in round {index[row]}, not {wanted[row]}"
    elif run.format_version != schema.WIDE:
        values = file["rounds/participants"][:]
        falls = (np.diff(values, axis=1) <= 0) & took_part[:, 1:]
        if falls.any() or (values >= n_clients).any() or (values < -1).any() or (np.diff(took_part.astype(int), axis=1) > 0).any():
            yield "rounds/participants does not rise, or names a client that the run does not have"
        only = int(run.settings["fed.only_client"])
        if only >= 0 and (values[took_part] != only).any():
            yield f"rounds/participants names others than client {only}, who takes part alone (fed.only_client)"


def _most_participants(run: Run, n_clients: int) -> int:
    """Clients that take part in a round if all who are chosen report, as src/config/settings.c has it."""
    if int(run.settings["fed.only_client"]) >= 0:
        return 1
    number, share = int(run.settings.get("fed.participants", 0)), float(run.settings.get("fed.participation", 1))
    return number if number > 0 else math.floor(share * n_clients + 0.5)


def _reports(file: h5py.File, run: Run, most: np.ndarray) -> Iterator[str]:
    """All chosen clients have reported, dropped out or been late; no more have reported than take part. most: [R]."""
    reported, dropped, late = (file[f"rounds/{name}"][:] for name in ("reported", "dropped", "late"))
    chosen = np.floor(float(run.settings.get("fed.over_selection", 1)) * most + 0.5)
    wrong = (reported + dropped + late != chosen) | (reported > most) | (np.minimum(np.minimum(reported, dropped), late) < 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        yield (f"in round {file['rounds/index'][row]} {reported[row]} clients reported, {dropped[row]} dropped out, {late[row]} were late: "
               f"of {chosen[row]:.0f} chosen and {most[row]} that may take part")


def _bad_round(values: np.ndarray, required: np.ndarray) -> int | None:
    """The first row in which a required value is not finite."""
    bad = required & ~np.isfinite(values)
    rows = bad.reshape(len(bad), -1).any(axis=1)
    return int(np.argmax(rows)) if rows.any() else None


def _numbers(file: h5py.File, run: Run) -> Iterator[str]:
    """Numbers that must be finite are: always the state, scores in scored rounds, clients' values where they took part."""
    rounds, index = file["rounds"], file["rounds/index"][:]
    every, test_every = (int(run.settings.get(name, 1)) for name in ("eval.every", "eval.test_every"))
    last = index == run.n_rounds
    scored = (index % every == 0) | last
    tested = (index % (every * test_every) == 0) | last
    tested[best_so_far(rounds["dev_accuracy"][:], rounds["dev_loss"][:])] = True
    took_part = took_part_in(file)
    always = ("z", "step_size", "step_size_local", "cost/seconds")
    required: dict[str, np.ndarray] = {name: np.ones(rounds[name].shape, bool) for name in always}
    required |= dict.fromkeys(("train_loss", "train_accuracy"), scored)
    for split, rows in (("dev", scored), ("test", tested)):
        if np.isfinite(rounds[f"{split}_loss"][0]):
            required |= {f"{split}_{measure}": rows for measure in ("loss", "accuracy")}
    required |= {f"client/{name}": took_part for name in ("fitness", "loss")}
    required["client/step_size"] = np.broadcast_to(took_part[:, :, None], rounds["client/step_size"].shape)
    for name, where in required.items():
        row = _bad_round(rounds[name][:], where)
        if row is not None:
            yield f"rounds/{name} has a value that is not finite in round {index[row]}"
    for name in ("client/evaluations", "cost/seconds", *(f"cost/{name}" for name in schema.COST)):
        if (rounds[name][:] < 0).any():
            yield f"rounds/{name} has a negative value"
    if (rounds["client/evaluations"][:][took_part] == 0).any():
        yield "a client took part in a round without any evaluation"


def _partition(file: h5py.File) -> Iterator[str]:
    """Every sample belongs to one client, and the label counts add up."""
    offsets, samples, counts = (file["partition"][name][:] for name in ("sample_offsets", "sample_index", "class_count"))
    sizes = np.diff(offsets)
    if len(sizes) != len(counts) or offsets[0] != 0 or (sizes < 0).any() or offsets[-1] != len(samples):
        yield "partition/sample_offsets does not cut sample_index into one piece for each client"
    elif not np.array_equal(counts.sum(axis=1), sizes):
        yield "partition/class_count does not add up to the clients' samples"
    if len(np.unique(samples)) != len(samples) or (samples < 0).any():
        yield "partition/sample_index has a row twice, or a negative one"


def best_so_far(accuracy: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """The rows that are better on dev samples than all before them, the last of which is the best: largest accuracy, then smallest loss,
    then earliest; none where nothing is scored. Stated here once more, beside src/fed/best_round.h, because it checks what the program
    wrote."""
    best, rows = (-np.inf, -np.inf), []
    for row in np.flatnonzero(np.isfinite(accuracy) & np.isfinite(loss)):
        if (accuracy[row], -loss[row]) > best:
            best = (accuracy[row], -loss[row])
            rows.append(row)
    return np.array(rows, int)


def _result(file: h5py.File, run: Run) -> Iterator[str]:
    """The result and the checkpoint belong to the rounds."""
    rounds = file["rounds"]
    best = next(reversed(best_so_far(rounds["dev_accuracy"][:], rounds["dev_loss"][:]).tolist()), None)
    held = None if best is None else int(rounds["index"][best])
    if held != run.best_round:
        yield f"the best round on dev is {held}, but result says {run.best_round}"
    for which, row in (("best", best), ("last", run.n_rows - 1)):
        if row is None:
            continue
        for name in (f"{which}_z", f"{which}_prompt"):
            if f"result/{name}" not in file:
                yield f"result/{name} is missing"
            elif not np.isfinite(file["result"][name][:]).all():
                yield f"result/{name} has a value that is not finite"
        if f"result/{which}_z" in file and not np.array_equal(file["result"][f"{which}_z"][:], rounds["z"][row]):
            yield f"result/{which}_z is not z of round {rounds['index'][row]}"
    if "checkpoint" in file and int(file["checkpoint"].attrs["round"]) != run.last_round:
        yield f"the checkpoint is of round {file['checkpoint'].attrs['round']}, the last round is {run.last_round}"


def _as_the_program_reads(run: Run, program: str) -> Iterator[str]:
    """`show --json` says the same as this package reads; a live run may have gone on since."""
    text = json.loads(call(program, "show", "--json", file_argument(run.path)))
    rows = text["rounds"][: run.n_rows]
    if [row["index"] for row in rows] != run.rounds.index.to_list():
        yield "the program reads other rounds from it"
        return
    for name in schema.SERVER:
        theirs = np.array([row.get(name) for row in rows], dtype=float)
        ours = run.rounds[name].to_numpy()
        if not np.array_equal(np.where(np.isfinite(ours), ours, np.nan), theirs, equal_nan=True):
            yield f"the program reads other values of rounds/{name} from it"
    moved_on = run.status == "running" and (len(text["rounds"]) > run.n_rows or text["status"] != run.status)
    if not moved_on and (text["best_round"] != run.best_round or text["status"] != run.status):
        yield "the program reads another status or best round from it"


def verify_all(paths: list[Path], program: str | None, same: bool) -> list[Verdict]:
    """Checks files; with `same`, all digests must be that of the first whole one."""
    verdicts = [verify(path, program) for path in paths]
    first = next((verdict.digest for verdict in verdicts if verdict.digest), None)
    if not same or first is None:
        return verdicts
    return [Verdict(v.path, [f"has the digest {v.digest}, not {first}"]) if v.digest and v.digest != first else v for v in verdicts]
