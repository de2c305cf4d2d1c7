"""Label values: one spelling for what a task file and a data set may write in several ways.

1, 1.0, "1" and "1.0" are one label, and so are true and "True". Null is a label of its own kind: no text stands for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import yaml

from .errors import UserError
from .records import listed, row_by_row, short

BOOLEANS = {"true": "true", "True": "true", "TRUE": "true", "false": "false", "False": "false", "FALSE": "false"}
WHOLE = re.compile(r"(-?[0-9]+)\.0+")


def label_key(value: object) -> str | None:
    """The one spelling of a label value; None for null and for a number that is none."""
    if isinstance(value, str):
        text = value.strip()
        if text in BOOLEANS:
            return BOOLEANS[text]
        whole = WHOLE.fullmatch(text)
        return whole[1] if whole else text
    if value is None or isinstance(value, bool):
        return None if value is None else str(value).lower()
    if isinstance(value, (float, Decimal)) and math.isfinite(value):
        return str(int(value)) if value == int(value) else str(value)
    if isinstance(value, (float, Decimal)):
        return None if math.isnan(value) else str(value)
    return str(value)


def key_of_yaml(where: str, node: yaml.Node | None, value: Any) -> str | None:
    """The spelling of a value in a task file. Refuses what YAML takes for something else than its writer sees."""
    raw = node.value if isinstance(node, yaml.ScalarNode) else short(value)
    if isinstance(value, bool):
        misread = raw.lower() not in ("true", "false")
    elif isinstance(value, int):
        misread = raw != str(value)
    elif isinstance(value, float):
        misread = not math.isnan(value) and not re.fullmatch(r"-?[0-9]+\.[0-9]*", raw)
    else:
        misread = value is not None and not isinstance(value, str)
    if misread:
        raise UserError(f'{where}: YAML takes the label value {raw} for {short(value)}; put it in quotes if it is a text: "{raw}"')
    return label_key(value)


UNKNOWN = object()


class Lookup:
    """Label numbers by the values in a data set's files. `skip`: keys of the rows to leave out; None among them stands for null,
    and for an empty text too, as CSV has no other way to write it."""

    def __init__(self, where: str, index: Mapping[str, int], skip: frozenset[str | None]) -> None:
        self.where, self.index = where, index
        self.skip = skip | {""} if None in skip else skip

    def for_classes(self, origin: str, names: Sequence[str]) -> dict[int, int | None]:
        """Map a file's class numbers, by number or by name, to label numbers, or None for rows to leave out. Refuses a file
        whose names contradict the task."""
        by_number = [self._find(str(number)) for number in range(len(names))]
        by_name = [self._find(label_key(name)) for name in names]
        if all(name.isdigit() for name in names) and (UNKNOWN in by_number) != (UNKNOWN in by_name):
            return dict(enumerate(by_name if UNKNOWN in by_number else by_number))  # names that are numbers, such as stars
        found: dict[int, int | None] = {}
        for number, name in enumerate(names):
            known = [label for label in (by_number[number], by_name[number]) if label is not UNKNOWN]
            if len(set(known)) > 1 or (known and name.isdigit() and int(name) != number and by_name[number] is not UNKNOWN):
                raise UserError(
                    f"{origin}: says that label {number} is named {short(name)}, but {self.where} takes {number} or {short(name)} for "
                    f"something else; correct the task's label values"
                )
            if known:
                found[number] = known[0]
        return found

    def _find(self, key: str | None) -> Any:
        """Label number, None for a row to leave out, UNKNOWN for an unknown value."""
        if key in self.skip:
            return None
        return UNKNOWN if key is None else self.index.get(key, UNKNOWN)

    def find(self, place: str, column: str, value: Any) -> int | None:
        """Label number of a value; None for a row to leave out."""
        if isinstance(value, (list, dict, bytes)):
            raise UserError(f"{place}: column {short(column)} holds {short(value)}, not a label{row_by_row(value)}")
        found = self._find(label_key(value))
        if found is UNKNOWN:
            raise self._unknown(place, value)
        return found  # type: ignore[no-any-return]

    def _unknown(self, place: str, value: Any) -> UserError:
        if value is None or label_key(value) is None:
            return UserError(f"{place}: has no label (null); skip_labels: [null] in {self.where} leaves such rows out")
        text = str(value).strip()
        hint = ""
        if len(text) > 1 and text[0] == text[-1] == '"':
            hint = "; the quotes are part of it: if the file has CSV quoting, give --quoting csv"
        elif not text:
            hint = "; skip_labels: [null] leaves rows without a label out"
        written = short(text if isinstance(value, str) else value)
        return UserError(f"{place}: unknown label {written}; {self.where} knows {listed(self.index)}{hint}")
