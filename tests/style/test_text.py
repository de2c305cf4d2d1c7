"""Comments and documents: how they begin, how wide they are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = {".c", ".h", ".cc", ".cu", ".cuh", ".py", ".sh", ".sbatch", ".cmake", ".yaml", ".in", ".def"}
WHAT = re.compile(r'(/\*|//|#|""")[\s*#/-]*What\b')


def tracked(*patterns: str) -> list[Path]:
    """List the files under version control."""
    listed = subprocess.run(["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for path in map(ROOT.joinpath, listed.stdout.split()) if path.is_file()]


def test_comments_begin_with_a_verb_or_a_noun_phrase() -> None:
    """Broken by a comment that begins with "What": `Contents of ...`, `Checks ...` say it plainly."""
    files = [path for path in tracked() if path.suffix in CODE or path.name == "CMakeLists.txt"]
    assert len(files) > 100
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if WHAT.search(line)
    ]
    assert not found, "\n".join(found)


def test_documents_are_wrapped() -> None:
    """Broken by a line of more than 120 columns; rows of tables, and links that stand alone, cannot be wrapped."""
    unbroken = re.compile(r"\||[-*]? *!?\[[^]]*\]\([^)]*\)[.,;]?$")
    documents = [path for path in tracked("*.md") if "tests" not in path.parts]
    assert len(documents) > 10
    wide = [
        f"{path.relative_to(ROOT)}:{number}: {len(line)} columns"
        for path in documents
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 120 and not unbroken.match(line.strip())
    ]
    assert not wide, "\n".join(wide)
