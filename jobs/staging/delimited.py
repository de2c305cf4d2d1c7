"""CSV and TSV, in whatever dialect, and what is amiss where a file is not what its name says."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import lone_returns, open_text
from .records import listed, places_of, short

csv.field_size_limit(1 << 30)
MANY_LABELS = 1000
QUOTINGS = ("none", "csv", "backslash")
USUAL_DELIMITERS = {",": "','", ";": "';'", "\t": "tab", "|": "'|'"}


@dataclass(frozen=True)
class Dialect:
    """How CSV and TSV files are written; None: as their names say."""

    names: list[str] | None = None
    quoting: str | None = None
    delimiter: str | None = None


@dataclass(frozen=True)
class Form:
    """The dialect of one file. `assumed`: its quoting was not given but taken from the file's name."""

    delimiter: str
    quoting: str
    assumed: bool
    kind: str  # CSV or TSV

    def arguments(self) -> dict[str, Any]:
        """For csv.reader."""
        more: dict[str, Any] = {"quoting": csv.QUOTE_NONE if self.quoting == "none" else csv.QUOTE_MINIMAL}
        if self.quoting == "backslash":
            more |= {"doublequote": False, "escapechar": "\\"}
        return {"delimiter": self.delimiter, "strict": True, **more}


def form_of(kind: str, dialect: Dialect) -> Form:
    """TSV is taken to have no quoting, CSV to have it."""
    tsv = kind == ".tsv"
    quoting = dialect.quoting or ("none" if tsv else "csv")
    return Form(dialect.delimiter or ("\t" if tsv else ","), quoting, dialect.quoting is None, "TSV" if tsv else "CSV")


class QuoteWatch:
    """Counts fields that look as if the file had quoting where it is read without, or the other way round; and fields that seem to
    have taken in rows. `width`, `label`: number of columns, and the place of the label's among them."""

    def __init__(self, form: Form, width: int, label: int) -> None:
        self.form, self.width, self.label = form, width, label
        self.n_quoted = self.first_quoted = self.n_merged = self.first_merged = 0
        self.labels: set[str] = set()

    def look(self, line: int, cells: Sequence[str]) -> None:
        """One row's wanted cells, the label's last."""
        for cell in cells:
            if cell[-1:] == '"' and len(cell) > 1 and self.form.assumed and self._suspicious(cell):
                self.first_quoted = self.first_quoted or line
                self.n_quoted += 1
            if "\n" in cell and self._holds_rows(cell):
                self.first_merged = self.first_merged or line
                self.n_merged += 1
        if len(self.labels) < MANY_LABELS:
            self.labels.add(cells[-1])

    def _suspicious(self, cell: str) -> bool:
        if self.form.quoting == "none":
            return cell[0] == '"'
        return cell[0] == " " and cell.lstrip(" ")[0] == '"'

    def _holds_rows(self, cell: str) -> bool:
        """Whether a line inside the field has as many columns as a row, and a label where a row has it."""
        lines = (line.rstrip("\r").split(self.form.delimiter) for line in cell.split("\n"))
        return any(len(parts) == self.width and parts[self.label] in self.labels for parts in lines)

    def report(self, path: Path, warn: Callable[[str], None]) -> None:
        """Says what was seen, once the file is read."""
        if self.n_merged:
            fields = f"{self.n_merged} fields hold" if self.n_merged > 1 else "1 field holds"
            warn(f"{path}:{self.first_merged}: {fields} lines that look like rows (first here); is a double quote never closed?")
        if not self.n_quoted:
            return
        fields = f"{self.n_quoted} fields begin and end" if self.n_quoted > 1 else "1 field begins and ends"
        where = f"{path}:{self.first_quoted}: {fields} with a double quote"
        if self.form.quoting == "none":
            warn(
                f"{where} (first here), which the text keeps; if the file has CSV quoting, give --quoting csv; "
                f"if the quotes belong to the text, --quoting none says so"
            )
        else:
            warn(f"{where} after a space (first here), so that the quotes stay; take out the spaces before the quotes")


