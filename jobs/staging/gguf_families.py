"""Names of a model's sizes and tensors, and their order: in GGUF files, and in Hugging Face folders.

A GGUF file (github.com/ggml-org/ggml, docs/gguf.md) is llama.cpp's: sizes under its keys, tensors under its names, some of them
rearranged. Only what is understood is converted: a key or tensor that is not in these tables would change what the model computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import UserError

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Source:
    """A GGUF file's keys and the shapes of its tensors. `values`: of the keys of its architecture, without the architecture's name."""

    path: Path
    architecture: str
    values: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    rope_factors: npt.NDArray[np.float32] | None

    def refuse(self, key: str, why: str) -> UserError:
        """A refusal that names the key of the architecture and its value."""
        return UserError(f"{self.path}: {self.architecture}.{key} is {self.values.get(key)!r}: {why}")


@dataclass(frozen=True)
class Family:
    """An architecture. `keys`: GGUF key -> key of config.json; `tensors`: GGUF name -> Hugging Face name, {} for a layer's number;
    `fixed`: what config.json states whatever the file says; `rearrange`: GGUF name -> what gives the tensor its Hugging Face layout."""

    keys: Mapping[str, str]
    tensors: Mapping[str, str]
    fixed: Mapping[str, Any]
    read: Callable[[Source, dict[str, Any]], None]
    rearrange: Mapping[str, Callable[[Array, dict[str, Any]], Array]] = field(default_factory=dict)


def _unpermute(heads: str) -> Callable[[Array, dict[str, Any]], Array]:
    """Undoes llama.cpp's order of the rows of queries and keys: it turns neighbouring pairs of each head, transformers its halves."""

    def rows(matrix: Array, config: dict[str, Any]) -> Array:
        n_heads = int(config[heads])
        return matrix.reshape(n_heads, len(matrix) // n_heads // 2, 2, -1).swapaxes(1, 2).reshape(matrix.shape)

    return rows


def _transpose(matrix: Array, _: dict[str, Any]) -> Array:
    """GPT-2's Conv1D keeps [n_in, n_out], llama.cpp [n_out, n_in]."""
    return matrix.T


def _read_llama(source: Source, config: dict[str, Any]) -> None:
    """Heads, rotary positions and biases of a Llama-like model."""
    config.setdefault("num_key_value_heads", config["num_attention_heads"])
    config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    config.setdefault("rope_theta", 10000.0)
    for key in ("attention.value_length", "rope.dimension_count"):
        if source.values.get(key, config["head_dim"]) != config["head_dim"]:
            raise source.refuse(key, f"heads have {config['head_dim']} columns, and other sizes for a part of them are not converted")
    config["rope_scaling"] = _rope_scaling(source, config)
    if source.architecture == "llama":
        config["attention_bias"] = "blk.0.attn_q.bias" in source.shapes
        config["mlp_bias"] = "blk.0.ffn_up.bias" in source.shapes


def _rope_scaling(source: Source, config: dict[str, Any]) -> dict[str, Any] | None:
    """Scaling of the rotary positions, as config.json states it."""
    kind, factor = source.values.get("rope.scaling.type", "none"), source.values.get("rope.scaling.factor")
    if source.rope_factors is not None:
        return _llama3_scaling(source, config, source.rope_factors)
    if source.values.get("rope.scale_linear", 1.0) != 1.0:
        raise source.refuse("rope.scale_linear", "an old key, which is not converted")
    if kind == "none":
        return None
    if kind not in ("linear", "yarn") or factor is None:
        raise source.refuse("rope.scaling.type", "types that are converted are none, linear and yarn, the last two with a factor")
    scaling = {"rope_type": kind, "factor": shortest(factor)}
    if kind == "yarn":
        scaling["original_max_position_embeddings"] = source.values["rope.scaling.original_context_length"]
    return scaling


def _llama3_scaling(source: Source, config: dict[str, Any], stated: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Llama 3.1's scaling, of which a GGUF file keeps what each frequency is divided by."""
    scaling: dict[str, Any] = {"rope_type": "llama3", "factor": round(float(stated.max()), 3), "low_freq_factor": 1.0}
    scaling |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    frequencies = config["rope_theta"] ** -(np.arange(0, config["head_dim"], 2) / config["head_dim"])
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    smooth = np.clip((turns - scaling["low_freq_factor"]) / (scaling["high_freq_factor"] - scaling["low_freq_factor"]), 0, 1)
    if stated.shape != smooth.shape or not np.allclose(1 / stated, (1 - smooth) / scaling["factor"] + smooth, rtol=1e-4):
        raise UserError(f"{source.path}: the tensor rope_freqs.weight is not Llama 3.1's scaling of rotary positions; it is not converted")
    return scaling


def _read_gpt2(source: Source, config: dict[str, Any]) -> None:
    if config["n_inner"] == 4 * config["n_embd"]:
        config["n_inner"] = None  # as in the published folders


def shortest(value: float) -> float:
    """A number that GGUF keeps as float32, as it was written: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))


KEYS = {"block_count": "num_hidden_layers", "context_length": "max_position_embeddings", "embedding_length": "hidden_size"}
KEYS |= {"feed_forward_length": "intermediate_size", "attention.head_count": "num_attention_heads", "rope.freq_base": "rope_theta"}
KEYS |= {"attention.head_count_kv": "num_key_value_heads", "attention.layer_norm_rms_epsilon": "rms_norm_eps"}
KEYS |= {"attention.key_length": "head_dim"}
GPT2_KEYS = {"block_count": "n_layer", "context_length": "n_positions", "embedding_length": "n_embd", "attention.head_count": "n_head"}
GPT2_KEYS |= {"feed_forward_length": "n_inner", "attention.layer_norm_epsilon": "layer_norm_epsilon"}

OPTIONAL = {"attention.head_count_kv", "attention.key_length", "rope.freq_base"}
# Keys that need not be converted: they repeat what tensors say, or are checked by the functions above.
CHECKED = {"vocab_size", "attention.value_length", "rope.dimension_count", "rope.scaling.type", "rope.scaling.factor"}
CHECKED |= {"rope.scaling.original_context_length", "rope.scaling.finetuned", "rope.scale_linear"}
# Keys that may stand there with the value that changes nothing.
NEUTRAL = {"expert_count": (0,), "expert_used_count": (0,), "attention.causal": (True,), "use_parallel_residual": (False,)}
NEUTRAL |= {"attention.sliding_window": (0,), "attention.clamp_kqv": (0.0,), "attention.max_alibi_bias": (0.0,), "logit_scale": (0.0, 1.0)}


def _dense(*names: tuple[str, str]) -> dict[str, str]:
    """Weights and biases of a layer's parts: (GGUF name, Hugging Face name)."""
    return {f"blk.{{}}.{ours}.{part}": f"{theirs}.{part}" for ours, theirs in names for part in ("weight", "bias")}


LAYER = "model.layers.{}."
LLAMA_TENSORS = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
LLAMA_TENSORS |= {"output.weight": "lm_head.weight", "blk.{}.attn_norm.weight": LAYER + "input_layernorm.weight"}
LLAMA_TENSORS |= {"blk.{}.ffn_norm.weight": LAYER + "post_attention_layernorm.weight"}
LLAMA_TENSORS |= _dense(*((f"attn_{part}", f"{LAYER}self_attn.{part}_proj") for part in "qkv"))
LLAMA_TENSORS |= _dense(("attn_output", LAYER + "self_attn.o_proj"))
LLAMA_TENSORS |= _dense(*((f"ffn_{part}", f"{LAYER}mlp.{part}_proj") for part in ("gate", "up", "down")))
QWEN3_TENSORS = LLAMA_TENSORS | {f"blk.{{}}.attn_{part}_norm.weight": f"{LAYER}self_attn.{part}_norm.weight" for part in "qk"}

BLOCK = "transformer.h.{}."
GPT2_TENSORS = {"token_embd.weight": "transformer.wte.weight", "position_embd.weight": "transformer.wpe.weight"}
GPT2_TENSORS |= {f"output_norm.{part}": f"transformer.ln_f.{part}" for part in ("weight", "bias")}
GPT2_TENSORS |= {"output.weight": "lm_head.weight"}
GPT2_TENSORS |= _dense(("attn_norm", BLOCK + "ln_1"), ("ffn_norm", BLOCK + "ln_2"), ("attn_qkv", BLOCK + "attn.c_attn"))
GPT2_TENSORS |= _dense(("attn_output", BLOCK + "attn.c_proj"), ("ffn_up", BLOCK + "mlp.c_fc"), ("ffn_down", BLOCK + "mlp.c_proj"))

GATED = {"hidden_act": "silu", "attention_dropout": 0.0, "initializer_range": 0.02}
PERMUTED = {f"blk.{{}}.attn_q.{part}": _unpermute("num_attention_heads") for part in ("weight", "bias")}
PERMUTED |= {f"blk.{{}}.attn_k.{part}": _unpermute("num_key_value_heads") for part in ("weight", "bias")}
CONV1D = {f"blk.{{}}.{name}.weight": _transpose for name in ("attn_qkv", "attn_output", "ffn_up", "ffn_down")}


def _fixed(model_type: str, class_name: str, **more: Any) -> dict[str, Any]:
    return {"model_type": model_type, "architectures": [class_name], **more}


# Mistral's files say llama, too: without a sliding window the two compute the same.
FAMILIES = {
    "llama": Family(KEYS, LLAMA_TENSORS, _fixed("llama", "LlamaForCausalLM", **GATED), _read_llama, PERMUTED),
    "qwen2": Family(KEYS, LLAMA_TENSORS, _fixed("qwen2", "Qwen2ForCausalLM", **GATED, use_sliding_window=False), _read_llama),
    "qwen3": Family(KEYS, QWEN3_TENSORS, _fixed("qwen3", "Qwen3ForCausalLM", **GATED, attention_bias=False), _read_llama),
    "gpt2": Family(
        GPT2_KEYS, GPT2_TENSORS, _fixed("gpt2", "GPT2LMHeadModel", activation_function="gelu_new"), _read_gpt2, CONV1D
    ),
}


def make_config(source: Source) -> dict[str, Any]:
    """config.json, but for what the tokenizer and the weights say. Refuses every key that is not understood."""
    family = FAMILIES[source.architecture]
    for key, value in source.values.items():
        if key in NEUTRAL and value not in NEUTRAL[key] or key not in {*family.keys, *CHECKED, *NEUTRAL}:
            raise source.refuse(key, "this is not converted")
    missing = next((key for key in family.keys if key not in source.values and key not in OPTIONAL), None)
    if missing:
        raise UserError(f"{source.path}: has no key {source.architecture}.{missing}")
    config = dict(family.fixed)
    for key, name in family.keys.items():
        if key in source.values:
            value = source.values[key]
            if not isinstance(value, (int, float)):
                raise source.refuse(key, "one number is expected for all layers")
            config[name] = shortest(value) if isinstance(value, float) else value
    config["vocab_size"] = source.shapes["token_embd.weight"][0]
    config["tie_word_embeddings"] = "output.weight" not in source.shapes
    family.read(source, config)
    return config

