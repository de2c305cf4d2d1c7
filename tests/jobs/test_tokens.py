"""Contents of the data set file, token by token."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import CLS, MASK, SEP, UNK, ids
from staging import program
from tokenizers import Tokenizer


def samples(path: Path, split: str = "train") -> list[dict]:
    """The samples of a split, cut apart."""
    with h5py.File(path) as file:
        group = {name: file[split][name][:] for name in ("tokens", "offsets", "labels", "readout", "frozen", "row")}
    ends = group["offsets"]
    assert ends[0] == 0 and ends[-1] == len(group["tokens"]) == len(group["frozen"])
    return [
        {
            "tokens": group["tokens"][ends[i] : ends[i + 1]].tolist(),
            "frozen": group["frozen"][ends[i] : ends[i + 1]].tolist(),
            **{name: int(group[name][i]) for name in ("labels", "readout", "row")},
        }
        for i in range(len(ends) - 1)
    ]


def prepare(call, model, task, data, tmp_path, *more) -> Path:
    output = tmp_path / "out.h5"
    result = call("prepare_data", "--model", model, "--task", task, "--train", data, "--output", output, *more)
    assert result.code == 0, result.err
    return output


def test_mode_add_puts_prompt_words_at_positions_1_to_p(call, bert, task, table, tmp_path):
    """Breaks if prompt words are encoded from text, or the mask's position is counted without them."""
    output = prepare(call, bert, task(), table(("The film", 1)), tmp_path, "--prompt-mode", "add", "--prompt-tokens", 5)
    (sample,) = samples(output)
    assert sample["tokens"] == [CLS, 1000, 1001, 1002, 1003, 1004, *ids(". the film . it was"), MASK, *ids("."), SEP]
    assert sample["frozen"] == [1] * 6 + [1, 0, 0, 1, 1, 1] + [1, 1, 1]
    assert sample["readout"] == 12 and sample["tokens"][12] == MASK
    assert sample["labels"] == 1 and sample["row"] == 0


@pytest.mark.parametrize("mode", ["cat", "input"])
def test_modes_without_prompt_words_store_none(call, bert, task, table, tmp_path, mode):
    """Breaks if {prompt} or its separator is left in the text where the runner itself puts the prompt in front."""
    output = prepare(call, bert, task(), table(("The film", "pos")), tmp_path, "--prompt-mode", mode, "--prompt-tokens", 7)
    (sample,) = samples(output)
    assert sample["tokens"] == [CLS, *ids("the film . it was"), MASK, *ids("."), SEP]
    assert sample["readout"] == 6
    with h5py.File(output) as file:
        assert file.attrs["prompt_mode"] == mode and file.attrs["prompt_tokens"] == 7
        assert file.attrs["template"] == "{text} . it was {mask} ."


def test_prompt_placeholder_vanishes_with_its_spaces(call, bert, task, table, tmp_path):
    """Breaks if the template without prompt is not derived when the task does not give one."""
    path = task(template="{prompt} {text} {mask}", template_without_prompt=None)
    (sample,) = samples(prepare(call, bert, path, table(("film", 0)), tmp_path, "--prompt-mode", "input"))
    assert sample["tokens"] == [CLS, *ids("film"), MASK, SEP]


def test_embedding_readout(call, bert, task, table, tmp_path):
    """Breaks if label texts lack special tokens or carry the prompt, or if the readout position is not 0."""
    labels = [{"value": 0, "text": "business"}, {"value": 1, "text": "a good film"}]
    path = task(readout="embedding", template="{prompt} {text}", template_without_prompt=None, labels=labels)
    output = prepare(call, bert, path, table(("the story", 1), ("news", 0)), tmp_path, "--prompt-mode", "input")
    first, second = samples(output)
    assert first["tokens"] == [CLS, *ids("the story"), SEP] and first["frozen"] == [1, 0, 0, 1]
    assert second["tokens"] == [CLS, *ids("news"), SEP]
    assert first["readout"] == second["readout"] == 0
    with h5py.File(output) as file:
        assert file["labels/offsets"][:].tolist() == [0, 3, 8]
        assert file["labels/tokens"][:].tolist() == [CLS, *ids("business"), SEP, CLS, *ids("a good film"), SEP]
        assert file.attrs["label_token_ids"].tolist() == [-1, -1]
        assert list(file.attrs["label_words"]) == ["business", "a good film"]


