"""JSON: one object a line, objects one after another over several lines, or one array of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from .errors import UserError
from .files import open_text
from .records import listed, row_by_row, short

CHUNK = 1 << 20
SPACE = re.compile(r"[ \t\n\r]*")


class Repeated(dict[str, Any]):
    """An object in which a key stands twice."""

    names: frozenset[str] = frozenset()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    repeated = Repeated(value)
    keys = [key for key, _ in pairs]
    repeated.names = frozenset(key for key in value if keys.count(key) > 1)
    return repeated


DECODER = json.JSONDecoder(object_pairs_hook=_object)


def read_json(path: Path, columns: list[str]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """(line, wanted values) of every object."""
    values = _one_a_line(path) if _is_one_a_line(path) else _one_after_another(path)
    first, second, *rest = columns
    for line, value in values:
        if type(value) is not dict:
            _refuse_shape(path, line, value, columns)
        try:
            cells = (value[first], value[second], *[value[column] for column in rest])
        except KeyError:
            raise _lacking(path, line, value, columns) from None
        yield line, cells


def _decode(path: Path, line: int, text: str) -> Any:
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(path, line, text, error) from None


def _invalid(path: Path, line: int, text: str, error: Exception) -> UserError:
    if not isinstance(error, json.JSONDecodeError):
        return UserError(f"{path}:{line}: not valid JSON (a number is too long, or brackets are nested too deeply)")
    further = f" in line {line + error.lineno - 1}" if error.lineno > 1 and text[error.pos :].strip() else ""
    return UserError(f"{path}:{line}: not valid JSON ({error.msg}{further})")


def _is_one_a_line(path: Path) -> bool:
    """Whether the first line that is not empty is an object of its own."""
    with open_text(path) as file:
        window = Window(path, file, 4096)
        if window.peek() != "{":
            return False  # a whole array may be one line
        while "\n" not in window.text[window.place :] and not window.ended:
            window.more()
        try:
            return isinstance(DECODER.decode(window.text[window.place :].split("\n", 1)[0]), dict)
        except (ValueError, RecursionError):
            return False


def _one_a_line(path: Path) -> Iterator[tuple[int, Any]]:
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            if line and not line.isspace():
                yield number, _decode(path, number, line)


class Window:
    """A part of a file in memory that moves on as its values are read."""

    def __init__(self, path: Path, file: IO[str], chunk: int = CHUNK) -> None:
        self.path, self.file, self.chunk = path, file, chunk
        self.text, self.place, self.line, self.ended = "", 0, 1, False

    def more(self) -> None:
        """Drops what was read and takes in as much as is left, so that a value is tried anew a few times only."""
        self.text = self.text[self.place :]
        self.place = 0
        chunk = self.file.read(max(self.chunk, len(self.text)))
        self.ended = not chunk
        self.text += chunk

    def _forward(self, place: int) -> None:
        self.line += self.text.count("\n", self.place, place)
        self.place = place

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            match = SPACE.match(self.text, self.place)
            self._forward(match.end() if match else self.place)
            if self.place < len(self.text) or self.ended:
                return self.text[self.place : self.place + 1]
            self.more()

    def skip(self) -> None:
        """Goes past the character that peek gave."""
        self._forward(self.place + 1)

    def value(self) -> tuple[int, Any]:
        """(line, the next JSON value)."""
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.place)
            except (ValueError, RecursionError) as error:
                if self.ended:
                    if isinstance(error, json.JSONDecodeError):
                        error = json.JSONDecodeError(error.msg, self.text[self.place :], max(0, error.pos - self.place))
                    raise _invalid(self.path, self.line, self.text[self.place :], error) from None
            else:
                if end < len(self.text) or self.ended:
                    line = self.line
                    self._forward(end)
                    return line, value
            self.more()


def _one_after_another(path: Path) -> Iterator[tuple[int, Any]]:
    """The elements of one array, or values that follow each other, whatever their lines."""
    with open_text(path) as file:
        window = Window(path, file)
        if window.peek() == "[":
            window.skip()
            yield from _elements(window)
            if window.peek():
                raise UserError(f"{path}:{window.line}: not valid JSON (text after the end of the array)")
        while window.peek():
            yield window.value()


def _elements(window: Window) -> Iterator[tuple[int, Any]]:
    if window.peek() != "]":
        yield window.value()
        while window.peek() == ",":
            window.skip()
            yield window.value()
    if window.peek() != "]":
        what = f"{short(window.peek())} where , or ] is expected" if window.peek() else "the array is never closed"
        raise UserError(f"{window.path}:{window.line}: not valid JSON ({what})")
    window.skip()


def _refuse_shape(path: Path, line: int, value: Any, columns: list[str]) -> None:
    """Refuses what is no object, and an object that has a wanted key twice."""
    if not isinstance(value, Repeated):
        raise UserError(f"{path}:{line}: expected one JSON object for each row, with the columns as its keys; here is {short(value)}")
    repeated = [column for column in columns if column in value.names]
    if repeated:
        raise UserError(f"{path}:{line}: has the key {short(repeated[0])} twice in one object; keep the one that is meant")


def _lacking(path: Path, line: int, value: dict[str, Any], columns: Sequence[str]) -> UserError:
    """The file's rows may be under a key of one object, or it may be one object of columns."""
    missing = next(column for column in columns if column not in value)
    for key, part in value.items():
        if isinstance(part, list) and part and isinstance(part[0], dict):
            return UserError(
                f"{path}:{line}: the rows seem to be in the list under the key {short(key)}; write them one a line, for instance with "
                f"jq -c '.[\"{key}\"][]' {path.name} > rows.jsonl, and give that file"
            )
    advice = next((row_by_row(part) for part in value.values() if row_by_row(part)), "; see --column-text, --column-label")
    return UserError(f"{path}:{line}: has no column {short(missing)}; there are {listed(value)}{advice}")