def read_delimited(path: Path, kind: str, columns: list[str], dialect: Dialect, warn: Callable[[str], None]) -> Iterator[tuple[int, Any]]:
    """(line, wanted cells) of every row."""
    form = form_of(kind, dialect)
    with open_text(path) as lines:
        reader = csv.reader(lines, **form.arguments())
        line = 1
        try:
            header = dialect.names or next(filter(None, reader), None)
            if header is None:
                raise UserError(f"{path}: is empty; expected a first line with the column names")
            places, width = _columns(f"{path}:{reader.line_num}", form, header, columns, bool(dialect.names)), len(header)
            pick, watch = itemgetter(*places), QuoteWatch(form, width, places[-1])
            line = reader.line_num + 1
            for cells in reader:
                if len(cells) == width:
                    if line == 1 and dialect.names:
                        _refuse_header(path, cells, header)
                    picked = pick(cells)
                    watch.look(line, picked)
                    yield line, picked
                elif cells:
                    raise UserError(f"{path}:{line}: {_width_error(cells, header, form, bool(dialect.names))}")
                line = reader.line_num + 1
        except csv.Error as error:
            raise _csv_error(path, form, line, reader.line_num, str(error)) from None
    watch.report(path, warn)


def _columns(where: str, form: Form, header: list[str], columns: list[str], named: bool) -> list[int]:
    """Places of the wanted columns in the header."""
    if named:
        return places_of("--names", header, columns)
    hint = "see --column-text, --column-label, and --names for files without a header line"
    others = [mark for mark in USUAL_DELIMITERS if mark != form.delimiter and mark in header[0]]
    if len(header) == 1 and others and not header[0].startswith("sep="):
        hint = f"if {USUAL_DELIMITERS[others[0]]} separates its fields, give --delimiter {USUAL_DELIMITERS[others[0]]}"
    elif header[0].startswith("sep="):
        hint = "take out this line, which only Excel reads, and give the character after sep= with --delimiter"
    elif form.quoting == "none" and any(f'"{column}"' in header for column in columns):
        hint = "the names stand in double quotes: give --quoting csv"
    return places_of(where, header, columns, hint)


def _refuse_header(path: Path, cells: list[str], names: list[str]) -> None:
    if [cell.strip().lower() for cell in cells] == [name.lower() for name in names]:
        raise UserError(f"{path}:1: holds the column names themselves; leave out --names, which is for files without a header line")


def _width_error(cells: list[str], header: list[str], form: Form, named: bool) -> str:
    text = f"has {len(cells)} columns where {'--names' if named else 'the header'} has {len(header)}"
    if form.quoting == "none" and any(cell.startswith('"') for cell in cells):
        return f"{text}; a field begins with a double quote: if the file has CSV quoting, give --quoting csv"
    if form.quoting == "csv" and any("\\" in cell for cell in cells):
        return f"{text}; if backslashes stand before quotes in its fields, give --quoting backslash"
    return text


def _csv_error(path: Path, form: Form, start: int, end: int, reason: str) -> UserError:
    """Describe the fault in the record that begins in line `start` and was read up to line `end`."""
    with open_text(path) as lines:
        record = list(islice(lines, start - 1, end))
    if "new-line character" in reason:
        return UserError(f"{path}:{end}: not valid {form.kind}: {lone_returns(path, end, record[-1] if record else '')}")
    advice = "; if backslashes stand before the quotes in its fields, give --quoting backslash"
    hint = advice if form.quoting == "csv" and any('\\"' in line for line in record) else ""
    if "unexpected end of data" in reason:
        opened = start + _opened(record, form)
        return UserError(f"{path}:{opened}: not valid {form.kind}: the double quote that begins a field here is never closed{hint}")
    where = f"in line {end}, " if end > start else ""
    return UserError(
        f"{path}:{start}: not valid {form.kind}: {where}text follows the double quote that ends a field ({reason}); quotes inside a "
        f"quoted field are written twice, and one that is never closed takes in the lines after it{hint}"
    )


def _opened(record: list[str], form: Form) -> int:
    """Which line of an unfinished record opened the quote that is still open."""
    opened, inside, fresh, skip = 0, False, True, False
    for number, line in enumerate(record):
        for place, character in enumerate(line):
            if skip:
                skip = False
            elif inside and form.quoting == "backslash" and character == "\\":
                skip = True
            elif inside and character == '"':
                skip = form.quoting == "csv" and line[place + 1 : place + 2] == '"'
                inside = skip
            elif not inside and fresh and character == '"':
                inside, opened = True, number
            fresh = not inside and character == form.delimiter
    return opened


def parse_names(text: str) -> list[str]:
    """The value of --names."""
    names = [name.strip() for name in text.split(",")]
    if "" in names or len(set(names)) < len(names):
        raise UserError(f"--names {short(text)}: takes different names, separated by commas; these are {listed(names)}")
    return names


def parse_delimiter(text: str) -> str:
    """The value of --delimiter."""
    value = "\t" if text in ("tab", "\\t") else text
    if len(value) != 1 or value in '"\r\n\\':
        raise UserError(f"--delimiter {short(text)}: must be one character, or the word tab")
    return value
