"""The layout of a run file (docs/run-file.md) as far as this package reads it."""

from __future__ import annotations

FORMAT_VERSION = 2
WIDE = 1  # the version whose rounds had a place for every client (`columns`)
STATUSES = ("running", "interrupted", "finished", "failed")

# Below /rounds: name -> (kind of number, sizes of a row). m: participants of a round, d: dimension, I: generations of a client.
COLUMNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "index": ("i", ()),
    "z": ("f", ("d",)),
    "step_size": ("f", ()),
    "step_size_local": ("f", ()),
    "train_loss": ("f", ()),
    "train_accuracy": ("f", ()),
    "dev_loss": ("f", ()),
    "dev_accuracy": ("f", ()),
    "dev_f1": ("f", ()),
    "test_loss": ("f", ()),
    "test_accuracy": ("f", ()),
    "test_f1": ("f", ()),
    "condition_number": ("f", ()),
    "axis_ratio": ("f", ()),
    "path_sigma_norm": ("f", ()),
    "resets": ("i", ()),
    "precision_tau": ("f", ()),
    "precision_overlap": ("f", ()),
    "precision_loss_error": ("f", ()),
    "precision_fell_back": ("i", ()),
    "epsilon": ("f", ()),
    "participants": ("i", ("m",)),
    "client/fitness": ("f", ("m",)),
    "client/loss": ("f", ("m",)),
    "client/loss_perturbed": ("f", ("m",)),
    "client/mean": ("f", ("m", "d")),
    "client/step_size": ("f", ("m", "I")),
    "client/condition": ("f", ("m",)),
    "client/evaluations": ("i", ("m",)),
    "cost/seconds": ("f", ("phases",)),
    "cost/bytes_up": ("i", ()),
    "cost/bytes_down": ("i", ()),
    "cost/tokens": ("i", ()),
    "cost/peak_memory": ("i", ()),
    "cost/energy_cpu": ("f", ()),
    "cost/energy_gpu": ("f", ()),
}


def is_of_participants(name: str) -> bool:
    """Whether a data set below /rounds has values of each participant."""
    return name in COLUMNS and COLUMNS[name][1][:1] == ("m",)


def columns(version: int) -> dict[str, tuple[str, tuple[str, ...]]]:
    """COLUMNS as files of a version have them. In version 1 `participants` were flags, and K clients stood where m participants do."""
    if version != WIDE:
        return COLUMNS
    wide = {name: (kind, tuple("K" if size == "m" else size for size in sizes)) for name, (kind, sizes) in COLUMNS.items()}
    return wide | {"participants": ("u", ("K",))}


# Findings of precision checks: of runs that have such checks.
CHECKS = tuple(name for name in COLUMNS if name.startswith("precision_"))
# Kept only with run.client_means; not in files of earlier versions; kept only of runs whose precision is checked.
OPTIONAL = frozenset({"client/mean", "resets", "epsilon", "cost/energy_cpu", "cost/energy_gpu", *CHECKS})

# One number a round, of the server's state and scores.
SERVER = tuple(name for name, (kind, sizes) in COLUMNS.items() if kind == "f" and not sizes and name not in OPTIONAL)
# One number a participant and round.
CLIENT = tuple(name for name, (_, sizes) in COLUMNS.items() if sizes == ("m",) and name != "participants")
COST = ("bytes_up", "bytes_down", "tokens", "peak_memory")
ENERGY = {"energy_cpu": "processors", "energy_gpu": "GPUs"}  # whose joules; NaN where they were not measured

PARTITION = {"sample_offsets": 1, "sample_index": 1, "dev_index": 1, "class_count": 2}
ROOT_ATTRIBUTES = ("format_version", "program_version", "git_commit", "created", "status", "wall_time_s")
# Of /inputs: what two runs of the same settings may differ in all the same.
ORIGINS = ("task", "data_sha256", "model_sha256", "tokenizer_sha256")
