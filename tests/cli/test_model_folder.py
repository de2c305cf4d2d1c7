"""Model folders that are damaged, incomplete or of another kind."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SANITIZED, Study, call
from safetensors.numpy import load_file, save_file
from toy import EMBEDDING_MODEL, GOLDEN, copy_model, write


@pytest.fixture
def broken(mask: Study) -> Study:
    """A study whose model folder may be damaged."""
    mask.model = copy_model(mask.model, mask.folder / "model")
    mask.values["model"]["path"] = str(mask.model)
    mask.values["fed"]["rounds"] = 1
    return mask


def weights(study: Study) -> Path:
    return study.model / "model.safetensors"


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 100, 2000, 0.3, 0.9, -1])
def test_truncated(broken: Study, kept: float) -> None:
    content = weights(broken).read_bytes()
    n = int(kept * len(content)) if isinstance(kept, float) else kept if kept >= 0 else len(content) + kept
    weights(broken).write_bytes(content[:n])
    broken.run().sentence("model.safetensors")


def test_truncated_on_three_ranks(broken: Study) -> None:
    weights(broken).write_bytes(weights(broken).read_bytes()[:100_000])
    broken.run(ranks=3).sentence("model.safetensors", "truncated or damaged")


def flip(path: Path, content: bytes, bit: int) -> None:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)


def test_flipped_length(broken: Study) -> None:
    """Bits of the eight bytes that give the header's length."""
    content = weights(broken).read_bytes()
    for bit in range(0, 64, 7 if SANITIZED else 2):
        flip(weights(broken), content, bit)
        broken.run().sentence("model.safetensors")


def test_flipped_header(broken: Study) -> None:
    """A flipped bit may land where it says nothing (metadata, a blank): then the run succeeds, and never crashes."""
    content = weights(broken).read_bytes()
    n_header = int.from_bytes(content[:8], "little")
    draw = random.Random(1)
    n_refused = 0
    positions = draw.sample(range(64, 8 * (8 + n_header)), 10 if SANITIZED else 70)
    for bit in positions:
        flip(weights(broken), content, bit)
        result = broken.run(run__output=broken.output())
        if result.code != 0:
            result.sentence(str(broken.model))
            n_refused += 1
    assert n_refused > 0.9 * len(positions)


def test_weights_that_are_no_numbers(broken: Study) -> None:
    tensors = load_file(weights(broken))
    name = next(name for name in tensors if name.endswith("layer.1.output.dense.weight"))
    tensors[name][3, 4] = np.nan
    save_file(tensors, weights(broken))
    broken.run().sentence("model.safetensors", name, "not a finite number")


@pytest.mark.parametrize("name", ["encoder.layer.1.output.dense.weight", "lm_head.dense.bias", "embeddings.word_embeddings.weight"])
def test_missing_tensor(broken: Study, name: str) -> None:
    tensors = load_file(weights(broken))
    save_file({key: value for key, value in tensors.items() if not key.endswith(name)}, weights(broken))
    broken.run().sentence(str(broken.model), name, "missing")


def test_wrong_shape(broken: Study) -> None:
    tensors = load_file(weights(broken))
    name = next(name for name in tensors if name.endswith("layer.0.intermediate.dense.weight"))
    tensors[name] = np.ascontiguousarray(tensors[name][:, :-1])
    save_file(tensors, weights(broken))
    broken.run().sentence(name, "59", "60")


def test_integers(broken: Study) -> None:
    tensors = load_file(weights(broken))
    name = next(name for name in tensors if name.endswith("layer.0.intermediate.dense.weight"))
    tensors[name] = tensors[name].astype(np.int32)
    save_file(tensors, weights(broken))
    broken.run().sentence(name, "I32")


def test_missing_shard(mask: Study) -> None:
    model = copy_model(GOLDEN / "hf_bert_mlm_sharded", mask.folder / "sharded")
    mask.toy.vocabulary, mask.toy.bos, mask.toy.eos = 89, 1, 2
    write(mask.data, mask.toy)
    mask.run(model__path=model, run__output=mask.output()).good()
    shard = sorted(model.glob("*.safetensors"))[2]
    content = shard.read_bytes()
    shard.unlink()
    mask.run(model__path=model).sentence(shard.name)
    shard.write_bytes(content[:-100])
    mask.run(model__path=model).sentence(shard.name, "truncated or damaged")


def test_no_weights(broken: Study) -> None:
    weights(broken).unlink()
    broken.run().sentence(str(broken.model), "model.safetensors")


def test_model_without_a_head(mask: Study) -> None:
    """A mask is to be filled in, but the checkpoint has no masked language model head."""
    mask.toy.vocabulary, mask.toy.bos = 71, 1
    write(mask.data, mask.toy)
    mask.run(model__path=EMBEDDING_MODEL).sentence("masked language model head")


def edit(**changes: object) -> Callable[[str], str]:
    def change(text: str) -> str:
        config = json.loads(text)
        for key, value in changes.items():
            if value is None:
                del config[key]
            else:
                config[key] = value
        return json.dumps(config)

    return change


CONFIGS = {
    "empty": (lambda text: "", ["config.json", "JSON"]),
    "cut": (lambda text: text[:100], ["config.json", "JSON"]),
    "a list": (lambda text: "[]", ["config.json", "JSON object"]),
    "binary": (lambda text: "\x00\x01\x02", ["config.json", "JSON"]),
    "another family": (edit(model_type="gpt2"), ["model_type", "gpt2", "roberta"]),
    "no family": (edit(model_type=None), ["model_type"]),
    "no hidden size": (edit(hidden_size=None), ["hidden_size", "missing"]),
    "text for a number": (edit(num_hidden_layers="two"), ["num_hidden_layers", "whole number"]),
    "negative": (edit(num_hidden_layers=-2), ["num_hidden_layers", "-2"]),
    "enormous": (edit(hidden_size=2**62), ["hidden_size"]),
    "heads": (edit(num_attention_heads=7), ["hidden_size", "num_attention_heads", "7"]),
    "activation": (edit(hidden_act="swish"), ["hidden_act", "swish"]),
    "relative positions": (edit(position_embedding_type="relative_key"), ["position_embedding_type", "relative_key"]),
    "decoder": (edit(is_decoder=True), ["is_decoder"]),
    "quantized": (edit(quantization_config={"bits": 4}), ["quantized"]),
    "more layers than weights": (edit(num_hidden_layers=3), ["layer.2", "missing"]),
    "no positions": (edit(max_position_embeddings=2), ["max_position_embeddings"]),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_config(broken: Study, case: str) -> None:
    change, words = CONFIGS[case]
    path = broken.model / "config.json"
    path.write_text(change(path.read_text()))
    broken.run().sentence(str(broken.model), *words)


def test_config_on_three_ranks(broken: Study) -> None:
    (broken.model / "config.json").unlink()
    broken.run(ranks=3).sentence("config.json", "No such file")


def test_file_as_model(mask: Study) -> None:
    mask.run(model__path=mask.data).sentence("data.h5", "config.json")


def test_evaluate_too(broken: Study) -> None:
    run = broken.finished()
    weights(broken).write_bytes(weights(broken).read_bytes()[:-1])
    call("evaluate", "--run", run).sentence("model.safetensors")
    call("evaluate", "--run", run, ranks=3).sentence("model.safetensors")
    call("show", run).good()
