"""Which files of a data set folder make up a split, and which folders are refused because it is not plain."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import h5py
import pytest
from staging.errors import UserError
from staging.splits import find_splits, unused


@pytest.fixture
def folder(tmp_path: Path):
    """Makes files in a folder."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("text,label\nfilm,0\n")
        return tmp_path / "set"

    return make


def found(folder: Path, wanted: dict[str, tuple[str, ...]] | None = None) -> dict[str, list[str]]:
    return {split: [str(path.relative_to(folder)) for path in paths] for split, paths in find_splits(folder, wanted).items()}


@pytest.mark.parametrize(
    ("names", "train"),
    [
        ("train.csv", ["train.csv"]),
        ("Train.CSV", ["Train.CSV"]),
        ("training.csv", ["training.csv"]),
        ("sst2-train.csv", ["sst2-train.csv"]),
        ("snli_1.0_train.jsonl snli_1.0_dev.jsonl", ["snli_1.0_train.jsonl"]),
        ("train.jsonl.gz", ["train.jsonl.gz"]),
        ("train_1.csv train_0.csv", ["train_0.csv", "train_1.csv"]),
        ("train.0.csv train.1.csv", ["train.0.csv", "train.1.csv"]),
        ("train-part-1.csv train-part-2.csv", ["train-part-1.csv", "train-part-2.csv"]),
        ("train 1.csv|train 2.csv", ["train 1.csv", "train 2.csv"]),
        ("|".join(f"train_{number}.csv" for number in range(11)), [f"train_{number}.csv" for number in range(11)]),
        ("train-00001-of-00002.parquet train-00000-of-00002.parquet", ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]),
        ("train_00000_of_00001.csv", ["train_00000_of_00001.csv"]),
        ("data/train-00000-of-00001-a09b74b3ef9c3b56.parquet", ["data/train-00000-of-00001-a09b74b3ef9c3b56.parquet"]),
        ("train/0000.parquet train/0001.parquet test/0000.parquet", ["train/0000.parquet", "train/0001.parquet"]),
        ("train/a.csv train/b.csv", ["train/a.csv", "train/b.csv"]),
        ("train/part-00000-0a1b-c000.csv", ["train/part-00000-0a1b-c000.csv"]),
        ("train.csv .cache/train.csv __pycache__/train.json cache-train.arrow x.incomplete/train.csv", ["train.csv"]),
        ("train.csv train_extra.csv", ["train.csv"]),
    ],
)
def test_names_of_files(folder, names, train):
    """Breaks if a separator, a shard's number or hash, a folder or a prefix hides a split, or parts come in the order of their text."""
    made = names.split("|") if "|" in names else names.split()
    assert found(folder(*made))["train"] == train


MNLI = ("train-00000-of-00001.csv", "validation_matched-00000-of-00001.csv", "validation_mismatched-00000-of-00001.csv")
ANLI = [f"{split}_r{number}.csv" for split in ("train", "dev", "test") for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("names", "wanted", "expected"),
    [
        (
            MNLI,
            {"dev": ("validation_matched",), "test": ("validation_mismatched",)},
            {"train": [MNLI[0]], "dev": [MNLI[1]], "test": [MNLI[2]]},
        ),
        (ANLI, {"train": ("train_r1",), "test": ("test_r3",)}, {"train": ["train_r1.csv"], "test": ["test_r3.csv"]}),
        (ANLI, {"train": ("train_r3", "train_r1")}, {"train": ["train_r3.csv", "train_r1.csv"]}),
        (("train.csv", "Test_2.csv", "test_1.csv"), {"test": ("test_2",)}, {"train": ["train.csv"], "test": ["Test_2.csv"]}),
        (("train.csv", "validation.csv", "test.csv"), {"test": ("validation",)}, {"train": ["train.csv"], "test": ["validation.csv"]}),
        (("train.csv", "holdout/0.csv"), {"test": ("holdout",)}, {"train": ["train.csv"], "test": ["holdout/0.csv"]}),
    ],
)
def test_asked_splits(folder, names, wanted, expected):
    """Breaks if a split that the task names is not found, merged with another, or replaced by a usual one."""
    assert found(folder(*names), wanted) == expected