def test_last_readout_is_the_last_token(call, bert, task, table, tmp_path, monkeypatch):
    """For models that the program does not run yet, so that it is not asked."""
    monkeypatch.setattr(program, "find_program", lambda: None)
    path = task(readout="last", template="{prompt} {text} it was", template_without_prompt=None)
    (sample,) = samples(prepare(call, bert, path, table(("film", 0)), tmp_path, "--prompt-mode", "cat"))
    assert sample["readout"] == len(sample["tokens"]) - 1


def test_only_the_text_is_shortened(call, bert, task, table, tmp_path):
    """Breaks if truncation reaches template, mask or special tokens, or is not counted."""
    data = table(("a very long story it is very long", 0), ("film", 1))
    output = prepare(call, bert, task(), data, tmp_path, "--prompt-mode", "cat", "--max-tokens", 12)
    long, short = samples(output)
    assert long["tokens"] == [CLS, *ids("a very long story it . it was"), MASK, *ids("."), SEP]
    assert long["tokens"][long["readout"]] == MASK
    assert len(short["tokens"]) == 8
    with h5py.File(output) as file:
        assert file["train"].attrs["n_truncated"] == 1


@pytest.mark.parametrize(("mode", "longest"), [("add", 64), ("cat", 64), ("input", 54)])
def test_longest_sample_fits_the_positions(call, bert, task, table, tmp_path, mode, longest):
    """64 positions; in mode input the 10 prompt vectors take positions of their own, in mode cat none."""
    data = table(("film " * 100, 0))
    output = prepare(call, bert, task(), data, tmp_path, "--prompt-mode", mode, "--prompt-tokens", 10)
    assert [len(sample["tokens"]) for sample in samples(output)] == [longest]


def test_roberta_positions_start_behind_the_padding_index(call, roberta, task, table, tmp_path):
    """98 position embeddings and padding index 1 leave 96 positions."""
    output = prepare(call, roberta, task(), table(("film " * 200, 0)), tmp_path, "--prompt-mode", "cat")
    assert [len(sample["tokens"]) for sample in samples(output)] == [96]


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("a very long story", "film", ("a very", "film")),
        ("film", "a very long story", ("film", "a very")),
        ("a very long", "the film was good", ("a very", "the")),
    ],
)
def test_the_longer_of_two_texts_is_shortened(call, bert, task, table, tmp_path, first, second, kept):
    """Breaks if a pair is cut at its end, whichever text is longer: then nothing of the second might be left."""
    path = task(template="{prompt} . {text} ? {mask} , {text2}", template_without_prompt="{text} ? {mask} , {text2}")
    data = table((first, second, 0), header=("text", "text2", "label"))
    (sample,) = samples(prepare(call, bert, path, data, tmp_path, "--prompt-mode", "cat", "--max-tokens", 8))
    assert sample["tokens"] == [CLS, *ids(kept[0]), *ids("?"), MASK, *ids(","), *ids(kept[1]), SEP]
    assert sample["frozen"] == [1] + [0] * len(kept[0].split()) + [1, 1, 1] + [0] * len(kept[1].split()) + [1]


@pytest.mark.parametrize("text", ["good film", "film.", "film ", " film", "a  b", "it's <3 — ü 😀", "x" * 40])
def test_byte_level_tokens_are_those_of_the_whole_sentence(call, roberta, task, tmp_path, text):
    """The reference is the tokenizer on the sentence written out, as the official code does it. Breaks if pieces are tokenised
    apart and lose the spaces between them, or if the mask leaves the space that it takes in."""
    data = tmp_path / "train.jsonl"
    data.write_text(json.dumps({"text": text, "label": 0}), encoding="utf-8")
    path = task(template="{prompt} . {text} . It was {mask} .", template_without_prompt="{text} . It was {mask} .")
    tokenizer = Tokenizer.from_file(str(roberta / "tokenizer.json"))
    (bare,) = samples(prepare(call, roberta, path, data, tmp_path, "--prompt-mode", "cat"))
    assert bare["tokens"] == tokenizer.encode(f"{text} . It was <mask> .").ids
    (added,) = samples(prepare(call, roberta, path, data, tmp_path, "--prompt-mode", "add", "--prompt-tokens", 3))
    assert added["tokens"] == [0, 1000, 1001, 1002, *tokenizer.encode(f" . {text} . It was <mask> .").ids[1:]]
    free = [token for token, fixed in zip(added["tokens"], added["frozen"], strict=True) if not fixed]
    assert tokenizer.decode(free).strip() == text.strip()


