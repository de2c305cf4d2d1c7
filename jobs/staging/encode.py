"""Text to tokens: a sample's sentence is tokenised whole, and each of its tokens traced back by its range of characters.

What the template wrote is frozen; what a text wrote may be shortened and perturbed. Special tokens come from the template alone: a text
that spells `<mask>` or `</s>` is read as the characters it is made of (seal.py).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import itemgetter

import numpy as np
from tokenizers import Encoding

from .errors import UserError
from .layout import Layout, Span
from .samples import Sample
from .tokenizer import TaskTokenizer
from .words import Cache, Range, Words, WordTokenizer

BATCH_ROWS, BATCH_CHARACTERS = 1024, 1 << 20


@dataclass
class Block:
    """Some samples ready for the data set file. `tokens`, `frozen`: of all samples end to end; frozen 1: no perturbation may touch it."""

    tokens: array[int] = field(default_factory=lambda: array("i"))
    frozen: bytearray = field(default_factory=bytearray)
    lengths: array[int] = field(default_factory=lambda: array("q"))
    labels: array[int] = field(default_factory=lambda: array("i"))
    readout: array[int] = field(default_factory=lambda: array("i"))
    row: array[int] = field(default_factory=lambda: array("q"))
    client: array[int] = field(default_factory=lambda: array("i"))
    n_truncated: int = 0


@dataclass
class Batch:
    """Samples on their way. `words`: of each, or None for a sentence that is tokenised whole; `new`: words unknown before; `encodings`:
    of the new words, then of the whole sentences."""

    samples: list[Sample]
    words: list[Words | None]
    cache: Cache
    new: list[str]
    whole: list[tuple[str, list[Span]]]
    encodings: Future[list[Encoding]]


def _token_range(offsets: Sequence[tuple[int, int]], sentence: str, span: Span) -> Range:
    """The tokens that a text wrote. One that the template wrote too, beyond white space, is not among them; the space before the first
    word is, whether or not the vocabulary has a token for both."""
    first, last = span
    low = bisect_right(offsets, first, key=itemgetter(1))
    while low < len(offsets) and offsets[low][0] < first and sentence[offsets[low][0] : first].strip():
        low += 1
    while 0 < low < len(offsets) and _leads(offsets[low - 1], sentence, first) and first < last:
        low -= 1
    high = bisect_left(offsets, last, lo=low, key=itemgetter(0))
    while high > low and offsets[high - 1][1] > last and sentence[last : offsets[high - 1][1]].strip():
        high -= 1
    return low, high


def _leads(token: tuple[int, int], sentence: str, first: int) -> bool:
    """Whether a token is no more than the space before a text, or none at all."""
    start, end = token
    return end == first and not sentence[start:end].strip()


def _is_empty(offsets: Sequence[tuple[int, int]], span: Span) -> bool:
    """Whether no token, not even one that the template wrote too, comes of a text."""
    return not any(start < span[1] and end > span[0] for start, end in offsets)


def _removals(ranges: Sequence[Range], excess: int, layout: Layout) -> list[Range]:
    """The tokens to cut so that `excess` go, always from the longer text (of two equal ones, from text2), at its end or its beginning."""
    kept = [high - low for low, high in ranges]
    if len(kept) == 1:
        kept[0] -= excess
    else:
        second = layout.order.index(1)
        longer = second if kept[second] >= kept[1 - second] else 1 - second
        level = min(excess, kept[longer] - kept[1 - longer])
        kept[longer] -= level
        kept[second] -= (excess - level + 1) // 2
        kept[1 - second] -= (excess - level) // 2
    if layout.cuts_left:
        return [(low, high - stays) for (low, high), stays in zip(ranges, kept, strict=True)]
    return [(low + stays, high) for (low, high), stays in zip(ranges, kept, strict=True)]


class _Encoder:
    """Makes blocks of samples."""

    def __init__(self, layout: Layout, tokenizer: TaskTokenizer, on_empty: Callable[[Sample], None]) -> None:
        self.layout, self.tokenizer, self.on_empty = layout, tokenizer, on_empty
        self.words = WordTokenizer(layout, tokenizer.tokenizer)
        self.around = len(layout.head) + len(layout.tail) - layout.n_stand_in

    def begin(self, samples: list[Sample], pool: ThreadPoolExecutor) -> Batch:
        """Has tokenised what a batch needs, by another thread."""
        cache = self.words.start()
        words = [self.words.words(sample.texts, self.layout.order) for sample in samples]
        texts = (text for row in words if row is not None for text in row)
        new = sorted({word for text in texts for word in text if word not in cache})
        whole = [self.layout.fill(sample.texts) for sample, row in zip(samples, words, strict=True) if row is None]
        encodings = pool.submit(self.tokenizer.encode_batch, [*new, *(sentence for sentence, _ in whole)])
        return Batch(samples, words, cache, new, whole, encodings)

    def finish(self, batch: Batch) -> Block:
        """The block of a batch, once it is tokenised."""
        encodings = _result(batch, self.layout, self.tokenizer)
        self.words.learn(batch.cache, batch.new, [encoding.ids for encoding in encodings[: len(batch.new)]])
        whole = zip(encodings[len(batch.new) :], batch.whole, strict=True)
        block, places = Block(), []
        for sample, words in zip(batch.samples, batch.words, strict=True):
            if words is not None:
                ids, ranges = self.words.join(words, batch.cache)
                empty = any(low == high for low, high in ranges)
            else:
                ids, ranges, empty = _trace(*next(whole))
            if empty:
                self.on_empty(sample)
                continue
            self._add(block, sample, ids, ranges)
            places.append(sample.place)
        self._refuse_special(block, places)
        return block

    def _add(self, block: Block, sample: Sample, ids: list[int], ranges: list[Range]) -> None:
        layout = self.layout
        excess = self.around + len(ids) - layout.max_length
        if excess > 0:
            if excess >= sum(high - low for low, high in ranges):
                raise UserError(f"{sample.place}: template and prompt alone fill the {layout.max_length} tokens allowed")
            gone = 0
            for number, (first, last) in enumerate(_removals(ranges, excess, layout)):
                low, high = ranges[number]
                del ids[first - gone : last - gone]
                ranges[number] = (low - gone, high - gone - (last - first))
                gone += last - first
            block.n_truncated += 1
        readout = 0
        if layout.mask >= 0:
            n_masks = ids.count(layout.mask)
            if n_masks != 1:
                wrong = f"the tokenizer finds {n_masks} mask tokens in this sentence, not one"
                raise UserError(f"{sample.place}: {wrong}; put spaces around {{mask}}")
            readout = len(layout.head) - layout.n_stand_in + ids.index(layout.mask)
        length = self.around + len(ids)
        self._append(block, ids, ranges)
        block.lengths.append(length)
        block.labels.append(sample.label)
        block.readout.append(length - 1 if layout.readout == "last" else readout)
        block.row.append(sample.row)
        block.client.append(sample.client)

    def _append(self, block: Block, ids: list[int], ranges: Sequence[Range]) -> None:
        layout, frozen = self.layout, block.frozen
        block.tokens.extend(layout.head)
        block.tokens.extend(ids[layout.n_stand_in :] if layout.n_stand_in else ids)
        block.tokens.extend(layout.tail)
        done = layout.n_stand_in - len(layout.head)  # the head counts as tokens before the sentence
        for low, high in sorted(ranges):
            frozen += b"\1" * (low - done)
            frozen += bytes(high - low)
            done = high
        frozen += b"\1" * (len(ids) + len(layout.tail) - done)

    def _refuse_special(self, block: Block, places: Sequence[str]) -> None:
        """A text that yields a special token after all, such as a padding token that stands for unknown characters."""
        tokens, frozen = np.frombuffer(block.tokens, np.int32), np.frombuffer(block.frozen, np.uint8)
        found = np.flatnonzero(self.tokenizer.forbidden[tokens] & (frozen == 0))
        if len(found):
            number = int(np.searchsorted(np.cumsum(block.lengths), found[0], side="right"))
            raise UserError(
                f"{places[number]}: the tokenizer makes the special token {self.tokenizer.token(int(tokens[found[0]]))!r} of a part of "
                f"this text, which would be taken for the template's; leave the row out, or change the text with the task's replace"
            )


def _trace(encoding: Encoding, filled: tuple[str, list[Span]]) -> tuple[list[int], list[Range], bool]:
    """A whole sentence's ids, which of them come of the texts, and whether a text has none."""
    sentence, spans = filled
    offsets = encoding.offsets
    ranges = [_token_range(offsets, sentence, span) for span in spans]
    empty = any(low == high and _is_empty(offsets, span) for (low, high), span in zip(ranges, spans, strict=True))
    return encoding.ids, ranges, empty


