"""Tokenizers of every type, small enough to be checked by eye, and model folders around them."""

from __future__ import annotations

import json
from pathlib import Path

from staging.model import ModelInfo, load_info
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

BERT = {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
ROBERTA = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>", "pad_token": "<pad>"}
ROBERTA |= {"unk_token": "<unk>"}
MASK = AddedToken("<mask>", lstrip=True, special=True)


def wordpiece(lowercase: bool = True, pre_tokenizer: object = None) -> Tokenizer:
    """BERT's: special tokens 0 to 4, then words."""
    words = "the film Film is good . It it was cafe café bad great < > / s [ ] mask MASK 中 中国 x pad unk ?".split()
    vocabulary = {word: number for number, word in enumerate([*BERT_ORDER, *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.add_special_tokens(BERT_ORDER)
    return tokenizer


BERT_ORDER = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def _merges(*words: str) -> list[tuple[str, str]]:
    return list(dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word))))


def byte_level() -> Tokenizer:
    """RoBERTa's: <s>, <pad>, </s>, <unk>, the bytes, then what the merges make."""
    merges = _merges("Ġfilm", "Ġgood", "ĠIt", "Ġwas", "film", "bad", "great")
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(dict.fromkeys(tokens))}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", MASK])
    return tokenizer


def unigram(scheme: str = "always", splits: bool = True) -> Tokenizer:
    """XLM-R's: <s>, <pad>, </s> and <unk> are pieces of the vocabulary, with the score 0 that wins over any spelling."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁film", "▁good", "film", "good", "▁It", "▁was", ".", "▁bad", "▁great"]
    pieces += list("</>spadunkmI twfilogbe?it")
    pieces = list(dict.fromkeys(pieces))
    vocabulary = [(piece, 0.0 if number < 4 else -1.0 - number / 4) for number, piece in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    metaspace = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace]) if splits else metaspace
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", MASK])
    return tokenizer


def metaspace_bpe() -> Tokenizer:
    """Llama's: BPE without a split at spaces, bytes for what is unknown, and a space before the first word alone."""
    merges = _merges("▁film", "▁good", "▁It", "▁was", "▁bad", "▁great")
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁</>spadunkmIitwfilogbe?.r", *map("".join, merges)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, fuse_unk=True, byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>", AddedToken("<mask>", special=True), AddedToken("<pad>", special=True)])
    return tokenizer


def causal(digits: bool = False, bos: str | None = None, composed: bool = False) -> Tokenizer:
    """A causal model's byte-level BPE: <|end|>, <|user|>, the bytes, then what the merges make. `digits`: cut one by one; `bos`: put before
    a text; `composed`: by NFC."""
    merges = _merges("Ġfilm", "Ġgood", "film", "12", "Ġ1")
    tokens = ["<|end|>", "<|user|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(dict.fromkeys(tokens))}, merges))
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words]) if digits else words
    tokenizer.normalizer = normalizers.NFC() if composed else None
    tokenizer.decoder = decoders.ByteLevel()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))])
    tokenizer.add_special_tokens(["<|end|>", "<|user|>"])
    return tokenizer


def causal_names(**more: object) -> dict[str, object]:
    """Its tokenizer_config.json."""
    return {"bos_token": "<|end|>", "eos_token": "<|end|>", "unk_token": "<|end|>", "pad_token": "<|end|>", **more}


LLAMA_NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}

# Sizes in config.json that no tokenizer depends on.
SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "hidden_act": "gelu"}


def save(folder: Path, tokenizer: Tokenizer, model_type: str, **files: object) -> Path:
    """Writes a model folder; `files`: tokenizer_config, special_tokens_map, added_tokens."""
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    pad = 0 if model_type == "bert" else 1
    config = SIZES | {"model_type": model_type, "vocab_size": 400, "max_position_embeddings": 99, "pad_token_id": pad}
    for name, value in {"config": config, **files}.items():
        if value is not None:
            (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    return folder


def info(folder: Path) -> ModelInfo:
    """Read a folder as staging does for a task with mask readout."""
    return load_info(folder, "mask")
