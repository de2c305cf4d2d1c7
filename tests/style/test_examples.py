"""Whole files of C in docs/ compile against the headers that they are written for.

Broken by a function or a table of the program that changes while the page that teaches it does not.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```c\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LEFT_OUT = "/* ... */\n"
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "src", "-I", ROOT)


def examples() -> dict[str, str]:
    """File name -> text of the blocks that include headers."""
    found = {}
    for page in sorted((ROOT / "docs").glob("*.md")):
        files = [block for block in BLOCK.findall(page.read_text(encoding="utf-8")) if "#include" in block]
        found |= {f"{page.stem}_{number}.c": text for number, text in enumerate(files)}
    return found


def completed(text: str) -> str:
    """Declares what the example leaves out: members of its table of operations, by the table's types, and activations."""
    table = re.search(r"fbt_backend_ops \w+ = \{(.*?)\};", text, re.DOTALL)
    if table is None:
        return text
    members = re.findall(r"\.(\w+) = (\w+),", table[1])
    missing = [(member, name) for member, name in members if not re.search(rf"\b{name}\(fbt_backend \*", text)]
    assert LEFT_OUT in text and missing
    declared = [f"__typeof__(*((const fbt_backend_ops *)0)->{member}) {name};\n" for member, name in missing]
    head, _, tail = text.partition("\nstatic ")
    activate = "float activate(fbt_activation activation, float x);\n"
    return f"{head}\n{activate}{''.join(declared)}\nstatic {tail}"


def test_examples_are_found() -> None:
    assert {name.rpartition("_")[0] for name in examples()} >= {"adding-a-backend", "adding-a-protocol"}


@pytest.mark.parametrize("name", examples())
def test_an_example_compiles(name: str, tmp_path: Path) -> None:
    source = tmp_path / name
    source.write_text(completed(examples()[name]), encoding="utf-8")
    result = subprocess.run(["cc", *FLAGS, "-fsyntax-only", source], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
