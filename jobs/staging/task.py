"""A task: template, label words and columns, read from a YAML file (configs/tasks/sst2.yaml documents every key)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .errors import UserError
from .labels import key_of_yaml
from .records import short

TASKS = Path(__file__).resolve().parents[2] / "configs" / "tasks"
KEYS = {"name", "readout", "template", "template_without_prompt", "labels", "label_space", "label_tokens", "skip_labels"}
KEYS |= {"chat", "columns", "replace", "strip", "empty", "metric", "loss", "prompt", "splits"}
READOUTS, MODES, METRICS, LOSSES = ("mask", "embedding", "last"), ("add", "cat", "input"), ("accuracy", "f1"), ("ce", "hinge", "accuracy")
EMPTY, SPLITS = ("error", "skip"), ("train", "dev", "test")
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
    chat: bool
    labels: tuple[Label, ...]
    label_space: bool
    label_tokens: str
    skip_labels: frozenset[str | None]
    columns: dict[str, str]
    replace: tuple[tuple[str, str], ...]
    strip: bool
    empty: str
    metric: str
    loss: str
    prompt_mode: str
    prompt_tokens: int
    splits: dict[str, tuple[str, ...]] | None

    def label_index(self) -> dict[str, int]:
        """Value in the data, as labels.label_key spells it -> label number."""
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
        data = _joined(path, yaml.safe_load(text), {})
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:  # what the library makes of a wrong !!tag
        raise UserError(f"{path}: not valid YAML ({error})") from None
    except RecursionError:
        raise UserError(f"{path}: holds itself by an alias, or nests too deeply") from None
    if not isinstance(data, dict) or not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path}: expected keys like name, template, labels")
    _check_keys(path, root)
    return _build(path, data, root)


def _joined(path: Path, value: Any, done: dict[int, Any]) -> Any:
    """The values with every character whole: escapes may have written one as a surrogate pair, as JSON does. `done`: by id, the lists
    and mappings gone through, as aliases may name one many times."""
    if isinstance(value, (dict, list)):
        if id(value) not in done:
            done[id(value)] = (
                {_joined(path, key, done): _joined(path, part, done) for key, part in value.items()}
                if isinstance(value, dict)
                else [_joined(path, part, done) for part in value]
            )
        return done[id(value)]
    return _whole(path, value) if isinstance(value, str) else value


def _whole(path: Path, value: str) -> str:
    if "\0" in value:
        raise UserError(f"{path}: {short(value)} holds a NUL character, which no text of a task may")
    try:
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise UserError(f"{path}: {short(value)} holds half of a surrogate pair, which is no character") from None


def _check_keys(path: Path, root: yaml.MappingNode) -> None:
    for key, _ in root.value:
        if key.value not in KEYS:
            raise UserError(f"{path}:{key.start_mark.line + 1}: unknown key {short(key.value)}; known are {', '.join(sorted(KEYS))}")
    _refuse_repeated(path, root, set())


def _refuse_repeated(path: Path, node: yaml.Node, done: set[int]) -> None:
    """Refuses a key that stands twice in a mapping, of which YAML would take the last. `done`: ids of the nodes gone through."""
    if id(node) in done:
        return
    done.add(id(node))
    parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    seen: set[Any] = set()
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(key, yaml.ScalarNode) and key.value in seen:
            raise UserError(f"{path}:{key.start_mark.line + 1}: key {key.value!r} is repeated")
        seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
    for part in parts if isinstance(node, yaml.CollectionNode) else ():
        _refuse_repeated(path, part, done)


def _items(root: yaml.Node | None, key: str) -> list[yaml.Node]:
    """The nodes of a list, or the one node that stands in its place; for their lines, and for how a value was written."""
    for name, value in root.value if isinstance(root, yaml.MappingNode) else []:
        if name.value == key:
            return list(value.value) if isinstance(value, yaml.SequenceNode) else [value]
    return []


def _build(path: Path, data: dict[str, Any], root: yaml.MappingNode) -> Task:
    def text(key: str, default: str | None = None, choices: tuple[str, ...] = ()) -> str:
        value = data.get(key, default)
        if not isinstance(value, str) or (not value and default is None):
            raise UserError(f"{path}: {key} must be a text")
        if choices and value not in choices:
            raise UserError(f"{path}: {key} must be one of {', '.join(choices)}, not {short(value)}")
        return value

    def flag(key: str, default: bool = False) -> bool:
        if not isinstance(data.get(key, default), bool):
            raise UserError(f"{path}: {key} must be true or false")
        return bool(data.get(key, default))

    readout = text("readout", choices=READOUTS)
    template = text("template")
    without = text("template_without_prompt", re.sub(r"\{prompt\}\s*", "", template))
    _check_templates(path, readout, template, without)
    if flag("chat") and readout != "last":
        raise UserError(f"{path}: chat: true is for readout: last, at which a model answers, not for readout: {readout}")
    mode, tokens = _prompt(path, data.get("prompt", {}))
    labels = _labels(path, data.get("labels"), root, "text" if readout == "embedding" else "word")
    if readout == "last" and "label_tokens" in data:
        raise UserError(f"{path}: label_tokens is for readout: mask; with readout: last a run chooses, by model.label_scoring")
    if data.get("metric") == "f1" and len(labels) != 2:
        raise UserError(f"{path}: metric f1 is that of label number 1 of two, but there are {len(labels)} labels; use accuracy")
    return Task(
        path=path,
        name=text("name"),
        readout=readout,
        template=template,
        template_without_prompt=without,
        chat=flag("chat"),
        labels=labels,
        label_space=flag("label_space", readout == "last"),
        label_tokens=text("label_tokens", "single", ("single", "first")),
        skip_labels=_skip_labels(path, data, root, labels),
        columns=_columns(path, data.get("columns", {}), without),
        replace=_replacements(path, data),
        strip=flag("strip"),
        empty=text("empty", "error", EMPTY),
        metric=text("metric", "accuracy", METRICS),
        loss=text("loss", "ce", LOSSES),
        prompt_mode=mode,
        prompt_tokens=tokens,
        splits=_splits(path, data["splits"]) if "splits" in data else None,
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
        raise UserError(f"{path}: prompt.mode must be one of {', '.join(MODES)}, not {short(mode)}")
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        raise UserError(f"{path}: prompt.tokens must be a positive integer, not {short(tokens)}")
    return mode, tokens


def _splits(path: Path, value: Any) -> dict[str, tuple[str, ...]]:
    """Our split -> names of the parts that it consists of in a data set folder."""
    message = f"{path}: splits maps train, dev and test to a data set folder's name for each, or to a list of such names"
    if not isinstance(value, dict) or not value or set(value) - set(SPLITS):
        raise UserError(message)
    groups = {key: tuple(names) if isinstance(names, list) else (names,) for key, names in value.items()}
    for names in groups.values():
        if not names or not all(isinstance(name, str) and name.strip() for name in names) or len(set(names)) < len(names):
            raise UserError(message)
    return groups


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
    if set(value) - set(names):
        raise UserError(f"{path}: columns.text2 is given, but the template has no {{text2}}")
    return names


def _labels(path: Path, items: Any, root: yaml.MappingNode, key: str) -> tuple[Label, ...]:
    if not isinstance(items, list) or len(items) < 2:
        raise UserError(f"{path}: labels must list at least two classes")
    labels: list[Label] = []
    seen: dict[str, int] = {}
    named: dict[str, int] = {}
    for item, node in zip(items, _items(root, "labels"), strict=True):
        line = node.start_mark.line + 1
        where = f"{path}:{line}"
        if not isinstance(item, dict) or set(item) - {"value", "word", "text"} or "value" not in item:
            raise UserError(f"{where}: a label is written {{value: VALUE OR LIST, {key}: ...}}")
        word = item.get(key)
        if not isinstance(word, str) or not word.strip():
            hint = "" if word is None or isinstance(word, str) else f", not {short(word)}: put it in quotes"
            hint = " (quote words like Yes and No, which YAML takes for true and false)" if isinstance(word, bool) else hint
            raise UserError(f"{where}: the label lacks {key}, as a text{hint}")
        shown = " ".join(word.split())
        if shown in named:
            hint = "list both values there if it is one class"
            raise UserError(f"{where}: {key} {shown!r} is already that of the label in line {named[shown]}; {hint}")
        named[shown] = line
        values = _label_values(where, item["value"], node)
        for value, written in values.items():
            if value in seen:
                raise UserError(f"{where}: value {short(written)} already belongs to the label in line {seen[value]}")
            seen[value] = line
        labels.append(Label(tuple(values), word, line))
    return tuple(labels)


def _label_values(where: str, given: Any, node: yaml.Node) -> dict[str, Any]:
    """The values of one label, as labels.label_key spells them -> as they are written."""
    values = given if isinstance(given, list) else [given]
    nodes = _items(node, "value")
    keys: dict[str, Any] = {}
    for number, value in enumerate(values):
        key = key_of_yaml(where, nodes[number] if len(nodes) == len(values) else None, value)
        if key is None:
            raise UserError(f"{where}: null is no label's value; skip_labels: [null] leaves rows without a label out")
        if key in keys:
            raise UserError(f"{where}: the label has the value {short(value)} twice; {short(keys[key])} is the same")
        keys[key] = value
    if not keys:
        raise UserError(f"{where}: the label has no value")
    return keys


def _skip_labels(path: Path, data: dict[str, Any], root: yaml.MappingNode, labels: tuple[Label, ...]) -> frozenset[str | None]:
    nodes = _items(root, "skip_labels")
    keys = set()
    for value, node in zip(_list(path, data, "skip_labels"), nodes, strict=True):
        where = f"{path}:{node.start_mark.line + 1}"
        key = key_of_yaml(where, node, value)
        if any(key in label.values for label in labels):
            raise UserError(f"{where}: skip_labels leaves out {short(key)}, which is a label's value")
        keys.add(key)
    return frozenset(keys)
