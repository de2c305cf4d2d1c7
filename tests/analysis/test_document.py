"""docs/run-file.md says what is in the files that the programs write.

    python tests/analysis/test_document.py FILE.h5 [PATH...]    prints the table's lines of a file's data sets (below PATH)
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import h5py
from fedbpt_analysis import schema

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "run-file.md"
# Rank of each shape in the document; sizes are those of `real`: one letter, one size of the file.
ROW = re.compile(r"^\| `([^`]+)` \| (\w+) \| \[(.*?)\] \| (.+?) \| (.+) \|$")
ATTRIBUTE = re.compile(r"^\| `([^`]+)` \| ([^|]+) \|$")


def section(title: str) -> list[str]:
    """The document's lines below a heading, up to the next of any level."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.lstrip("#") == f" {title}")
    end = next((i for i in range(start + 1, len(lines)) if lines[i].startswith("#")), len(lines))
    return lines[start + 1:end]


def documented(title: str) -> dict[str, tuple[str, int, str, str]]:
    """Data set -> type, rank, unit, meaning, of a section's table."""
    rows = [match for line in section(title) if (match := ROW.match(line))]
    return {row[1]: (row[2], len(row[3].split(",")), row[4], row[5]) for row in rows}


def found(file: h5py.File, *groups: str) -> dict[str, tuple[str, int, str, str]]:
    """The same of a file, below some of its groups."""
    sets: dict[str, tuple[str, int, str, str]] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and (not groups or name.startswith(groups)):
            sets[name] = (str(item.dtype), item.ndim, str(item.attrs["unit"]), str(item.attrs["long_name"]))

    file.visititems(visit)
    return sets


def names(title: str) -> tuple[set[str], set[str]]:
    """The attributes of a section's table: those that are always there, and those of which the table says when."""
    rows = {match[1]: match[2] for line in section(title) if (match := ATTRIBUTE.match(line))}
    sometimes = {name for name, meaning in rows.items() if meaning.startswith("*")}
    return set(rows) - sometimes, sometimes


def check(title: str, attributes: h5py.AttributeManager) -> None:
    """All attributes are in the table, and all that the table does not mark as optional in the file."""
    always, sometimes = names(title)
    assert always, title
    assert always <= set(attributes), f"{title}: in the document alone"
    assert set(attributes) <= always | sometimes, f"{title}: not in the document"


def test_run_file_data_sets(real: Path) -> None:
    """Names, types, ranks, units and meanings; of the checkpoint, whose content is the protocol's own, the group alone. Broken by a column that is not documented, or documented otherwise."""
    with h5py.File(real) as file:
        for title, group in (("Partition", "partition"), ("Rounds", "rounds"), ("Result", "result")):
            expected = {name: entry for name, entry in documented(title).items() if name.removeprefix("rounds/") not in (*schema.CHECKS, *schema.REPORTS)}
            assert expected == found(file, group), f"run this file on {real} for the lines"
        assert set(file) == {"config", "environment", "inputs", "partition", "rounds", "result", "checkpoint"}


def test_data_sets_of_precision_checks(checked: Path) -> None:
    """Likewise."""
    with h5py.File(checked) as file:
        columns = found(file, "rounds/precision")
    assert columns == {name: entry for name, entry in documented("Rounds").items() if name in columns} and len(columns) == len(schema.CHECKS)


def test_data_sets_of_reports(unreliable: list[Path]) -> None:
    """Likewise."""
    with h5py.File(unreliable[0]) as file:
        assert found(file, "rounds") == {name: entry for name, entry in documented("Rounds").items()
                                         if name.removeprefix("rounds/") not in (*schema.CHECKS, "client/mean")}


def test_run_file_attributes(real: Path) -> None:
    """Broken by an attribute that no table has."""
    with h5py.File(real) as file:
        check("Root", file.attrs)
        check("Settings", file["config"].attrs)
        check("Inputs", file["inputs"].attrs)
        check("Environment", file["environment"].attrs)
        session = set(file["environment/sessions/0001"].attrs) - set(file["environment"].attrs)
        assert session == names("Sessions")[0]
        assert set(file["result"].attrs) == {"best_round", "last_round"} and set(file["checkpoint"].attrs) == {"round"}
        text = "\n".join(section("Result") + section("Checkpoint") + section("Rounds"))
        assert all(f"`{name}`" in text for name in ("best_round", "last_round", "round", "phases", *file["rounds/cost"].attrs))


if __name__ == "__main__":
    with h5py.File(sys.argv[1]) as whole:
        for path, (kind, rank, unit, meaning) in found(whole, *sys.argv[2:]).items():
            print(f"| `{path}` | {kind} | [{', '.join('?' * rank)}] | {unit} | {meaning} |")
