"""Clients by nature: what stands in a column of the training samples (an author, a site) says whose they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .errors import UserError
from .records import Record, row_by_row, short

MOST = (1 << 20) - 1  # that a run can have


class Clients:
    """Numbers of the clients in the order of their first samples. `left_out`: names whose samples are not taken."""

    def __init__(self, column: str, left_out: Iterable[str] = ()) -> None:
        self.column, self.left_out = column, frozenset(left_out)
        self.numbers: dict[str, int] = {}

    def of(self, record: Record, value: Any) -> int | None:
        """The number of a row's client; None for a row to leave out."""
        name = name_of(record, self.column, value)
        return None if name in self.left_out else self.numbers.setdefault(name, len(self.numbers))

    def order(self, found: Iterable[int]) -> tuple[list[str], np.ndarray]:
        """Names of the clients that have a sample among `found`, sorted, so that no order of rows changes who is which client; and each
        sample's number in that order."""
        found = np.asarray(found, dtype=np.int32)
        by_number = np.array(list(self.numbers), dtype=object)
        used = np.unique(found)
        names = sorted(by_number[used].tolist())
        if len(names) > MOST:
            raise UserError(f"--client {self.column}: there are {len(names)} clients; a run can have {MOST}")
        place = {name: number for number, name in enumerate(names)}
        renumbered = np.full(len(by_number), -1, dtype=np.int32)
        renumbered[used] = [place[name] for name in by_number[used]]
        return names, renumbered[found]


def name_of(record: Record, column: str, value: Any) -> str:
    """The name of a client: a text, or an integer written out."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise UserError(
            f"{record.place}: column {short(column)} holds {short(value)}, which names no client: it must be a text or an integer; "
            f"mend or leave out the row{row_by_row(value)}"
        )
    if not value.strip():
        raise UserError(f"{record.place}: column {short(column)} is empty, so that the row has no client; mend or leave out the row")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"{record.place}: the client in column {short(column)} is no UTF-8 text; mend or leave out the row") from None
    return value
