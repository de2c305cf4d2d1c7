"""Run files with chosen contents, in the layout of src/record/run_layout.c; test_run.py compares it with the program's own."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from fedbpt_analysis import claims
from fedbpt_analysis.verify import best_so_far

PHASES = ["search", "optimise", "exchange", "score", "record"]
NAN = float("nan")
SETTINGS: dict[str, object] = {
    "run.output": "runs/made.h5", "run.seed": 1, "run.overwrite": False, "run.max_seconds": 0, "run.client_means": False,
    "model.path": "models/roberta-large", "data.path": "datasets/sst2.h5", "data.shots": 40,
    "prompt.mode": "add", "prompt.tokens": 3,
    "fed.protocol": "nvflare", "fed.clients": 4, "fed.rounds": 4, "fed.participation": 1, "fed.partition": "iid",
    "fed.dirichlet_alpha": 0.5, "fed.local_generations": 2, "fed.sizes": "equal", "fed.size_alpha": 1, "fed.size_sigma": 1,
    "cma.population": 5, "cma.sigma": 1, "cma.dimension": 6, "perturb.rate": 0, "objective.loss": "ce", "eval.every": 1, "eval.test_every": 1,
    "backend.name": "cpu", "backend.threads": 1,
}


@dataclass
class Made:
    """Contents of a made run file; a test changes one thing. Scores: by column of /rounds, one value a row; others follow from `seed`."""

    settings: dict[str, object] = field(default_factory=dict)
    rows: int | None = None  # 1 + finished rounds; default: all planned
    status: str = "finished"
    task: str = "sst2"
    labels: int = 3
    dev: bool = True
    test: bool = True
    created: str = "2026-01-02T03:04:05Z"
    scores: dict[str, list[float]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    decides: str | None = None  # /config's attribute; files of earlier versions have none
    label_words: list[str] | None = None  # recorded in /inputs, one a label
    version: int = 2  # 1: of the layout that has a place for every client in each round

    @property
    def all_settings(self) -> dict[str, object]:
        return SETTINGS | self.settings


def yaml_text(settings: dict[str, object]) -> str:
    """As the program prints settings, each section once."""
    lines, section = [], ""
    sections = list(dict.fromkeys(key.split(".")[0] for key in settings))
    for key, value in sorted(settings.items(), key=lambda item: sections.index(item[0].split(".")[0])):
        name, leaf = key.split(".")
        if name != section:
            lines.append(f"{name}:")
            section = name
        text = ("true" if value else "false") if isinstance(value, bool) else f'"{value}"' if leaf in ("output", "path") else str(value)
        lines.append(f"  {leaf}: {text}")
    return "\n".join(lines) + "\n"


def write(path: Path, made: Made | None = None) -> Path:
    """Writes the file; its content follows from `made` alone. In place, so write beside and rename to replace a file that is read."""
    made = made or Made()
    settings = made.all_settings
    k, d, i = (int(settings[name]) for name in ("fed.clients", "cma.dimension", "fed.local_generations"))  # type: ignore[call-overload]
    n_rows = made.rows if made.rows is not None else int(settings["fed.rounds"]) + 1  # type: ignore[call-overload]
    draw = np.random.default_rng(int(settings["run.seed"]))  # type: ignore[call-overload]
    scores = _scores(made, n_rows, draw)
    with h5py.File(path, "w") as file:
        file.attrs.update(format_version=made.version, program_version="0.1.0", git_commit="0123456789ab", created=made.created, status=made.status,
                          wall_time_s=12.5)
        config = file.create_group("config")
        config.attrs["given"], config.attrs["resolved"] = "# given\n", yaml_text(settings)
        if made.decides is not None:
            config.attrs["decides"] = made.decides
        environment = {"ranks": "2", "device": "made", "precision": "fp32", "backend": "cpu"} | made.environment
        file.create_group("environment").attrs.update(environment)
        inputs = {"model": str(settings["model.path"]), "data": str(settings["data.path"]), "task": made.task, "template": "{text} {mask}",
                  "data_source_sha256": "0" * 64}
        group = file.create_group("inputs")
        group.attrs.update(inputs | made.inputs)
        if made.label_words is not None:
            group.attrs.create("label_words", np.array(made.label_words, object), dtype=h5py.string_dtype())
        _write_partition(file, k, made.labels if made.label_words is None else len(made.label_words), draw)
        rounds = _rounds(made, n_rows, (k, d, i), scores, draw)
        for name, values in rounds.items():
            dataset = file.create_dataset(f"rounds/{name}", data=values)
            dataset.attrs["long_name"], dataset.attrs["unit"] = name, "1"
        file["rounds/cost/seconds"].attrs.create("phases", np.array(PHASES, object), dtype=h5py.string_dtype())
        _write_result(file, rounds, draw)
    return path


def replace(path: Path, made: Made) -> Path:
    """Puts another file in the place of an existing one, at once, as the program does."""
    beside = path.with_name(f".{path.name}.new")
    write(beside, made)
    beside.replace(path)
    return path


def _scores(made: Made, n_rows: int, draw: np.random.Generator) -> dict[str, np.ndarray]:
    every, test_every, planned = (int(made.all_settings[name]) for name in ("eval.every", "eval.test_every", "fed.rounds"))  # type: ignore[call-overload]
    index = np.arange(n_rows)
    scored = (index % every == 0) | (index == planned)
    columns = {}
    for split in ("train", "dev", "test"):
        there = split == "train" or getattr(made, split)
        for measure in ("loss", "accuracy", "f1"):
            start, gain = (1.2, -0.1) if measure == "loss" else (0.5, 0.05)
            values = start + gain * np.sqrt(index) + draw.normal(0, 0.01, n_rows)
            columns[f"{split}_{measure}"] = np.where(scored & there, values, NAN)
    columns.pop("train_f1")
    columns |= {name: np.array(values, float) for name, values in made.scores.items()}
    tested = (index % (every * test_every) == 0) | (index == planned)
    tested[best_so_far(columns["dev_accuracy"], columns["dev_loss"])] = True
    test = {name: np.where(tested, columns[name], NAN) for name in columns if name.startswith("test_") and name not in made.scores}
    return columns | test


def _write_partition(file: h5py.File, k: int, n_labels: int, draw: np.random.Generator) -> None:
    counts = draw.integers(1, 6, (k, n_labels))
    sizes = counts.sum(axis=1)
    file["partition/class_count"] = counts.astype(np.int32)
    file["partition/sample_offsets"] = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    file["partition/sample_index"] = draw.permutation(int(sizes.sum())).astype(np.int32)
    file["partition/dev_index"] = np.arange(5, dtype=np.int32)


def _rounds(made: Made, n_rows: int, sizes: tuple[int, int, int], scores: dict[str, np.ndarray],
            draw: np.random.Generator) -> dict[str, np.ndarray]:
    k, d, i = sizes
    m = int(float(made.all_settings["fed.participation"]) * k + 0.5)  # type: ignore[arg-type]
    ids = np.sort(np.argsort(draw.random((n_rows, k)), axis=1)[:, :m], axis=1)
    took_part = np.zeros((n_rows, k), bool)
    np.put_along_axis(took_part, ids, np.arange(n_rows)[:, None] > 0, axis=1)
    n = took_part.sum(axis=1)

    def of_clients(low: float, high: float) -> np.ndarray:
        return np.where(took_part, draw.uniform(low, high, (n_rows, k)), NAN)

    loss = of_clients(0.4, 1.4)
    z = np.cumsum(draw.normal(0, 1, (n_rows, d)), axis=0)
    z[:1] = 0
    index = np.arange(n_rows)
    wide = {
        "index": index.astype(np.int64), "z": z, "step_size": 1 - 0.01 * index, "step_size_local": 1 - 0.02 * index, **scores,
        "condition_number": 1 + 0.01 * index, "axis_ratio": 1 + 0.005 * index, "path_sigma_norm": np.sqrt(index),
        "resets": np.zeros(n_rows, np.int64), "epsilon": np.full(n_rows, NAN), "participants": took_part.astype(np.uint8),
        "client/fitness": loss, "client/loss": loss, "client/loss_perturbed": np.full((n_rows, k), NAN),
        "client/step_size": np.where(took_part[:, :, None], draw.uniform(0.8, 1, (n_rows, k, i)), NAN),
        "client/condition": of_clients(1, 1.2), "client/evaluations": np.where(took_part, 11, 0).astype(np.int64),
        "cost/seconds": draw.uniform(0.1, 1, (n_rows, len(PHASES))), "cost/bytes_up": (n * 4 * d).astype(np.int64),
        "cost/bytes_down": (n * 4 * (d + d * d)).astype(np.int64), "cost/tokens": (1000 + 500 * n).astype(np.int64),
        "cost/peak_memory": np.full(n_rows, 200_000_000, np.int64),
        "cost/energy_cpu": np.full(n_rows, NAN), "cost/energy_gpu": np.full(n_rows, NAN),
    }
    if made.version == 1:
        return wide

    def of_participants(values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, ids.reshape(*ids.shape, *[1] * (values.ndim - 2)), axis=1)

    narrow = {name: of_participants(values) if name.startswith("client/") else values for name, values in wide.items()}
    return narrow | {"participants": np.where(index[:, None] > 0, ids, -1).astype(np.int64)}


def _write_result(file: h5py.File, rounds: dict[str, np.ndarray], draw: np.random.Generator) -> None:
    accuracy, loss = rounds["dev_accuracy"], rounds["dev_loss"]
    rows = [row for row in range(len(loss)) if np.isfinite(loss[row])]
    best = min(rows, key=lambda row: (-accuracy[row], loss[row], row)) if rows else -1
    result = file.create_group("result")
    result.attrs["best_round"], result.attrs["last_round"] = best, len(loss) - 1
    for which, row in (("best", best), ("last", len(loss) - 1)):
        if row >= 0:
            result[f"{which}_z"] = rounds["z"][row]
            result[f"{which}_prompt"] = draw.normal(0, 1, (3, 8)).astype(np.float32)
    file.create_group("checkpoint").attrs["round"] = len(loss) - 1


def lock(path: Path, **changes: object) -> Path:
    """The lock of a run file as src/record/claim_file.c writes it, held by this process unless it says otherwise."""
    said: dict[str, object] = {"identity": "ab12", "host": os.uname().nodename, "pids": os.readlink("/proc/self/ns/pid"),
                               "pid": os.getpid(), "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(), "born": claims._born(str(os.getpid())),
                               "job": "", "start": ""}
    text = "".join(f"{key} {value}\n" for key, value in (said | changes).items())
    file = path.with_name(f".{path.name}.lock")
    file.write_text(f"fedbpt lock of a run file\n{text}end\n")
    return file


def dead_process() -> dict[str, object]:
    with subprocess.Popen(["sleep", "60"]) as process:
        born = claims._born(str(process.pid))
        process.kill()
    return {"pid": process.pid, "born": born}
