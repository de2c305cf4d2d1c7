"""The table of evaluations in docs/optimisers.md against what make_searcher_counts.py has recorded and what the searches take.

Broken by counts that are recorded anew, by a search that takes another number of evaluations or by a case that is added, where the table
stays as it was.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("SEARCHER_COUNTS", str(ROOT / "build" / "release" / "bin" / "test_searcher_counts"))
OTHER_PROCESSOR = 0.05  # may move a median by a generation or two


def number(text: str) -> float:
    return float(text.replace(",", ""))


def table() -> list[list[str]]:
    section = (ROOT / "docs" / "optimisers.md").read_text(encoding="utf-8").split("\n## Evaluations\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_table() -> None:
    recorded = json.loads((ROOT / "tests" / "golden" / "data" / "searcher_counts.json").read_text(encoding="utf-8"))["counts"]
    printed = subprocess.run([PROGRAM], capture_output=True, text=True, check=True).stdout
    here = re.findall(r"^(\S+) +(\S+) +(\d+) \(", printed, flags=re.MULTILINE)
    rows = table()
    assert len(rows) == len(recorded) == len(here)
    for row, case, (optimiser, problem, median) in zip(rows, recorded, here, strict=True):
        assert row[:2] == [case["optimiser"], case["problem"]] == [optimiser, problem]
        assert [number(cell) for cell in row[2:5]] == [case["dimension"], case["population"], case["target"]]
        assert abs(number(row[5]) / float(median) - 1) <= OTHER_PROCESSOR, row
        assert row[6] == f"{case['median']:,} ({case['by']})"
