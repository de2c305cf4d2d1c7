"""Rows on their way from a source to the tokenizer, and how messages write what stands in them."""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .errors import UserError

SHOWN_CHARACTERS, SHOWN_NAMES = 60, 20
SHOWN = reprlib.Repr()
SHOWN.maxlevel, SHOWN.maxstring, SHOWN.maxother, SHOWN.maxlong = 3, SHOWN_CHARACTERS, SHOWN_CHARACTERS, SHOWN_CHARACTERS


@dataclass(frozen=True, eq=False)
class Origin:
    """A file (or corpus) that rows come from. `unit`: what stands between its name and a row's number in messages.
    `class_names`: column -> names of the classes that its numbers stand for, where the file states them."""

    name: str
    unit: str = ":"
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Record(NamedTuple):
    """One row: the wanted columns' cells, in the order they were asked for. `row`: 0-based among the split's rows; `number`: that
    of the line or row within its origin."""

    row: int
    origin: Origin
    number: int
    cells: tuple[Any, ...]

    @property
    def place(self) -> str:
        """Where the row stands, for messages."""
        return f"{self.origin.name}{self.origin.unit}{self.number}"


@dataclass(frozen=True)
class Split:
    """A split before tokenisation. `records` can be gone through any number of times. `n_rows` is None where the source does not
    say it beforehand."""

    records: Iterable[Record]
    sha256: str
    name: str
    n_rows: int | None = None


def short(value: object) -> str:
    """A value as messages show it: as Python writes it, and not longer than a line."""
    text = repr(value[: 2 * SHOWN_CHARACTERS]) if isinstance(value, (str, bytes)) else SHOWN.repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 4]}..."


def listed(names: Iterable[object]) -> str:
    """Names in quotation marks, so that spaces in them are seen; the first few of many."""
    shown = [short(name) for name in names]
    more = f" and {len(shown) - SHOWN_NAMES} more" if len(shown) > SHOWN_NAMES else ""
    return (", ".join(shown[:SHOWN_NAMES]) or "none") + more


def some(names: Sequence[str]) -> str:
    """File names; of many the first ones, the last and their number."""
    if len(names) <= SHOWN_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: SHOWN_NAMES - 2])}, ..., {names[-1]} ({len(names)} files)"


def row_by_row(value: object) -> str:
    """Advise where a file's one object holds all rows."""
    if isinstance(value, (list, dict)):
        return "; if one object holds all rows here, write them one a line (in pandas: to_json(FILE, orient='records', lines=True))"
    return ""


def places_of(where: str, present: Sequence[str], columns: Sequence[str], hint: str = "") -> list[int]:
    """Places of the wanted columns among those present; each must be there once."""
    for column in columns:
        if column not in present:
            advice = hint or "see --column-text, --column-label"
            raise UserError(f"{where}: has no column {short(column)}; there are {listed(present)}; {advice}")
        if present.count(column) > 1:
            raise UserError(f"{where}: has {present.count(column)} columns named {short(column)}; rename all but the one that is meant")
    return [present.index(column) for column in columns]


def combined_sha256(digests: list[str]) -> str:
    """One hash over several files: the file's own if there is one, else the SHA-256 of the hashes, one a line."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()
