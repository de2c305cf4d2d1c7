"""Label values: what a task file and a data set may write in several ways, null, and numbers that stand for named classes."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import h5py
import pyarrow as arrow
import pytest
from pyarrow import parquet
from staging.errors import UserError
from staging.labels import label_key
from staging.task import load_task

HEAD = "name: toy\nreadout: mask\ntemplate: '{prompt} {text} {mask}'\n"


@pytest.fixture
def stage(call, bert, tmp_path):
    """Stages rows of (text, label) in with a task of two classes; gives the label numbers, or the message."""

    def run(first: str, second: str, data: Path, more: str = "") -> list[int] | str:
        path = tmp_path / "mine.yaml"
        path.write_text(f"{HEAD}labels:\n  - {{value: {first}, word: bad}}\n  - {{value: {second}, word: great}}\n{more}")
        output = tmp_path / "o.h5"
        result = call("prepare_data", "--model", bert, "--task", path, "--train", data, "--output", output)
        if result.code:
            assert result.code == 2 and result.err.count("\n") == 1
            return result.err
        run.out = result.out
        with h5py.File(output) as file:
            return file["train/labels"][:].tolist()

    return run


def lines(path: Path, *labels: object) -> Path:
    path.write_text("".join(json.dumps({"text": "film", "label": label}) + "\n" for label in labels))
    return path


def columns(path: Path, labels: arrow.Array, **metadata: str) -> Path:
    table = arrow.table([arrow.array(["film"] * len(labels)), labels], names=["text", "label"])
    parquet.write_table(table.replace_schema_metadata(metadata or None), path)
    return path


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (1, "1"), (1.0, "1"), ("1", "1"), ("1.0", "1"), (" 1 ", "1"), ("-1.00", "-1"), (Decimal("2.0"), "2"), (1.5, "1.5"),
        (True, "true"), ("True", "true"), ("TRUE", "true"), (False, "false"), ("false", "false"), ("1.50", "1.50"), ("01", "01"),
        (None, None), (float("nan"), None), (Decimal("nan"), None), ("None", "None"), ("null", "null"), ("nan", "nan"), ("", ""),
        ("v1.0", "v1.0"), ("yes", "yes"),
    ],
)  # fmt: skip
def test_spelling(value, key):
    assert label_key(value) == key


@pytest.mark.parametrize(
    ("first", "second", "labels", "expected"),
    [
        ("false", "true", [True, False, "true", "False"], [1, 0, 1, 0]),
        ('"false"', '"true"', [True, False, "True"], [1, 0, 1]),
        ("0", "1", [1.0, "1", "1.0", 0, "0.0"], [1, 1, 1, 0, 0]),
        ("0.0", '"1.0"', [1, 0.0, "1"], [1, 0, 1]),
        ('["No", no way]', '"Yes"', ["No", "Yes", "no way"], [0, 1, 0]),
        ('"010"', "10", ["010", 10], [0, 1]),
        ("None", '"null"', ["None", "null"], [0, 1]),
    ],
)
def test_values_in_json(stage, tmp_path, first, second, labels, expected):
    assert stage(first, second, lines(tmp_path / "a.jsonl", *labels)) == expected


def test_true_is_not_one(stage, tmp_path):
    """Breaks if Python's equality of True and 1 decides."""
    assert "a.jsonl:2: unknown label True" in stage("0", "1", lines(tmp_path / "a.jsonl", 1, True))
    assert "a.jsonl:2: unknown label 1" in stage("false", "true", lines(tmp_path / "a.jsonl", True, 1))


SKIP = [
    ("[null]", [0, None, 1], 1),
    ("[~, -1]", [0, None, -1, "-1", 1, -1.0], 4),
    ("[null]", [0, "", 1], 1),
    ("[true]", [0, True, "True", 1], 2),
    ("[1.0]", [0, 1, "1", 5], 2),
    ('["None"]', [0, "None", 5], 1),
    ('["-", ""]', [0, "-", "", 5], 2),
    ("[.nan]", [0, float("nan"), 5], 1),
]


@pytest.mark.parametrize(("skip", "labels", "count"), SKIP)
def test_skip_labels(stage, tmp_path, skip, labels, count):
    """Breaks if null or a boolean is taken as a text, or a number is told from its text."""
    second = "5" if 5 in labels else "1"
    assert stage("0", second, lines(tmp_path / "a.jsonl", *labels), f"skip_labels: {skip}\n") == [0, 1]
    assert f"{count} rows left out by their labels" in stage.out


