"""Data sets of random tokens for the small random models of tests/golden/data, in the form of jobs/prepare_data.py."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "data"
SHA256 = "0" * 64
MASK_MODEL = GOLDEN / "hf_roberta_mlm"  # vocabulary 97, hidden 60, 38 positions
EMBEDDING_MODEL = GOLDEN / "hf_bert_embedding"  # vocabulary 71, hidden 48, 38 positions
DECODER_MODEL = GOLDEN / "hf_llama_tied"  # vocabulary 61, hidden 32, 40 positions
LABELS = [[7], [5, 9], [6, 9, 11]]  # words of one to three tokens


@dataclass
class Toy:
    """Contents of a data set file; a test changes one thing."""

    readout: str = "mask"
    mode: str = "add"
    prompt_tokens: int = 3
    vocabulary: int = 97
    tokenizer: str = SHA256
    splits: dict[str, list[int]] = field(default_factory=lambda: {"train": [20, 20, 20], "dev": [4, 4, 4], "test": [7, 9, 5]})
    longest: int = 22
    seed: int = 5
    task: str = "toy"
    source: str = "random tokens"
    bos: int = 0
    eos: int = 2
    mask: int = 3
    label_texts: list[list[int]] | None = None  # readout last: tokens of the label words; None: one each, as earlier files have them
    prompt_words: int | None = None  # id of the first of the fixed words that a soft prompt is added to
    words: list[int] | None = None  # tokens of the vocabulary of prompts of words
    start: tuple[int, ...] = ()  # words of the template in front of the text

    @classmethod
    def embedding(cls, **changes: object) -> Toy:
        return cls(**{"readout": "embedding", "mode": "input", "vocabulary": 71, "bos": 1, "eos": 2, **changes})

    @classmethod
    def decoder(cls, **changes: object) -> Toy:
        return cls(**{"readout": "last", "mode": "cat", "vocabulary": 61, "bos": 1, "eos": 2, "start": (9, 4, 9), **changes})


def sample(toy: Toy, draw: np.random.Generator) -> tuple[list[int], list[int], int]:
    """Tokens, frozen flags and the position that is read."""
    words = [0] * toy.prompt_tokens if toy.mode == "add" else []
    if toy.prompt_words is not None:
        words = list(range(toy.prompt_words, toy.prompt_words + toy.prompt_tokens))
    else:
        words = [5 + i for i in range(len(words))]
    words += toy.start
    n = int(draw.integers(1, toy.longest - len(words) - 2))
    text = draw.integers(4, toy.vocabulary, n).tolist()
    end = [toy.mask] if toy.readout == "last" else [toy.mask, toy.eos]
    tokens = [toy.bos, *words, *text, *end]
    frozen = [1] * (1 + len(words)) + [0] * n + [1] * len(end)
    return tokens, frozen, 0 if toy.readout == "embedding" else 1 + len(words) + n


def write_split(group: h5py.Group, toy: Toy, counts: list[int], draw: np.random.Generator) -> None:
    labels = draw.permutation(np.repeat(np.arange(len(counts)), counts))
    rows = [sample(toy, draw) for _ in labels]
    group["tokens"] = np.concatenate([tokens for tokens, _, _ in rows]).astype(np.int32)
    group["offsets"] = np.cumsum([0, *(len(tokens) for tokens, _, _ in rows)]).astype(np.int64)
    group["labels"] = labels.astype(np.int32)
    group["readout"] = np.array([position for _, _, position in rows], np.int32)
    group["frozen"] = np.concatenate([frozen for _, frozen, _ in rows]).astype(np.uint8)
    group["row"] = np.arange(len(labels), dtype=np.int64)
    group.attrs["n_truncated"] = 0


def label_tokens(toy: Toy, n_labels: int) -> tuple[list[int], list[list[int]]]:
    """The attribute label_token_ids, and the texts of the group labels, if there is one."""
    if toy.readout == "embedding":
        return [-1] * n_labels, [[toy.bos, 5 + 3 * c, toy.eos] for c in range(n_labels)]
    if toy.label_texts is not None:
        return [text[0] if len(text) == 1 else -1 for text in toy.label_texts], toy.label_texts
    return [7, 5, toy.vocabulary - 1, 11][:n_labels], []


def word_of(token: int) -> str:
    """A token of the vocabulary in writing."""
    return f"w\u00f6rd{token}"


def write(path: Path, toy: Toy) -> Path:
    """Writes a data set file; its content follows from `toy` alone."""
    draw = np.random.default_rng(toy.seed)
    n_labels = len(toy.splits["train"])
    ids, texts = label_tokens(toy, n_labels)
    with h5py.File(path, "w") as file:
        file.attrs.update(
            format_version=1,
            task=toy.task,
            template="{text} {mask}",
            readout=toy.readout,
            prompt_mode=toy.mode,
            prompt_tokens=toy.prompt_tokens,
            metric="accuracy",
            loss="ce",
            vocab_size=toy.vocabulary,
            tokenizer_sha256=toy.tokenizer,
            source=toy.source,
            source_sha256=hashlib.sha256(toy.source.encode()).hexdigest(),
            bos_id=toy.bos,
            eos_id=toy.eos,
            mask_id=toy.mask,
            pad_id=1,
            unk_id=-1,
        )
        words = np.array(["red", "green", "blue", "grey"][:n_labels], dtype=object)
        file.attrs.create("label_words", words, dtype=h5py.string_dtype("utf-8"))
        file.attrs["label_token_ids"] = np.array(ids, np.int32)
        for name, counts in toy.splits.items():
            write_split(file.create_group(name), toy, counts, draw)
        if texts:
            file["labels/tokens"] = np.array([token for text in texts for token in text], np.int32)
            file["labels/offsets"] = np.cumsum([0, *map(len, texts)]).astype(np.int64)
        if toy.words is not None:
            file["vocabulary/tokens"] = np.array(toy.words, np.int32)
            texts_of_words = np.array([word_of(token) for token in toy.words], dtype=object)
            file["vocabulary"].attrs.create("words", texts_of_words, dtype=h5py.string_dtype("utf-8"))
    return path


def copy_model(source: Path, folder: Path) -> Path:
    """A model folder that a test may damage."""
    folder.mkdir()
    for file in source.iterdir():
        if file.name != "cases.json":
            shutil.copyfile(file, folder / file.name)
    return folder


def settings(model: Path, data: Path, output: Path, toy: Toy) -> dict[str, dict[str, object]]:
    """A run of a second or less."""
    return {
        "run": {"output": str(output), "seed": 3},
        "model": {"path": str(model)},
        "data": {"path": str(data), "shots": 4, "dev_shots": 4},
        "prompt": {"mode": toy.mode, "tokens": toy.prompt_tokens},
        "fed": {"clients": 5, "rounds": 3, "local_generations": 2},
        "cma": {"population": 4, "dimension": 12, "alpha": 2.0},
        "backend": {"threads": 1, "precision": "fp32"},
    }


def write_settings(path: Path, values: dict[str, dict[str, object]]) -> Path:
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")  # JSON is YAML
    return path
