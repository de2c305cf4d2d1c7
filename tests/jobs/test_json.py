"""JSON in the forms that programs write it, Parquet and Arrow of every kind: the same rows, or a sentence with the place."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow as arrow
import pytest
from pyarrow import feather, parquet
from staging import jsonrows
from staging.errors import UserError
from staging.sources import from_files

ROWS = [{"text": "film", "label": 0}, {"text": "n\u00e9ws \U0001f600\nmore", "label": 1}, {"label": 0, "text": "[{,"}]


def read(path: Path, content: str | bytes | None = None) -> list[tuple[str, object]]:
    """(text, label) of every row."""
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [record.cells for record in from_files([path], ["text", "label"]).records]


LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson"])
@pytest.mark.parametrize(
    "content",
    [
        LINES,
        LINES.replace("\n", "\r\n"),
        LINES.replace("\n", "\r"),
        "\n\n" + LINES.rstrip("\n"),
        "\ufeff" + LINES,
        json.dumps(ROWS),
        json.dumps(ROWS, ensure_ascii=False, indent=2),
        "\ufeff\n" + json.dumps(ROWS, indent=1).replace("\n", "\r\n") + "\n\n",
        "".join(json.dumps(row, indent=4) + "\n" for row in ROWS),
        json.dumps(ROWS, separators=(",", ":")),
    ],
)
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_forms_of_json(tmp_path, monkeypatch, name, content, chunk):
    """Breaks if one object a line is the only form read, or a value is cut where the part in memory ends."""
    monkeypatch.setattr(jsonrows.Window.__init__, "__defaults__", (chunk,))
    assert read(tmp_path / name, content) == [(row["text"], row["label"]) for row in ROWS]


def test_lines_of_an_array_s_elements(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(ROWS, indent=2))
    places = [record.place for record in from_files([tmp_path / "a.json"], ["text", "label"]).records]
    assert places == [f"{tmp_path / 'a.json'}:{line}" for line in (2, 6, 10)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a", "label": 0}\n{"text": "b"\n', "a.json:2: not valid JSON"),
        ('[{"text": "a", "label": 0},\n {"text": }]', "a.json:2: not valid JSON"),
        ('[{"text": "a", "label": 0}\n {"text": "b"}]', "a.json:2: not valid JSON ('{' where , or ] is expected)"),
        ('[{"text": "a", "label": 0}', "the array is never closed"),
        ('[{"text": "a", "label": 0}] more', "text after the end of the array"),
        ('["a", 0]', "a.json:1: expected one JSON object for each row, with the columns as its keys; here is 'a'"),
        ('{"text": "a", "label": 0}\n["b", 1]\n', "a.json:2: expected one JSON object"),
        (
            '{"data": [{"text": "a", "label": 0}]}',
            "the rows seem to be in the list under the key 'data'; write them one a line, for instance with jq -c",
        ),
        ('{\n  "version": 1,\n  "my rows": [\n {"text": "a"}\n]\n}', "in the list under the key 'my rows'; write them"),
        ('{"text": ["a", "b"], "label": [0, 1]}', "not a label; if one object holds all rows here"),
        ('{"text": {"0": "a"}, "label": {"0": 1}}', "if one object holds all rows here"),
        ('{"0": {"text": "a", "label": 0}}', "there are '0'; if one object holds all rows here"),
        ('{"text": "a", "label": 0, "text": "b"}', "a.json:1: has the key 'text' twice in one object"),
        ('{"my text": "a", "label": 0}', "has no column 'text'; there are 'my text', 'label'"),
        ('{"text": "a", "label": ' + "1" * 5000 + "}", "a.json:1: not valid JSON (a number is too long"),
        ('{"text": "a", "label": 0, "x": ' + "[" * 100000 + "]" * 100000 + "}", "brackets are nested too deeply"),
        (b'{"text": "\xff", "label": 0}\n', "a.json:1: not UTF-8"),
        ("", "has no samples (there are no rows)"),
        ("[]", "has no samples (there are no rows)"),
    ],
)
def test_refused_json(call, bert, task, tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = call("prepare_data", "--model", bert, "--task", task(), "--train", path, "--output", tmp_path / "o.h5")
    assert result.code == 2 and message in result.err
    assert len(result.err) < 1000


def test_other_keys_may_be_twice(tmp_path):
    assert read(tmp_path / "a.jsonl", '{"text": "a", "id": 1, "label": 0, "id": 2}\n'.replace('"id": 2', '"x": {"a": 1, "a": 2}')) == [
        ("a", 0)
    ]


TABLE = arrow.table({"id": [7, 8, 9], "text": [str(row["text"]) for row in ROWS], "label": [row["label"] for row in ROWS]})


def write_arrow(path: Path, kind: str, table: arrow.Table = TABLE) -> Path:
    """The table as an Arrow file of some kind."""
    if kind == "stream":
        with arrow.OSFile(str(path), "wb") as file, arrow.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    elif kind == "parquet":
        parquet.write_table(table, path)
    else:
        feather.write_feather(table, str(path), compression=kind, chunksize=2)
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.arrow", "stream"),
        ("a.ipc", "stream"),
        ("a.arrow", "uncompressed"),
        ("a.feather", "lz4"),
        ("a.ipc", "zstd"),
        ("a.FEATHER", "zstd"),
    ],
)
@pytest.mark.parametrize("kind_of_text", ["string", "large_string", "string_view", "dictionary"])
def test_kinds_of_arrow(tmp_path, name, kind, kind_of_text):
    """Breaks if files with an index, compressed ones, or the types of text that other libraries write are not read."""
    types = {"string": arrow.string(), "large_string": arrow.large_string(), "string_view": arrow.string_view()}
    column = TABLE["text"]
    column = column.combine_chunks().dictionary_encode() if kind_of_text == "dictionary" else column.cast(types[kind_of_text])
    table = TABLE.set_column(1, "text", column)
    assert read(write_arrow(tmp_path / name, kind, table)) == [(row["text"], row["label"]) for row in ROWS]


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [("a.arrow", "stream", "Arrow"), ("a.arrow", "lz4", "Arrow"), ("a.parquet", "parquet", "Parquet")],
)
def test_damaged_arrow(tmp_path, name, kind, message):
    """Cut off anywhere: breaks if the library's own error comes through."""
    whole = write_arrow(tmp_path / name, kind).read_bytes()
    for cut in (0, 7, len(whole) // 3, len(whole) // 2, len(whole) - 20):
        with pytest.raises(UserError, match=f"{name}: not a complete {message} file"):
            read(tmp_path / name, whole[:cut])


def twice(names: list[str]) -> arrow.Table:
    return arrow.table([arrow.array(["a"]), arrow.array(["b"]), arrow.array([0])], names=names)


@pytest.mark.parametrize(("name", "kind"), [("a.parquet", "parquet"), ("a.arrow", "stream"), ("a.arrow", "lz4")])
def test_columns_of_one_name(tmp_path, name, kind):
    """Breaks if one of two columns is taken, or the library's error comes through; other columns may be there twice."""
    write_arrow(tmp_path / name, kind, twice(["text", "text", "label"]))
    with pytest.raises(UserError, match=f"{name}: has 2 columns named 'text'"):
        read(tmp_path / name)
    table = arrow.table([["a"], ["b"], ["c"], [0]], names=["x", "x", "text", "label"])
    write_arrow(tmp_path / name, kind, table)
    assert read(tmp_path / name) == [("c", 0)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.arrow", b"FEA1" + bytes(20), "a Feather file of version 1"),
        ("a.arrow", b"PAR1" + bytes(20), "a Parquet file; give it a name that ends in .parquet"),
        ("a.parquet", b"ARROW1\0\0", "an Arrow file; give it a name that ends in .arrow"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.parquet", b"<!DOCTYPE html>", "a web page"),
    ],
)
def test_files_that_are_something_else(tmp_path, name, content, message):
    with pytest.raises(UserError) as error:
        read(tmp_path / name, content)
    assert message in str(error.value)


@pytest.mark.parametrize(("name", "kind"), [("a.arrow", "stream"), ("a.arrow", "uncompressed"), ("a.ipc", "lz4"), ("a.parquet", "parquet")])
def test_bits_that_flip(tmp_path, name, kind):
    """Whatever a damaged file says of its parts: the rows, or a sentence. Breaks, by a crash even, if the library's arrays are trusted."""
    whole = write_arrow(tmp_path / name, kind).read_bytes()
    draw = random.Random(5)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(draw.choice([1, 1, 3])):
            damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        try:
            assert len(read(tmp_path / name, bytes(damaged))) <= len(ROWS)
        except UserError as error:
            assert name in str(error)


def test_text_in_a_column_that_is_not_utf8(tmp_path):
    offsets = arrow.py_buffer(b"\0\0\0\0\1\0\0\0")
    bad = arrow.Array.from_buffers(arrow.string(), 1, [None, offsets, arrow.py_buffer(b"\xff")])
    write_arrow(tmp_path / "a.arrow", "stream", arrow.table([bad, arrow.array([0])], names=["text", "label"]))
    with pytest.raises(UserError, match=r"a\.arrow: rows 1 to 1: damaged, or a text is not UTF-8"):
        read(tmp_path / "a.arrow")
