"""A data set's README.md, where its author says which files are which split (`configs` in its YAML head, as on the Hugging Face hub)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .errors import UserError
from .files import natural


def _head(folder: Path) -> dict[str, Any]:
    """The YAML head of README.md; empty without one."""
    path = folder / "README.md"
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        value = yaml.safe_load(text.split("\n---", 1)[0].removeprefix("---")) if text.startswith("---") else None
    except (yaml.YAMLError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _patterns(value: Any) -> dict[str, list[str]]:
    """Split -> patterns of its files. Files without a split are the train split."""
    items = value if isinstance(value, list) else [value]
    found: dict[str, list[str]] = {}
    for item in items:
        split, paths = (item.get("split"), item.get("path")) if isinstance(item, dict) else ("train", item)
        if isinstance(split, str) and paths:
            found.setdefault(split, []).extend(paths if isinstance(paths, list) else [paths])
    return found


def files_by_card(folder: Path) -> dict[str, list[Path]]:
    """Split -> files, as README.md says; empty where it says nothing, or speaks of several configurations and of none as the usual one."""
    configs = _head(folder).get("configs")
    entries = [entry for entry in configs if isinstance(entry, dict)] if isinstance(configs, list) else []
    usual = [entry for entry in entries if entry.get("default") or entry.get("config_name") == "default"]
    chosen: Mapping[str, Any] = entries[0] if len(entries) == 1 else usual[0] if len(usual) == 1 else {}
    if not chosen.get("data_files") or chosen.get("data_dir"):
        return {}
    found = {}
    for split, patterns in _patterns(chosen["data_files"]).items():
        if any(Path(pattern).is_absolute() or ".." in Path(pattern).parts for pattern in patterns):
            raise UserError(f"{folder / 'README.md'}: the files of the split {split!r} lie outside the folder ({', '.join(patterns)})")
        found[split] = [path for pattern in patterns for path in sorted(folder.glob(pattern), key=natural) if path.is_file()]
        if not found[split]:
            raise UserError(
                f"{folder / 'README.md'}: says that the split {split!r} is in {', '.join(patterns)}, but no file is; download it again"
            )
    return found
