"""The tokens of label words: one token each at a mask, all tokens where they continue the template's text."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import UserError
from .layout import Layout
from .model import ModelInfo
from .task import Label, Task
from .tokenizer import TaskTokenizer

PROBES = ("a", "1.")  # texts behind which a label must have the same tokens


@dataclass(frozen=True)
class LabelTokens:
    """`ids`: the one token of each label, -1 for labels of several and for label texts; `texts`: all tokens of each, where more than one
    may be (readout embedding and last)."""

    ids: list[int]
    texts: list[list[int]]


def encode_labels(task: Task, tokenizer: TaskTokenizer, model: ModelInfo, layout: Layout) -> LabelTokens:
    """The labels as the task's readout takes them."""
    if task.readout == "embedding":
        return LabelTokens([-1] * len(task.labels), _texts(task, tokenizer, model))
    if task.readout == "mask":
        return LabelTokens(_mask_ids(task, tokenizer), [])
    words = _continuations(task, tokenizer, layout)
    return LabelTokens([word[0] if len(word) == 1 else -1 for word in words], words)


def leave_room(layout: Layout, labels: LabelTokens, task: Task, model: ModelInfo, mode: str, n_prompt: int) -> Layout:
    """Samples so short that the longest label's tokens, but for its last, have positions behind them."""
    if task.readout != "last":
        return layout
    most = model.positions - (0 if mode == "add" else n_prompt) - (max(map(len, labels.texts)) - 1)
    return replace(layout, max_length=min(layout.max_length, most))


def _texts(task: Task, tokenizer: TaskTokenizer, model: ModelInfo) -> list[list[int]]:
    """The label texts of the embedding readout, with special tokens and without prompt."""
    rows = []
    for label in task.labels:
        ids = [*tokenizer.prefix, *tokenizer.encode(label.word), *tokenizer.suffix]
        if len(ids) > model.positions:
            raise UserError(f"{task.path}:{label.line}: the label's text has {len(ids)} tokens; the model allows {model.positions}")
        rows.append(ids)
    return rows


def _mask_ids(task: Task, tokenizer: TaskTokenizer) -> list[int]:
    """The token that stands for each label word."""
    numbers: list[int] = []
    for label in task.labels:
        where = f"{task.path}:{label.line}"
        spelling = f" {label.word}" if task.label_space else label.word
        ids = tokenizer.encode(spelling)
        if len(ids) != 1 and not (ids and task.label_tokens == "first"):
            tokens = " ".join(repr(tokenizer.token(number)) for number in ids)
            raise UserError(
                f"{where}: label word {spelling!r} is {len(ids)} tokens of this tokenizer ({tokens}); choose another word, "
                f"or set label_space or label_tokens (see configs/tasks/sst2.yaml)"
            )
        _refuse_unknown(where, spelling, ids[:1], tokenizer)
        if ids[0] in numbers:
            other = task.labels[numbers.index(ids[0])]
            raise UserError(f"{where}: label word {spelling!r} is the same token as {other.word!r} in line {other.line}")
        numbers.append(ids[0])
    return numbers


def _continuations(task: Task, tokenizer: TaskTokenizer, layout: Layout) -> list[list[int]]:
    """The tokens that each label adds to the template's end, behind a space (label_space) unless the template ends in white space."""
    words: list[list[int]] = []
    for label in task.labels:
        where = f"{task.path}:{label.line}"
        found = [_added(where, task, label, tokenizer, layout.fill((probe, probe))[0]) for probe in PROBES]
        if any(ids != found[0] for ids in found):
            raise UserError(f"{where}: the tokens of label word {label.word!r} depend on the text before it; end the template with a word")
        _refuse_unknown(where, label.word, found[0], tokenizer)
        if found[0] in words:
            other = task.labels[words.index(found[0])]
            raise UserError(f"{where}: label word {label.word!r} has the same tokens as {other.word!r} in line {other.line}")
        words.append(found[0])
    return words


def _added(where: str, task: Task, label: Label, tokenizer: TaskTokenizer, sentence: str) -> list[int]:
    space = " " if task.label_space and not sentence[-1].isspace() else ""
    before = tokenizer.encode(sentence)
    joined = tokenizer.encode(sentence + space + label.word)
    if joined[: len(before)] != before or len(joined) == len(before):
        raise UserError(
            f"{where}: behind the template, label word {label.word!r} changes the template's own last tokens; end the template without "
            f"white space, or with a word or a punctuation mark"
        )
    return joined[len(before) :]


def _refuse_unknown(where: str, word: str, ids: list[int], tokenizer: TaskTokenizer) -> None:
    if tokenizer.ids["unk"] in ids:
        raise UserError(f"{where}: label word {word!r} is not in this tokenizer's vocabulary")
    special = next((number for number in ids if tokenizer.forbidden[number]), None)
    if special is not None:
        raise UserError(f"{where}: label word {word!r} has the special token {tokenizer.token(special)!r}")