def test_null_is_no_text(stage, tmp_path):
    """A class named None is kept where null is skipped, and null is not the class None."""
    data = lines(tmp_path / "a.jsonl", "None", None, "b")
    assert stage('"None"', "b", data, "skip_labels: [null]\n") == [0, 1]
    assert "a.jsonl:2: has no label (null); skip_labels: [null]" in stage('"None"', "b", data)
    assert "a.jsonl:1: unknown label 'None'" in stage("0", "b", data, "skip_labels: [null]\n")
    assert "unknown label ''" in stage("0", "1", lines(tmp_path / "b.jsonl", ""))


def test_empty_cell_of_csv_is_null(stage, tmp_path):
    """Missing labels as to_csv writes them, and a column of numbers with one missing."""
    path = tmp_path / "a.csv"
    path.write_text("text,label\nfilm,0.0\nnews,\nstory,1.0\n")
    assert stage("0", "1", path, "skip_labels: [null]\n") == [0, 1]


@pytest.mark.parametrize(
    ("labels", "first", "second", "expected"),
    [
        (arrow.array([True, False]), "false", "true", [1, 0]),
        (arrow.array([1.0, 0.0], arrow.float32()), "0", "1", [1, 0]),
        (arrow.array([1, 0], arrow.uint8()), "0", "1", [1, 0]),
        (arrow.array(["b", "a"]).dictionary_encode(), "a", "b", [1, 0]),
        (arrow.array(["b", "a"], arrow.large_string()), "a", "b", [1, 0]),
        (arrow.array([Decimal("1.0"), Decimal("0.0")]), "0", "1", [1, 0]),
        (arrow.array([1, None, 0]), "0", "1", [1, 0]),
        (arrow.array([1.0, float("nan"), 0.0]), "0", "1", [1, 0]),
    ],
)
def test_types_of_parquet(stage, tmp_path, labels, first, second, expected):
    assert stage(first, second, columns(tmp_path / "a.parquet", labels), "skip_labels: [null]\n") == expected


def named(*names: str) -> dict[str, str]:
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    return {"huggingface": json.dumps({"info": {"features": features}})}


@pytest.mark.parametrize(
    ("names", "first", "second", "expected"),
    [
        (("neg", "pos"), "0", "1", [0, 1]),
        (("neg", "pos"), "neg", "pos", [0, 1]),
        (("neg", "pos"), "[0, neg]", "[1, pos]", [0, 1]),
        (("pos", "neg"), "neg", "pos", [1, 0]),
        (("1 star", "2 stars"), "1 star", "2 stars", [0, 1]),
        (("1", "2"), "1", "2", [0, 1]),
        (("1", "2"), "0", "1", [0, 1]),
        (("False", "True"), "false", "true", [0, 1]),
        (("negative", "positive"), "[0, neg]", "[1, pos]", [0, 1]),
    ],
)
def test_named_classes(stage, tmp_path, names, first, second, expected):
    """Numbers with names, as Hugging Face's library stores them: the task may give either."""
    assert stage(first, second, columns(tmp_path / "a.parquet", arrow.array([0, 1]), **named(*names))) == expected


@pytest.mark.parametrize(
    ("names", "first", "second"),
    [
        (("pos", "neg"), "[0, neg]", "[1, pos]"),
        (("pos", "neg", "mixed"), "[0, neg]", "[1, pos, 2]"),
        (("a", "0"), "0", "b"),
        (("1", "0"), "0", "1"),
    ],
)
def test_names_that_contradict_the_task(stage, tmp_path, names, first, second):
    """Breaks if the number decides where the file says that it means another class."""
    message = stage(first, second, columns(tmp_path / "a.parquet", arrow.array([0, 1]), **named(*names)))
    assert "a.parquet: says that label" in message and "correct the task's label values" in message


