"""A task: template, label words and columns, read from a YAML file (configs/tasks/sst2.yaml documents every key)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .errors import UserError

TASKS = Path(__file__).resolve().parents[2] / "configs" / "tasks"
KEYS = {"name", "readout", "template", "template_without_prompt", "labels", "label_space", "label_tokens", "skip_labels"}
KEYS |= {"columns", "replace", "strip", "metric", "loss", "prompt", "splits"}
READOUTS, MODES, METRICS, LOSSES = ("mask", "embedding", "last"), ("add", "cat", "input"), ("accuracy", "f1"), ("ce", "hinge", "accuracy")
SPLITS = {"train": ("train",), "dev": ("validation", "valid", "dev", "val"), "test": ("test",)}
PLACEHOLDERS = ("prompt", "text", "text2", "mask")

Piece = tuple[str, str]  # ("literal", its characters) or (placeholder's name, "")


@dataclass(frozen=True)
class Label:
    """One class: its values in the data, and the word (or, for the embedding readout, the text) that stands for it."""

    values: tuple[str, ...]
    word: str
    line: int


@dataclass(frozen=True)
class Task:
    """A task as its file states it; see configs/tasks/sst2.yaml for the meaning of each field."""

    path: Path
    name: str
    readout: str
    template: str
    template_without_prompt: str
    labels: tuple[Label, ...]
    label_space: bool
    label_tokens: str
    skip_labels: frozenset[str]
    columns: dict[str, str]
    replace: tuple[tuple[str, str], ...]
    strip: bool
    metric: str
    loss: str
    prompt_mode: str
    prompt_tokens: int
    splits: dict[str, tuple[str, ...]]

    def label_index(self) -> dict[str, int]:
        """Value in the data -> label number."""
        return {value: number for number, label in enumerate(self.labels) for value in label.values}

    def fields(self) -> tuple[str, ...]:
        """The text placeholders in use: ("text",) or ("text", "text2")."""
        return _fields_of(self.template_without_prompt)


def pieces_of(template: str) -> list[Piece]:
    """`{prompt} . {text}` -> [("prompt", ""), ("literal", " . "), ("text", "")]."""
    parts = re.split(r"\{(\w+)\}", template)
    pieces = [("literal", part) if number % 2 == 0 else (part, "") for number, part in enumerate(parts)]
    return [piece for piece in pieces if piece != ("literal", "")]


@cache
def _fields_of(template: str) -> tuple[str, ...]:
    used = {kind for kind, _ in pieces_of(template)}
    return tuple(name for name in ("text", "text2") if name in used)


def find_task(name: str) -> Path:
    """A task file by its path, or by the bare name of one in configs/tasks."""
    for path in (Path(name), TASKS / f"{name}.yaml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in TASKS.glob("*.yaml")))
    raise UserError(f"{name}: neither a task file nor one of the tasks in configs/tasks ({known})")


def load_task(name: str) -> Task:
    """Reads and checks a task file."""
    path = find_task(name)
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({error})") from None
    if not isinstance(data, dict) or not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path}: expected keys like name, template, labels")
    _check_keys(path, root)
    return _build(path, data, _label_lines(root))


def _check_keys(path: Path, root: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in root.value:
        where = f"{path}:{key.start_mark.line + 1}"
        if key.value not in KEYS:
            raise UserError(f"{where}: unknown key {key.value!r}; known are {', '.join(sorted(KEYS))}")
        if key.value in seen:
            raise UserError(f"{where}: key {key.value!r} is repeated")
        seen.add(key.value)


def _label_lines(root: yaml.MappingNode) -> list[int]:
    for key, value in root.value:
        if key.value == "labels" and isinstance(value, yaml.SequenceNode):
            return [item.start_mark.line + 1 for item in value.value]
    return []


def _build(path: Path, data: dict[str, Any], lines: list[int]) -> Task:
    def text(key: str, default: str | None = None, choices: tuple[str, ...] = ()) -> str:
        value = data.get(key, default)
        if not isinstance(value, str) or (not value and default is None):
            raise UserError(f"{path}: {key} must be a text")
        if choices and value not in choices:
            raise UserError(f"{path}: {key} must be one of {', '.join(choices)}, not {value!r}")
        return value

    def flag(key: str) -> bool:
        if not isinstance(data.get(key, False), bool):
            raise UserError(f"{path}: {key} must be true or false")
        return bool(data.get(key, False))

    readout = text("readout", choices=READOUTS)
    template = text("template")
    without = text("template_without_prompt", re.sub(r"\{prompt\}\s*", "", template))
    _check_templates(path, readout, template, without)
    mode, tokens = _prompt(path, data.get("prompt", {}))
    labels = _labels(path, data.get("labels"), lines, "text" if readout == "embedding" else "word")
    if data.get("metric") == "f1" and len(labels) != 2:
        raise UserError(f"{path}: metric f1 is that of label number 1 of two, but there are {len(labels)} labels; use accuracy")
    return Task(
        path=path,
        name=text("name"),
        readout=readout,
        template=template,
        template_without_prompt=without,
        labels=labels,
        label_space=flag("label_space"),
        label_tokens=text("label_tokens", "single", ("single", "first")),
        skip_labels=frozenset(str(value) for value in _list(path, data, "skip_labels")),
        columns=_columns(path, data.get("columns", {}), without),
        replace=_replacements(path, data),
        strip=flag("strip"),
        metric=text("metric", "accuracy", METRICS),
        loss=text("loss", "ce", LOSSES),
        prompt_mode=mode,
        prompt_tokens=tokens,
        splits=_splits(path, data.get("splits", {})),
    )


def _check_templates(path: Path, readout: str, template: str, without: str) -> None:
    for key, value in (("template", template), ("template_without_prompt", without)):
        names = [kind for kind, _ in pieces_of(value) if kind != "literal"]
        unknown = [name for name in names if name not in PLACEHOLDERS]
        if unknown:
            raise UserError(f"{path}: {key} has the placeholder {{{unknown[0]}}}; known are {', '.join(PLACEHOLDERS)}")
        if len(set(names)) != len(names):
            raise UserError(f"{path}: {key} uses a placeholder twice")
        if "text" not in names:
            raise UserError(f"{path}: {key} lacks {{text}}")
        if readout == "mask" and "mask" not in names:
            raise UserError(f"{path}: {key} lacks {{mask}}, which readout: mask reads; write it where the label word belongs")
        if readout != "mask" and "mask" in names:
            raise UserError(f"{path}: {key} has {{mask}}, but readout: {readout} does not read a mask")
    if "{prompt}" in without:
        raise UserError(f"{path}: template_without_prompt must not have {{prompt}}")
    if ("{text2}" in template) != ("{text2}" in without):
        raise UserError(f"{path}: {{text2}} must be in both templates or in none")


def _prompt(path: Path, value: Any) -> tuple[str, int]:
    if not isinstance(value, dict) or set(value) - {"mode", "tokens"}:
        raise UserError(f"{path}: prompt must be a mapping with mode and tokens")
    mode, tokens = value.get("mode", "add"), value.get("tokens", 50)
    if mode not in MODES:
        raise UserError(f"{path}: prompt.mode must be one of {', '.join(MODES)}, not {mode!r}")
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        raise UserError(f"{path}: prompt.tokens must be a positive integer, not {tokens!r}")
    return mode, tokens


def _splits(path: Path, value: Any) -> dict[str, tuple[str, ...]]:
    """Our split -> names it goes by in a data set folder."""
    if not isinstance(value, dict) or set(value) - set(SPLITS) or not all(isinstance(name, str) for name in value.values()):
        raise UserError(f"{path}: splits maps train, dev and test to a data set folder's names for them")
    return {key: (name,) for key, name in value.items()} if value else SPLITS


def _list(path: Path, data: dict[str, Any], key: str) -> list[Any]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise UserError(f"{path}: {key} must be a list")
    return value


def _replacements(path: Path, data: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for item in _list(path, data, "replace"):
        if not isinstance(item, dict) or set(item) != {"from", "to"} or not all(isinstance(part, str) for part in item.values()):
            raise UserError(f"{path}: replace takes items {{from: TEXT, to: TEXT}}")
        pairs.append((item["from"], item["to"]))
    return tuple(pairs)


def _columns(path: Path, value: Any, template: str) -> dict[str, str]:
    if not isinstance(value, dict) or set(value) - {"text", "text2", "label"}:
        raise UserError(f"{path}: columns may name text, text2 and label only")
    wanted = ["text", "label"] + (["text2"] if "{text2}" in template else [])
    names = {key: value.get(key, key) for key in wanted}
    for key, name in names.items():
        if not isinstance(name, str) or not name:
            raise UserError(f"{path}: columns.{key} must be the name of a column")
    return names


def _labels(path: Path, items: Any, lines: list[int], key: str) -> tuple[Label, ...]:
    if not isinstance(items, list) or len(items) < 2:
        raise UserError(f"{path}: labels must list at least two classes")
    labels: list[Label] = []
    seen: dict[str, int] = {}
    for item, line in zip(items, lines, strict=True):
        where = f"{path}:{line}"
        if not isinstance(item, dict) or set(item) - {"value", "word", "text"} or "value" not in item:
            raise UserError(f"{where}: a label is written {{value: VALUE OR LIST, {key}: ...}}")
        word = item.get(key)
        if not isinstance(word, str) or not word.strip():
            hint = " (quote words like Yes and No, which YAML takes for true and false)" if isinstance(word, bool) else ""
            raise UserError(f"{where}: the label lacks {key}, as a text{hint}")
        values = item["value"] if isinstance(item["value"], list) else [item["value"]]
        for value in values:
            if isinstance(value, (dict, list)) or value is None or isinstance(value, bool):
                raise UserError(f"{where}: a label's value must be a text or a number, not {value!r}; quote it")
            if str(value) in seen:
                raise UserError(f"{where}: value {value!r} already belongs to the label in line {seen[str(value)]}")
            seen[str(value)] = line
        labels.append(Label(tuple(str(value) for value in values), word, line))
    return tuple(labels)
