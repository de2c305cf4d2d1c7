"""New texts under a tuned prompt: staged in by jobs/prepare_data.py, scored by `fedbpt evaluate`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import yaml
from scipy.special import softmax

from .errors import AnalysisError
from .naming import label_names, printable
from .program import CHECKOUT, call, file_argument
from .program import find as find_program
from .run import Run

# Characters that JSON need not escape, but terminals obey.
_CONTROL = re.compile("[\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufffe\\uffff]")
STAGING = Path("jobs", "prepare_data.py")
# Ends the name of a data set's source that jobs/prepare_data.py --in-context has made.
_IN_CONTEXT = re.compile(r"training samples in context, drawn with seed -?\d+$")


@dataclass(frozen=True)
class Classes:
    """`labels` [n_labels] names; `probabilities` [n, n_labels], each row summing to 1; `chosen` [n] label numbers."""

    labels: list[str]
    probabilities: np.ndarray
    chosen: np.ndarray


def find_staging() -> Path:
    """jobs/prepare_data.py of the checkout or installed copy that this package lies in, of the current folder, or installed with the
    program."""
    program = find_program(None)
    beside_program = [Path(program).resolve().parents[1] / "share" / "fedbpt"] if program else []
    for folder in (CHECKOUT, Path.cwd(), *beside_program):
        if (folder / STAGING).is_file():
            return folder / STAGING
    raise AnalysisError("jobs/prepare_data.py is not found; run this in the checkout, or have the installed fedbpt on PATH")


def read_texts(lines: Sequence[str], two: bool) -> list[tuple[str, ...]]:
    """One sample a line; of a task with two texts, both with a tab between."""
    samples = []
    for number, line in enumerate(lines, 1):
        texts = tuple(line.removesuffix("\r").split("\t") if two else [line.removesuffix("\r")])
        if len(texts) != (2 if two else 1):
            raise AnalysisError(f"line {number} of the texts: the task takes two texts with one tab between, not {len(texts)}")
        if not all(text.strip() for text in texts):
            raise AnalysisError(f"line {number} of the texts is empty")
        samples.append(texts)
    if not samples:
        raise AnalysisError("there are no texts to classify; give one a line on the standard input")
    return samples


def _stage(run: Run, model: str, task: str, samples: Sequence[tuple[str, ...]], folder: Path, max_tokens: int | None) -> Path:
    """The texts as a data set file. Its labels are placeholders: what evaluate makes of them is not looked at."""
    records = folder / "texts.jsonl"
    value = _first_label_value(task)
    with records.open("w", encoding="utf-8") as file:
        for texts in samples:
            named = dict(zip(("text", "text2"), texts, strict=False))
            file.write(json.dumps({**named, "label": value}, ensure_ascii=False) + "\n")
    output = folder / "texts.h5"
    command = [sys.executable, str(find_staging()), "--model", file_argument(model), "--task", file_argument(task),
               "--train", str(records), "--output", str(output), "--prompt-mode", str(run.settings["prompt.mode"]),
               "--prompt-tokens", str(run.settings["prompt.tokens"]), "--column-text", "text", "--column-label", "label",
               "--empty", "error"]  # a text left out would shift the answers
    command += ["--column-text2", "text2"] if len(samples[0]) == 2 else []
    command += ["--max-tokens", str(max_tokens)] if max_tokens is not None else []
    result = subprocess.run(command, capture_output=True, encoding="utf-8", errors="backslashreplace", check=False,
                            env=os.environ | {"PYTHONIOENCODING": "utf-8"})
    if result.returncode != 0:
        said = (result.stderr.strip().splitlines() or ["it failed without a message"])[-1]
        raise AnalysisError(f"the texts cannot be staged in: {said.removeprefix('error: ').replace(f'{records}:', 'line ')}")
    return output


def _task_file(task: str) -> Path:
    folder = find_staging().parents[1] / "configs" / "tasks"
    for path in (Path(task), folder / f"{task}.yaml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
    raise AnalysisError(f"{task}: neither a task file nor one of those in configs/tasks ({known}); name the run's with --task")


def _load_task(task: str) -> dict[str, object]:
    try:
        loaded = yaml.safe_load(_task_file(task).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AnalysisError(f"{task}: is not valid YAML") from error
    if not isinstance(loaded, dict):
        raise AnalysisError(f"{task}: is not a task file")
    return loaded


def _first_label_value(task: str) -> str:
    labels = _load_task(task).get("labels")
    if not isinstance(labels, list) or not labels or not isinstance(labels[0], dict) or "value" not in labels[0]:
        raise AnalysisError(f"{task}: the task file has no labels")
    value = labels[0]["value"]
    return str(value[0] if isinstance(value, list) else value)


def takes_two_texts(task: str) -> bool:
    return "{text2}" in str(_load_task(task).get("template", ""))


def _check_same_task(run: Run, data: Path) -> list[str]:
    """The label words, if the staged data set is of the run's task and tokenizer; the prompt means nothing under others."""
    with h5py.File(data, "r") as file:
        template, words = str(file.attrs["template"]), [str(word).strip() for word in file.attrs["label_words"]]
        tokenizer = str(file.attrs["tokenizer_sha256"])
    ours, theirs = len(words), run.partition.shape[1]
    if template != run.inputs.get("template") or ours != theirs:
        raise AnalysisError(
            f"{run.path}: was tuned with the template {run.inputs.get('template')!r} and {theirs} labels, the task file says {template!r} "
            f"and {ours}; name the right one with --task"
        )
    if run.label_words and words != run.label_words:
        tuned, said = (printable(", ".join(texts)) for texts in (run.label_words, words))
        raise AnalysisError(f"{run.path}: was tuned with the labels {tuned}, the task file says {said}; name the right one with --task")
    if tokenizer != run.inputs.get("tokenizer_sha256"):
        raise AnalysisError(f"{run.path}: was tuned with another tokenizer than the model's; name the run's model with --model")
    return label_names(words)


