"""The prompt of a run tuned by gradients: federated averaging (McMahan et al. 2017) of the soft prompt alone (FedPrompt, Zhao et al.
2023), on the same samples by the same participants. docs/gradients.md says what is computed and what is counted."""

from __future__ import annotations

import hashlib
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from . import output
from .errors import AnalysisError
from .files import opened
from .run import Run
from .run_writer import PROTOCOL, Record, now, write
from .settings import Value
from .verify import best_so_far

PHASES = ["tune", "score"]
OPTIMISERS = ("adam", "sgd")
# Of the run: settings that stay as they are, ...
KEPT = (
    "run.output", "run.seed", "model.path", "model.embedding_scale", "model.label_scoring",
    "data.path", "data.shots", "data.dev_shots", "data.test_limit", "prompt.mode", "prompt.tokens", "fed.clients", "fed.rounds",
    "fed.participation", "fed.participants", "fed.partition", "fed.dirichlet_alpha", "fed.local_generations",
    "fed.only_client", "fed.sizes", "fed.size_alpha", "fed.size_sigma",
    "objective.loss", "eval.every", "eval.test_every", "eval.train_limit",
)
# ... settings of the search without gradients, and of the program's own work, which gradients have no use for, ...
LEFT_OUT = (
    "run.overwrite", "run.max_seconds", "run.stop_margin_seconds", "run.client_means", "prompt.projection",
    "fed.protocol", "fed.client_work", "fed.aggregation", "fed.weighting", "fed.ranking", "fed.optimiser", "fed.wire", "fed.client_seeds",
    "fed.error_feedback", "fed.secure_range", "privacy.delta",
    "es.learning_rate", "es.momentum", "es.weight_decay", "es.elite", "es.smoothing", "es.deviation_smoothing", "es.seeds",
    "prompt.hidden_std", "faults.dropout_kind", "pace.compute_seconds", "pace.compute_sigma", "pace.bytes_per_second",
    "pace.bandwidth_sigma", "pace.latency_seconds",
    "cma.population", "cma.sigma", "cma.scale_by_sigma", "cma.dimension", "cma.alpha", "cma.covariance", "cma.decomposition", "cma.active",
    "cma.constants", "cma.norm_bound", "cma.norm_growth", "cma.norm_max", "prompt.vocabulary",
    "perturb.rate", "perturb.scope", "perturb.fitness", "backend.name", "backend.precision",
    "backend.precision_check_every", "backend.precision_guard", "backend.precision_guard_tau", "backend.threads", "backend.batch_tokens",
)
# ... and, of those that are kept or unknown to both lists, the values that are computed. Any other is refused.
COMPUTED: dict[str, tuple[Value, ...]] = {
    "objective.loss": ("ce", "hinge"), "model.label_scoring": ("auto", "first"), "prompt.mode": ("add", "cat", "input"),
    "fed.average_means": (1,), "fed.quantise_bits": (0,), "fed.secure_aggregation": (False,), "privacy.clip": (0,),
    "privacy.noise_multiplier": (0,), "prompt.projection": ("normal", "uniform"), "prompt.deep": ("none",), "faults.dropout": (0,),
    "fed.over_selection": (1,), "pace.deadline_seconds": (0,),
}
# How far losses of row 0 may be from the run's: its precision's error.
TOLERANCE = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 5e-2, "int8": 2e-1}


class Model(Protocol):
    """The model whose prompt is tuned; prompted.PromptedModel in transformers. Prompts are float32 [P, H]."""

    hidden_size: int

    def tune(self, prompt: np.ndarray, samples: Any, optimiser: str, learning_rate: float, steps: int) -> np.ndarray:
        """The prompt after so many steps on the mean loss over the samples."""

    def score(self, prompt: np.ndarray, samples: Any) -> tuple[np.ndarray, np.ndarray]:
        """Losses and predicted labels of the samples."""


@dataclass(frozen=True)
class Plan:
    """The command line; None: as the run has it."""

    like: Path
    output: Path
    optimiser: str = "adam"
    learning_rate: float = 0.01
    local_steps: int | None = None
    rounds: int | None = None
    model: str | None = None
    data: str | None = None
    threads: int | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Split:
    """Samples that are scored or tuned on. `n_tokens`: rows through the model in one pass over them."""

    samples: Any
    labels: np.ndarray
    n_tokens: int


@dataclass(frozen=True)
class Federation:
    """Who holds and does what; all of it from the run. `clients`: of those that take part in a round."""

    clients: Mapping[int, Split]
    participants: np.ndarray  # [R, m], rising; -1: none
    scored: Mapping[str, Split]  # train, dev, test; the last two may be absent
    n_labels: int


