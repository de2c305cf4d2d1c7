"""Parquet files and Arrow files of both kinds: streams, as save_to_disk writes them, and files with an index (Feather, polars)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import UserError
from .records import Origin, places_of

BATCH = 4096


@contextmanager
def _complete(path: Path, kind: str) -> Iterator[None]:
    """Turns what the library says about a damaged file into one sentence."""
    import pyarrow as arrow

    try:
        yield
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(f"{path}: not a complete {kind} file ({error})") from None


def _origin(path: Path, schema: Any) -> Origin:
    return Origin(str(path), ": row ", _class_names(schema.metadata or {}))


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Column -> names of its classes, where Hugging Face's library has written them."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        named = {column: feature.get("names") for column, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}
    return {column: [str(name) for name in names] for column, names in named.items() if isinstance(names, list)}


def read_parquet(path: Path, columns: list[str]) -> tuple[Origin, Iterator[tuple[int, Any]]]:
    """(row, wanted cells) of every row; rows count from 1."""
    from pyarrow import parquet

    with _complete(path, "Parquet"), parquet.ParquetFile(path) as file:
        origin = _origin(path, file.schema_arrow)
        places_of(str(path), file.schema_arrow.names, columns)

    def rows() -> Iterator[tuple[int, Any]]:
        with _complete(path, "Parquet"), parquet.ParquetFile(path) as file:
            yield from _rows(path, columns, file.iter_batches(batch_size=BATCH, columns=columns))

    return origin, rows()


def count_parquet(path: Path) -> int:
    """Number of rows, by the file's own word."""
    from pyarrow import parquet

    with _complete(path, "Parquet"):
        return int(parquet.read_metadata(path).num_rows)


@contextmanager
def _open_arrow(path: Path) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Schema and batches of an Arrow file of either kind, told by its first bytes."""
    import pyarrow as arrow

    with _complete(path, "Arrow"), arrow.memory_map(str(path)) as file:
        if file.size() >= 6 and file.read_at(6, 0) == b"ARROW1":
            with arrow.ipc.open_file(file) as reader:
                yield reader.schema, (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            with arrow.ipc.open_stream(file) as stream:
                yield stream.schema, iter(stream)


def read_arrow(path: Path, columns: list[str]) -> tuple[Origin, Iterator[tuple[int, Any]]]:
    """(row, wanted cells) of every row; rows count from 1."""
    with _open_arrow(path) as (schema, _):
        origin = _origin(path, schema)
        places_of(str(path), schema.names, columns)

    def rows() -> Iterator[tuple[int, Any]]:
        with _open_arrow(path) as (_, batches):
            yield from _rows(path, columns, batches)

    return origin, rows()


def _rows(path: Path, columns: list[str], batches: Iterator[Any]) -> Iterator[tuple[int, Any]]:
    import pyarrow as arrow

    first = 1
    for batch in batches:
        wanted = [batch.column(batch.schema.get_field_index(column)) for column in columns]
        try:
            for column in wanted:
                column.validate(full=True)  # the library would follow a damaged offset out of the file
        except arrow.ArrowInvalid as error:
            rows = f"rows {first} to {first + batch.num_rows - 1}"
            raise UserError(f"{path}: {rows}: damaged, or a text is not UTF-8 ({error})") from None
        for start in range(0, batch.num_rows, BATCH):
            parts = [column.slice(start, BATCH).to_pylist() for column in wanted]
            yield from enumerate(zip(*parts, strict=True), first + start)
        first += batch.num_rows