@pytest.mark.parametrize(
    ("names", "wanted", "message"),
    [
        (MNLI, None, "which split is dev? There are 'validation_matched', 'validation_mismatched'"),
        (ANLI, None, "which split is train? There are 'train_r1', 'train_r2', 'train_r3'"),
        (
            MNLI,
            {"dev": ("validation",)},
            "has no split 'validation', which the task's splits ask for; there are 'train', 'validation_matched'",
        ),
        (("train.csv",), {"test": ("validation_matched",)}, "has no split 'validation_matched'"),
        (("train.csv", "test-2016.csv", "test-2017.csv"), None, "which split is test? There are 'test-2016', 'test-2017'"),
        (("train-00000-of-00003.csv", "train-00002-of-00003.csv"), None, "the split 'train' lacks part 1 of 3"),
        (("train-00000-of-00002.csv", "train-00000-of-00001.csv"), None, "there more than once"),
        (("train_0.csv", "train_2.csv"), None, "lacks part 1;"),
        (("train.csv", "train-00000-of-00001.csv"), None, "there more than once"),
        (("train.csv", "Train.csv"), None, "there more than once"),
        (("train.csv", "train.jsonl"), None, "several configurations or formats hold the split 'train' ('train.csv', 'train.jsonl')"),
        (("train.csv", "train.csv.gz"), None, "several configurations or formats"),
        (("a-train.csv", "b-train.csv"), None, "several configurations"),
        (("one/train.csv", "two/train.csv"), None, "several configurations"),
        (("one/train.csv", "two/test.csv"), None, "several configurations hold the splits"),
        (("train/one_train.csv", "train/two_train.csv"), None, "several configurations"),
        (("dev/dev_matched.csv", "dev/dev_mismatched.csv", "train.csv"), None, "which split is dev?"),
        (("part one.csv", "b.csv", "note.txt"), None, "no files named after a split train; there are 'b.csv', 'part one.csv'"),
    ],
)
def test_refused_folders(folder, names, wanted, message):
    """Breaks if splits are merged or left out unasked, or a missing part goes unnoticed."""
    with pytest.raises(UserError) as error:
        find_splits(folder(*names), wanted)
    assert message in str(error.value)


def test_files_left_from_an_earlier_save(folder):
    """save_to_disk says in state.json which files are a split's; breaks if it is not read."""
    made = folder("train/data-00000-of-00002.arrow", "train/data-00001-of-00002.arrow", "train/data-00000-of-00001.arrow")
    state = {"_data_files": [{"filename": f"data-0000{number}-of-00002.arrow"} for number in (0, 1)]}
    (made / "train" / "state.json").write_text(json.dumps(state))
    assert found(made)["train"] == ["train/data-00000-of-00002.arrow", "train/data-00001-of-00002.arrow"]
    (made / "train" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(UserError, match=r"names the file data-00001-of-00002\.arrow, which is missing"):
        find_splits(made, None)


def test_one_saved_split(folder):
    """A split that was saved alone names itself in state.json."""
    made = folder("data-00000-of-00001.arrow")
    (made / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}))
    assert found(made) == {"train": ["data-00000-of-00001.arrow"]}


def test_unused_files_are_told(folder):
    made = folder("train.csv", "unsupervised.csv", "test.csv")
    assert list(map(str, unused(made, find_splits(made, {"train": ("train",)})))) == ["test.csv", "unsupervised.csv"]


def test_files_of_every_split_are_printed(call, bert, task, folder, tmp_path):
    """The whole way, with the task's own names; breaks if the file lacks a split that was asked for."""
    for number, name in enumerate(MNLI):
        folder(name).joinpath(name).write_text("text,label\n" + "film,0\n" * (number + 1))
    path = task(splits={"train": "train", "dev": "validation_matched", "test": "validation_mismatched"})
    result = call("prepare_data", "--model", bert, "--task", path, "--dataset", tmp_path / "set", "--output", tmp_path / "o.h5")
    assert result.code == 0, result.err
    for split, name in zip(("train", "dev", "test"), MNLI, strict=True):
        assert f"{split}: {name}\n" in result.out
    with h5py.File(tmp_path / "o.h5") as file:
        assert [len(file[split]["labels"]) for split in ("train", "dev", "test")] == [1, 2, 3]


def prepare(call, bert, task, tmp_path, *more):
    return call("prepare_data", "--model", bert, "--task", task(), "--output", tmp_path / "o.h5", *more)


