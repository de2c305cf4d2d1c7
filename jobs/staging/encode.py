"""Text to tokens: template, prompt words, mask and special tokens around a text that alone may be shortened.

A sample's template is cut at the mask into segments. Each segment is tokenised as one string, so that the result is what the
tokenizer makes of the whole sentence, and each of its tokens is traced back to the template or to a text by its character range.
The mask and the prompt words are put in as ids: a text that happens to spell `<mask>` or `</s>` cannot forge one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tokenizers import Encoding, Tokenizer

from .errors import UserError
from .model import ModelInfo, lower_case, read_json
from .sources import Record
from .task import Piece, Task, pieces_of

BATCH = 512
FIRST_PROMPT_ID = 1000
TEMPLATE = -1  # owner of a token that is no part of a text

# Where a special token's name is looked up, and what it is called where no file says so.
ROLES = {
    "bos": (("cls_token", "bos_token"), ("[CLS]", "<s>")),
    "eos": (("sep_token", "eos_token"), ("[SEP]", "</s>")),
    "mask": (("mask_token",), ("[MASK]", "<mask>")),
    "pad": (("pad_token",), ("[PAD]", "<pad>")),
    "unk": (("unk_token",), ("[UNK]", "<unk>")),
}


@dataclass(frozen=True)
class Encoded:
    """A sample ready for the data set file. `frozen`: 1 for tokens that no perturbation may touch."""

    tokens: list[int]
    frozen: list[int]
    label: int
    readout: int
    row: int
    truncated: bool


@dataclass(frozen=True)
class Sample:
    """A row that passed the checks: its texts and label number."""

    texts: tuple[str, ...]
    label: int
    row: int
    place: str


class TaskTokenizer:
    """A model's tokenizer with what the task needs to know of its special tokens."""

    def __init__(self, model: ModelInfo) -> None:
        self.folder = model.folder
        path = model.folder / "tokenizer.json"
        try:
            self.tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise UserError(f"{path}: not a tokenizer that this version of tokenizers reads ({error})") from None
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        if model.lower_case:
            lower_case(self.tokenizer)
        self.tokenizer.encode_special_tokens = True
        self.ids = {role: self._special_id(role) for role in ROLES}
        self.prefix, self.suffix = self._wrapping()
        mask = next((token for number, token in self.tokenizer.get_added_tokens_decoder().items() if number == self.ids["mask"]), None)
        self.mask_strips = bool(mask and mask.lstrip)
        if mask and mask.rstrip:
            raise UserError(f"{path}: its mask token takes in the white space after it, which is not supported")
        size = self.tokenizer.get_vocab_size(with_added_tokens=True)
        if size > model.vocab_size:
            raise UserError(f"{path}: has {size} tokens, but the model's config.json says vocab_size {model.vocab_size}")

    def _special_id(self, role: str) -> int:
        """Id of a special token, by the model's own files or the usual names; -1 where there is none."""
        keys, usual = ROLES[role]
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            if (self.folder / name).is_file():
                entries = read_json(self.folder / name)
                for key in keys:
                    number = self._lookup(entries.get(key))
                    if number is not None:
                        return number
        return next((number for number in map(self._lookup, usual) if number is not None), -1)

    def _lookup(self, entry: Any) -> int | None:
        content = entry.get("content") if isinstance(entry, dict) else entry
        return self.tokenizer.token_to_id(content) if isinstance(content, str) else None

    def _wrapping(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer puts before and after a text."""
        for probe in ("a", "1", "."):
            bare = self.tokenizer.encode(probe, add_special_tokens=False).ids
            full = self.tokenizer.encode(probe, add_special_tokens=True).ids
            for start in range(len(full) - len(bare) + 1):
                if bare and full[start : start + len(bare)] == bare:
                    return full[:start], full[start + len(bare) :]
        raise UserError(f"{self.folder / 'tokenizer.json'}: cannot tell which special tokens it puts around a text")

    def encode(self, text: str) -> list[int]:
        """Ids of a text without special tokens."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids


def label_ids(task: Task, tokenizer: TaskTokenizer) -> list[int]:
    """The token that stands for each label word (-1 for the embedding readout, whose labels are whole texts)."""
    if task.readout == "embedding":
        return [-1] * len(task.labels)
    numbers: list[int] = []
    for label in task.labels:
        where = f"{task.path}:{label.line}"
        spelling = f" {label.word}" if task.label_space else label.word
        ids = tokenizer.encode(spelling)
        if len(ids) != 1 and not (ids and task.label_tokens == "first"):
            tokens = " ".join(repr(tokenizer.tokenizer.id_to_token(number)) for number in ids)
            raise UserError(
                f"{where}: label word {spelling!r} is {len(ids)} tokens of this tokenizer ({tokens}); choose another word, "
                f"or set label_space or label_tokens (see configs/tasks/sst2.yaml)"
            )
        if ids[0] == tokenizer.ids["unk"]:
            raise UserError(f"{where}: label word {spelling!r} is not in this tokenizer's vocabulary")
        if ids[0] in numbers:
            other = task.labels[numbers.index(ids[0])]
            raise UserError(f"{where}: label word {spelling!r} is the same token as {other.word!r} in line {other.line}")
        numbers.append(ids[0])
    return numbers


@dataclass(frozen=True)
class Layout:
    """How a sample is laid out: the segments of its template, and the lengths that its mode allows."""

    segments: tuple[tuple[Piece, ...], ...]
    head: tuple[int, ...]  # ids before the first segment: special tokens, then prompt words in mode add
    tail: tuple[int, ...]
    mask: int
    max_length: int
    readout: str


def make_layout(task: Task, tokenizer: TaskTokenizer, model: ModelInfo, mode: str, n_prompt: int, max_tokens: int | None) -> Layout:
    """Template and mode to a layout; finds what cannot work before any text is read."""
    limit = model.positions - (n_prompt if mode == "input" else 0)
    if max_tokens is not None and max_tokens > limit:
        raise UserError(f"--max-tokens {max_tokens}: the model has {model.positions} positions, which leaves {limit} in mode {mode}")
    if task.readout == "mask" and tokenizer.ids["mask"] < 0:
        raise UserError(f"{model.folder}: its tokenizer has no mask token, which {task.path} (readout: mask) needs")
    pieces = pieces_of(task.template if mode == "add" else task.template_without_prompt)
    head = list(tokenizer.prefix)
    if mode == "add":
        if not pieces or pieces[0] != ("prompt", ""):
            raise UserError(f"{task.path}: prompt mode add needs a template that starts with {{prompt}}")
        if FIRST_PROMPT_ID + n_prompt > tokenizer.tokenizer.get_vocab_size():
            raise UserError(f"{model.folder}: the vocabulary is too small for the prompt words 1000 to {FIRST_PROMPT_ID + n_prompt - 1}")
        if task.readout != "last" and len(head) != 1:
            raise UserError(f"{model.folder}: its tokenizer puts {len(head)} tokens before a text; mode add expects exactly one")
        head += range(FIRST_PROMPT_ID, FIRST_PROMPT_ID + n_prompt)
        pieces = pieces[1:]
    segments = _cut_at_mask(pieces)
    length = max_tokens if max_tokens is not None else min(limit, model.max_seq_length or limit)
    layout = Layout(segments, tuple(head), tuple(tokenizer.suffix), tokenizer.ids["mask"], length, task.readout)
    bare = _fill(segments, ("", ""), tokenizer.mask_strips)
    fixed = len(head) + len(layout.tail) + len(segments) - 1 + sum(len(tokenizer.encode(string)) for string, _ in bare)
    if fixed >= length:
        room = f"--max-tokens {max_tokens}" if max_tokens is not None else f"the model's {model.positions} positions"
        raise UserError(f"{task.path}: {n_prompt} prompt tokens and the template ({fixed} tokens) leave no room for a text in {room}")
    return layout


def _cut_at_mask(pieces: Sequence[Piece]) -> tuple[tuple[Piece, ...], ...]:
    """The pieces before and after the mask."""
    places = [number for number, piece in enumerate(pieces) if piece[0] == "mask"]
    return (tuple(pieces[: places[0]]), tuple(pieces[places[0] + 1 :])) if places else (tuple(pieces),)


Span = tuple[int, int, int]  # text number, first character, one past the last


def _fill(segments: Sequence[Sequence[Piece]], texts: Sequence[str], mask_strips: bool) -> list[tuple[str, list[Span]]]:
    """Each segment's string, and where in it the texts lie. A mask that takes in the white space before it, as RoBERTa's does,
    loses it here (`mask_strips`)."""
    filled = []
    for segment in segments:
        string, spans = "", []
        for kind, literal in segment:
            if kind == "literal":
                string += literal
            else:
                number = 0 if kind == "text" else 1
                spans.append((number, len(string), len(string) + len(texts[number])))
                string += texts[number]
        before_mask = len(segments) > 1 and segment is segments[0]
        filled.append((string.rstrip() if before_mask and mask_strips else string, spans))
    return filled


def _owners(encoding: Encoding, string: str, spans: Sequence[Span]) -> list[int]:
    """For each token the text it belongs to, or TEMPLATE. A token that spans both belongs to the template, but for white space."""
    owners = []
    for start, end in encoding.offsets:
        owner = TEMPLATE
        for number, first, last in spans:
            inside = start < last and end > first if end > start else first <= start <= last and first < last
            if inside and not string[start : max(start, first)].strip() and not string[min(end, last) : end].strip():
                owner = number
        owners.append(owner)
    return owners


def _shorten(owners: list[list[int]], excess: int) -> list[list[bool]]:
    """Which tokens stay once `excess` of them are cut from the ends of the texts, always from the longer one."""
    counts = [sum(row.count(number) for row in owners) for number in (0, 1)]
    for _ in range(excess):
        counts[0 if counts[0] > counts[1] else 1] -= 1
    used = [0, 0]
    keep = []
    for row in owners:
        flags = []
        for owner in row:
            stays = owner == TEMPLATE or used[owner] < counts[owner]
            if owner != TEMPLATE:
                used[owner] += 1
            flags.append(stays)
        keep.append(flags)
    return keep


def _assemble(layout: Layout, encodings: Sequence[Encoding], owners: list[list[int]], sample: Sample) -> Encoded:
    fixed = len(layout.head) + len(layout.tail) + len(layout.segments) - 1
    length = fixed + sum(map(len, owners))
    excess = max(0, length - layout.max_length)
    n_text = sum(owner != TEMPLATE for row in owners for owner in row)
    if n_text == 0:
        raise UserError(f"{sample.place}: the text is empty: the tokenizer finds no token in it")
    if excess >= n_text:
        raise UserError(f"{sample.place}: template and prompt alone fill the {layout.max_length} tokens allowed")
    keep = _shorten(owners, excess) if excess else None
    tokens, frozen, readout = list(layout.head), [1] * len(layout.head), 0
    for number, (encoding, row) in enumerate(zip(encodings, owners, strict=True)):
        if number > 0:
            readout = len(tokens)
            tokens.append(layout.mask)
            frozen.append(1)
        stays = keep[number] if keep else [True] * len(row)
        tokens += [token for token, stay in zip(encoding.ids, stays, strict=True) if stay]
        frozen += [int(owner == TEMPLATE) for owner, stay in zip(row, stays, strict=True) if stay]
    tokens += layout.tail
    frozen += [1] * len(layout.tail)
    if layout.readout == "last":
        readout = len(tokens) - 1
    return Encoded(tokens, frozen, sample.label, readout, sample.row, excess > 0)


def to_samples(records: Iterable[Record], task: Task, columns: dict[str, str]) -> Iterator[Sample | None]:
    """Checks rows and looks up their labels; None for a row whose label the task leaves out."""
    labels = task.label_index()
    for record in records:
        value = _label_value(record, columns["label"])
        if value in task.skip_labels:
            yield None
            continue
        if value not in labels:
            raise UserError(f"{record.place}: unknown label {value!r}; {task.path} knows {', '.join(labels)}")
        texts = tuple(_clean(record, columns[field], task) for field in task.fields())
        yield Sample(texts, labels[value], record.row, record.place)


def _label_value(record: Record, column: str) -> str:
    value = record.values[column]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def _clean(record: Record, column: str, task: Task) -> str:
    value = record.values[column]
    if value is None or not str(value).strip():
        raise UserError(f"{record.place}: the text in column {column!r} is empty")
    if not isinstance(value, str):
        raise UserError(f"{record.place}: column {column!r} holds {value!r}, not a text")
    for old, new in task.replace:
        value = value.replace(old, new)
    return value.strip() if task.strip else value


def encode_samples(samples: Iterable[Sample], layout: Layout, tokenizer: TaskTokenizer) -> Iterator[Encoded]:
    """Tokenises in batches, which the library spreads over the cores."""
    iterator = iter(samples)
    while batch := list(islice(iterator, BATCH)):
        filled = list(zip(*(_fill(layout.segments, sample.texts, tokenizer.mask_strips) for sample in batch), strict=True))
        encoded = [tokenizer.tokenizer.encode_batch([string for string, _ in column], add_special_tokens=False) for column in filled]
        for number, sample in enumerate(batch):
            encodings = [column[number] for column in encoded]
            owners = [_owners(column[number], *texts[number]) for column, texts in zip(encoded, filled, strict=True)]
            yield _assemble(layout, encodings, owners, sample)


def encode_label_texts(task: Task, tokenizer: TaskTokenizer, model: ModelInfo) -> list[list[int]]:
    """The label texts of the embedding readout, with special tokens and without prompt."""
    rows = []
    for label in task.labels:
        ids = [*tokenizer.prefix, *tokenizer.encode(label.word), *tokenizer.suffix]
        if len(ids) > model.positions:
            raise UserError(f"{task.path}:{label.line}: the label's text has {len(ids)} tokens; the model allows {model.positions}")
        rows.append(ids)
    return rows


def template_in_use(task: Task, mode: str) -> str:
    """The template in use, for the record."""
    return task.template if mode == "add" else task.template_without_prompt
