"""Sentences put together from words that are tokenised once each.

A text's words repeat; tokenising every sentence anew takes most of the time of staging. Where the tokenizer never lets one word
see the next, the tokens of a sentence are those of its words, one after the other. That is so for three kinds of tokenizer, and for texts
that this module can cut as the tokenizer does; every other sentence is tokenised whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

from tokenizers import Tokenizer

from .hf_tokenizer import component
from .layout import Layout

Range = tuple[int, int]  # first token, one past the last
Words = list[list[str]]  # of each text of a sentence
Cache = dict[str, list[int]]

MAX_CHARACTERS = 1 << 24  # of all words kept


def _by_spaces(text: str, _: bool) -> list[str]:
    return [word for word in text.split(" ") if word]


def _by_spaces_in_ascii(text: str, _: bool) -> list[str]:
    """SentencePiece's normalizer looks at whole graphemes, and a space may be part of one, but not among ASCII characters."""
    return _by_spaces(text, False) if text.isascii() else []


def _with_spaces(text: str, is_first: bool) -> list[str]:
    """Words with the space before them, which byte-level tokenizers make part of a word, where there is but one."""
    words = text.split()
    if " ".join(words) != text:
        return []
    return [word if number == 0 and is_first else " " + word for number, word in enumerate(words)]


def _cutter(tokenizer: Tokenizer) -> Callable[[str, bool], list[str]] | None:
    """How to cut a text into words, so that no token depends on more than one; None where there is no way."""
    added = tokenizer.get_added_tokens_decoder().values()
    if getattr(tokenizer.model, "dropout", None) or any(not token.special or token.rstrip for token in added):
        return None
    normalizer, splitter = (component(part) or {"type": None} for part in (tokenizer.normalizer, tokenizer.pre_tokenizer))
    if splitter["type"] == "BertPreTokenizer" and normalizer["type"] in (None, "BertNormalizer"):
        return _by_spaces
    if splitter["type"] == "ByteLevel" and normalizer["type"] is None and splitter["use_regex"] and not splitter["add_prefix_space"]:
        return _with_spaces
    parts = splitter.get("pretokenizers", [])
    if [part["type"] for part in parts] == ["WhitespaceSplit", "Metaspace"] and normalizer["type"] in (None, "Precompiled"):
        return _by_spaces_in_ascii if parts[1]["prepend_scheme"] == "always" else None
    return None


class WordTokenizer:
    """Tokenises a layout's sentences word by word. `cache`: the words known so far; replaced, not emptied, when it is full."""

    def __init__(self, layout: Layout, tokenizer: Tokenizer) -> None:
        self.cache: Cache = {}
        self.n_characters = 0
        self.cut = _cutter(tokenizer)
        self.is_first = not layout.fixed[0]
        literals = [
            literal if number == len(layout.fixed) - 1 else literal.removesuffix(" ") for number, literal in enumerate(layout.fixed)
        ]
        if not _are_apart(layout.fixed, literals):
            self.cut = None
        self.literals = [tokenizer.encode(literal, add_special_tokens=False).ids for literal in literals]

    def words(self, texts: Sequence[str], order: Sequence[int]) -> Words | None:
        """The words of a sample's texts in the sentence's order; None if the sentence must be tokenised whole."""
        if self.cut is None:
            return None
        words = [self.cut(texts[number], self.is_first and place == 0) for place, number in enumerate(order)]
        return words if all(words) else None

    def start(self) -> Cache:
        """The cache for the next batch."""
        if self.n_characters > MAX_CHARACTERS:
            self.cache, self.n_characters = {}, 0
        return self.cache

    def learn(self, cache: Cache, words: Sequence[str], ids: Sequence[list[int]]) -> None:
        """Adds words to the cache of a batch."""
        cache.update(zip(words, ids, strict=True))
        self.n_characters += sum(map(len, words))

    def join(self, words: Words, cache: Cache) -> tuple[list[int], list[Range]]:
        """The ids of a sentence, and which of them come of the texts."""
        ids, ranges = list(self.literals[0]), []
        for number, text in enumerate(words, 1):
            low = len(ids)
            ids.extend(chain.from_iterable(map(cache.__getitem__, text)))
            ranges.append((low, len(ids)))
            ids += self.literals[number]
        return ids, ranges


def _are_apart(fixed: Sequence[str], literals: Sequence[str]) -> bool:
    """Whether one space, and no more, parts the template's words from each text."""
    before, after = list(zip(fixed, literals, strict=True))[:-1], fixed[1:]
    ends = all(literal != shorter or (place == 0 and not literal) for place, (literal, shorter) in enumerate(before))
    starts = all(literal.startswith(" ") for literal in after[:-1]) and after[-1][:1] in ("", " ")
    single = all(shorter == shorter.rstrip() for shorter in literals[:-1]) and all(not literal[1:2].isspace() for literal in fixed[1:])
    return ends and starts and single
