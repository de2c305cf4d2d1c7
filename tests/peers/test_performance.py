"""docs/performance.md is made of docs/performance/*.json and of nothing else."""

from __future__ import annotations

import copy
import re
from typing import Any

import describe_performance as describe
import numpy as np
import pytest
from pages import WIDTH
from scipy import stats

HEAD = {"taken": "2026-01-02", "commit": "0123456789ab", "machine": {"processor": "P", "family": "1/2", "processors": 2, "load": 0.5}}
MACHINE = {"instruction_set": "avx2", "threads": 2}


def rows_of(text: str) -> list[list[str]]:
    """Cells of a table's rows, without head and rule."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("|")][2:]


def test_document_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert describe.check() == 0, capsys.readouterr().err


def test_every_part_is_there_and_names_its_machine() -> None:
    """Broken by a table that nobody can tell the processor of, and by a line of prose that is too wide."""
    parts = describe.read_parts()
    assert {part["part"] for part in parts} == set(describe.PARTS)
    for part in parts:
        text = describe.PARTS[part["part"]][1](part)
        assert part["machine"]["processor"] in text
        assert all(len(line) <= WIDTH or line.startswith("|") for line in text.splitlines())
    prose = [line for line in describe.document(parts).splitlines() if not line.startswith("|")]
    assert all(len(line) <= WIDTH for line in prose)


def test_a_busy_machine_is_told() -> None:
    """Broken by figures that other programs have spoilt and that look like all others."""
    found = {"machine": MACHINE}
    calm, busy = ({**HEAD, "found": found, "machine": {**HEAD["machine"], "load": load}} for load in (0.9, 1.1))
    assert "busy" in describe.machine_text(busy) and "busy" not in describe.machine_text(calm)


def test_ratios_of_precisions() -> None:
    """Times are of the same shape's fp32, and the peak of its own precision. Broken by fp32 of another shape."""
    found = [{"model": model, "precision": precision, "batch": {"rows": 1000}, "seconds": seconds, "fraction_of_peak": 0.5,
              "machine": MACHINE} for model, precision, seconds in (("a", "fp32", 8.0), ("a", "int8", 2.0), ("b", "fp32", 1.0), ("b", "int8", 0.8))]
    rows = rows_of(describe.bench({**HEAD, "part": "bench", "found": found}))
    assert [row[-1] for row in rows] == ["1.00", "4.00", "1.00", "1.25"] and rows[0][-2] == "50%"


def test_ratios_to_peers() -> None:
    """Broken by the inverse, and by the rows of the other."""
    found = {"medians": {"official": 6.0, "one_batch": 3.0, "fedbpt": 2.0}, "padded_rows": 1200, "batch": {"rows": 1000, "samples": 8, "candidates": 1, "copies": 2},
             "machine": MACHINE, "seconds": {"official": [5.0, 6.0, 10.0], "one_batch": [3.0], "fedbpt": [2.0, 2.0, 2.5]}, "logits_error": 2e-6,
             "versions": {"torch": "2", "transformers": "5"}}
    rows = rows_of(describe.peer({**HEAD, "part": "peer", "found": found}))
    assert [row[1:] for row in rows] == [["1,200", "3.00", "2.00"], ["1,200", "1.50", "1.00"], ["1,000", "1.00", "1.25"]]
    ways = [{"way": way, "population": 5, "seconds_mean": seconds} for way, seconds in (("fedbpt, cholesky", 0.5), ("pycma 4", 2.0))]
    assert [row[-1] for row in rows_of(describe.cma({**HEAD, "part": "cma", "found": ways}))] == ["4.00", "1.00"]


def runs_of(precision: str, last: list[float], tau: list[float]) -> list[dict[str, Any]]:
    return [{"precision": precision, "seed": seed, "accuracy_start": 0.5, "accuracy_best": value, "accuracy_last": value, "tau": tau}
            for seed, value in enumerate(last)]


def test_accuracies_of_int8() -> None:
    """Differences are of equal seeds, whatever the order of the runs; their interval is Student's t, here by SciPy. Broken by differences of
    means."""
    ours, theirs = [0.60, 0.63, 0.58], [0.61, 0.62, 0.57]
    found = {"rounds": 2, "checked_every": 1, "device": "P", "instruction_set": "avx2", "commits": ["c"],
             "runs": [*runs_of("fp32", theirs, []), *runs_of("int8", ours, [0.9, 0.8])]}
    fp32, int8 = rows_of(describe.int8({**HEAD, "part": "int8", "found": found}))
    shuffled = copy.deepcopy(found)
    shuffled["runs"] = [*found["runs"][2::-1], *found["runs"][3:]]
    assert rows_of(describe.int8({**HEAD, "part": "int8", "found": shuffled})) == [fp32, int8]
    differences = np.subtract(ours, theirs)
    low, high = stats.t.interval(0.95, 2, differences.mean(), stats.sem(differences))
    told = [float(number) for number in re.findall(r"[+-][\d.]+", int8[5])]
    assert told == pytest.approx([differences.mean(), low, high], abs=1.1e-3)  # the interval keeps within -1 and 1
    assert "is not told apart from fp32 by these 3 seeds" in describe.int8({**HEAD, "part": "int8", "found": found})
    worse = {**found, "runs": [*runs_of("fp32", theirs, []), *runs_of("int8", [value - 0.1 for value in theirs], [])]}
    assert "int8 is below fp32" in describe.int8({**HEAD, "part": "int8", "found": worse})
    assert int8[6] == "0.85, 0.80" and fp32[5] == fp32[6] == "–"
