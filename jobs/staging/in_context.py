"""In-context learning (Brown et al. 2020): training samples with their label words in front of every sample, as many as fit."""

from __future__ import annotations

import hashlib
from array import array
from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from .errors import UserError
from .label_words import LabelTokens
from .layout import Layout
from .samples import LeftOut, Sample
from .task import Task
from .tokenizer import PROMPT, TaskTokenizer
from .writer import Table

SEPARATOR = "\n"


@dataclass(frozen=True)
class Examples:
    """`rows`: of the training samples that are examples, and no samples any more; `bodies`: the tokens of each, with the separator."""

    rows: frozenset[int]
    bodies: list[list[int]]

    def without(self, samples: Iterable[Sample], left_out: LeftOut) -> Iterator[Sample]:
        """The training samples that are no examples; these are counted."""
        for sample in samples:
            if sample.row in self.rows:
                left_out.by_example += 1
            else:
                yield sample


def choose(samples: Iterable[Sample], n: int, n_labels: int, seed: int) -> list[Sample]:
    """n samples, one of each label in turn, of each label those whose SHA-256(seed, texts) is smallest: whatever the order of rows."""
    found: list[list[tuple[bytes, int, Sample]]] = [[] for _ in range(n_labels)]
    for sample in samples:
        key = hashlib.sha256("\n".join([f"{seed} in context", *sample.texts]).encode()).digest()
        insort(found[sample.label], (key, sample.row, sample))
        del found[sample.label][n:]
    turns = zip_longest(*found)
    return [entry[2] for turn in turns for entry in turn if entry is not None][:n]


def make_examples(chosen: Sequence[Sample], task: Task, layout: Layout, tokenizer: TaskTokenizer, labels: LabelTokens) -> Examples:
    """The chosen samples as the template writes them behind the prompt, with their label words in their places. Refuses tokenizers with
    which these are not the tokens of the text written out."""
    separator = tokenizer.encode(SEPARATOR)
    bodies, texts = [], []
    for sample in chosen:
        sentence = layout.fill(sample.texts)[0]
        ids = tokenizer.encode(sentence)[layout.n_stand_in :]
        texts.append(sentence.removeprefix(PROMPT))
        bodies.append([*_answered(ids, sample.label, task, layout, tokenizer, labels), *separator])
        if layout.readout != "mask":
            space = " " if task.label_space and not sentence[-1].isspace() else ""
            texts[-1] += space + task.labels[sample.label].word
    joined = _with_labels(tokenizer.encode("".join(text + SEPARATOR for text in texts)), chosen, task, layout, tokenizer)
    if joined != [token for body in bodies for token in body]:
        raise UserError(f"{tokenizer.folder}: --in-context: its tokenizer makes other tokens of a sentence behind another than alone")
    return Examples(frozenset(sample.row for sample in chosen), bodies)


def check(task: Task, layout: Layout) -> None:
    """Refuses tasks whose samples cannot stand behind others."""
    if task.readout == "embedding" or task.chat:
        what = "readout: embedding" if task.readout == "embedding" else "chat: true"
        raise UserError(f"{task.path}: --in-context is for tasks whose label words are read behind or in a text, without {what}")
    if layout.n_stand_in > 1:
        raise UserError(f"{task.path}: --in-context in prompt mode add needs a template that starts with {{prompt}}")


def _word(label: int, task: Task, tokenizer: TaskTokenizer) -> list[int]:
    word = task.labels[label].word
    return tokenizer.encode(f" {word}" if task.label_space else word)


def _answered(ids: list[int], label: int, task: Task, layout: Layout, tokenizer: TaskTokenizer, labels: LabelTokens) -> list[int]:
    """A sentence's ids with the label word in the place of the mask, or behind them."""
    if layout.readout != "mask":
        return [*ids, *labels.texts[label]]
    place = ids.index(layout.mask)
    return [*ids[:place], *_word(label, task, tokenizer), *ids[place + 1 :]]


def _with_labels(ids: list[int], chosen: Sequence[Sample], task: Task, layout: Layout, tokenizer: TaskTokenizer) -> list[int]:
    """Ids of many sentences with their label words in the places of the masks, one after another."""
    if layout.readout != "mask":
        return ids
    words = iter([_word(sample.label, task, tokenizer) for sample in chosen])
    return [token for number in ids for token in (next(words) if number == layout.mask else [number])]


def fitting(examples: Examples, room: int) -> list[list[int]]:
    """The examples that fit, in their order; one that is too long for what is left is passed over."""
    bodies: list[list[int]] = []
    for body in examples.bodies:
        if len(body) <= room:
            bodies.append(body)
            room -= len(body)
    return bodies


def put_in_front(table: Table, examples: Examples, layout: Layout) -> tuple[Table, list[int]]:
    """The samples of a split with the examples between prompt words and text, and how many each has. Examples are frozen: no
    perturbation touches them."""
    made = replace(table, tokens=array("i"), frozen=array("B"), offsets=array("q", [0]), readout=array("i"))
    known: dict[int, list[list[int]]] = {}
    counts, n_head = [], len(layout.head)
    for first, end, readout in zip(table.offsets[:-1], table.offsets[1:], table.readout, strict=True):
        room = layout.max_length - (end - first)
        if room not in known:
            known[room] = fitting(examples, room)
        front = [token for body in known[room] for token in body]
        made.tokens.extend([*table.tokens[first : first + n_head], *front, *table.tokens[first + n_head : end]])
        made.frozen.extend([*table.frozen[first : first + n_head], *[1] * len(front), *table.frozen[first + n_head : end]])
        made.offsets.append(len(made.tokens))
        made.readout.append(readout + len(front))
        counts.append(len(known[room]))
    return made, counts
