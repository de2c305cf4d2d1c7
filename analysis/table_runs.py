#!/usr/bin/env python3
"""Prints run files as a Markdown table: mean and standard deviation over the runs that differ in their seed only."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import yaml

EXAMPLES = """example:
  .venv/bin/python analysis/table_runs.py runs/results/*.h5"""


@dataclass(frozen=True)
class Row:
    """One run: scores before tuning, after the last round, and at the round chosen on the dev samples."""

    seed: int
    rounds: int
    train_loss: tuple[float, float]
    test_loss: tuple[float, float, float]
    test_accuracy: tuple[float, float, float]
    floats_up: float  # per client and round


def read_row(path: Path) -> tuple[tuple[str, ...], Row]:
    """The run's label (protocol, partition) and its row."""
    with h5py.File(path) as file:
        settings = yaml.safe_load(file["config"].attrs["resolved"])
        rounds = file["rounds"]
        best = list(rounds["index"][:]).index(file["result"].attrs["best_round"])
        loss, accuracy = rounds["test_loss"][:], rounds["test_accuracy"][:]
        participants = rounds["participants"][:].sum(axis=1)
        row = Row(
            seed=settings["run"]["seed"],
            rounds=int(rounds["index"][-1]),
            train_loss=(rounds["train_loss"][0], rounds["train_loss"][-1]),
            test_loss=(loss[0], loss[-1], loss[best]),
            test_accuracy=(accuracy[0], accuracy[-1], accuracy[best]),
            floats_up=rounds["cost/bytes_up"][-1] / 4 / participants[-1],
        )
    fed = settings["fed"]
    partition = "IID" if fed["partition"] == "iid" else f"Dirichlet {fed['dirichlet_alpha']:g}"
    return (fed["protocol"], partition), row


def spread(values: list[float]) -> str:
    """Mean, and the standard deviation where there is more than one value."""
    text = f"{np.mean(values):.3f}"
    return text if len(values) < 2 else f"{text} ± {np.std(values, ddof=1):.3f}"


def table(groups: dict[tuple[str, ...], list[Row]]) -> str:
    """The Markdown table of all groups."""
    lines = [
        "| protocol | partition | seeds | train loss: start | last | test loss: start | last | test accuracy: start | last | "
        "best on dev | uplink floats a round and client |",
        "|" + "---|" * 11,
    ]
    for (protocol, partition), rows in groups.items():
        cells = [
            protocol,
            partition,
            str(len(rows)),
            spread([r.train_loss[0] for r in rows]),
            spread([r.train_loss[1] for r in rows]),
            spread([r.test_loss[0] for r in rows]),
            spread([r.test_loss[1] for r in rows]),
            spread([r.test_accuracy[0] for r in rows]),
            spread([r.test_accuracy[1] for r in rows]),
            spread([r.test_accuracy[2] for r in rows]),
            f"{np.mean([r.floats_up for r in rows]):.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN.h5")
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for path in parser.parse_args().runs:
        try:
            label, row = read_row(path)
        except (OSError, KeyError, ValueError) as error:
            print(f"error: {path} is not a run file with a result: {error}", file=sys.stderr)
            return 2
        groups[label].append(row)
    print(table(groups))
    return 0


if __name__ == "__main__":
    sys.exit(main())
