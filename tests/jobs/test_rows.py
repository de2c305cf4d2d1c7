"""Rows that hold no text or no characters, and the test split drawn in two passes."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path

import h5py
import pyarrow as arrow
import pytest
from conftest import ids
from pyarrow import parquet
from staging.draw import draw_test
from staging.errors import UserError
from staging.records import Origin, Record, Split
from staging.sources import from_files

EMPTY = ["", "  ", "\t", "\u00a0\u2003", "\u200b", "\ufeff", "\x00\x01"]


def lines(path: Path, texts: list[object]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "text2": "news", "label": 0}) + "\n" for text in texts))
    return path


@pytest.mark.parametrize("text", [None, *EMPTY])
def test_empty_rows_are_refused_or_counted(call, bert, task, tmp_path, text):
    """White space alone, null, and characters of which the tokenizer makes no token. By default the first one is an error."""
    data = lines(tmp_path / "a.jsonl", ["film", text, "news"])
    more = ("--model", bert, "--train", data, "--output", tmp_path / "o.h5")
    refused = call("prepare_data", "--task", task(), *more)
    assert refused.code == 2 and "a.jsonl:2: the text" in refused.err and "is empty" in refused.err and "--empty skip" in refused.err
    for result in (
        call("prepare_data", "--task", task(), "--empty", "skip", *more),
        call("prepare_data", "--task", task(empty="skip"), *more),
    ):
        assert result.code == 0, result.err
        assert "train: 2 samples" in result.out and "1 rows left out without text" in result.out
        with h5py.File(tmp_path / "o.h5") as file:
            assert file["train/row"][:].tolist() == [0, 2]
            assert ids("film")[0] in file["train/tokens"][:] and ids("news")[0] in file["train/tokens"][:]
    result = call("prepare_data", "--task", task(empty="skip"), "--empty", "error", *more)
    assert result.code == 2


@pytest.mark.parametrize("text", ["", "\u200b"])
@pytest.mark.parametrize("column", ["text", "text2"])
def test_one_empty_text_of_a_pair(call, bert, task, tmp_path, text, column):
    """Breaks if the other text hides it."""
    path = task(template="{prompt} {text} ? {mask} , {text2}", template_without_prompt="{text} ? {mask} , {text2}", empty="skip")
    rows = [{"text": "film", "text2": "news", "label": 0}, {"text": "film", "text2": "news", "label": 1, column: text}]
    data = tmp_path / "a.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = call("prepare_data", "--model", bert, "--task", path, "--train", data, "--output", tmp_path / "o.h5")
    assert result.code == 0 and "1 rows left out without text" in result.out


def test_nothing_left(call, bert, task, tmp_path):
    more = ("--train", lines(tmp_path / "a.jsonl", ["", "\u200b"]), "--output", tmp_path / "o.h5", "--empty", "skip")
    result = call("prepare_data", "--model", bert, "--task", task(), *more)
    assert result.code == 2 and "has no samples (2 rows left out without text)" in result.err and not (tmp_path / "o.h5").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"a \\ud83d b"', "a.jsonl:1: the text in column 'text' has half of a surrogate pair (\\ud83d at character 3)"),
        ('"\\ude00\\ud83d"', "half of a surrogate pair (\\ude00 at character 1)"),
    ],
)
def test_half_of_a_surrogate_pair(call, bert, task, tmp_path, text, message):
    """Breaks with a traceback if the tokenizer sees it."""
    data = tmp_path / "a.jsonl"
    data.write_text(f'{{"text": {text}, "label": 0}}\n')
    result = call("prepare_data", "--model", bert, "--task", task(), "--train", data, "--output", tmp_path / "o.h5")
    assert result.code == 2 and message in result.err
    assert (
        call("prepare_data", "--model", bert, "--task", task(), "--train", data, "--output", tmp_path / "o.h5", "--empty", "skip").code == 2
    )


@pytest.mark.parametrize(
    "row",
    [
        '{"text": "film", "label": "\\ud83d"}',
        '{"\\ud83d": "film", "label": 0}',
        '{"text": ["\\ud83d"], "label": 0}',
        '{"text": "film", "label": [1]}',
    ],
)
def test_halves_in_labels_and_keys(call, bert, task, tmp_path, row):
    data = tmp_path / "a.jsonl"
    data.write_text(row + "\n")
    result = call("prepare_data", "--model", bert, "--task", task(), "--train", data, "--output", tmp_path / "o.h5")
    assert result.code == 2 and "a.jsonl:1: " in result.err


def test_whole_pairs_and_controls_are_read(call, bert, task, tmp_path):
    data = tmp_path / "a.jsonl"
    data.write_text('{"text": "film \\ud83d\\ude00 \\u0000\\u0007 news", "label": 0}\n')
    result = call("prepare_data", "--model", bert, "--task", task(), "--train", data, "--output", tmp_path / "o.h5")
    assert result.code == 0, result.err


def test_long_values_are_shortened_in_messages(call, bert, task, tmp_path):
    data = tmp_path / "a.jsonl"
    data.write_text(json.dumps({"text": "film", "label": "x" * 100000, "y" * 100000: 1}) + "\n")
    for more in ((), ("--column-text", "none")):
        result = call("prepare_data", "--model", bert, "--task", task(), "--train", data, "--output", tmp_path / "o.h5", *more)
        assert result.code == 2 and len(result.err) < 600


def test_names_that_are_not_utf8(call, bert, task, table, tmp_path):
    """A file name of bytes that are no UTF-8 is printed and recorded; breaks with a traceback at either."""
    path = tmp_path / "a\udcff.tsv"
    path.write_bytes(table(("film", 0)).read_bytes())
    result = call("prepare_data", "--model", bert, "--task", task(), "--train", path, "--output", tmp_path / "o.h5")
    assert result.code == 0, result.err
    with h5py.File(tmp_path / "o.h5") as file:
        assert "a\\udcff.tsv" in file.attrs["source"]


def test_draw_from_files_in_two_passes(tmp_path):
    """The draw by its stated rule over a file, with texts that come again and rows in both sides' right order."""
    texts = [f"t{number % 400}" for number in range(1000)]
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"text": texts, "label": [0] * 1000}), path)
    sides = draw_test(from_files([path], ["text", "label"]), 100, 7, 1)
    groups: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        groups.setdefault(hashlib.sha256(f"7\n{text}".encode()).hexdigest(), []).append(row)
    expected: list[int] = []
    for key in sorted(groups):
        if len(expected) + len(groups[key]) <= 100:
            expected += groups[key]
    for _ in range(2):
        assert [record.row for record in sides["test"].records] == expected
        assert [record.row for record in sides["train"].records] == [row for row in range(1000) if row not in set(expected)]
    assert (sides["train"].n_rows, sides["test"].n_rows) == (1000 - len(expected), len(expected))


