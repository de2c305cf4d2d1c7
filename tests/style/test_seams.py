"""A client's work is one file and one line of a list, an aggregation and an optimiser likewise: nothing else in the program knows any of
them by name. A protocol is a line of a list alone.

Broken by a table or a condition elsewhere that names one, which every further one would have to be added to.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHOICES = "src/base/choices.h"
DEFAULTS = "src/config/options.c"  # names the default of an option
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
WORDS = {"random"}  # of sweep files, too: that a name is written somewhere says nothing
LISTS = {"CLIENT_WORK": "src/fed/{}.c", "AGGREGATION": "src/fed/aggregation_{}.c", "OPTIMISER": "src/optim/optimiser_{}.c"}


def sources() -> dict[str, str]:
    """Path -> code without its comments; build files too."""
    listed = subprocess.run(["git", "ls-files", "src", "kernels"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    files = [name for name in listed if Path(name).suffix in {".c", ".h", ".cu", ".cuh", ".txt"} and (ROOT / name).is_file()]
    return {name: COMMENT.sub("", (ROOT / name).read_text(encoding="utf-8")) for name in files}


def entries() -> list[tuple[str, str, str, str]]:
    """(its own file, enumerator, name, object) of every line of the lists."""
    text = (ROOT / CHOICES).read_text(encoding="utf-8")
    found = []
    for kind, path in LISTS.items():
        body = re.search(rf"#define FBT_{kind}_LIST\(X\)(.*?)\ntypedef", text, re.DOTALL)
        assert body is not None, f"{CHOICES} has no FBT_{kind}_LIST"
        for value, name, symbol in re.findall(r'X\((\w+), "([\w-]+)", (\w+)', body[1]):
            found.append((path.format(symbol.removeprefix(f"fbt_{kind.lower()}_").removeprefix("fbt_")), value, name, symbol))
    return found


def test_the_lists_are_read() -> None:
    assert {"local_search", "shared_population", "official", "average", "cma"} <= {name for _, _, name, _ in entries()}


@pytest.mark.parametrize(("own", "value", "name", "symbol"), entries(), ids=[entry[2] for entry in entries()])
def test_two_files_know_it(own: str, value: str, name: str, symbol: str) -> None:
    """Its own and the list. A file of the build may not name it either."""
    words = [value, symbol, Path(own).name] + ([] if name in WORDS else [f'"{name}"'])
    known = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in words))
    files = {path for path, code in sources().items() if known.search(code)}
    default = re.compile(rf'CHOICE\("fed\.\w+", fed\.\w+, "{name}"')
    allowed = {own, CHOICES} | ({DEFAULTS} if default.search(sources()[DEFAULTS]) else set())
    assert own in files
    assert files <= allowed, f"{name} is known to {sorted(files - allowed)}"
