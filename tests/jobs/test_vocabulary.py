"""The vocabulary of prompts of words: which word sequences are chosen, in which order, as which tokens."""

from __future__ import annotations

import math

import h5py
import pytest
from conftest import ids
from staging.vocabulary import LEAST_PMI, MOST, ngrams_of

TOGETHER = ["new york is"] * 6 + ["is good."] * 6 + ["rare"] * 5


def split(texts):
    return [text.split() for text in texts]


def test_sequences_by_hand():
    """18 pairs: ln(18 6 / (6 6)) = 1.10 holds "new york" together, ln(18 6 / (6 12)) = 0.41 neither "york is" nor "is good.". Broken by
    pairs that are counted across texts, by rare words, by signs at the end, by an order other than that of counts."""
    assert math.log(18 * 6 / 36) > LEAST_PMI > math.log(18 * 6 / 72)
    assert ngrams_of(split(TOGETHER)) == ["is", "good", "new york"]


def test_sequences_are_counted_everywhere():
    """A word alone counts inside longer sequences, too; those of more than five words are none."""
    texts = split(["new york"] * 20 + ["york"] * 7 + ["a b c d e f"] * 30)
    assert ngrams_of(texts) == ["york", "new york"]
    assert ngrams_of(split(["a b c d e"] * 12 + ["x y"] * 20)) == ["x y", "a b c d e"]


@pytest.fixture
def prepare(call, bert, task, table, tmp_path):
    def run(n, *rows, mode="input"):
        more = ("--train", table(*rows), "--output", tmp_path / "o.h5", "--prompt-mode", mode, "--prompt-tokens", 2)
        return call("prepare_data", "--model", bert, "--task", task(), "--vocabulary", n, *more), tmp_path / "o.h5"

    return run


ROWS = [(text, number % 2) for number, text in enumerate(["film good", "the film", "good story"] * 6)]


def test_file(prepare):
    """Tokens in the order of their word sequences, each once, with what they read as."""
    result, path = prepare(3, *ROWS)
    assert result.code == 0, result.err
    with h5py.File(path) as file:
        words, tokens = list(file["vocabulary"].attrs["words"]), file["vocabulary/tokens"][:].tolist()
    assert words == ["film", "good", "story"] and tokens == ids(" ".join(words))
    assert "vocabulary: 3 words" in result.out


def test_refused(prepare):
    """Broken by a prompt in another mode, by fewer words than were asked for, and by words without texts behind them."""
    result, path = prepare(3, *ROWS, mode="add")
    assert result.code == 2 and "--vocabulary 3" in result.err and "input" in result.err
    result, path = prepare(9, *ROWS)
    assert result.code == 2 and "--vocabulary 9" in result.err and "4 tokens" in result.err
    result, path = prepare(MOST + 1, *ROWS)
    assert result.code == 2 and f"2 to {MOST}" in result.err and not path.exists()