def test_a_text_cannot_forge_special_tokens(call, bert, task, table, tmp_path):
    """Breaks if `[MASK]` in a text becomes a mask: the model would be read at the wrong place."""
    (sample,) = samples(prepare(call, bert, task(), table(("film [MASK] [SEP]", 0)), tmp_path, "--prompt-mode", "cat"))
    assert sample["tokens"].count(MASK) == 1 and sample["tokens"].count(SEP) == 1
    assert sample["tokens"][1:8] == [*ids("film"), UNK, UNK, UNK, UNK, UNK, UNK]  # [ mask ] [ sep ]
    assert sample["tokens"][sample["readout"]] == MASK


def test_replace_and_strip(call, bert, task, table, tmp_path):
    path = task(replace=[{"from": "\\n", "to": " "}], strip=True)
    (sample,) = samples(prepare(call, bert, path, table((r" the\nfilm ", 0)), tmp_path, "--prompt-mode", "cat"))
    assert sample["tokens"][1:4] == ids("the film .")


def test_rows_left_out_are_counted_and_rows_keep_their_numbers(call, bert, task, table, tmp_path):
    """Breaks if row numbers count kept rows only: then no one finds a sample again in the source."""
    data = table(("film", 0), ("story", -1), ("news", 1))
    output = tmp_path / "out.h5"
    result = call("prepare_data", "--model", bert, "--task", task(skip_labels=[-1]), "--train", data, "--output", output)
    assert result.code == 0 and "1 rows left out" in result.out
    assert [sample["row"] for sample in samples(output)] == [0, 2]


def test_file_is_what_the_reader_expects(call, bert, task, table, tmp_path):
    """The contract with the C reader: names, types, attributes."""
    test = table(("news", 1), name="test.tsv")
    output = prepare(call, bert, task(metric="f1"), table(("film", 0), ("story", 1)), tmp_path, "--test", test)
    types = {"tokens": "int32", "offsets": "int64", "labels": "int32", "readout": "int32", "frozen": "uint8", "row": "int64"}
    with h5py.File(output) as file:
        assert set(file) == {"train", "test"}
        for split in file.values():
            assert {name: str(data.dtype) for name, data in split.items()} == types
            assert all(data.attrs["long_name"] and data.attrs["unit"] for data in split.values())
            assert split.attrs["n_truncated"] == 0
        assert file.attrs["format_version"] == 1 and file.attrs["vocab_size"] == 1100
        assert file.attrs["task"] == "toy" and file.attrs["readout"] == "mask" and file.attrs["metric"] == "f1"
        assert file.attrs["prompt_mode"] == "add" and file.attrs["prompt_tokens"] == 50
        assert [file.attrs[f"{role}_id"] for role in ("bos", "eos", "mask", "pad", "unk")] == [2, 3, 4, 0, 1]
        assert file.attrs["label_token_ids"].dtype == np.int32 and file.attrs["label_token_ids"].tolist() == ids("bad great")
        assert len(file.attrs["tokenizer_sha256"]) == len(file.attrs["source_sha256"]) == 64
        assert str(tmp_path) not in file.attrs["source"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".staging")] == []


def test_label_words_with_a_leading_space(call, roberta, task, table, tmp_path):
    """Breaks if label_space is ignored: ` film` is one token of this tokenizer, `film` is four."""
    labels = [{"value": 0, "word": "film"}, {"value": 1, "word": "good"}]
    output = prepare(call, roberta, task(labels=labels, label_space=True), table(("x", 0)), tmp_path)
    tokenizer = Tokenizer.from_file(str(roberta / "tokenizer.json"))
    with h5py.File(output) as file:
        assert file.attrs["label_token_ids"].tolist() == [tokenizer.token_to_id("Ġfilm"), tokenizer.token_to_id("Ġgood")]


def test_first_token_of_a_label_word_where_the_task_says_so(call, roberta, task, table, tmp_path):
    labels = [{"value": 0, "word": "film"}, {"value": 1, "word": "great"}]
    output = prepare(call, roberta, task(labels=labels, label_tokens="first"), table(("x", 0)), tmp_path)
    tokenizer = Tokenizer.from_file(str(roberta / "tokenizer.json"))
    with h5py.File(output) as file:
        assert file.attrs["label_token_ids"].tolist() == [tokenizer.token_to_id("f"), tokenizer.token_to_id("great")]
