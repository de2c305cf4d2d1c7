"""How a sample's sentence is put together: template, prompt words, mask and special tokens around texts that alone may be shortened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .chat import ChatTemplate, Sentence
from .errors import UserError
from .model import ModelInfo
from .task import Piece, Task, pieces_of
from .tokenizer import PROMPT, TaskTokenizer, spell

FIRST_PROMPT_ID = 1000

Span = tuple[int, int]  # first character, one past the last


@dataclass(frozen=True)
class Layout:
    """The sentence of a sample is fixed[0], text order[0], fixed[1], text order[1], fixed[2], or the first three of these."""

    sentence: Sentence
    fixed: tuple[str, ...]
    order: tuple[int, ...]
    head: tuple[int, ...]  # ids that every sample begins with: special tokens, in mode add all up to the last prompt word
    tail: tuple[int, ...]  # empty where the last token of the template is read
    mask: int  # -1: the template has none
    n_stand_in: int  # tokens at the sentence's beginning that are in `head` already, with the one that stands for the prompt words
    max_length: int
    readout: str
    cuts_left: bool  # texts are shortened at their beginning

    def notes(self, tokenizer: TaskTokenizer) -> list[str]:
        """Lines for the user."""
        dropped = [tokenizer.token(number) for number in tokenizer.suffix] if self.readout == "last" and not self.sentence.chat else []
        notes = [f"{' '.join(dropped)}, which the tokenizer puts after a text, is left out: the token before it is read"] if dropped else []
        return notes + (self.sentence.chat.notes if self.sentence.chat else [])

    def fill(self, texts: Sequence[str]) -> tuple[str, list[Span]]:
        """A sample's sentence and where in it the texts lie, in the sentence's order."""
        sentence, spans = self.fixed[0], []
        for number, literal in zip(self.order, self.fixed[1:], strict=True):
            first = len(sentence)
            sentence += texts[number]
            spans.append((first, len(sentence)))
            sentence += literal
        return sentence, spans


def make_sentence(task: Task, tokenizer: TaskTokenizer, mode: str) -> Sentence:
    """The template in use, with the model's chat template around it where the task asks for that."""
    pieces = pieces_of(task.template if mode == "add" else task.template_without_prompt)
    if not task.chat:
        return Sentence(pieces, pieces)
    chat = ChatTemplate(tokenizer.folder, tokenizer.keys, tokenizer.named)
    return Sentence(pieces, chat.wrap(pieces), chat)


def make_layout(task: Task, tokenizer: TaskTokenizer, model: ModelInfo, mode: str, n_prompt: int, max_tokens: int | None) -> Layout:
    """Template and mode to a layout; finds what cannot work before any text is read."""
    limit = model.positions - (n_prompt if _takes_positions(task, mode) else 0)
    if max_tokens is not None and max_tokens > limit:
        raise UserError(f"--max-tokens {max_tokens}: the model has {model.positions} positions, which leaves {limit} in mode {mode}")
    sentence = make_sentence(task, tokenizer, mode)
    pieces = sentence.pieces
    has_mask = ("mask", "") in pieces
    if has_mask:
        _check_mask(task, tokenizer)
    if mode == "add":
        _check_prompt(task, tokenizer, pieces, n_prompt)
    fixed, order = _compile(task, tokenizer, pieces)
    head, n_stand_in = _head(task, tokenizer, fixed[0], n_prompt)
    length, room = _length(tokenizer, model, limit, max_tokens)
    layout = Layout(
        sentence=sentence,
        fixed=fixed,
        order=order,
        head=tuple(head),
        tail=() if task.readout == "last" else tuple(tokenizer.suffix),
        mask=tokenizer.ids["mask"] if has_mask else -1,
        n_stand_in=n_stand_in,
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


def _takes_positions(task: Task, mode: str) -> bool:
    """Whether the prompt's rows have positions of their own; for causal models cat and input are the same."""
    return mode == "input" or mode == "cat" and task.readout == "last"


def _head(task: Task, tokenizer: TaskTokenizer, first: str, n_prompt: int) -> tuple[list[int], int]:
    """The ids that every sample begins with, up to the last prompt word, and how many tokens of the sentence's beginning `first` they
    take the place of. A chat template writes the special tokens itself."""
    head = [] if task.chat else list(tokenizer.prefix)
    if PROMPT not in first:
        return head, 0
    ids = tokenizer.encode(first)
    before = ids.index(tokenizer.tokenizer.token_to_id(PROMPT))
    return [*head, *ids[:before], *range(FIRST_PROMPT_ID, FIRST_PROMPT_ID + n_prompt)], before + 1


def _check_mask(task: Task, tokenizer: TaskTokenizer) -> None:
    if tokenizer.ids["mask"] < 0:
        raise UserError(f"{tokenizer.folder}: its tokenizer has no mask token, which {task.path} (readout: mask) needs")
    if tokenizer.splits_special:
        raise UserError(f"{tokenizer.folder}/tokenizer_config.json: split_special_tokens true takes the mask token apart; remove it")


def _check_prompt(task: Task, tokenizer: TaskTokenizer, pieces: list[Piece], n_prompt: int) -> None:
    places = [kind for kind, _ in pieces if kind != "literal"]
    if places[:1] != ["prompt"] or task.readout != "last" and pieces[0] != ("prompt", ""):
        where = "has {prompt} before its texts" if task.readout == "last" else "starts with {prompt}"
        raise UserError(f"{task.path}: prompt mode add needs a template that {where}")
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
            if found and tokenizer.splits_special:
                wrong = f"split_special_tokens true takes the template's {found[0]} apart; remove it"
                raise UserError(f"{tokenizer.folder}/tokenizer_config.json: {wrong}")
            for content in found:
                number = tokenizer.tokenizer.token_to_id(tokenizer.spellings[content])
                if number == tokenizer.ids["mask"] or number == tokenizer.ids["pad"] != tokenizer.ids["eos"]:
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
