"""Apptainer definitions: python definition.py FILE SECTION [NAME=VALUE...] prints a section with the build arguments put in."""

from __future__ import annotations

import re
import sys
from pathlib import Path

SECTIONS = {"arguments", "labels", "files", "post", "environment", "runscript", "test", "help", "setup", "startscript"}


def parse(text: str) -> dict[str, str]:
    """Section -> its text; "header" -> what stands before them. Of `%post -c SHELL` the shell is "post-shell"."""
    parts = re.split(r"^%(\w+)(?:[ \t]+-c[ \t]+(\S+))?[ \t]*$", text, flags=re.MULTILINE)
    sections = {"header": parts[0]}
    for name, shell, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        if name not in SECTIONS or name in sections:
            raise ValueError(f"section %{name} is not known, or is there twice")
        sections[name] = body
        if shell:
            sections[f"{name}-shell"] = shell
    return sections


def arguments_of(sections: dict[str, str]) -> dict[str, str]:
    """The build arguments with their defaults."""
    return dict(line.strip().split("=", 1) for line in sections.get("arguments", "").splitlines() if line.strip())


def section(text: str, name: str, **given: str) -> str:
    """A section as Apptainer runs it."""
    sections = parse(text)
    values = arguments_of(sections)
    if unknown := set(given) - set(values):
        raise ValueError(f"there is no build argument {', '.join(sorted(unknown))}")
    values.update(given)
    return re.sub(r"\{\{ *(\w+) *\}\}", lambda match: values[match[1]], sections[name])


if __name__ == "__main__":
    print(section(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2], **dict(word.split("=", 1) for word in sys.argv[3:])))