def test_named_classes_differ_from_part_to_part(call, bert, task, tmp_path):
    """Breaks if the first file's names are used for all."""
    first = columns(tmp_path / "a.parquet", arrow.array([0, 1]), **named("neg", "pos"))
    second = columns(tmp_path / "b.parquet", arrow.array([0, 1]), **named("pos", "neg"))
    path = task(labels=[{"value": "neg", "word": "bad"}, {"value": "pos", "word": "great"}])
    result = call("prepare_data", "--model", bert, "--task", path, "--train", first, second, "--output", tmp_path / "o.h5")
    assert result.code == 0, result.err
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["train/labels"][:].tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "labels: [{value: No, word: bad}, {value: 1, word: great}]",
            'YAML takes the label value No for False; put it in quotes if it is a text: "No"',
        ),
        ("labels: [{value: 010, word: bad}, {value: 1, word: great}]", "the label value 010 for 8"),
        ("labels: [{value: 12:30, word: bad}, {value: 1, word: great}]", "the label value 12:30 for 750"),
        ("labels: [{value: 1_0, word: bad}, {value: 1, word: great}]", "the label value 1_0 for 10"),
        ("labels: [{value: 2020-01-01, word: bad}, {value: 1, word: great}]", "the label value 2020-01-01 for datetime.date"),
        ("labels: [{value: {a: 1}, word: bad}, {value: 1, word: great}]", "put it in quotes"),
        ("labels: [{value: null, word: bad}, {value: 1, word: great}]", "skip_labels: [null] leaves rows without a label out"),
        ("labels: [{value: [1, 1.0], word: bad}, {value: 0, word: great}]", "the label has the value 1.0 twice; 1 is the same"),
        ("labels: [{value: [], word: bad}, {value: 1, word: great}]", "the label has no value"),
        ("labels: [{value: 1.0, word: bad}, {value: '1', word: great}]", "value '1' already belongs to the label in line 4"),
        ("labels: [{value: 'True', word: bad}, {value: true, word: great}]", "value True already belongs"),
        ("labels: [{value: [a, a], word: bad}, {value: 1, word: great}]", "the label has the value 'a' twice"),
        ("labels: [{value: 0, word: bad, word: dull}, {value: 1, word: great}]", "mine.yaml:4: key 'word' is repeated"),
        ("labels: [{value: !!int , word: bad}, {value: 1, word: great}]", "not valid YAML"),
        ("labels: &a [*a, *a]", "holds itself by an alias"),
        ("labels: [{value: 0, word: 2012}, {value: 1, word: great}]", "the label lacks word, as a text, not 2012: put it in quotes"),
        (
            "labels: [{value: 0, word: bad}, {value: 1, word: great}]\nskip_labels: [-1, off]",
            "mine.yaml:5: YAML takes the label value off for False",
        ),
        (
            "labels: [{value: 0, word: bad}, {value: 1, word: great}]\nskip_labels: [1.0]",
            "mine.yaml:5: skip_labels leaves out '1', which is a label's",
        ),
        ("labels: [{value: 0, word: bad}, {value: 1, word: great}]\nskip_labels: -1", "skip_labels must be a list"),
        ('labels: [{value: 0, word: bad}, {value: 1, word: "gr\\ud83d"}]', "half of a surrogate pair"),
        ('labels: [{value: 0, word: bad}, {value: 1, word: "a\\0b"}]', "NUL character"),
        ("labels: [{value: 0, word: bad}, {value: 1, word: great}]\nsplits: {}", "splits maps train, dev and test"),
        ("labels: [{value: 0, word: bad}, {value: 1, word: great}]\nsplits: {test: [a, a]}", "splits maps train, dev and test"),
        ("labels: [{value: 0, word: bad}, {value: 1, word: great}]\ncolumns: {text2: b}", "but the template has no {text2}"),
        ("labels: [{value: 0, word: bad}, {value: 1, word: great}]\nempty: keep", "empty must be one of error, skip"),
    ],
)
def test_refused_in_a_task(tmp_path, text, message):
    """Breaks if YAML's reading of a value, or one that has no effect, is followed in silence."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"{HEAD}{text}\n")
    with pytest.raises(UserError) as error:
        load_task(str(path))
    assert message in str(error.value) and "mine.yaml" in str(error.value)


def test_a_pair_of_escapes_is_one_character(tmp_path):
    """A task written as JSON has characters beyond U+FFFF as two escapes."""
    path = tmp_path / "mine.yaml"
    labels = [{"value": "\U0001f600", "word": "bad"}, {"value": 1, "word": "great"}]
    path.write_text(json.dumps({"name": "a", "readout": "mask", "template": "{prompt} {text} \U0001f600 {mask}", "labels": labels}))
    task = load_task(str(path))
    assert task.template == "{prompt} {text} \U0001f600 {mask}" and task.labels[0].values == ("\U0001f600",)