def test_several_files_and_patterns(call, bert, task, table, tmp_path):
    """Breaks if --train takes one file only, the last of two --train wins, or part10 comes before part2."""
    for number in range(11):
        table((["film", "news"][number % 2], number % 2), name=f"part{number}.tsv")
    (tmp_path / "more.csv.gz").write_bytes(gzip.compress(b"text,label\nbad,1\n"))
    more = (
        "--train",
        tmp_path / "part*.tsv",
        "--train",
        tmp_path / "more.csv.gz",
        "--test",
        tmp_path / "part1.tsv",
        tmp_path / "part3.tsv",
    )
    result = prepare(call, bert, task, tmp_path, *more)
    assert result.code == 0, result.err
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["train/labels"][:].tolist() == [0, 1] * 5 + [0, 1]
        assert file["train/row"][:].tolist() == list(range(12))
        assert file["test/labels"][:].tolist() == [1, 1]
    assert result.err == f"warning: train and test hold the same samples, those of {tmp_path / 'part1.tsv'}\n"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nothing*.tsv"], "no file matches this pattern; TMP holds 'a.tsv', 'b c.jsonl'"),
        (["none/*.tsv"], "there is no folder TMP/none"),
        (["a.tsv", "a.*"], "the file TMP/a.tsv is given twice"),
        (["."], "is a folder; give its files"),
        (["a.xlsx"], "unknown kind of file"),
        (["set/*.csv"], "the set of files 'x' lacks part 1 of 2"),
    ],
)
def test_files_that_are_not_there(call, bert, task, tmp_path, names, message):
    for name in ("a.tsv", "b c.jsonl", "a.xlsx", "set/x-00000-of-00002.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text\tlabel\nfilm\t0\n")
    (tmp_path / "z.txt").write_text("")
    result = prepare(call, bert, task, tmp_path, "--train", *[tmp_path / name for name in names])
    assert result.code == 2 and message.replace("TMP", str(tmp_path)) in result.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--dataset", "x", "--names", "text,label"), "--names, --quoting and --delimiter are for CSV and TSV"),
        (("--corpus", "bbc-news", "--quoting", "none"), "--quoting is for files, not for --corpus"),
        (("--train", "x/train.jsonl", "--seed", "3"), "--seed goes with --test-size"),
        (("--train", "x/train.jsonl", "--column-text2", "b"), "has no {text2}"),
        (("--train", "x/train.jsonl", "--column-text", "label"), "must be different columns"),
    ],
)
def test_options_without_effect_are_refused(call, bert, task, tmp_path, monkeypatch, more, message):
    """Breaks if an explicit request is passed over in silence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "train.jsonl").write_text('{"text": "film", "label": 0}\n')
    result = prepare(call, bert, task, tmp_path, *more)
    assert result.code == 2 and message in result.err


def card(folder: Path, configs: object) -> None:
    (folder / "README.md").write_text(f"---\n{json.dumps({'license': 'mit', 'configs': configs})}\n---\n# Data\n")


def test_readme_says_the_splits(folder):
    """The author's word, which Hugging Face's library follows, goes before the files' names."""
    made = folder("train.csv", "clean/train_clean-1.csv", "holdout.csv", "b/part2.csv", "b/part10.csv")
    files = [
        {"split": "train", "path": ["clean/*.csv", "b/*"]},
        {"split": "test_easy", "path": "holdout.csv"},
        {"split": "dev", "path": "train.csv"},
    ]
    card(made, [{"config_name": "main", "data_files": files}])
    train = ["clean/train_clean-1.csv", "b/part2.csv", "b/part10.csv"]
    assert found(made, {"test": ("test_easy",)}) == {"train": train, "test": ["holdout.csv"]}
    with pytest.raises(UserError, match="which split is test"):
        find_splits(made, None)
    card(made, [{"config_name": "default", "data_files": "holdout.csv"}, {"config_name": "x", "data_files": "train.csv"}])
    assert found(made) == {"train": ["holdout.csv"]}
    card(made, [{"config_name": "y", "data_files": "holdout.csv"}, {"config_name": "x", "data_files": "train.csv"}])
    with pytest.raises(UserError, match="several configurations"):
        find_splits(folder("one/test.csv", "two/test.csv"), None)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("data/*.csv", "says that the split 'train' is in data/\\*.csv, but no file is"),
        ("../*.csv", "lie outside the folder"),
        ("x-*.csv", "lacks part 1 of 2"),
    ],
)
def test_readme_that_is_wrong(folder, path, message):
    made = folder("train.csv", "x-00000-of-00002.csv")
    card(made, [{"config_name": "main", "data_files": [{"split": "train", "path": path}]}])
    with pytest.raises(UserError, match=message):
        find_splits(made, None)