def classify(run: Run, samples: Sequence[tuple[str, ...]], program: str, model: str | None = None, task: str | None = None,
             which: str | None = None, max_tokens: int | None = None) -> Classes:
    """Labels and probabilities of texts under the prompt of a round (`which`: best, last or a number; default best where there are dev
    samples). `model` and `task` default to the run's own. Texts longer than `max_tokens`, by default what the model's positions
    allow, are shortened as in training data."""
    if _IN_CONTEXT.search(run.inputs.get("data_source", "")):
        raise AnalysisError(f"{run.path}: was tuned behind examples in context, which texts are not staged in with; score a data set that "
                            "has them, made by jobs/prepare_data.py --in-context, by fedbpt evaluate")
    which = which or ("best" if run.best_round is not None else "last")
    model, task = model or run.inputs["model"], task or run.task
    _task_file(task)
    with tempfile.TemporaryDirectory(prefix="fedbpt-classify-") as folder:
        data = _stage(run, model, task, samples, Path(folder), max_tokens)
        labels = _check_same_task(run, data)
        scores = Path(folder) / "scores.h5"
        call(program, "evaluate", "--run", file_argument(run.path), "--round", which, "--model", file_argument(model),
             "--data", str(data), "--split", "train", "--logits", str(scores), "--json")
        with h5py.File(scores, "r") as file:
            logits, chosen = np.asarray(file["logits"][:]), np.asarray(file["predictions"][:])
    return Classes(labels, softmax(logits.astype(np.float64), axis=1), chosen)


def as_tsv(classes: Classes, samples: Sequence[tuple[str, ...]]) -> str:
    """label, probability, one column a label, text."""
    lines = ["\t".join(["label", "probability", *classes.labels, "text"])]
    for row, chosen, texts in zip(classes.probabilities, classes.chosen, samples, strict=True):
        values = [f"{value:.4f}" for value in (row[chosen], *row)]
        lines.append("\t".join([classes.labels[chosen], *values, " | ".join(printable(text.replace("\t", " ")) for text in texts)]))
    return "\n".join(lines)


def as_json(classes: Classes, samples: Sequence[tuple[str, ...]], ascii_only: bool = False) -> str:
    """A list of {"text", "label", "probability", "probabilities": {label: ...}}; "text2" too for tasks with two texts."""
    rows = []
    for row, chosen, texts in zip(classes.probabilities, classes.chosen, samples, strict=True):
        named = dict(zip(("text", "text2"), texts, strict=False))
        by_label = {name: float(value) for name, value in zip(classes.labels, row, strict=True)}
        rows.append({**named, "label": classes.labels[chosen], "probability": float(row[chosen]), "probabilities": by_label})
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(rows, indent=1, ensure_ascii=ascii_only))