def check(run: Run, plan: Plan) -> dict[str, Value]:
    """The settings of the tuned run. Raises where the run has something that is not computed here."""
    if run.settings.get("fed.protocol") == PROTOCOL:
        raise AnalysisError(f"{run.path}: was itself tuned by gradients; name the run that its partition came from")
    for name, value in run.settings.items():
        if name not in KEPT + LEFT_OUT + tuple(COMPUTED):
            raise AnalysisError(f"{run.path}: has the setting {name}, which tuning by gradients does not know; use the version of "
                                "fedbpt-analysis that belongs to the program")
        if value not in COMPUTED.get(name, (value,)):
            raise AnalysisError(f"{run.path}: {name}: {value} is not computed by gradients, only {', '.join(map(str, COMPUTED[name]))}")
    if run.z[0].any():
        raise AnalysisError(f"{run.path}: does not begin at z = 0, where the prompt is known without the projection")
    if not 0 <= plan.learning_rate < np.inf:
        raise AnalysisError(f"--learning-rate {plan.learning_rate:g}: must be a number from 0 on")
    n_rounds = run.last_round if plan.rounds is None else plan.rounds
    if not 1 <= n_rounds <= run.last_round:
        raise AnalysisError(f"--rounds {n_rounds}: {run.path} says who takes part in rounds 1 to {run.last_round}; choose one of them")
    if plan.local_steps is not None and plan.local_steps < 1:
        raise AnalysisError(f"--local-steps {plan.local_steps}: must be at least 1")
    return _settings(run, plan, n_rounds)


def _settings(run: Run, plan: Plan, n_rounds: int) -> dict[str, Value]:
    """Settings of the tuned run, those that it shares with the run first."""
    kept = {name: value for name, value in run.settings.items() if name not in LEFT_OUT}
    chosen: dict[str, Value] = {"run.output": str(plan.output), "fed.rounds": n_rounds}
    chosen |= {} if plan.local_steps is None else {"fed.local_generations": plan.local_steps}
    chosen |= {} if plan.model is None else {"model.path": plan.model}
    chosen |= {} if plan.data is None else {"data.path": plan.data}
    auto: dict[str, Value] = {"fed.protocol": PROTOCOL, "fed.client_work": "auto", "fed.aggregation": "auto", "fed.weighting": "auto",
                              "fed.wire": "float32", "backend.name": "torch", "backend.precision": "fp32"}
    return kept | chosen | auto | {"gradients.optimiser": plan.optimiser, "gradients.learning_rate": plan.learning_rate}


# ---- Rounds ----


def f1_of(predictions: np.ndarray, labels: np.ndarray, n_labels: int) -> float:
    """As src/fed/metrics.h: of label 1 where there are two labels, else the mean over all labels; one that is nowhere counts 0."""
    def of_label(label: int) -> float:
        named = int((predictions == label).sum() + (labels == label).sum())
        return 2 * int(((predictions == label) & (labels == label)).sum()) / named if named else 0.0

    return of_label(1) if n_labels == 2 else float(np.mean([of_label(label) for label in range(n_labels)]))


def average(prompts: list[np.ndarray], sizes: list[int]) -> np.ndarray:
    """The mean by numbers of samples, in double (McMahan et al. 2017, algorithm 1)."""
    return np.average(np.stack(prompts).astype(np.float64), axis=0, weights=sizes)