def _result(batch: Batch, layout: Layout, tokenizer: TaskTokenizer) -> list[Encoding]:
    try:
        return batch.encodings.result()
    except Exception:  # the library raises plain Exception, and does not say for which text
        for sample in batch.samples:
            try:
                tokenizer.encode(layout.fill(sample.texts)[0])
            except Exception as error:
                raise UserError(f"{sample.place}: the tokenizer cannot read this text ({error})") from None
        raise


def _batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    batch: list[Sample] = []
    n_characters = 0
    for sample in samples:
        batch.append(sample)
        n_characters += sum(map(len, sample.texts))
        if len(batch) == BATCH_ROWS or n_characters >= BATCH_CHARACTERS:
            yield batch
            batch, n_characters = [], 0
    if batch:
        yield batch


def _refuse_empty(sample: Sample) -> None:
    raise UserError(f"{sample.place}: the text is empty: the tokenizer finds no token in it")


def encode_samples(
    samples: Iterable[Sample], layout: Layout, tokenizer: TaskTokenizer, on_empty: Callable[[Sample], None] = _refuse_empty
) -> Iterator[Block]:
    """Tokenises in batches, which the library spreads over the cores; while it works at one, the batch before is finished. A sample of
    whose text no token comes is left to `on_empty`."""
    encoder = _Encoder(layout, tokenizer, on_empty)
    with ThreadPoolExecutor(1) as pool:
        waiting: Batch | None = None
        for batch in _batches(samples):
            begun = encoder.begin(batch, pool)
            if waiting is not None:
                yield encoder.finish(waiting)
            waiting = begun
        if waiting is not None:
            yield encoder.finish(waiting)