def test_a_file_that_grows_between_the_passes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "film,0\nnews,1\nstory,0\n")
    sides = draw_test(from_files([path], ["text", "label"]), 1, 7, 1)
    path.write_text("text,label\n" + "film,0\nnews,1\nstory,0\nbad,1\n")
    with pytest.raises(UserError, match="had 3 rows, and now has 4"):
        list(sides["train"].records)


def test_output_is_no_input(call, bert, task, table):
    """Breaks if a data file is replaced by what was made of it."""
    path = table(("film", 0))
    result = call("prepare_data", "--model", bert, "--task", task(), "--train", path, "--output", path)
    assert result.code == 2 and "is one of the files to read" in result.err and path.read_text().startswith("text")


class Stream:
    """Rows that are made as they are asked for."""

    def __iter__(self):
        origin = Origin("x")
        return (Record(row, origin, row, (f"{row} " + "x" * 1000, 0)) for row in range(20000))


def test_draw_does_not_hold_the_texts(tmp_path):
    """20 MB of text are drawn from and gone through within 4 MB. Breaks if rows are kept."""
    tracemalloc.start()
    sides = draw_test(Split(Stream(), "", "x"), 200, 42, 1)
    n_train = sum(1 for _ in sides["train"].records)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_train == 19800 and peak < 4e6
