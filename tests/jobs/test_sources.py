"""Every kind of source gives the same samples; splits are drawn so that nothing tested was trained on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import h5py
import pyarrow as arrow
import pytest
from conftest import ids
from pyarrow import parquet
from staging.draw import draw_test
from staging.records import Origin, Record, Split
from staging.splits import find_splits
from staging.task import TASKS, load_task

ROWS = [("The film, it is good", 1), ('"very" long a story', 0), ("news", 1)]


def write_rows(path: Path) -> Path:
    """ROWS in the format that the name's end says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = arrow.table({"id": [7, 8, 9], "text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]})
    if path.suffix == ".tsv":
        path.write_text("id\ttext\tlabel\n" + "".join(f"0\t{text}\t{label}\n" for text, label in ROWS), encoding="utf-8")
    elif path.suffix == ".csv":
        quoted = ['"' + text.replace('"', '""') + '"' for text, _ in ROWS]
        lines = [f"{text},0,{label}\r\n" for text, (_, label) in zip(quoted, ROWS, strict=True)]
        path.write_bytes(("\ufefftext,id,label\r\n" + "".join(lines)).encode())
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS), encoding="utf-8")
    elif path.suffix == ".parquet":
        parquet.write_table(columns, path)
    else:
        with arrow.OSFile(str(path), "wb") as file, arrow.ipc.new_stream(file, columns.schema) as stream:
            stream.write_table(columns)
    return path


def tokens(path: Path, split: str = "train") -> list[int]:
    with h5py.File(path) as file:
        return file[split]["tokens"][:].tolist()


@pytest.fixture
def reference(call, bert, task, tmp_path) -> list[int]:
    """Tokens of ROWS by way of TSV."""
    output = tmp_path / "reference.h5"
    data = write_rows(tmp_path / "reference.tsv")
    assert call("prepare_data", "--model", bert, "--task", task(), "--train", data, "--output", output).code == 0
    assert set(ids("the film it is good a very long story news")) <= set(tokens(output))
    return tokens(output)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "arrow"])
def test_formats_agree(call, bert, task, tmp_path, reference, ending):
    """Breaks if a reader loses quotes, a byte order mark, or the type of the label column (a number, a text)."""
    output = tmp_path / "out.h5"
    result = call("prepare_data", "--model", bert, "--task", task(), "--train", write_rows(tmp_path / f"t.{ending}"), "--output", output)
    assert result.code == 0, result.err
    assert tokens(output) == reference


@pytest.mark.parametrize(
    "names",
    [
        ("train-00000-of-00001.parquet", "validation-00000-of-00001.parquet", "test-00000-of-00001.parquet"),
        ("data/train.jsonl", "data/dev.jsonl", "data/test.jsonl"),
        ("train/data-00000-of-00001.arrow", "validation/data-00000-of-00001.arrow", "test/data-00000-of-00001.arrow"),
    ],
)
def test_data_set_folders(call, bert, task, tmp_path, reference, names):
    """Files per split, and what save_to_disk writes (with its state.json and dataset_info.json beside)."""
    for name in names:
        write_rows(tmp_path / "set" / name)
        (tmp_path / "set" / name).with_name("state.json").write_text("{}")
    output = tmp_path / "out.h5"
    result = call("prepare_data", "--model", bert, "--task", task(), "--dataset", tmp_path / "set", "--output", output)
    assert result.code == 0, result.err
    assert tokens(output) == tokens(output, "dev") == tokens(output, "test") == reference


def test_parts_of_a_split_follow_each_other(call, bert, task, tmp_path, reference):
    """Breaks if row numbers start again in the second part."""
    for part in range(2):
        write_rows(tmp_path / "set" / f"train-0000{part}-of-00002.parquet")
    output = tmp_path / "out.h5"
    assert call("prepare_data", "--model", bert, "--task", task(), "--dataset", tmp_path / "set", "--output", output).code == 0
    assert tokens(output) == reference * 2
    with h5py.File(output) as file:
        assert file["train/row"][:].tolist() == [0, 1, 2, 3, 4, 5]


def test_task_says_which_split_is_the_test(tmp_path):
    """GLUE's test labels are not public; its validation split is what FedBPT tests on."""
    for name in ("train", "validation", "test"):
        write_rows(tmp_path / f"{name}.jsonl")
    found = find_splits(tmp_path, load_task("sst2").splits)
    assert {split: [path.name for path in paths] for split, paths in found.items()} == {
        "train": ["train.jsonl"],
        "test": ["validation.jsonl"],
    }
    assert find_splits(tmp_path, None)["test"][0].name == "test.jsonl"


