"""Small tokenizers whose ids can be worked out by hand, and ways to call the staging programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "jobs"), str(ROOT / "analysis")]

import prepare_data  # noqa: E402
import prepare_model  # noqa: E402
from staging import errors  # noqa: E402

# Ids 0 to 4, then words from 5 on, then fillers: in mode add the prompt words are ids 1000, 1001, ...
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "film", "is", "good", "dull", ".", "it", "was", "bad", "great", "?", ",", "news", ":", "yes", "no"]
WORDS += ["a", "very", "long", "story", "business", "tech", "multi", "##part"]
FIRST_WORD = len(SPECIAL)
VOCABULARY = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
VOCABULARY |= {f"filler{number}": number for number in range(len(VOCABULARY), 1100)}
CLS, SEP, MASK, UNK = 2, 3, 4, 1
# Sizes in config.json that no tokenizer depends on.
SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "hidden_act": "gelu"}


def ids(text: str) -> list[int]:
    """Ids of words that are in the vocabulary."""
    return [VOCABULARY[word] for word in text.split()]


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def save_model(folder: Path, tokenizer: Tokenizer, config: dict[str, object], special: dict[str, object]) -> Path:
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "config.json", SIZES | config)
    write_json(folder / "special_tokens_map.json", special)
    return folder


def bert_tokenizer(specials: list[str]) -> Tokenizer:
    """WordPiece over whole words. It asks for padding and truncation, as published files do; neither may be followed."""
    tokenizer = Tokenizer(models.WordPiece(VOCABULARY, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)])
    tokenizer.add_special_tokens(specials)
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    return tokenizer


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A BERT-like model folder with 64 positions."""
    config = {"model_type": "bert", "vocab_size": 1100, "max_position_embeddings": 64, "pad_token_id": 0}
    special = {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    return save_model(tmp_path / "bert", bert_tokenizer(SPECIAL), config, special)


def roberta_tokenizer() -> Tokenizer:
    """Byte-level BPE whose merges build a few words; <mask> takes in the space before it, as RoBERTa's does."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    for word in ("Ġfilm", "Ġgood", "ĠIt", "Ġwas", "bad", "great"):
        for end in range(1, len(word)):
            if (word[:end], word[end]) not in merges:
                merges.append((word[:end], word[end]))
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *alphabet]
    tokens += [token for token in ("".join(pair) for pair in merges) if token not in tokens]
    tokens += [f"filler{number}" for number in range(len(tokens), 1099)]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, special=True)])
    return tokenizer


@pytest.fixture
def roberta(tmp_path: Path) -> Path:
    """A RoBERTa-like model folder: max_position_embeddings 98 and padding index 1 leave 96 positions."""
    config = {"model_type": "roberta", "vocab_size": 1100, "max_position_embeddings": 98, "pad_token_id": 1}
    special = {"cls_token": "<s>", "sep_token": "</s>", "mask_token": {"content": "<mask>"}, "pad_token": "<pad>", "unk_token": "<unk>"}
    return save_model(tmp_path / "roberta", roberta_tokenizer(), config, special)


@dataclass
class Result:
    """How a program ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Calls a program of jobs/ as the shell would."""

    def run(program: str, *arguments: object) -> Result:
        main = {"prepare_data": prepare_data.main, "prepare_model": prepare_model.main}[program]
        monkeypatch.setattr(sys, "argv", [f"{program}.py", *map(str, arguments)])
        code = 0
        try:
            errors.run(main)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def task(tmp_path: Path) -> Callable[..., Path]:
    """Writes a task file; a sentiment task unless told otherwise."""

    def write(**changes: object) -> Path:
        value: dict[str, object] = {
            "name": "toy",
            "readout": "mask",
            "template": "{prompt} . {text} . it was {mask} .",
            "template_without_prompt": "{text} . it was {mask} .",
            "labels": [{"value": 0, "word": "bad"}, {"value": [1, "pos"], "word": "great"}],
            **changes,
        }
        path = tmp_path / "task.yaml"
        write_json(path, {key: part for key, part in value.items() if part is not None})  # JSON is YAML
        return path

    return write


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Writes a TSV file of rows under a header."""

    def write(*rows: tuple[object, ...], header: tuple[str, ...] = ("text", "label"), name: str = "train.tsv") -> Path:
        path = tmp_path / name
        path.write_text("".join("\t".join(map(str, row)) + "\n" for row in [header, *rows]), encoding="utf-8")
        return path

    return write
