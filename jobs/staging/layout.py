"""How a sample's sentence is put together: template, prompt words, mask and special tokens around texts that alone may be shortened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import UserError
from .model import ModelInfo
from .task import Piece, Task, pieces_of
from .tokenizer import PROMPT, TaskTokenizer, spell

FIRST_PROMPT_ID = 1000

Span = tuple[int, int]  # first character, one past the last


@dataclass(frozen=True)
class Layout:
    """The sentence of a sample is fixed[0], text order[0], fixed[1], text order[1], fixed[2], or the first three of these."""

    fixed: tuple[str, ...]
    order: tuple[int, ...]
    head: tuple[int, ...]  # ids before the sentence: special tokens, then prompt words in mode add
    tail: tuple[int, ...]
    mask: int  # -1: the template has none
    n_stand_in: int  # tokens at the sentence's beginning that stand for the prompt words
    max_length: int
    readout: str
    cuts_left: bool  # texts are shortened at their beginning

    def fill(self, texts: Sequence[str]) -> tuple[str, list[Span]]:
        """A sample's sentence and where in it the texts lie, in the sentence's order."""
        sentence, spans = self.fixed[0], []
        for number, literal in zip(self.order, self.fixed[1:], strict=True):
            first = len(sentence)
            sentence += texts[number]
            spans.append((first, len(sentence)))
            sentence += literal
        return sentence, spans


def make_layout(task: Task, tokenizer: TaskTokenizer, model: ModelInfo, mode: str, n_prompt: int, max_tokens: int | None) -> Layout:
    """Template and mode to a layout; finds what cannot work before any text is read."""
    limit = model.positions - (n_prompt if mode == "input" else 0)
    if max_tokens is not None and max_tokens > limit:
        raise UserError(f"--max-tokens {max_tokens}: the model has {model.positions} positions, which leaves {limit} in mode {mode}")
    pieces = pieces_of(task.template if mode == "add" else task.template_without_prompt)
    has_mask = ("mask", "") in pieces
    if has_mask:
        _check_mask(task, tokenizer)
    head = list(tokenizer.prefix)
    if mode == "add":
        _check_prompt(task, tokenizer, pieces, n_prompt)
        head += range(FIRST_PROMPT_ID, FIRST_PROMPT_ID + n_prompt)
    fixed, order = _compile(task, tokenizer, pieces)
    length, room = _length(tokenizer, model, limit, max_tokens)
    layout = Layout(
        fixed=fixed,
        order=order,
        head=tuple(head),
        tail=tuple(tokenizer.suffix),
        mask=tokenizer.ids["mask"] if has_mask else -1,
        n_stand_in=1 if mode == "add" else 0,
        max_length=length,
        readout=task.readout,
        cuts_left=tokenizer.cuts_left,
    )
    bare = tokenizer.encode(layout.fill(("", ""))[0])
    n_masks = bare.count(layout.mask)
    if has_mask and n_masks != 1:
        raise UserError(f"{task.path}: the tokenizer finds {n_masks} mask tokens in the template, not one; put spaces around {{mask}}")
    n_fixed = len(head) + len(bare) - layout.n_stand_in + len(layout.tail)
    if n_fixed >= length:
        raise UserError(f"{task.path}: {n_prompt} prompt tokens and the template ({n_fixed} tokens) leave no room for a text in {room}")
    return layout


def _check_mask(task: Task, tokenizer: TaskTokenizer) -> None:
    if tokenizer.ids["mask"] < 0:
        raise UserError(f"{tokenizer.folder}: its tokenizer has no mask token, which {task.path} (readout: mask) needs")
    if tokenizer.splits_special:
        raise UserError(f"{tokenizer.folder}/tokenizer_config.json: split_special_tokens true takes the mask token apart; remove it")


def _check_prompt(task: Task, tokenizer: TaskTokenizer, pieces: list[Piece], n_prompt: int) -> None:
    if not pieces or pieces[0] != ("prompt", ""):
        raise UserError(f"{task.path}: prompt mode add needs a template that starts with {{prompt}}")
    if FIRST_PROMPT_ID + n_prompt > tokenizer.n_tokens:
        last = FIRST_PROMPT_ID + n_prompt - 1
        raise UserError(f"{tokenizer.folder}: the vocabulary is too small for the prompt words {FIRST_PROMPT_ID} to {last}")
    words = range(FIRST_PROMPT_ID, FIRST_PROMPT_ID + n_prompt)
    special = next((tokenizer.token(number) for number in words if tokenizer.forbidden[number]), None)
    if special is not None:
        raise UserError(f"{tokenizer.folder}: the special token {special!r} is among the prompt words; use mode input")
    n_before = len(tokenizer.prefix)
    if task.readout != "last" and n_before != 1:
        raise UserError(f"{tokenizer.folder}: its tokenizer puts {n_before} tokens before a text; mode add expects exactly one")


def _compile(task: Task, tokenizer: TaskTokenizer, pieces: list[Piece]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The template cut at its texts. Special tokens that it spells out are read as such, but for those with a placeholder or none."""
    fixed, order = [""], []
    for kind, literal in pieces:
        if kind == "literal":
            string, found = spell(tokenizer, literal)
            for content in found:
                number = tokenizer.tokenizer.token_to_id(tokenizer.spellings[content])
                if number in (tokenizer.ids["mask"], tokenizer.ids["pad"]):
                    raise UserError(f"{task.path}: the template spells the special token {content}; write {{mask}} for the gap")
            fixed[-1] += string
        elif kind == "mask":
            content = tokenizer.token(tokenizer.ids["mask"])
            fixed[-1] += tokenizer.spellings[content]
        elif kind == "prompt":
            fixed[-1] += PROMPT
        else:
            order.append(0 if kind == "text" else 1)
            fixed.append("")
    return tuple(fixed), tuple(order)


def _length(tokenizer: TaskTokenizer, model: ModelInfo, limit: int, max_tokens: int | None) -> tuple[int, str]:
    """The longest stored sample, and what makes it so. As in transformers, tokenizer_config.json's length is the limit unless told
    otherwise."""
    if max_tokens is not None:
        return max_tokens, f"--max-tokens {max_tokens}"
    limits = [(limit, f"the model's {model.positions} positions")]
    if tokenizer.max_length is not None:
        limits.append((tokenizer.max_length, f"tokenizer_config.json's model_max_length {tokenizer.max_length}"))
    if model.max_seq_length is not None:
        limits.append((model.max_seq_length, f"the sentence encoder's max_seq_length {model.max_seq_length}"))
    return min(limits, key=lambda pair: pair[0])
