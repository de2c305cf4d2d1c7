#!/usr/bin/env python3
"""A small DistilBERT whose logits Hugging Face has computed, for tests/golden/test_model.c.

Run by hand when it is to change; the result is committed:

    .venv/bin/python tests/golden/make_distilbert_fixture.py        # tests/golden/data/hf_distilbert_mlm

DistilBERT (transformers' modeling_distilbert.py) is BERT without token types, under other names: with the row of token type 0
added to every position it computes what BERT does, in every prompt mode. So the weights and cases are those of
hf_bert_mlm_sharded, renamed; the logits there are transformers' own.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

DATA = Path(__file__).resolve().parent / "data"
SOURCE, NAME = DATA / "hf_bert_mlm_sharded", DATA / "hf_distilbert_mlm"
TYPES = "bert.embeddings.token_type_embeddings.weight"
POSITIONS = "distilbert.embeddings.position_embeddings.weight"
# The first that fits.
RENAMED = (
    ("bert.embeddings.", "distilbert.embeddings."),
    ("bert.encoder.layer.", "distilbert.transformer.layer."),
    ("cls.predictions.transform.dense.", "vocab_transform."),
    ("cls.predictions.transform.LayerNorm.", "vocab_layer_norm."),
    ("cls.predictions.bias", "vocab_projector.bias"),
)
OF_LAYER = (
    (".attention.self.query.", ".attention.q_lin."),
    (".attention.self.key.", ".attention.k_lin."),
    (".attention.self.value.", ".attention.v_lin."),
    (".attention.output.dense.", ".attention.out_lin."),
    (".attention.output.LayerNorm.", ".sa_layer_norm."),
    (".intermediate.dense.", ".ffn.lin1."),
    (".output.dense.", ".ffn.lin2."),
    (".output.LayerNorm.", ".output_layer_norm."),
)
KEYS = {"hidden_act": "activation", "hidden_size": "dim", "intermediate_size": "hidden_dim", "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers"}
KEPT = ("dtype", "initializer_range", "max_position_embeddings", "pad_token_id", "tie_word_embeddings", "vocab_size")


def renamed(name: str) -> str:
    """DistilBERT's name of BERT's tensor."""
    for pairs in (RENAMED, OF_LAYER):
        old, new = next(((old, new) for old, new in pairs if old in name), ("", ""))
        name = name.replace(old, new)
    return name


def main() -> None:
    """Writes the folder."""
    tensors = {}
    for path in sorted(SOURCE.glob("*.safetensors")):
        tensors |= load_file(path)
    types = tensors.pop(TYPES)
    made = {renamed(name): value for name, value in tensors.items()}
    made[POSITIONS] = (made[POSITIONS].astype(np.float64) + types[0]).astype(np.float32)
    config = json.loads((SOURCE / "config.json").read_text())
    about = {new: config[old] for old, new in KEYS.items()} | {key: config[key] for key in KEPT}
    about |= {"model_type": "distilbert", "architectures": ["DistilBertForMaskedLM"], "sinusoidal_pos_embds": False}
    shutil.rmtree(NAME, ignore_errors=True)
    NAME.mkdir()
    save_file(made, NAME / "model.safetensors", metadata={"format": "pt"})
    (NAME / "config.json").write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")
    shutil.copy(SOURCE / "cases.json", NAME / "cases.json")


if __name__ == "__main__":
    main()
