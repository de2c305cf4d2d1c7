"""Mistakes of users: one sentence that says what and where, exit code 2, and no file left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, SIZES, SPECIAL, bert_tokenizer, save_model, write_json

LABELS = [{"value": 0, "word": "bad"}, {"value": 1, "word": "great"}]


def fails(call, model, task, data, *more) -> str:
    """Runs prepare_data, which must refuse; returns its message."""
    output = Path(data).parent / "refused.h5"
    result = call("prepare_data", "--model", model, "--task", task, "--train", data, "--output", output, *more)
    assert result.code == 2, result.out
    assert not output.exists()
    assert result.err.count("\n") == 1 and result.err.startswith("error: ")
    return result.err


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("film", 0), ("news", 5)], "train.tsv:3: unknown label '5'"),
        ([("film", 0), ("  ", 1)], "train.tsv:3: the text in column 'text' is empty"),
        ([("film", 0, "more")], "train.tsv:2: has 3 columns where the header has 2"),
        ([("\u200b", 0)], "train.tsv:2: the text is empty"),
    ],
)
def test_bad_rows(call, bert, task, table, rows, expected):
    assert expected in fails(call, bert, task(), table(*rows))


def test_line_numbers_count_lines_not_rows(call, bert, task, tmp_path):
    """Breaks if a quoted line end shifts the lines that messages name."""
    data = tmp_path / "train.csv"
    data.write_text('text,label\n"the\nfilm",0\nnews,7\n', encoding="utf-8")
    assert "train.csv:4: unknown label '7'" in fails(call, bert, task(), data)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.tsv", b"sentence\tlabel\nfilm\t0\n", "a.tsv:1: has no column 'text'; there are 'sentence', 'label'"),
        ("a.tsv", b"", "is empty"),
        ("a.tsv", b"text\tlabel\n", "has no samples"),
        ("a.csv", b'text,label\n"film,0\n', "not valid CSV"),
        ("a.tsv", b"text\tlabel\nf\xff\t0\n", "a.tsv:2: not UTF-8"),
        ("a.jsonl", b'{"text": "film", "label": 0}\n{"text": "film"}\n', "a.jsonl:2: has no column 'label'"),
        ("a.jsonl", b'{"text": \n', "a.jsonl:1: not valid JSON"),
        ("a.jsonl", b'{"text": 3, "label": 0}\n', "a.jsonl:1: column 'text' holds 3, not a text"),
        ("a.jsonl", b'{"text": null, "label": 0}\n', "a.jsonl:1: the text in column 'text' is empty"),
        ("a.parquet", b"PAR1", "not a complete Parquet file"),
        ("a.arrow", b"nonsense", "not a complete Arrow file"),
        ("a.xls", b"", "unknown kind of file"),
    ],
)
def test_bad_files(call, bert, task, tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    assert expected in fails(call, bert, task(), tmp_path / name)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"template": "{prompt} {text}", "template_without_prompt": None}, "template lacks {mask}"),
        ({"template": "{prompt} {mask}"}, "template lacks {text}"),
        ({"template": "{prompt} {text} {mask} {gap}"}, "placeholder {gap}"),
        ({"template": "{prompt} {text} {text} {mask}"}, "uses a placeholder twice"),
        ({"template_without_prompt": "{prompt} {text} {mask}"}, "must not have {prompt}"),
        ({"template": "{text} {prompt} {mask}"}, "starts with {prompt}"),
        ({"readout": "embedding"}, "does not read a mask"),
        ({"readout": "middle"}, "readout must be one of"),
        ({"metric": "precision"}, "metric must be one of"),
        ({"verbalizer": []}, "unknown key 'verbalizer'"),
        ({"columns": {"sentence": "text"}}, "columns may name"),
        ({"prompt": {"mode": "deep"}}, "prompt.mode must be one of"),
        ({"prompt": {"tokens": 0}}, "prompt.tokens must be a positive integer"),
        ({"labels": LABELS[:1]}, "at least two classes"),
        ({"labels": [LABELS[0], {"value": 1, "text": "great"}]}, "the label lacks word"),
        ({"labels": [LABELS[0], {"value": 1, "word": True}]}, "quote words like Yes and No"),
        ({"labels": [LABELS[0], {"value": 0, "word": "great"}]}, "value 0 already belongs"),
        ({"labels": [LABELS[0], {"value": 1, "word": "multipart"}]}, "label word 'multipart' is 2 tokens"),
        ({"labels": [LABELS[0], {"value": 1, "word": "wonderful"}]}, "label word 'wonderful' is not in this tokenizer's vocabulary"),
        ({"labels": [LABELS[0], {"value": 1, "word": "Bad"}]}, "is the same token as 'bad'"),
        ({"labels": [*LABELS, {"value": 2, "word": "good"}], "metric": "f1"}, "metric f1 is that of label number 1 of two"),
        ({"labels": None}, "at least two classes"),
        ({"labels": [LABELS[0], {"value": 1, "word": "bad"}]}, "word 'bad' is already that of the label in line"),
        ({"labels": [LABELS[0], {"value": 1, "word": " bad "}]}, "word 'bad' is already that of the label in line"),
        (
            {"readout": "embedding", "template": "{prompt} {text}", "template_without_prompt": None,
             "labels": [{"value": 0, "text": "good  film"}, {"value": 1, "text": "good film"}]},
            "text 'good film' is already that of the label in line",
        ),
    ],
)
def test_bad_tasks(call, bert, task, table, changes, expected):
    message = fails(call, bert, task(**changes), table(("film", 0)))
    assert expected in message and "task.yaml" in message


def test_label_errors_name_the_line(call, bert, task, table, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nreadout: mask\ntemplate: '{prompt} {text} {mask}'\n"
        "labels:\n  - {value: 0, word: bad}\n  - {value: 1, word: multipart}\n"
    )
    assert "mine.yaml:6: label word 'multipart'" in fails(call, bert, path, table(("film", 0)))


def test_repeated_key(call, bert, table, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: a\nname: b\n")
    assert "mine.yaml:2: key 'name' is repeated" in fails(call, bert, path, table(("film", 0)))


def test_unknown_task(call, bert, table):
    assert "sst2" in fails(call, bert, "sst3", table(("film", 0)))


def test_tokenizer_without_mask(call, task, table, tmp_path):
    """A [MASK] that the tokenizer's vocabulary lacks: nothing to read at."""
    tokenizer = bert_tokenizer([token for token in SPECIAL if token != "[MASK]"])
    text = tokenizer.to_str().replace("[MASK]", "[GONE]")
    config = {"model_type": "bert", "vocab_size": 1100, "max_position_embeddings": 64}
    folder = save_model(tmp_path / "nomask", tokenizer, config, {"cls_token": "[CLS]", "sep_token": "[SEP]"})
    (folder / "tokenizer.json").write_text(text)
    assert "its tokenizer has no mask token" in fails(call, folder, task(), table(("film", 0)))


