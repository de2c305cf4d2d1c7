"""A GGUF file's tokenizer as tokenizer.json and tokenizer_config.json hold it.

The file has vocabulary, merges or scores, and kinds of tokens, and names by `tokenizer.ggml.pre` how text is cut into words. What the
name means stands in llama.cpp (src/llama-vocab.cpp) and in the published tokenizer.json of the models. tokenizer_config.json says
PreTrainedTokenizerFast, so that transformers takes tokenizer.json as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from .errors import UserError

# Kinds of tokens (`tokenizer.ggml.token_type`).
UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 2, 3, 4, 5
ROLES = {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "pad": "padding_token_id"}
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SHORT_FORMS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"


@dataclass(frozen=True)
class Cut:
    """How text is cut before byte-level BPE. `pattern`: of words, None for GPT-2's; `digits`: each one is a word of its own; `composed`:
    characters are composed first (NFC); `whole`: a word that is a token is not built by merges; `bos`: added where the file is silent."""

    pattern: str | None = None
    digits: bool = False
    composed: bool = False
    whole: bool = False
    bos: bool = False


LLAMA3 = Cut(f"{SHORT_FORMS}|{WORDS}|\\p{{N}}{{1,3}}|{REST}", whole=True, bos=True)
QWEN2 = Cut(f"{SHORT_FORMS}|{WORDS}|\\p{{N}}|{REST}", composed=True)
CUTS = {"gpt-2": Cut(), "smollm": Cut(digits=True), "llama-bpe": LLAMA3, "llama3": LLAMA3, "llama-v3": LLAMA3, "qwen2": QWEN2}
CUTS["deepseek-r1-qwen"] = QWEN2


@dataclass(frozen=True)
class GgufTokenizer:
    """`ids`: of the special tokens by role, as far as the file names them; `config`: tokenizer_config.json."""

    backend: Tokenizer
    ids: dict[str, int]
    config: dict[str, Any]


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer as the file states it. `keys`: tokenizer.ggml.*, without that; `tokens`: by id."""

    path: Path
    keys: Mapping[str, Any]
    tokens: list[str]
    kinds: list[int]

    def refuse(self, key: str, why: str) -> UserError:
        """A refusal that names the key and its value."""
        return UserError(f"{self.path}: tokenizer.ggml.{key} is {self.keys.get(key)!r}: {why}")

    def used(self) -> dict[str, int]:
        """Token -> id, without rows of the embedding that stand for nothing."""
        return {token: number for number, token in enumerate(self.tokens) if self.kinds[number] != UNUSED}

    def of_kind(self, *kinds: int) -> list[str]:
        """The tokens of these kinds."""
        return [token for token, kind in zip(self.tokens, self.kinds, strict=True) if kind in kinds]


def make_tokenizer(path: Path, keys: Mapping[str, Any], n_rows: int) -> GgufTokenizer:
    """The tokenizer of a file with these keys and as many rows of word embeddings."""
    vocabulary = _read(path, keys, n_rows)
    model = vocabulary.keys.get("model")
    if model not in ("gpt2", "llama"):
        raise vocabulary.refuse("model", "those that are converted are gpt2 (byte-level BPE) and llama (SentencePiece BPE)")
    backend, adds_bos = _byte_level(vocabulary) if model == "gpt2" else _sentence_piece(vocabulary)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in vocabulary.of_kind(UNKNOWN, CONTROL)])
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in vocabulary.of_kind(USER_DEFINED)])
    ids = {role: int(vocabulary.keys[key]) for role, key in ROLES.items() if key in vocabulary.keys}
    wrong = next((role for role, number in ids.items() if not 0 <= number < len(vocabulary.tokens)), None)
    if wrong:
        raise vocabulary.refuse(ROLES[wrong], f"the vocabulary has {len(vocabulary.tokens)} tokens")
    _wrap(vocabulary, backend, ids, adds_bos)
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    config |= {f"{role}_token": vocabulary.tokens[number] for role, number in ids.items()}
    template = keys.get("tokenizer.chat_template")
    config |= {"chat_template": template} if template else {}
    length = next((value for key, value in keys.items() if key.endswith(".context_length")), None)
    return GgufTokenizer(backend, ids, config | ({"model_max_length": length} if length else {}))


