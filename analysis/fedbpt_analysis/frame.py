"""One row a run: settings, scores before tuning, at the best and at the last round, and what the run cost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from . import schema
from .files import RunError, opened
from .run import Run, find_run_files, last_scored
from .stats import FRACTION, Limits

SPLITS, MEASURES = ("train", "dev", "test"), ("loss", "accuracy", "f1")
SCORES = tuple(f"{split}_{measure}" for split in SPLITS for measure in MEASURES if (split, measure) != ("train", "f1"))
MOMENTS = ("start", "best", "last")

# Names of columns in a table for people, and their units.
COSTS = {
    "bytes_up_client": ("uplink a round and client", "byte"),
    "bytes_down_client": ("downlink a round and client", "byte"),
    "bytes_up": ("sent up by all clients", "byte"),
    "bytes_down": ("sent down to all clients", "byte"),
    "evaluations": ("evaluations of all clients", "1"),
    "tokens": ("tokens through the model", "1"),
    "seconds": ("time", "s"),
    "simulated_s": ("simulated time of a deployment", "s"),
    **{name: (f"energy of the {what}", "J") for name, what in schema.ENERGY.items()},
    "peak_memory": ("largest memory of a rank", "byte"),
}
# Settings that name an input, and where runs say what is in it (settings.DECIDES_EARLIER: "input").
INPUTS = {"model.path": "model_sha256", "data.path": "data_sha256"}
UNDECIDING = "undeciding"  # the column of the settings that decide no result


def title_of(metric: str) -> str:
    """`test_accuracy_best` becomes `test accuracy, best on dev`."""
    if metric in COSTS:
        return COSTS[metric][0]
    name, _, moment = metric.rpartition("_")
    moments = {"start": "before tuning", "best": "best on dev", "last": "last round", "max": "best test round"}
    words = name.replace("f1", "F1").replace("_", " ")
    return f"{words}, {moments[moment]}" if moment in moments else metric.replace("_", " ")


def limits_of(metric: str) -> Limits:
    """The smallest and the largest value that a column can have, of those that are fractions."""
    return FRACTION if metric.rpartition("_")[0] in {score for score in SCORES if not score.endswith("loss")} else None


def row_of(run: Run) -> dict[str, object]:
    """The run's row; scores that were not taken are NaN."""
    with run.kept_open():
        return _row_of(run)


def _row_of(run: Run) -> dict[str, object]:
    scores = {score: run.array(score) for score in SCORES}
    moments = {"start": 0, "best": run.best_row, "last": last_scored(scores["train_loss"])}
    row: dict[str, object] = {
        "path": str(run.path), "name": run.name, "status": run.status, "created": run.created,
        "rounds": run.last_round, "rounds_planned": run.n_rounds, "best_round": np.nan if run.best_round is None else run.best_round,
    }
    row |= {"program_version": run.program_version, "git_commit": run.git_commit} | dict.fromkeys(schema.ORIGINS, "") | run.origins
    row |= {"task": run.task, "sweep_name": run.sweep.get("name", ""), "sweep_axes": run.sweep.get("axes", "")}
    row |= run.settings | _outcomes(run)
    row[UNDECIDING] = " ".join(name for name, what in run.decides.items() if what in ("nothing", "content"))
    for score, values in scores.items():
        row |= {f"{score}_{moment}": np.nan if at is None else values[at] for moment, at in moments.items()}
    test = scores["test_accuracy"]
    row["test_accuracy_max"] = np.nanmax(test) if np.isfinite(test).any() else np.nan
    row |= {name: run.array(f"cost/{name}").sum() for name in ("bytes_up", "bytes_down", "tokens")}
    row |= {"seconds": np.nansum(run.array("cost/seconds").sum(axis=1)), "peak_memory": run.array("cost/peak_memory").max()}
    row |= run.energy | {"simulated_s": float(run.reports["elapsed_s"].iloc[-1])}
    row["evaluations"] = int(run.array("client/evaluations").sum())
    for way in ("up", "down"):
        row[f"bytes_{way}_client"] = row[f"bytes_{way}"] / max(1, run.n_turns)  # type: ignore[operator]
    return row


def _outcomes(run: Run) -> dict[str, object]:
    """Settings that stand for what comes of them on a machine: `auto` and `bf16` are one precision where it came to bf16."""
    names = [name for name, what in run.decides.items() if what == "outcome" and name in run.settings]
    return {name: found for name in names if (found := getattr(run, name.partition(".")[2], ""))}


def _by_content(frame: pd.DataFrame) -> pd.DataFrame:
    """Calls the paths of one content, by the SHA-256 that runs recorded, as the first of them: data that has moved is the same data."""
    for name, origin in INPUTS.items():
        if name in frame and origin in frame:
            known = frame[origin] != ""
            frame.loc[known, name] = frame[known].groupby(origin)[name].transform("first")
    return frame


def undeciding(frame: pd.DataFrame) -> frozenset[str]:
    """The settings that decide no result by what all runs (rows as of `collect`) say."""
    return frozenset.intersection(*(frozenset(text.split()) for text in frame[UNDECIDING].unique())) if len(frame) else frozenset()


def collect(runs: Iterable[Run]) -> pd.DataFrame:
    """A data frame of one row a run: path, name, status, task, sweep_name, sweep_axes, all settings by name, SCORE_start, SCORE_best,
    SCORE_last for the losses, accuracies and F1 of train, dev and test (the best round is chosen on dev), and bytes, tokens, seconds,
    evaluations."""
    return _by_content(pd.DataFrame([row_of(run) for run in runs]))


def collect_files(paths: list[Path]) -> tuple[pd.DataFrame, list[str]]:
    """The same from files and folders, without keeping more than one run in memory. What is no readable run file inside a folder is
    left out with a sentence; a file that was named itself must be one."""
    rows, left_out = [], []
    named = {path for path in paths if not path.is_dir()}
    for path in find_run_files(paths):
        try:
            with opened(path) as file:
                rows.append(row_of(Run(path, file)))
        except RunError as error:
            if path in named:
                raise
            left_out.append(str(error))
    return _by_content(pd.DataFrame(rows)), left_out
