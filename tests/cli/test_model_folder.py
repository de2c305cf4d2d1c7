"""Model folders that are damaged, incomplete or of another kind."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import SANITIZED, Study, call, digest_of
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
    "another family": (edit(model_type="gemma2"), ["model_type", "gemma2", "roberta"]),
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


def write_modules(model: Path, *modules: tuple[str, str]) -> None:
    """modules.json of kinds and paths."""
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for kind, path in modules]
    (model / "modules.json").write_text(json.dumps(listed))


def sentence_encoder(study: Study, **pooling: object) -> None:
    """Makes the study's model a sentence encoder in a folder of its own."""
    study.model = copy_model(EMBEDDING_MODEL, study.folder / "sentence")
    study.values["model"]["path"] = str(study.model)
    study.values["fed"]["rounds"] = 1
    write_modules(study.model, ("Transformer", ""), ("Pooling", "1_Pooling"))
    (study.model / "1_Pooling").mkdir()
    (study.model / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 48, **pooling}))


def test_pooling_of_a_sentence_encoder(embedding: Study) -> None:
    """The mean is what a folder without modules is read by; [CLS] is another model, and a run by one does not go on by the other."""
    plain = embedding.digest(fed__rounds=1)
    sentence_encoder(embedding, pooling_mode_mean_tokens=True)
    assert embedding.digest() == plain
    pooling = embedding.model / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode": "cls"}))
    run = embedding.finished()
    assert digest_of(run) != plain
    pooling.write_text(json.dumps({"pooling_mode": "mean"}))
    call("run", embedding.config, "--resume", *embedding.set(run__output=run, fed__rounds=2)).sentence("model.path", "SHA-256")


def test_row_that_is_pooled(embedding: Study) -> None:
    """Breaks if a data set moves the row that stands for a text."""
    sentence_encoder(embedding, pooling_mode_cls_token=True)
    with h5py.File(embedding.data, "r+") as file:
        file["train/readout"][...] = 1
    embedding.run().sentence("not read at its first token")


def test_pooling_that_is_not_computed(embedding: Study) -> None:
    """Refused at the check that --dry-run makes, and when the model is opened."""
    sentence_encoder(embedding, pooling_mode_max_tokens=True)
    call("run", embedding.config, "--dry-run").sentence("1_Pooling/config.json", "'max'")
    embedding.run(ranks=2).sentence("1_Pooling/config.json", "'max'")


def test_pooling_does_not_matter_at_a_mask(broken: Study) -> None:
    before = broken.digest()
    write_modules(broken.model, ("Transformer", ""), ("Dense", "2_Dense"))
    assert broken.digest() == before
    call("info", "--model", broken.model, "--readout", "embedding").sentence("models.Dense")


def test_two_sets_of_weights(mask: Study) -> None:
    """model.safetensors and shards of another model: transformers would read the former."""
    model = copy_model(GOLDEN / "hf_bert_mlm_sharded", mask.folder / "sharded")
    (model / "model.safetensors").write_bytes((mask.model / "model.safetensors").read_bytes())
    mask.toy.vocabulary, mask.toy.bos, mask.toy.eos = 89, 1, 2
    write(mask.data, mask.toy)
    mask.run(model__path=model).sentence("model.safetensors and", "model.safetensors.index.json", "stale")
    call("info", "--model", model).sentence("model.safetensors and", "model.safetensors.index.json")


def test_info_of_a_model() -> None:
    text = call("info", "--model", GOLDEN / "hf_bert_mlm_sharded").good().out
    assert "bert (BertForMaskedLM)" in text and "42 tensors, F32" in text and "readout mask: yes" in text
    about = json.loads(call("info", "--json", "--model", GOLDEN / "hf_roberta_embedding").good().out)
    assert (about["model_type"], about["architecture"], about["activation"]) == ("roberta", "RobertaForSequenceClassification", "gelu")
    assert (about["layers"], about["hidden_size"], about["positions"], about["position_offset"]) == (2, 32, 38, 2)
    assert about["weights"]["files"] == ["model.safetensors"] and about["weights"]["dtype"] == "F32"
    assert about["readouts"]["embedding"] == {"supported": True, "refusal": None}
    assert not about["readouts"]["mask"]["supported"] and "masked language model head" in about["readouts"]["mask"]["refusal"]
    about = json.loads(call("info", "--json", "--model", GOLDEN / "st_roberta_cls", "--readout", "embedding").good().out)
    assert about["pooling"] == "cls"


def test_info_refuses_what_a_run_refuses(broken: Study) -> None:
    """With the run's own sentence; without the weights where they are left out."""
    call("info", "--model", GOLDEN / "hf_roberta_embedding", "--readout", "mask").sentence("masked language model head")
    call("info", "--model", broken.model, "--readout", "last").sentence("not at the last token")
    call("info", "--model", broken.model, "--readout", "first").sentence("'first'")
    weights(broken).write_bytes(weights(broken).read_bytes()[:-1])
    assert call("info", "--model", broken.model).sentence() == broken.run().sentence("truncated or damaged")
    about = json.loads(call("info", "--json", "--config-only", "--model", broken.model).good().out)
    assert about["weights"] is None and about["readouts"]["mask"]["supported"] is None
    call("info", "--model", broken.folder / "nowhere").sentence("config.json", "No such file")
    usage = call("info", "--json")
    assert usage.code == 1 and "go with --model" in usage.err


@pytest.mark.parametrize(("old", "new"), [("encoder.layer.1.output.LayerNorm.weight", "encoder.layer.1.output.LayerNorm.gamma"),
                                          ("roberta.embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight")])
def test_one_tensor_under_two_names(broken: Study, old: str, new: str) -> None:
    """Which of the two is the model's cannot be told."""
    tensors = load_file(weights(broken))
    name = next(name for name in tensors if name.endswith(old))
    tensors[name.removesuffix(old) + new] = tensors[name] + 1
    save_file(tensors, weights(broken))
    broken.run().sentence("model.safetensors", old.split("roberta.")[-1], "both" if "gamma" in new else "twice")