def test_tokenizer_larger_than_the_model(call, bert, task, table):
    write_json(bert / "config.json", SIZES | {"model_type": "bert", "vocab_size": 1000, "max_position_embeddings": 64})
    assert "has 1100 tokens, but the model's config.json says vocab_size 1000" in fails(call, bert, task(), table(("film", 0)))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--prompt-mode", "add", "--prompt-tokens", 60), "leave no room for a text"),
        (("--prompt-mode", "input", "--prompt-tokens", 70), "leave no room for a text"),
        (("--prompt-mode", "add", "--prompt-tokens", 101), "vocabulary is too small for the prompt words"),
        (("--prompt-mode", "input", "--prompt-tokens", 10, "--max-tokens", 55), "64 positions, which leaves 54"),
        (("--prompt-tokens", 0), "must be at least 1"),
        (("--test-size", 2), "must be between 1 and 1"),
        (("--test", "nowhere.tsv"), "nowhere.tsv: there is no such file"),
        (("--column-text", "review"), "has no column 'review'"),
    ],
)
def test_bad_options(call, bert, task, table, more, expected):
    assert expected in fails(call, bert, task(), table(("film", 0), ("news", 1)), *more)


def test_data_set_folder_without_splits(call, bert, task, tmp_path):
    (tmp_path / "set").mkdir()
    result = call("prepare_data", "--model", bert, "--task", task(), "--dataset", tmp_path / "set", "--output", tmp_path / "o.h5")
    assert result.code == 2 and "no files named after a split" in result.err


def test_several_configurations(call, bert, task, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "train.jsonl").write_text("{}")
    result = call("prepare_data", "--model", bert, "--task", task(), "--dataset", tmp_path / "set", "--output", tmp_path / "o.h5")
    assert result.code == 2 and "several configurations" in result.err


def test_an_existing_file_survives_an_error(call, bert, task, table, tmp_path):
    """Breaks if the output is opened before the input was read."""
    output = tmp_path / "kept.h5"
    output.write_text("earlier")
    result = call("prepare_data", "--model", bert, "--task", task(), "--train", table(("film", 9)), "--output", output)
    assert result.code == 2 and output.read_text() == "earlier"


def test_no_traceback_from_the_shell(tmp_path):
    """The program itself, as a user starts it."""
    command = [sys.executable, str(ROOT / "jobs" / "prepare_data.py"), "--model", str(tmp_path / "none"), "--task", "sst2"]
    result = subprocess.run([*command, "--train", "x.tsv", "--output", str(tmp_path / "o.h5")], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and result.stderr.startswith("error: ") and "Traceback" not in result.stderr


def test_full_and_closed_output(tmp_path):
    """Output that cannot be printed is an error in one sentence, once."""
    for where, expected in ((">/dev/full", "No space left on device"), (">&-", "the standard output is closed")):
        line = f'"{sys.executable}" -c "from staging import errors; errors.run(lambda: print(1))" {where}'
        result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, cwd=ROOT / "jobs")
        assert result.returncode == 2 and result.stderr.count("\n") == 1 and expected in result.stderr, result.stderr


def test_output_that_lacks_characters():
    line = f'"{sys.executable}" -c "from staging import errors; errors.run(lambda: print(chr(20307)))"'
    line = f"PYTHONIOENCODING=ascii {line}"
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, cwd=ROOT / "jobs")
    assert (result.returncode, result.stdout, result.stderr) == (0, "\\u4f53\n", "")
