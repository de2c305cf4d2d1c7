"""Examples in context: which, where, how many, and that no sample is its own example."""

from __future__ import annotations

import json
import re

import h5py
import pytest
import toy_tokenizers as toy
from conftest import CLS, MASK, SEP, ids
from staging import program
from test_causal import large, make_model
from tokenizers import Tokenizer

ROWS = [("film dull", 0), ("story good", 1), ("the film is good", 1), ("it is dull", 0), ("news bad", 0), ("a very long story", 1)]
WORDS = ["bad", "great"]


def samples_of(path, split):
    with h5py.File(path) as file:
        tokens, ends = file[f"{split}/tokens"][:].tolist(), file[f"{split}/offsets"][:].tolist()
        frozen, readout = file[f"{split}/frozen"][:].tolist(), file[f"{split}/readout"][:].tolist()
        rows = file[f"{split}/row"][:].tolist()
    return [(tokens[a:b], frozen[a:b], place, row) for a, b, place, row in zip(ends[:-1], ends[1:], readout, rows, strict=True)]


def body(text, label):
    return ids(f"{text} . it was {WORDS[label]} .")


@pytest.fixture
def prepare(call, bert, task, table, tmp_path):
    def run(*words, **changes):
        test = table(("the news", 1), name="test.tsv")
        more = ("--train", table(*ROWS), "--test", test, "--output", tmp_path / "o.h5", "--prompt-mode", "input", "--prompt-tokens", 5)
        result = call("prepare_data", "--model", bert, "--task", task(**changes), *more, *words)
        return result, tmp_path / "o.h5"

    return run


def test_examples_by_hand(prepare):
    """Each sample is [CLS] examples with their label words, itself, [SEP], by its own arithmetic. Broken by a readout that is not moved,
    by examples that perturbation may touch, by labels that are not in turn, and by a sample that is its own example."""
    result, path = prepare("--in-context", 4)
    assert result.code == 0, result.err
    with h5py.File(path) as file:  # fedbpt-analysis classify tells such runs by these words
        assert re.search(r"; up to 4 training samples in context, drawn with seed \d+$", file.attrs["source"])
    train = samples_of(path, "train")
    left = {row for *_, row in train}
    examples = sorted(set(range(6)) - left)
    assert len(examples) == 4 and sorted(ROWS[row][1] for row in examples) == [0, 0, 1, 1]
    assert "4 rows left out as examples in context" in result.out
    for split, texts in (("train", [text for text, _ in ROWS]), ("test", ["the news"])):
        for tokens, frozen, place, row in samples_of(path, split):
            own = [*ids(f"{texts[row]} . it was"), MASK, *ids("."), SEP]
            front = tokens[1 : len(tokens) - len(own)]
            assert tokens == [CLS, *front, *own] and tokens[place] == MASK
            n_text = len(ids(texts[row]))
            assert frozen == [1] * (1 + len(front)) + [0] * n_text + [1] * (len(own) - n_text)
            order = []
            while front:
                found = next(row for row in examples if front[: len(body(*ROWS[row]))] == body(*ROWS[row]) and row not in order)
                order.append(found)
                front = front[len(body(*ROWS[found])) :]
            assert sorted(order) == examples and [ROWS[row][1] for row in order] == [0, 1, 0, 1]


def test_as_many_as_fit(prepare):
    """An example that is too long for what is left is passed over, and one behind it may fit. Broken by samples longer than allowed."""
    result, path = prepare("--in-context", 6, "--max-tokens", 24)
    assert result.code == 2 and "the train split has no samples" in result.err  # all of them are examples
    result, path = prepare("--in-context", 4, "--max-tokens", 24)
    assert result.code == 0, result.err
    lengths = [len(tokens) for split in ("train", "test") for tokens, *_ in samples_of(path, split)]
    assert max(lengths) <= 24 and min(lengths) > 24 - 9 - 1  # the longest example has 9 tokens
    found = re.search(r"test: (\d) to (\d) of 4 examples", result.out)
    assert found and 1 <= int(found[1]) == int(found[2]) < 4
    result, path = prepare("--in-context", 4, "--max-tokens", 10)
    assert "test: 0 to 0 of 4 examples" in result.out and samples_of(path, "test")[0][0][-1] == SEP


def test_the_seed_chooses(prepare, table):
    """Whatever the order of rows; another seed chooses others."""
    chosen = []
    for seed in (1, 1, 2, 3, 4):
        result, path = prepare("--in-context", 2, "--seed", seed)
        chosen.append(samples_of(path, "test")[0][0])
        ROWS.reverse()
    assert chosen[0] == chosen[1] and len({tuple(tokens) for tokens in chosen}) > 1
    ROWS.reverse()


@pytest.mark.parametrize(("changes", "words", "message"), [
    ({"readout": "embedding", "template": "{text}", "template_without_prompt": "{text}",
      "labels": [{"value": 0, "text": "bad"}, {"value": [1], "text": "great"}]}, ("--in-context", 2), "without readout: embedding"),
    ({}, ("--in-context", 0), "1 or more"),
])
def test_refused(prepare, changes, words, message):
    result, path = prepare(*words, **changes)
    assert result.code == 2 and message in result.err and not path.exists()


