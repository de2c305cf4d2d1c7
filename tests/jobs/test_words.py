"""Sentences put together from words have the tokens of sentences tokenised whole."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import toy_tokenizers as toy
from staging import words
from staging.layout import make_layout
from staging.task import load_task
from staging.tokenizer import TaskTokenizer
from test_sentences import TYPES, encoder, folder_of

KINDS = ["WordPiece", "BPE of bytes", "Unigram"]
TEMPLATES = ["{text} . It was {mask} .", "It was {mask}. {text}", "{mask} {text} ? film {text2}", "{text} {text2} {mask}"]


def character(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.5:
        return chr(draw.randrange(32, 127))
    if kind < 0.9:
        return chr(draw.choice([draw.randrange(0x300), draw.randrange(0xD800), draw.randrange(0xF900, 0x20000)]))
    return draw.choice(" \t\n\u00a0\u0301\u200b\ufeff\u2028\x1c\x85")


def text(draw: random.Random) -> str:
    """Words, words with a strange character, or nothing but strange ones."""
    known = ["film", "good", "It", "was", "bad.", "great", "café", "<mask>", "</s>", "s<pad>"]
    form = draw.random()
    if form < 0.4:
        return " ".join(draw.choices(known, k=draw.randint(1, 6)))
    if form < 0.7:
        return " ".join(word + character(draw) for word in draw.choices(known, k=draw.randint(1, 4)))
    return "x" + "".join(character(draw) for _ in range(draw.randint(1, 20)))


def word_tokenizer(folder: Path, template: str) -> words.WordTokenizer:
    labels = [{"value": 0, "word": "a"}, {"value": 1, "word": "b"}]
    (folder / "task.yaml").write_text(json.dumps({"name": "t", "readout": "mask", "template": template, "labels": labels}))
    info = toy.info(folder)
    tokenizer = TaskTokenizer(info)
    layout = make_layout(load_task(str(folder / "task.yaml")), tokenizer, info, "cat", 5, None)
    return words.WordTokenizer(layout, tokenizer.tokenizer)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_words_give_the_sentences_tokens(tmp_path, monkeypatch, name, template):
    """Breaks if a word is cut off where the tokenizer sees its neighbour, or if the texts' tokens are counted otherwise."""
    folder, draw = folder_of(name, tmp_path), random.Random(7)
    texts = [tuple(text(draw) for _ in range(2 if "{text2}" in template else 1)) for _ in range(300)]
    tokenizer = word_tokenizer(folder, template)
    assert sum(tokenizer.words(row, range(len(row))) is not None for row in texts) > 30
    from_words = encoder(folder, template, texts)
    monkeypatch.setattr(words.WordTokenizer, "words", lambda *_: None)
    assert encoder(folder, template, texts) == from_words


@pytest.mark.parametrize("name", sorted(set(TYPES) - set(KINDS)))
def test_tokenizers_whose_words_depend_on_each_other_take_whole_sentences(tmp_path, name):
    assert word_tokenizer(folder_of(name, tmp_path), TEMPLATES[0]).cut is None


@pytest.mark.parametrize("template", ["{text}. It was {mask} .", "It was {mask}{text}", "{text}  {mask}", "It was ({text}) {mask}"])
def test_texts_that_touch_the_template_are_tokenised_with_it(tmp_path, template):
    assert word_tokenizer(folder_of("BPE of bytes", tmp_path), template).cut is None


def test_a_full_cache_is_replaced(tmp_path, monkeypatch):
    """Breaks if a batch on its way loses the words that it was begun with."""
    folder, draw = folder_of("WordPiece", tmp_path), random.Random(3)
    texts = [(text(draw),) for _ in range(200)]
    expected = encoder(folder, TEMPLATES[0], texts)
    monkeypatch.setattr(words, "MAX_CHARACTERS", 30)
    monkeypatch.setattr("staging.encode.BATCH_ROWS", 3)
    assert encoder(folder, TEMPLATES[0], texts) == expected