def test_columns_by_name_and_files_without_header(call, bert, task, tmp_path, reference):
    data = tmp_path / "bare.csv"
    data.write_text('1,"The film, it is good"\n0,"""very"" long a story"\n1,news\n', encoding="utf-8")
    more = ("--names", "stars,review", "--column-text", "review", "--column-label", "stars")
    output = tmp_path / "out.h5"
    assert call("prepare_data", "--model", bert, "--task", task(), "--train", data, "--output", output, *more).code == 0
    assert tokens(output) == reference


def drawn(texts: list[str], size: int, seed: int) -> dict[str, list[Record]]:
    """Both sides of a draw from rows with these texts."""
    origin = Origin("x")
    records = [Record(row, origin, row + 1, (text, "0")) for row, text in enumerate(texts)]
    return {name: list(split.records) for name, split in draw_test(Split(records, "", "x"), size, seed, 1).items()}


@pytest.mark.parametrize("size", range(40, 48))
def test_drawn_split_keeps_equal_texts_together(size):
    """Breaks if rows are drawn one by one: a text of the training split would be tested on. Half of the texts come twice, so
    that for some sizes the last place is too small for the next text's two rows."""
    texts = [f"text {number // 2}" for number in range(100)] + [f"other {number}" for number in range(50)]
    sides = drawn(texts, size, 42)
    train, test = sides["train"], sides["test"]
    assert len(test) == size and len(train) == 150 - size
    assert not {record.cells[0] for record in train} & {record.cells[0] for record in test}
    assert [record.row for record in train] == sorted(record.row for record in train)


def test_drawn_split_follows_a_stated_rule():
    """The first in the order of SHA-256(seed, text). Breaks if the draw comes to depend on a library's generator."""
    texts = [f"t{number}" for number in range(50)]
    for seed in (1, 2):
        order = sorted(range(50), key=lambda row: hashlib.sha256(f"{seed}\nt{row}".encode()).hexdigest())
        assert [record.row for record in drawn(texts, 20, seed)["test"]] == order[:20]


@pytest.mark.parametrize("name", sorted(path.stem for path in TASKS.glob("*.yaml")))
def test_tasks_of_the_project_are_valid(name):
    """Every task of configs/tasks loads, under its own name, and works in every prompt mode."""
    task = load_task(name)
    assert task.name == name
    before, found, behind = task.template.partition("{prompt}")
    assert found and "{text}" in behind and (not before or task.readout == "last") and "{prompt}" not in task.template_without_prompt


@pytest.mark.parametrize(
    ("name", "add", "words"),
    [
        ("sst2", "P . S . It was <mask> .", "bad great"),
        ("yelpp", "P . S . It was <mask> .", "bad great"),
        ("agnews", "P . <mask> News: S", "World Sports Business Tech"),
        (
            "dbpedia",
            "P [ Category: <mask> ] S",
            "Company Education Artist Athlete Office Transportation Building Natural Village Animal Plant Album Film Written",
        ),
        ("mrpc", "P . S ? <mask> , S2", "No Yes"),
        ("rte", "P . S ? <mask> , S2", "Yes No"),
        ("snli", "P . S ? <mask> , S2", "Yes Maybe No"),
        ("sst2-causal", "What is the sentiment of this sentence:P . S .", "negative positive"),
        ("yelpp-causal", "P . S . It is", "negative positive"),
        ("agnews-causal", "P . S The news above is about", "world sports business tech"),
        (
            "dbpedia-causal",
            "P S The text above is about",
            "Company Education Artist Athlete Office Transportation Building Natural Village Animal Plant Album Film Written",
        ),
    ],
)
def test_published_templates(name, add, words):
    """The sentences and label words of FedBPT's tasks; its masked-LM words have no space before them."""
    task = load_task(name)
    short = {"{prompt}": "P", "{text2}": "S2", "{text}": "S", "{mask}": "<mask>"}
    template = task.template
    for placeholder, letter in short.items():
        template = template.replace(placeholder, letter)
    assert template == add
    assert [label.word for label in task.labels] == words.split()
    assert task.label_space == (task.readout == "last")