def test_examples_and_clients(call, bert, task, tmp_path):
    """A client's examples do not count among its samples. Broken by a client that is left with fewer than were asked for."""
    lines = [{"text": "film", "label": number % 2, "who": "ab"[number % 3 == 0]} for number in range(9)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    more = ("--train", path, "--output", tmp_path / "o.h5", "--prompt-mode", "input", "--prompt-tokens", 5, "--client", "who")
    for seed in range(4):
        words = (*more, "--in-context", 2, "--seed", seed, "--client-min-samples", 3)
        result = call("prepare_data", "--model", bert, "--task", task(), *words)
        assert result.code == 0, result.err
        with h5py.File(tmp_path / "o.h5") as file:
            left = [lines[row]["who"] for row in file["train/row"][:]]
            assert min(left.count(who) for who in set(left)) >= 3 and file["clients/names"][:].tobytes().decode() == "".join(sorted(set(left)))


def test_byte_level_joins_by_lines(call, roberta, task, table, tmp_path):
    """The tokens of samples written out a line each, as the tokenizer itself makes them of the whole text."""
    more = ("--train", table(*ROWS), "--output", tmp_path / "o.h5", "--prompt-mode", "input", "--prompt-tokens", 5, "--in-context", 2)
    changes = {"labels": [{"value": 0, "word": "bad"}, {"value": 1, "word": "great"}], "label_space": True, "label_tokens": "first",
               "template": "{prompt} {text} It was {mask} .", "template_without_prompt": "{text} It was {mask} ."}
    result = call("prepare_data", "--model", roberta, "--task", task(**changes), *more)
    assert result.code == 0, result.err
    tokenizer = Tokenizer.from_file(str(roberta / "tokenizer.json"))
    tokenizer.no_truncation()
    train = samples_of(tmp_path / "o.h5", "train")
    lines = [f"{ROWS[row][0]} It was {WORDS[ROWS[row][1]]} .\n" for row in set(range(6)) - {row for *_, row in train}]
    for tokens, _, place, row in train:
        assert tokens[place] == tokenizer.token_to_id("<mask>")
        texts = [one + other + f"{ROWS[row][0]} It was<mask> ." for one, other in (lines, lines[::-1])]
        assert tokens in [tokenizer.encode(text).ids for text in texts]


@pytest.mark.parametrize(("mode", "n_prompt"), [("cat", 0), ("add", 5)])
def test_decoder(call, task, table, tmp_path, monkeypatch, mode, n_prompt):
    """Label words stand whole behind their examples, and the last token is read. In mode add the prompt words come first, and each example
    begins as the template goes on behind them."""
    monkeypatch.setattr(program, "find_program", lambda: None)
    tokenizer = large()
    changes = {"labels": [{"value": 0, "word": "bad"}, {"value": 1, "word": "great"}], "readout": "last",
               "template": "{prompt} {text} :", "template_without_prompt": "{text} :"}
    more = ("--train", table(*ROWS), "--output", tmp_path / "o.h5", "--prompt-mode", mode, "--prompt-tokens", 5, "--in-context", 2)
    result = call("prepare_data", "--model", make_model(tmp_path, tokenizer), "--task", task(**changes), *more)
    assert result.code == 0, result.err
    train = samples_of(tmp_path / "o.h5", "train")
    space = " " if mode == "add" else ""  # the template's own, behind {prompt}
    lines = [f"{space}{ROWS[row][0]} : {WORDS[ROWS[row][1]]}\n" for row in set(range(6)) - {row for *_, row in train}]
    for tokens, _, place, row in train:
        assert place == len(tokens) - 1 and tokens[: 1 + n_prompt] == [0, *range(1000, 1000 + n_prompt)]
        texts = [one + other + f"{space}{ROWS[row][0]} :" for one, other in (lines, lines[::-1])]
        assert tokens[1 + n_prompt :] in [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def test_a_tokenizer_that_sees_the_words_before(call, task, table, tmp_path, monkeypatch):
    """Refused: a Metaspace that marks the first word of a text alone has other tokens for it in front of others."""
    monkeypatch.setattr(program, "find_program", lambda: None)
    folder = toy.save(tmp_path / "m", toy.metaspace_bpe(), "llama", tokenizer_config=toy.LLAMA_NAMES)
    changes = {"labels": [{"value": 0, "word": "bad"}, {"value": 1, "word": "great"}], "readout": "last",
               "template": "{text} It was", "template_without_prompt": "{text} It was"}
    more = ("--train", table(*ROWS), "--output", tmp_path / "o.h5", "--prompt-mode", "cat", "--prompt-tokens", 5, "--in-context", 2)
    result = call("prepare_data", "--model", folder, "--task", task(**changes), *more)
    assert result.code == 2 and "--in-context: its tokenizer makes other tokens" in result.err