def _read(path: Path, keys: Mapping[str, Any], n_rows: int) -> Vocabulary:
    ours = {key.removeprefix("tokenizer.ggml."): value for key, value in keys.items() if key.startswith("tokenizer.ggml.")}
    tokens = ours.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens) or len(tokens) > n_rows:
        raise UserError(f"{path}: tokenizer.ggml.tokens is not a list of at most {n_rows} tokens")
    vocabulary = Vocabulary(path, ours, tokens, list(ours.get("token_type") or [1] * len(tokens)))
    if len(vocabulary.kinds) != len(tokens) or len(vocabulary.used()) != len(tokens) - vocabulary.kinds.count(UNUSED):
        raise UserError(f"{path}: tokenizer.ggml.tokens names a token twice, or has another length than tokenizer.ggml.token_type")
    for key in ("remove_extra_whitespaces", "precompiled_charsmap"):
        if ours.get(key):
            raise UserError(f"{path}: the tokenizer changes texts by tokenizer.ggml.{key}, which is not converted")
    return vocabulary


def _merges(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    merges = [tuple(merge.split(" ")) for merge in vocabulary.keys.get("merges") or []]
    wrong = next((merge for merge in merges if len(merge) != 2), None)
    if wrong or not merges:
        raise UserError(f"{vocabulary.path}: tokenizer.ggml.merges {f'holds {wrong!r}, no pair' if wrong else 'is missing'}")
    return [(first, second) for first, second in merges]


def _byte_level(vocabulary: Vocabulary) -> tuple[Tokenizer, bool]:
    """GPT-2's BPE, and whether a text begins with BOS where the file is silent."""
    cut = CUTS.get(str(vocabulary.keys.get("pre")))
    if cut is None:
        raise vocabulary.refuse("pre", f"ways to cut words that are converted are {', '.join(CUTS)}")
    if vocabulary.keys.get("add_space_prefix"):
        raise vocabulary.refuse("add_space_prefix", "not converted for byte-level BPE")
    backend = Tokenizer(models.BPE(vocabulary.used(), _merges(vocabulary), fuse_unk=False, ignore_merges=cut.whole))
    if cut.composed:
        backend.normalizer = normalizers.NFC()
    parts: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if cut.digits else []
    parts += [pre_tokenizers.Split(Regex(cut.pattern), behavior="isolated")] if cut.pattern else []
    parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=cut.pattern is None))
    backend.pre_tokenizer = parts[0] if len(parts) == 1 else pre_tokenizers.Sequence(parts)
    backend.decoder = decoders.ByteLevel()
    return backend, cut.bos


def _sentence_piece(vocabulary: Vocabulary) -> tuple[Tokenizer, bool]:
    """Llama 2's BPE, as transformers' LlamaTokenizer is: spaces are ▁, and unknown characters their bytes."""
    if "unknown_token_id" not in vocabulary.keys:
        raise UserError(f"{vocabulary.path}: has no tokenizer.ggml.unknown_token_id")
    unknown = vocabulary.tokens[int(vocabulary.keys["unknown_token_id"])]
    merges = _merges(vocabulary) if vocabulary.keys.get("merges") else _merges_by_score(vocabulary)
    backend = Tokenizer(models.BPE(vocabulary.used(), merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    scheme = "first" if vocabulary.keys.get("add_space_prefix", True) else "never"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
    parts: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*parts, *([decoders.Strip(content=" ", left=1)] if scheme == "first" else [])])
    return backend, True


def _merges_by_score(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """The pairs that make each token, best score first; among those of one score shorter ones last, as transformers does it."""
    scores, used = vocabulary.keys.get("scores"), vocabulary.used()
    if not scores or len(scores) != len(vocabulary.tokens):
        raise UserError(f"{vocabulary.path}: has neither tokenizer.ggml.merges nor a score for each token")
    found = []
    for token, number in used.items():
        pairs = [(token[:end], token[end:]) for end in range(1, len(token))]
        known = sorted((pair for pair in pairs if pair[0] in used and pair[1] in used), key=lambda pair: (used[pair[0]], used[pair[1]]))
        found += [(float(scores[number]), pair) for pair in known]
    found.sort(key=lambda item: (item[0], len(item[1][0]), len(item[1][1])), reverse=True)
    return [pair for _, pair in found]


def _wrap(vocabulary: Vocabulary, backend: Tokenizer, ids: dict[str, int], adds_bos: bool) -> None:
    """Has special tokens put around a text."""
    single, special = ["$A"], []
    for role, where, default in (("bos", 0, adds_bos), ("eos", 1, False)):
        if not vocabulary.keys.get(f"add_{role}_token", default):
            continue
        if role not in ids:
            raise vocabulary.refuse(f"add_{role}_token", f"the file has no {ROLES[role]}")
        token = vocabulary.tokens[ids[role]]
        single = [token, *single] if where == 0 else [*single, token]
        special.append((token, ids[role]))
    if special:
        backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
