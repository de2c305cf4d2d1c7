#!/usr/bin/env python3
"""The cases of a sentence encoder that is pooled by [CLS], for tests/golden/test_model.c.

Run by hand when they are to change; the result is committed:

    .venv/bin/python tests/golden/make_pooling_fixtures.py          # tests/golden/data/st_roberta_cls

The weights are those of hf_roberta_embedding (a link); modules.json and 1_Pooling/config.json make a sentence encoder of them. The
logits come from the encoder below, written for this purpose in NumPy and float64. That it is Hugging Face's is shown first: pooled
by the mean it must give the logits that make_hf_fixtures.py recorded from transformers, to 12 digits. Pooling follows
sentence-transformers 6.2: the last hidden state of the text's first token, which a soft prompt in front moves to row P.
"""

from __future__ import annotations

import json
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

DATA = Path(__file__).resolve().parent / "data"
Array = np.ndarray[Any, np.dtype[np.float64]]
NAME, SOURCE = "st_roberta_cls", "hf_roberta_embedding"
POOLING = {"embedding_dimension": 32, "pooling_mode": "cls", "include_prompt": True}


class Encoder:
    """A BERT or RoBERTa encoder with exact GELU (Devlin et al. 2019), one sequence at a time."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        names = load_file(folder / "model.safetensors")
        self.tensors = {name.removeprefix("roberta."): value.astype(np.float64) for name, value in names.items()}
        self.offset = self.config["pad_token_id"] + 1 if self.config["model_type"] == "roberta" else 0

    def norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + self.config["layer_norm_eps"])
        return centred / scale * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def dense(self, x: Array, name: str) -> Array:
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def embed(self, words: Array) -> Array:
        positions = self.tensors["embeddings.position_embeddings.weight"][self.offset : self.offset + len(words)]
        return self.norm(words + positions + self.tensors["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")

    def attend(self, x: Array, name: str) -> Array:
        n_heads = self.config["num_attention_heads"]
        q, k, v = (self.dense(x, f"{name}.{part}").reshape(len(x), n_heads, -1).swapaxes(0, 1) for part in ("query", "key", "value"))
        scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return (weights / weights.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(x.shape)

    def run(self, x: Array) -> Array:
        for layer in range(self.config["num_hidden_layers"]):
            name = f"encoder.layer.{layer}"
            context = self.attend(x, f"{name}.attention.self")
            x = self.norm(x + self.dense(context, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
            wide = self.dense(x, f"{name}.intermediate.dense")
            wide = 0.5 * wide * (1 + np.vectorize(erf)(wide / np.sqrt(2)))
            x = self.norm(x + self.dense(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")
        return x

    def last_hidden(self, tokens: list[int], mode: str, prompt: Array) -> Array:
        """Last hidden states of a text with the prompt put in as the mode says (kernels/backend.h)."""
        words = self.tensors["embeddings.word_embeddings.weight"][tokens]
        if mode == "input":
            return self.run(self.embed(np.concatenate([prompt, words])))
        x = self.embed(words)
        if mode == "add":
            x[1 : 1 + len(prompt)] += prompt
        return self.run(np.concatenate([prompt, x]) if mode == "cat" else x)


def prompts(case: dict[str, Any], about: dict[str, Any], n_hidden: int) -> Array:
    """p = A z + p0 as tests/golden/fixture.c makes them: [n_prompts, P, H]."""
    i = np.arange(case["n_prompt_tokens"] * n_hidden, dtype=np.int64)
    j = np.arange(about["n_search"], dtype=np.int64)[None, :]
    scale = about["projection_scale"]
    a = (scale * ((i[:, None] * 31 + j * 17 + i[:, None] * j % 7) % 101 - 50) / 50.0).astype(np.float32).astype(np.float64)
    p0 = (scale * ((i * 13) % 29 - 14) / 14.0).astype(np.float32).astype(np.float64) if case["offset"] else 0
    return (np.asarray(case["z"]) @ a.T + p0).reshape(len(case["z"]), case["n_prompt_tokens"], n_hidden)


def pool(hidden: Array, first: int, mode: str) -> Array:
    """first: row of the text's first token."""
    row = hidden[first] if mode == "cls" else hidden.mean(0)
    return row / np.sqrt((row**2).sum())


def logits_of(encoder: Encoder, about: dict[str, Any], case: dict[str, Any], pooling: str) -> Array:
    nothing = np.zeros((0, encoder.config["hidden_size"]))
    every = prompts(case, about, encoder.config["hidden_size"])
    labels = np.stack([pool(encoder.last_hidden(text, "none", nothing), 0, pooling) for text in about["label_texts"]])
    rows = []
    for tokens, index in zip(case["sequences"], case["prompt_index"], strict=True):
        hidden = encoder.last_hidden(tokens, case["mode"], every[index] if case["n_prompt_tokens"] else nothing)
        rows.append(about["scale"] * labels @ pool(hidden, len(hidden) - len(tokens), pooling))
    return np.stack(rows)


def main() -> None:
    folder = DATA / NAME
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    encoder = Encoder(DATA / SOURCE)
    about = json.loads((DATA / SOURCE / "cases.json").read_text())
    for case in about["cases"]:
        recorded = np.array(case["logits"])
        found = logits_of(encoder, about, case, "mean")
        assert np.abs(found - recorded).max() < 1e-12 * np.abs(recorded).max(), case["mode"]
        case["logits"] = logits_of(encoder, about, case, "cls").tolist()
        case["readout"] = [0] * len(case["sequences"])
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
               {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
               {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]
    (folder / "modules.json").write_text(json.dumps(modules, indent=2) + "\n")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(POOLING, indent=2) + "\n")
    (folder / "cases.json").write_text(json.dumps(about, separators=(",", ":")) + "\n")
    for file in ("config.json", "model.safetensors"):
        (folder / file).unlink(missing_ok=True)
        (folder / file).symlink_to(Path("..") / SOURCE / file)


if __name__ == "__main__":
    main()
