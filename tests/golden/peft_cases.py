"""The runs whose prompts tests/golden/data/peft_* hold, and the scores that Hugging Face PEFT gives with a prompt. Only `scores` needs
torch; the model is that of tests/cli/toy.py."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "golden" / "data"
sys.path.insert(0, str(ROOT / "tests" / "cli"))

import toy  # noqa: E402

SCALE = 20.0  # model.embedding_scale


@dataclass
class Case:
    """One readout and the base model that serves it."""

    name: str
    model: Path
    auto_class: str  # of transformers; PEFT's task follows from it
    shape: toy.Toy

    @property
    def folder(self) -> Path:
        return DATA / f"peft_{self.name}"

    @property
    def task(self) -> str:
        return "CAUSAL_LM" if self.auto_class == "AutoModelForCausalLM" else "FEATURE_EXTRACTION"


CASES = [
    Case("bert_embedding", toy.EMBEDDING_MODEL, "AutoModel", toy.Toy.embedding(prompt_tokens=5)),
    Case("roberta_mlm", toy.MASK_MODEL, "AutoModelForMaskedLM", toy.Toy(mode="input", prompt_tokens=6)),
    Case("decoder", toy.DECODER_MODEL, "AutoModelForCausalLM", toy.Toy.decoder(prompt_tokens=5)),
    Case("labels", toy.DECODER_MODEL, "AutoModelForCausalLM", toy.Toy.decoder(prompt_tokens=5, label_texts=toy.LABELS)),
]


def settings(case: Case, data: Path, output: Path) -> dict[str, dict[str, object]]:
    values = toy.settings(case.model, data, output, case.shape)
    values["cma"]["sigma"] = 1.5  # a prompt that is far from that of z = 0
    values["model"]["label_scoring"] = "auto" if case.shape.label_texts is None else "sum"
    return values


def read_texts(data: Path) -> dict[str, Any]:
    """A data set's test split and labels, for JSON."""
    with h5py.File(data) as file:
        tokens, offsets = file["test/tokens"][:].tolist(), file["test/offsets"][:].tolist()
        texts = {"sequences": [tokens[a:b] for a, b in zip(offsets, offsets[1:], strict=False)],
                 "labels": file["test/labels"][:].tolist(), "readout": file["test/readout"][:].tolist(),
                 "label_ids": file.attrs["label_token_ids"].tolist(), "label_texts": []}
        if "labels" in file:
            tokens, offsets = file["labels/tokens"][:].tolist(), file["labels/offsets"][:].tolist()
            texts["label_texts"] = [tokens[a:b] for a, b in zip(offsets, offsets[1:], strict=False)]
    return texts


def write_texts(data: Path, texts: dict[str, Any]) -> None:
    """Puts them back into a data set file: numpy's random numbers need not be the same for ever."""
    with h5py.File(data, "r+") as file:
        del file["test"]
        group = file.create_group("test")
        lengths = [len(sequence) for sequence in texts["sequences"]]
        group["tokens"] = np.concatenate(texts["sequences"]).astype(np.int32)
        group["offsets"] = np.cumsum([0, *lengths]).astype(np.int64)
        group["labels"] = np.array(texts["labels"], np.int32)
        group["readout"] = np.array(texts["readout"], np.int32)
        group["frozen"] = np.ones(sum(lengths), np.uint8)
        group["row"] = np.arange(len(lengths), dtype=np.int64)
        group.attrs["n_truncated"] = 0
        file.attrs["label_token_ids"] = np.array(texts["label_ids"], np.int32)
        if texts["label_texts"]:
            del file["labels"]
            file["labels/tokens"] = np.concatenate(texts["label_texts"]).astype(np.int32)
            file["labels/offsets"] = np.cumsum([0, *(len(text) for text in texts["label_texts"])]).astype(np.int64)


def padded(sequences: list[list[int]], pad: int) -> tuple[Any, Any]:
    """Token ids and attention mask as tensors."""
    import torch

    longest = max(len(sequence) for sequence in sequences)
    ids = torch.tensor([sequence + [pad] * (longest - len(sequence)) for sequence in sequences])
    mask = torch.tensor([[1] * len(sequence) + [0] * (longest - len(sequence)) for sequence in sequences])
    return ids, mask


def mean_direction(hidden: Any, mask: Any) -> Any:
    import torch

    mask = mask[:, :, None].to(hidden.dtype)
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def log_probability(peft_model: Any, sequence: list[int], label: list[int]) -> float:
    """Of all tokens of a label behind a text."""
    import torch

    with torch.no_grad():
        rows = peft_model(input_ids=torch.tensor([sequence + label])).logits[0, -len(label) - 1 : -1].log_softmax(dim=-1)
    return float(rows[torch.arange(len(label)), torch.tensor(label)].sum())


def scores(peft_model: Any, texts: dict[str, Any]) -> list[list[float]]:
    """Label logits of all texts under a PEFT model, in one padded batch but for labels of several tokens: as ARCHITECTURE.md's readouts say."""
    import torch

    if texts["label_texts"] and peft_model.active_peft_config.task_type == "CAUSAL_LM":
        return [[log_probability(peft_model, sequence[: row + 1], label) for label in texts["label_texts"]]
                for sequence, row in zip(texts["sequences"], texts["readout"], strict=True)]

    n_prompt = peft_model.active_peft_config.num_virtual_tokens
    pad = peft_model.config.pad_token_id or 0  # masked out; a decoder need not name one
    ids, mask = padded(texts["sequences"], pad)
    with torch.no_grad():
        output = peft_model(input_ids=ids, attention_mask=mask)
        if not texts["label_texts"]:
            rows = torch.tensor(texts["readout"]) + n_prompt
            return output.logits[torch.arange(len(rows)), rows][:, texts["label_ids"]].tolist()
        whole = torch.cat([torch.ones(len(ids), n_prompt, dtype=mask.dtype), mask], dim=1)
        label_ids, label_mask = padded(texts["label_texts"], pad)
        label_hidden = peft_model.get_base_model()(input_ids=label_ids, attention_mask=label_mask).last_hidden_state
        return (SCALE * mean_direction(output.last_hidden_state, whole) @ mean_direction(label_hidden, label_mask).T).tolist()
