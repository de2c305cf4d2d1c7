"""A tokenizer that no text can make give a special token.

Special tokens are spelled like text: `</s>`, `[MASK]`. A tokenizer takes such a spelling for the token, as an added token or, where its
vocabulary has the piece (Unigram's often do), as an ordinary piece. Here the special tokens keep their ids and lose their spellings:
in vocabulary and added tokens each gets one with characters of a private use area, which only the template may write. So a text's
`</s>` is read as the characters it is made of, and the sentence is still tokenised as a whole, as transformers does it.
"""

from __future__ import annotations

import json
from typing import Any

from tokenizers import AddedToken, Tokenizer

# Inner parts of the new spellings. A token that is looked for in normalised text needs one that the normalizer leaves alone.
INNER = ("\ue000{}\ue001", "zqj{}jqz")


def _spelling(content: str, number: int, tokenizer: Tokenizer, normalized: bool) -> str:
    """The first and the last character stay: tokens beside this one may look at them."""
    digits = "".join(chr(ord("a") + int(digit)) for digit in str(number))
    choices = [content[0] + inner.format(digits) + content[-1] for inner in INNER]
    if not normalized or tokenizer.normalizer is None:
        return choices[0]
    stable = (choice for choice in choices if choice[1:-1] in tokenizer.normalizer.normalize_str(choice))
    return next(stable, choices[0])


def seal(tokenizer: Tokenizer, special: set[int]) -> tuple[Tokenizer, dict[str, str]]:
    """The tokenizer with the tokens `special` spelled anew, and the new spelling of each."""
    value: dict[str, Any] = json.loads(tokenizer.to_str())
    added = {entry["id"]: entry for entry in value["added_tokens"]}
    spellings = {}
    for number in special:
        entry = added.get(number, {"content": tokenizer.id_to_token(number), "normalized": False})
        spellings[entry["content"]] = _spelling(entry["content"], number, tokenizer, entry["normalized"])
    for entry in value["added_tokens"]:
        entry["content"] = spellings.get(entry["content"], entry["content"])
    _seal_model(value["model"], spellings)
    sealed = Tokenizer.from_str(json.dumps(value))
    sealed.add_special_tokens([AddedToken(spelling, normalized=False) for spelling in spellings.values() if _is_plain(sealed, spelling)])
    return sealed, spellings


def _is_plain(tokenizer: Tokenizer, content: str) -> bool:
    """Whether this is a token of the vocabulary alone, which is no added one yet."""
    return all(token.content != content for token in tokenizer.get_added_tokens_decoder().values())


def _seal_model(model: dict[str, Any], spellings: dict[str, str]) -> None:
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {spellings.get(piece, piece): number for piece, number in vocabulary.items()}
    else:
        model["vocab"] = [[spellings.get(piece, piece), score] for piece, score in vocabulary]
    if model.get("unk_token"):
        model["unk_token"] = spellings.get(model["unk_token"], model["unk_token"])
    if model.get("merges"):
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        model["merges"] = [pair for pair in pairs if not {*pair, "".join(pair)} & spellings.keys()]