@dataclass
class Tuning:
    """A federation that is being tuned; `columns` grow by a row a round."""

    model: Model
    federation: Federation
    settings: Mapping[str, Value]
    server: np.ndarray  # float64 [P, H]
    columns: dict[str, list[Any]] = field(default_factory=dict)
    started: Callable[[Mapping[str, Any]], None] = lambda _columns: None  # looks at row 0 before anything is tuned
    said: Callable[[str], None] = lambda _text: None

    def __post_init__(self) -> None:
        get = self.settings.__getitem__
        self.n_rounds, self.steps = int(get("fed.rounds")), int(get("fed.local_generations"))
        self.optimiser, self.rate = str(get("gradients.optimiser")), float(get("gradients.learning_rate"))
        self.every, self.test_every = int(get("eval.every")), max(1, int(get("eval.test_every")))

    @property
    def sent(self) -> np.ndarray:
        """The server's prompt as it travels and is used."""
        return self.server.astype(np.float32)

    def run(self) -> dict[str, np.ndarray]:
        """All rounds; the columns of /rounds, [R, ...]."""
        for index in range(self.n_rounds + 1):
            self._round(index)
            if index == 0:
                self.started(self.columns)
        return {name: np.array(values) for name, values in self.columns.items()}

    def _round(self, index: int) -> None:
        began = time.monotonic()
        ids = self.federation.participants[index] if index else np.full(self.federation.participants.shape[1], -1)
        row = self._tune(ids)
        tuned = time.monotonic()
        row |= self._score(index)
        n_values = int((ids >= 0).sum()) * self.server.size * 4
        row |= {"index": index, "z": self.server.ravel(), "step_size": self.rate, "step_size_local": self.rate, "participants": ids,
                "cost/seconds": [tuned - began, time.monotonic() - tuned], "cost/bytes_up": n_values, "cost/bytes_down": n_values,
                "cost/peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
        row["cost/tokens"] = row.pop("tuned_tokens") + row.pop("scored_tokens")
        for name, value in row.items():
            self.columns.setdefault(name, []).append(value)
        scores = [f"{name.replace('_', ' ')} {row[name]:.4f}" for name in ("train_loss", "dev_accuracy") if np.isfinite(row[name])]
        self.said(": ".join([f"round {index} of {self.n_rounds}", ", ".join(scores)][: 1 + bool(scores)]))

    def _tune(self, ids: np.ndarray) -> dict[str, Any]:
        """One round of the participants from the server's prompt, and the server's average; the clients' part of the row."""
        m, start = len(ids), self.sent
        loss, evaluations, n_tokens = np.full(m, np.nan), np.zeros(m, np.int64), 0
        prompts, sizes = [], []
        for place in np.flatnonzero(ids >= 0):
            own = self.federation.clients[int(ids[place])]
            prompts.append(self.model.tune(start, own.samples, self.optimiser, self.rate, self.steps))
            sizes.append(len(own.labels))
            loss[place] = self.model.score(prompts[-1], own.samples)[0].mean()
            evaluations[place] = 2 * self.steps + 1  # forwards and backwards, and the score of what came of them
            n_tokens += int(evaluations[place]) * own.n_tokens
            if not np.isfinite(loss[place]):
                raise AnalysisError(f"the loss of client {ids[place]} is no finite number; choose a smaller --learning-rate")
        if prompts:
            self.server = average(prompts, sizes)
        rates = np.where(ids[:, None] >= 0, np.full((m, self.steps), self.rate), np.nan)
        return {"client/loss": loss, "client/fitness": loss, "client/evaluations": evaluations, "client/step_size": rates,
                "tuned_tokens": n_tokens}

    def _score(self, index: int) -> dict[str, Any]:
        """Scores of the server's prompt: train and dev every eval.every rounds, test as eval.test_every says and where dev is best."""
        row: dict[str, Any] = {f"{split}_{what}": np.nan for split in ("train", "dev", "test") for what in ("loss", "accuracy", "f1")}
        row |= {"scored_tokens": 0}
        del row["train_f1"]
        last = index == self.n_rounds
        if index % self.every and not last:
            return row
        self._score_split(row, "train")
        self._score_split(row, "dev")
        dev = [np.array([*self.columns.get(f"dev_{what}", []), row[f"dev_{what}"]]) for what in ("accuracy", "loss")]
        if last or index % (self.every * self.test_every) == 0 or index in best_so_far(*dev):
            self._score_split(row, "test")
        return row

    def _score_split(self, row: dict[str, Any], name: str) -> None:
        split = self.federation.scored.get(name)
        if split is None:
            return
        losses, predictions = self.model.score(self.sent, split.samples)
        row[f"{name}_loss"], row[f"{name}_accuracy"] = losses.mean(), (predictions == split.labels).mean()
        if name != "train":
            row[f"{name}_f1"] = f1_of(predictions, split.labels, self.federation.n_labels)
        row["scored_tokens"] += split.n_tokens


# ---- Inputs ----


def _check_data(run: Run, path: Path) -> None:
    if not path.is_file():
        raise AnalysisError(f"{path}: there is no such data set file; name it with --data")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != run.inputs.get("data_sha256"):
        raise AnalysisError(f"{path}: is another data set than that of {run.path}; name its own with --data")


def _open_federation(run: Run, settings: Mapping[str, Value], data: h5py.File, n_rounds: int) -> Federation:
    """Samples as the run dealt them out, of the rounds' participants alone."""
    from .prompted import Samples

    extra = int(settings["prompt.tokens"]) if settings["prompt.mode"] in ("cat", "input") else 0

    def split_of(name: str, rows: np.ndarray) -> Split:
        samples = Samples.read(data, name, rows.tolist())
        return Split(samples, np.array(samples.labels), sum(map(len, samples.tokens)) + extra * len(rows))

    with opened(run.path) as file:
        offsets, index, dev = (file["partition"][name][:] for name in ("sample_offsets", "sample_index", "dev_index"))
    participants = run.participants[: n_rounds + 1]
    ids = np.unique(participants[participants >= 0])
    clients = {int(k): split_of("train", index[offsets[k] : offsets[k + 1]]) for k in ids}
    empty = [k for k, split in clients.items() if not len(split.labels)]
    if empty:
        raise AnalysisError(f"{run.path}: client {empty[0]} takes part without a sample, which is not computed by gradients")
    limit, test_limit = (int(settings.get(name, 0)) for name in ("eval.train_limit", "data.test_limit"))
    scored = {"train": split_of("train", index[:limit] if limit else index)}
    if len(dev):
        scored["dev"] = split_of("dev" if "dev" in data else "train", dev)
    if "test" in data and len(data["test/labels"]):
        n = len(data["test/labels"])
        scored["test"] = split_of("test", np.arange(min(n, test_limit) if test_limit else n))
    return Federation(clients, participants, scored, run.partition.shape[1])


def check_start(run: Run, columns: Mapping[str, Any]) -> None:
    """Row 0 is the same prompt on the same samples by the same model as in the run: its losses must agree."""
    tolerance = TOLERANCE.get(run.precision, TOLERANCE["bf16"])
    for name in ("train_loss", "dev_loss", "test_loss"):
        ours, theirs = float(columns[name][0]), float(run.array(name)[0])
        if np.isfinite(theirs) and not abs(ours - theirs) <= tolerance * max(1.0, abs(theirs)):
            raise AnalysisError(f"the {name.replace('_', ' ')} before tuning is {ours:.5f} in transformers and {theirs:.5f} in {run.path}: "
                                "it is another model; name the run's with --model")


def _libraries(threads: int | None) -> dict[str, str]:
    import torch
    import transformers

    if threads is not None:
        torch.set_num_threads(threads)
    return {"libraries": f"PyTorch {torch.__version__}, transformers {transformers.__version__}",
            "threads_per_rank": str(torch.get_num_threads()), "instruction_set": torch.backends.cpu.get_cpu_capability()}


def _check_installed() -> None:
    try:
        from . import prompted  # noqa: F401
    except ModuleNotFoundError as error:
        raise AnalysisError(f"tuning by gradients needs the Python package {error.name}; install this package with its extra: "
                            "pip install './analysis[gradients]'") from error


def tune(plan: Plan, command: str) -> Path:
    """Tunes and writes the run file. `command`: recorded as what was given."""
    run = Run(plan.like)
    settings = check(run, plan)
    target = output.check("--output", plan.output, (".h5",), [plan.like])
    if target.exists() and not plan.overwrite:
        raise AnalysisError(f"{target} exists; choose another path, or add --overwrite")
    _check_installed()
    _check_data(run, Path(str(settings["data.path"])))
    created, began, environment = now(), time.monotonic(), _libraries(plan.threads)
    if float(run.settings.get("perturb.rate", 0)) > 0:
        output.note(f"note: {run.path} has perturb.rate {run.settings['perturb.rate']}; gradients are taken of the samples as they are")
    tuning = _tuning(run, settings)
    columns = tuning.run()
    p, h = tuning.server.shape
    environment |= {"backend": "torch", "device": "cpu", "precision": "fp32"}
    paths = {"model": str(settings["model.path"]), "data": str(settings["data.path"])}
    record = Record(plan.like, settings | {"cma.dimension": p * h}, run.decides, f"# {command}\n", columns, PHASES, (p, h), environment,
                    created, time.monotonic() - began, paths)
    write(target, record, plan.overwrite)
    return target


def _tuning(run: Run, settings: Mapping[str, Value]) -> Tuning:
    """The federation at its start: z = 0, so that the prompt is 0."""
    from .prompted import PromptedModel, Task

    with opened(Path(str(settings["data.path"]))) as data:
        scale = float(settings.get("model.embedding_scale", 20))
        task = Task.of(data, str(settings["prompt.mode"]), str(settings["objective.loss"]), scale)
        model = PromptedModel(Path(str(settings["model.path"])), task)
        federation = _open_federation(run, settings, data, int(settings["fed.rounds"]))
    start = np.zeros((int(settings["prompt.tokens"]), model.hidden_size))
    return Tuning(model, federation, settings, start, started=lambda columns: check_start(run, columns), said=output.note)
