"""Measures what docs/performance.md tells and writes it as JSON, a file a part, named after part and machine. Called by measure.sh."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/release/bin/fedbpt"
HERE = Path(__file__).resolve().parent
# Shapes and batches: with few samples where a batch would take long.
SHAPES = (("roberta-large", "--samples", 1), ("minilm-l6", "--prompt-mode", "input", "--prompt-tokens", 10, "--length", 24),
          ("smollm2-135m", "--samples", 1, "--prompt-mode", "input", "--prompt-tokens", 10))
LOAD_S = 5
RECORD_CASES = ((10, 500, 200), (1000, 100, 200))  # clients, dimension, rounds of a second's work each


def call(*words: object, **environment: str) -> str:
    done = subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE, text=True, env=os.environ | environment)
    return done.stdout


def precisions() -> list[str]:
    """All that this processor has: tried on a small batch."""
    small = ("--shape", "minilm-l6", "--samples", 1, "--candidates", 1, "--copies", 1, "--length", 9, "--prompt-tokens", 4, "--repeats", 1)
    return [found["precision"] for found in json.loads(call(PROGRAM, "bench", *small, "--json"))]


def bench(_arguments: argparse.Namespace) -> list[dict[str, Any]]:
    found, known = [], precisions()
    for shape, *words in SHAPES:
        for precision in known:
            told = call(PROGRAM, "bench", "--shape", shape, *words, "--precision", precision, "--repeats", 3, "--json")
            found += json.loads(told)
    for one in found:
        del one["operations"]
    return found


def cma(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    found = json.loads(call(PROGRAM, "bench", "--cma-es", "--json", FEDBPT_PYTHON=str(arguments.python)))
    if not any(one["way"].startswith("pycma") for one in found):
        sys.exit(f"{arguments.python} has no pycma: pip install -r tests/peers/requirements.txt")
    return found


def record(_arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The cost of writing a round, by the last line of bench_record."""
    found = []
    for clients, dimension, rounds in RECORD_CASES:
        with tempfile.TemporaryDirectory() as folder:
            last = call(ROOT / "build/release/bin/bench_record", folder, clients, dimension, rounds).splitlines()[-1]
        _, commit_s, longest_s, commit_mb, share, file_mb, _ = re.sub("%", "", last).split()
        found.append({"clients": clients, "dimension": dimension, "rounds": rounds, "round_s": 1, "commit_s": float(commit_s),
                      "longest_s": float(longest_s), "commit_mb": float(commit_mb), "share": float(share) / 100, "file_mb": float(file_mb)})
    return found


def peer(arguments: argparse.Namespace) -> dict[str, Any]:
    """Eight samples of a client, one candidate, two copies: one evaluation of the official code."""
    return json.loads(call(arguments.python, HERE / "official_evaluation.py", arguments.model, arguments.data, "--program", PROGRAM,
                           "--candidates", 1, "--repeats", 3))


def int8(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Scores of the sweep's runs, which take half an hour and are made beforehand; None where there are none."""
    from fedbpt_analysis import open_runs

    runs = open_runs(arguments.runs) if arguments.runs.is_dir() else []
    if not runs:
        return None
    if any(run.status != "finished" for run in runs):
        sys.exit(f"{arguments.runs}: not all runs are finished; mpirun -n 2 fedbpt sweep configs/sweeps/int8.yaml goes on with them")
    rows = []
    for run in runs:
        tested = run.rounds.dropna(subset="test_accuracy")
        first, best, last = tested.index[0], run.best_round, tested.index[-1]
        row: dict[str, Any] = {"precision": run.precision, "seed": run.seed, "best_round": best}
        for moment, at in (("start", first), ("best", best), ("last", last)):
            row |= {f"{measure}_{moment}": round(float(tested.loc[at, f"test_{measure}"]), 6) for measure in ("accuracy", "loss")}
        rows.append(row | {"tau": [round(float(tau), 4) for tau in run.precision_checks["tau"]]})
    head = runs[0]
    return {"task": head.task, "rounds": head.n_rounds, "checked_every": int(head.settings["backend.precision_check_every"]),
            "device": head.environment["device"], "instruction_set": head.environment["instruction_set"],
            "commits": sorted({run.git_commit for run in runs}), "runs": rows}


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {"bench": bench, "cma": cma, "record": record, "peer": peer, "int8": int8}


def idle_ticks() -> int:
    return int(Path("/proc/stat").read_text(encoding="ascii").split()[4])


def load() -> float:
    """How many processors others keep busy while this program sleeps. The kernel's own load average looks back by minutes, at the part that
    was measured before."""
    before, start = idle_ticks(), time.monotonic()
    time.sleep(LOAD_S)
    idle = (idle_ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - start)
    return max(0.0, (os.cpu_count() or 1) - idle)


def machine() -> dict[str, Any]:
    """Name of the processor, the processors that may be used, and how many of them were busy before."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = {name: match[1].strip() for name in ("model name", "cpu family", "model") if (match := re.search(rf"^{name}\s*:(.*)$", text, re.M))}
    return {"processor": found.get("model name", "unknown"), "family": f"{found.get('cpu family', '?')}/{found.get('model', '?')}",
            "processors": len(os.sched_getaffinity(0)), "load": round(load(), 2)}


def write(part: str, found: Any, before: dict[str, Any], folder: Path) -> None:
    commit = re.search(r"commit (\S+?)\)", call(PROGRAM, "info").splitlines()[0])
    name = re.sub(r"[^a-z0-9]+", "-", f"{before['processor']}-{before['family']}".lower()).strip("-")
    head = {"part": part, "taken": datetime.datetime.now(datetime.UTC).date().isoformat(), "commit": commit[1] if commit else "unknown"}
    path = folder / f"{part}-{name}.json"
    path.write_text(json.dumps({**head, "machine": before, "found": found}, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--python", type=Path, required=True, help="with PyTorch, transformers and pycma")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/sweep-int8")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/performance")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"{sorted(unknown)[0]} is none of {', '.join(PARTS)}")
    arguments.output.mkdir(exist_ok=True)
    for part in arguments.parts or PARTS:
        before = machine()
        found = PARTS[part](arguments)
        if found is not None:
            write(part, found, before, arguments.output)


if __name__ == "__main__":
    main()
