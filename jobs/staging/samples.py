"""Rows to samples: their label numbers, and their texts as the task wants them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from .clients import Clients
from .errors import UserError
from .labels import Lookup
from .records import Origin, Record, row_by_row, short
from .task import Task


class Sample(NamedTuple):
    """A row that passed the checks: its texts and label number."""

    texts: tuple[str, ...]
    label: int
    row: int
    place: str
    client: int = -1  # number of the client that it comes from, where that is known


@dataclass
class LeftOut:
    """Counts the rows of a split that the task leaves out. `skip_empty`: rows without text are left out, too, not refused."""

    skip_empty: bool
    by_label: int = 0
    empty: int = 0
    by_client: int = 0
    by_example: int = 0

    def without_tokens(self, sample: Sample) -> None:
        """Counts a sample of whose text the tokenizer makes nothing, or refuses it."""
        self.note_empty(sample.place, "the text is empty: the tokenizer finds no token in it")

    def note_empty(self, place: str, what: str) -> None:
        """Counts a row without text, or refuses it."""
        if not self.skip_empty:
            raise UserError(f"{place}: {what}; --empty skip (or empty: skip in the task) leaves such rows out")
        self.empty += 1

    def __str__(self) -> str:
        counts = ((self.by_label, "by their labels"), (self.empty, "without text"), (self.by_client, "of clients with too few samples"))
        counts += ((self.by_example, "as examples in context"),)
        return ", ".join(f"{count} rows left out {why}" for count, why in counts if count)


class Labels:
    """Label numbers of one file's rows, each value looked up once."""

    def __init__(self, lookup: Lookup, column: str) -> None:
        self.lookup, self.column = lookup, column
        self.origin: Origin | None = None
        self.known: dict[tuple[type, Any], int | None] = {}

    def of(self, record: Record) -> int | None:
        """Label number; None for a row to leave out."""
        if record.origin is not self.origin:
            self._enter(record.origin)
        value = record.cells[-1]
        try:
            return self.known[type(value), value]
        except KeyError:
            number = self.lookup.find(record.place, self.column, value)
            if value == value:  # NaN would be a new key each time
                self.known[type(value), value] = number
            return number
        except TypeError:  # a list or an object
            return self.lookup.find(record.place, self.column, value)

    def _enter(self, origin: Origin) -> None:
        self.origin = origin
        classes = self.lookup.for_classes(origin.name, origin.class_names.get(self.column, ()))
        self.known = {(int, number): label for number, label in classes.items()}


def to_samples(
    records: Iterable[Record], task: Task, columns: dict[str, str], left_out: LeftOut, clients: Clients | None = None
) -> Iterator[Sample]:
    """Checks rows and looks up their labels. A record's cells are the task's texts, its client where clients are asked for, and the
    label."""
    labels = Labels(Lookup(str(task.path), task.label_index(), task.skip_labels), columns["label"])
    names = [columns[field] for field in task.fields()]
    for record in records:
        label = labels.of(record)
        if label is None:
            left_out.by_label += 1
            continue
        texts = tuple([_clean(record, name, cell, task) for name, cell in zip(names, record.cells, strict=False)])
        if "" in texts:
            left_out.note_empty(record.place, f"the text in column {short(names[texts.index('')])} is empty")
            continue
        client = -1 if clients is None else clients.of(record, record.cells[-2])
        if client is None:
            left_out.by_client += 1
            continue
        yield Sample(texts, label, record.row, record.place, client)


def _clean(record: Record, column: str, value: Any, task: Task) -> str:
    """A text as the task wants it; empty if there is nothing but white space in it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str):
        raise UserError(f"{record.place}: column {short(column)} holds {short(value)}, not a text{row_by_row(value)}")
    if not value.isascii():
        _check_characters(record, column, value)
    for old, new in task.replace:
        value = value.replace(old, new)
    text: str = value.strip() if task.strip else value
    return "" if text.isspace() else text


def _check_characters(record: Record, column: str, value: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(value[error.start]):04x}"
        raise UserError(
            f"{record.place}: the text in column {short(column)} has half of a surrogate pair ({half} at character {error.start + 1}), "
            f"which is no character; mend or leave out the row"
        ) from None
