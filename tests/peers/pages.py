"""Pages and parts of the README that a program writes, and checks of them."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS, README = ROOT / "docs", ROOT / "README.md"
WIDTH = 120  # of a line of prose
END = "<!-- end -->\n"


def filled(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def readme_with(program: str, part: str) -> str:
    """The README with this part in the place of that which the program has written before."""
    begin = f"<!-- written by tests/peers/{program} -->\n"
    before, rest = README.read_text(encoding="utf-8").split(begin)
    return f"{before}{begin}\n{part}\n{END}{rest.split(END, 1)[1]}"


def compare_pages(pages: Mapping[Path, str], program: str) -> int:
    """Exit code 1, and a sentence for each, if one is not this text."""
    old = [page for page, text in pages.items() if not page.exists() or page.read_text(encoding="utf-8") != text]
    for page in old:
        print(f"{page} is out of date; run .venv/bin/python tests/peers/{program}", file=sys.stderr)
    return 1 if old else 0


def write_pages(pages: Mapping[Path, str]) -> None:
    for page, text in pages.items():
        page.write_text(text, encoding="utf-8")
        print(f"wrote {page}")
