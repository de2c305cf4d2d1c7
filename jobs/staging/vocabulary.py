"""The vocabulary of prompts of words: tokens of word sequences that are common in the training texts and hold together by their pointwise
mutual information (Diao et al. 2022, arXiv 2201.08531, section 3.4; thresholds are those of its authors' pmi_ngram.py)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from .errors import UserError
from .samples import Sample
from .tokenizer import TaskTokenizer

MOST = 4000  # that a run can choose from
LONGEST = 5  # words of a sequence
LEAST_COUNT = 6  # of words, pairs and sequences
LEAST_PMI = 1.0

Ngram = tuple[str, ...]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Vocabulary:
    """`tokens`, `words`: the ids and what they stand for, the tokens of the most frequent word sequences first."""

    tokens: list[int]
    words: list[str]


def make_vocabulary(samples: Iterable[Sample], n: int, tokenizer: TaskTokenizer) -> Vocabulary:
    """The first n tokens of the word sequences of all texts of the samples."""
    texts = [text.split() for sample in samples for text in sample.texts]
    tokens: dict[int, None] = {}  # in the order of their coming
    for ngram in ngrams_of(texts):
        tokens |= dict.fromkeys(tokenizer.encode(f" {ngram}"))
    found = [token for token in tokens if not tokenizer.forbidden[token] and token != tokenizer.ids["unk"]]
    if len(found) < n:
        there = f"the training texts give {len(found)} tokens of word sequences that occur {LEAST_COUNT} times or more"
        raise UserError(f"--vocabulary {n}: {there}; ask for fewer, or give more training texts")
    return Vocabulary(found[:n], [_text_of(token, tokenizer) for token in found[:n]])


def ngrams_of(texts: Sequence[Sequence[str]]) -> list[str]:
    """Word sequences by how often they occur, the most frequent first, without signs at their end. A sequence is what stands between two
    neighbours of little PMI, ln(n n(ab) / (n(a) n(b))) of n pairs."""
    words = _common(Counter(word for text in texts for word in text))
    pairs = Counter(pair for text in texts for pair in pairwise(text))
    n_pairs = pairs.total()
    strong = {(a, b) for (a, b), count in _common(pairs).items()
              if a in words and b in words and math.log(n_pairs * count / (words[a] * words[b])) >= LEAST_PMI}
    kept = {ngram for ngram in _common(Counter(ngram for text in texts for ngram in _cut(text, strong))) if len(ngram) <= LONGEST}
    counts = Counter(ngram for text in texts for ngram in _all_in(text, kept))
    ordered = sorted(_common(counts).items(), key=lambda entry: (-entry[1], entry[0]))
    phrases = (_without_end(" ".join(ngram)) for ngram, _ in ordered)
    return list(dict.fromkeys(phrase for phrase in phrases if phrase))


def _common(counts: Counter[Key]) -> dict[Key, int]:
    return {key: count for key, count in counts.items() if count >= LEAST_COUNT}


def _cut(text: Sequence[str], strong: set[tuple[str, str]]) -> Iterable[Ngram]:
    """A text's sequences of words that hold together."""
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or (text[end - 1], text[end]) not in strong:
            yield tuple(text[start:end])
            start = end


def _all_in(text: Sequence[str], kept: set[Ngram]) -> Iterable[Ngram]:
    """Those of the sequences that stand anywhere in a text, each as often as it does."""
    for start in range(len(text)):
        for end in range(start + 1, min(start + LONGEST, len(text)) + 1):
            if tuple(text[start:end]) in kept:
                yield tuple(text[start:end])


def _without_end(phrase: str) -> str:
    while phrase and not phrase[-1].isalnum():
        phrase = phrase[:-1]
    return phrase


def _text_of(token: int, tokenizer: TaskTokenizer) -> str:
    """A token in writing; where that is nothing, or not all of a character, as its vocabulary spells it."""
    text = tokenizer.tokenizer.decode([token]).strip()
    return text if text and "\ufffd" not in text else tokenizer.token(token)
