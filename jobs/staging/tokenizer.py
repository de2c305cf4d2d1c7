"""A model's tokenizer with what a task needs to know of its special tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Encoding

from .errors import UserError
from .hf_tokenizer import CONFIG, Assembled, assemble
from .model import OFFSET_TYPES, ModelInfo, lower_case, read_json
from .seal import seal

# A special token's names in the model's files, and its usual spellings where no file has it.
ROLES = {
    "bos": (("cls_token", "bos_token"), ("[CLS]", "<s>")),
    "eos": (("sep_token", "eos_token"), ("[SEP]", "</s>")),
    "mask": (("mask_token",), ("[MASK]", "<mask>")),
    "pad": (("pad_token",), ("[PAD]", "<pad>")),
    "unk": (("unk_token",), ("[UNK]", "<unk>")),
}
PROMPT = "\ue000prompt\ue001"  # stands for the prompt words while a sentence is tokenised


class TaskTokenizer:
    """Tokenises sentences in which only the template can write special tokens. `ids`: of the roles, -1 where there is none;
    `prefix`, `suffix`: what the tokenizer puts around a text; `spellings`: what the template writes for a special token;
    `forbidden`: flag for every id, true for what no text may hold; `named`, `keys`: special tokens and tokenizer_config.json as
    transformers has them; `notes`: lines for the user."""

    def __init__(self, model: ModelInfo) -> None:
        self.folder = model.folder
        assembled = assemble(model.folder)
        original = assembled.backend
        original.no_truncation()
        original.no_padding()
        if model.lower_case:
            lower_case(original)
        self.n_tokens = assembled.n_tokens
        if self.n_tokens > model.vocab_size:
            where = self.folder / "tokenizer.json"
            raise UserError(f"{where}: has {self.n_tokens} tokens, but the model's config.json says vocab_size {model.vocab_size}")
        self.ids = {role: _id_of(role, assembled) for role in ROLES}
        self.named, self.keys, self.notes = assembled.named, assembled.keys, assembled.notes
        self.max_length = _max_length(model, assembled.keys)
        self.cuts_left = _truncation_side(model, assembled.keys) == "left"
        self.splits_special = assembled.keys.get("split_special_tokens") is True
        special = _special_ids(assembled)
        self.tokenizer, self.spellings = seal(original, special)
        self.tokenizer.add_special_tokens([AddedToken(PROMPT, normalized=False)])
        self.forbidden = self._forbidden(special | _padding(model, self.ids["pad"]))
        self.prefix, self.suffix = self._wrapping()
        self.tokenizer.post_processor = None  # its last act would be to trim the ranges of characters

    def _forbidden(self, special: set[int]) -> npt.NDArray[np.bool_]:
        """Flags of the ids that no text may hold: all special ones, but for unknown words where these have a token of their own."""
        prompt = self.tokenizer.token_to_id(PROMPT) or 0
        flags = np.zeros(max(self.n_tokens, prompt + 1), bool)
        roles = {number for role, number in self.ids.items() if role != "unk"}
        flags[[number for number in (special - {self.ids["unk"]}) | roles if 0 <= number < self.n_tokens]] = True
        flags[prompt] |= prompt >= self.n_tokens  # a vocabulary with gaps may have a word there
        return flags

    def _wrapping(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer puts before and after a text."""
        for probe in ("a", "1", "."):
            bare = self.encode(probe)
            full = self.tokenizer.encode(probe, add_special_tokens=True).ids
            for start in range(len(full) - len(bare) + 1):
                if bare and full[start : start + len(bare)] == bare:
                    return full[:start], full[start + len(bare) :]
        raise UserError(f"{self.folder / 'tokenizer.json'}: cannot tell which special tokens it puts around a text")

    def encode(self, text: str) -> list[int]:
        """Ids of a text without special tokens."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, sentences: list[str]) -> list[Encoding]:
        """Encodings without special tokens, by all cores."""
        return self.tokenizer.encode_batch(sentences, add_special_tokens=False)

    def token(self, number: int) -> str:
        """A token as its vocabulary spells it."""
        back = {spelling: content for content, spelling in self.spellings.items()}
        content = str(self.tokenizer.id_to_token(number))
        return back.get(content, content)


def _id_of(role: str, assembled: Assembled) -> int:
    keys, usual = ROLES[role]
    named = [assembled.named[key] for key in keys if key in assembled.named]
    numbers = (assembled.backend.token_to_id(content) for content in (*named, *usual))
    return next((number for number in numbers if number is not None), -1)


def _special_ids(assembled: Assembled) -> set[int]:
    """Every token that the files call special or that is spelled as special ones are."""
    spelled = {*assembled.named.values(), *(content for _, usual in ROLES.values() for content in usual)}
    numbers = {assembled.backend.token_to_id(content) for content in spelled}
    numbers |= {number for number, token in assembled.backend.get_added_tokens_decoder().items() if token.special}
    return {number for number in numbers if number is not None}


def _padding(model: ModelInfo, pad: int) -> set[int]:
    """The id behind which a RoBERTa-like model's positions start; it must be the tokenizer's own."""
    if model.model_type not in OFFSET_TYPES:
        return set()
    stated = read_json(model.folder / "config.json").get("pad_token_id", 1)
    if pad >= 0 and stated != pad:
        raise UserError(
            f"{model.folder / 'config.json'}: pad_token_id is {stated}, but the tokenizer's padding token has the id {pad}; the positions "
            f"of a {model.model_type} model depend on it, so make the two agree"
        )
    return {stated} if isinstance(stated, int) and 0 <= stated < model.vocab_size else set()


def _max_length(model: ModelInfo, keys: dict[str, Any]) -> int | None:
    """The longest sequence that tokenizer_config.json allows."""
    value = keys.get("model_max_length", keys.get("max_len"))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 1:
        raise UserError(f"{model.folder / CONFIG}: model_max_length must be a positive number, not {value!r}")
    return int(value) if value < 1 << 40 else None


def _truncation_side(model: ModelInfo, keys: dict[str, Any]) -> str:
    side = keys.get("truncation_side", "right")
    if side not in ("left", "right"):
        raise UserError(f"{model.folder / CONFIG}: truncation_side must be left or right, not {side!r}")
    return str(side)


def spell(tokenizer: TaskTokenizer, literal: str) -> tuple[str, list[str]]:
    """A template's text with its special tokens as the sealed tokenizer reads them, and the names of those found."""
    found = []
    for content in sorted(tokenizer.spellings, key=len, reverse=True):
        if content in literal:
            found.append(content)
            literal = literal.replace(content, tokenizer.spellings[content])
    return literal, found
