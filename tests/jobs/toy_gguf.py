"""Small GGUF files as llama.cpp's converter writes them, beside the Hugging Face tensors that they were made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import pre_tokenizers

HIDDEN, WIDE, HEADS, KV_HEADS, LAYERS, CONTEXT = 64, 96, 4, 2, 2, 40
HEAD = HIDDEN // HEADS
CONTROL, USER_DEFINED, UNUSED, BYTE, NORMAL, UNKNOWN = 3, 4, 5, 6, 1, 2

MERGES = ["Ġ g", "o o", "Ġg oo", "Ġgoo d", "1 2", "Ġ Ġ"]
BYTE_LEVEL = ["<|end|>", "<|user|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġg", "oo", "Ġgoo", "Ġgood", "12", "ĠĠ", "good"]
SCORED = {"▁": -4.0, "o": -5.0, "g": -5.5, "d": -6.0, "f": -6.5, "oo": -1.0, "▁g": -2.0, "▁goo": -3.0, "▁good": -3.5}


def byte_level_keys(pre: str = "gpt-2") -> dict[str, Any]:
    """GPT-2's kind of tokenizer."""
    kinds = [CONTROL, CONTROL, *([NORMAL] * (len(BYTE_LEVEL) - 2))]
    return {"model": "gpt2", "pre": pre, "tokens": BYTE_LEVEL, "token_type": kinds, "merges": MERGES, "bos_token_id": 0, "eos_token_id": 1}


def scored_keys() -> dict[str, Any]:
    """Llama 2's kind of tokenizer: pieces with scores, bytes, and no merges."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *SCORED, "<think>"]
    kinds = [UNKNOWN, CONTROL, CONTROL, *([BYTE] * 256), *([NORMAL] * len(SCORED)), USER_DEFINED]
    scores = [0.0] * 259 + [*SCORED.values(), 0.0]
    ids = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
    return {"model": "llama", "pre": "default", "tokens": pieces, "token_type": kinds, "scores": scores, **ids}


def llama_cpp_order(weights: np.ndarray, n_heads: int) -> np.ndarray:
    """LlamaModel.permute of llama.cpp's convert_hf_to_gguf.py, as it stands there."""
    return weights.reshape(n_heads, 2, weights.shape[0] // n_heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def _random(*shape: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(sum(shape)).standard_normal(shape)).astype(np.float32)


def llama_tensors(n_rows: int) -> dict[str, tuple[str, np.ndarray, np.ndarray]]:
    """GGUF name -> (Hugging Face name, values there, values in the file)."""
    parts = {"attn_q": ("self_attn.q_proj", HIDDEN, HIDDEN), "attn_k": ("self_attn.k_proj", KV_HEADS * HEAD, HIDDEN),
             "attn_v": ("self_attn.v_proj", KV_HEADS * HEAD, HIDDEN), "attn_output": ("self_attn.o_proj", HIDDEN, HIDDEN),
             "ffn_gate": ("mlp.gate_proj", WIDE, HIDDEN), "ffn_up": ("mlp.up_proj", WIDE, HIDDEN), "ffn_down": ("mlp.down_proj", HIDDEN, WIDE)}
    norms = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    found = {"token_embd.weight": ("model.embed_tokens.weight", _random(n_rows, HIDDEN)), "output_norm.weight": ("model.norm.weight", _random(HIDDEN))}
    for layer in range(LAYERS):
        ours, theirs = f"blk.{layer}.", f"model.layers.{layer}."
        found |= {f"{ours}{name}.weight": (f"{theirs}{other}.weight", _random(*shape) + layer) for name, (other, *shape) in parts.items()}
        found |= {f"{ours}{name}.weight": (f"{theirs}{other}.weight", _random(HIDDEN)) for name, other in norms.items()}
    heads = {"attn_q": HEADS, "attn_k": KV_HEADS}
    order = {name: next((count for part, count in heads.items() if f".{part}." in name), 0) for name in found}
    return {name: (other, values, llama_cpp_order(values, order[name]) if order[name] else values) for name, (other, values) in found.items()}


def llama_keys() -> dict[str, Any]:
    """Sizes of the model above."""
    keys: dict[str, Any] = {"block_count": LAYERS, "context_length": CONTEXT, "embedding_length": HIDDEN, "feed_forward_length": WIDE}
    keys |= {"attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS, "attention.layer_norm_rms_epsilon": 1e-5}
    return keys | {"rope.freq_base": 100000.0, "rope.dimension_count": HEAD, "vocab_size": len(BYTE_LEVEL)}


def gpt2_tensors(n_rows: int) -> dict[str, np.ndarray]:
    """A GPT-2 of one layer, 8 columns and 9 positions, as it lies in the file."""
    found = {"token_embd.weight": _random(n_rows, 8), "position_embd.weight": _random(9, 8)}
    for name, n_out, n_in in (("attn_qkv", 24, 8), ("attn_output", 8, 8), ("ffn_up", 32, 8), ("ffn_down", 8, 32)):
        found |= {f"blk.0.{name}.weight": _random(n_out, n_in), f"blk.0.{name}.bias": _random(n_out)}
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        found |= {f"{name}.{part}": _random(8) for part in ("weight", "bias")}
    return found


def gpt2_keys() -> dict[str, Any]:
    """Sizes of that model."""
    keys: dict[str, Any] = {"block_count": 1, "context_length": 9, "embedding_length": 8, "feed_forward_length": 32}
    return keys | {"attention.head_count": 2, "attention.layer_norm_epsilon": 1e-5}


def qwen_tensors(architecture: str, n_rows: int) -> dict[str, np.ndarray]:
    """The Llama-like tensors in Hugging Face's order, with Qwen2's biases or Qwen3's norms of heads."""
    found = {name: values for name, (_, values, _) in llama_tensors(n_rows).items()}
    for layer in range(LAYERS):
        if architecture == "qwen2":
            widths = {"q": HIDDEN, "k": KV_HEADS * HEAD, "v": KV_HEADS * HEAD}
            found |= {f"blk.{layer}.attn_{part}.bias": _random(width) for part, width in widths.items()}
        else:
            found |= {f"blk.{layer}.attn_{part}_norm.weight": _random(HEAD) for part in "qk"}
    return found


def save(path: Path, architecture: str, keys: dict[str, Any], tokenizer: dict[str, Any], tensors: dict[str, np.ndarray],
         kind: str = "F32", more: dict[str, Any] | None = None) -> Path:
    """Writes a file; matrices are of the type `kind`, vectors F32. `more`: keys by their whole names."""
    writer = gguf.GGUFWriter(path, architecture)
    named = {f"{architecture}.{key}": value for key, value in keys.items()} | {f"tokenizer.ggml.{key}": value for key, value in tokenizer.items()}
    for name, value in (named | (more or {})).items():
        write = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string, list: writer.add_array}
        write[type(value)](name, value)
    quantised = gguf.GGMLQuantizationType[kind]
    for name, values in tensors.items():
        if values.ndim < 2 or kind == "F32":
            writer.add_tensor(name, values)
        elif kind == "F16":
            writer.add_tensor(name, values.astype(np.float16))
        else:
            writer.add_tensor(name, gguf.quantize(values, quantised), raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
