#!/usr/bin/env python3
"""Small random decoders and the logits that Hugging Face computes for them, for tests/golden/test_model.c.

Run by hand when a fixture is to change; the results are committed. Made with Python 3.11, torch 2.15.0,
transformers 5.24.0, safetensors 0.8.0, numpy 2.4.6:

    python tests/golden/make_decoder_fixtures.py                       # tests/golden/data/hf_* of decoders
    python tests/golden/make_decoder_fixtures.py models/SmolLM2-135M   # tests/golden/data/smollm2.json alone

As make_hf_fixtures.py, for label words' logits at the last token. A decoder embeds tokens before anything else, so
that all prompt modes are expressed by inputs_embeds:
  add         p added to the embeddings of rows 0..P-1
  cat, input  [p; word embeddings]
"""
import dataclasses
import json
import pathlib
import shutil
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import safetensors.torch
import torch
import transformers as hf
from make_hf_fixtures import BF16, DATA, F16, F32, N_PROMPTS, N_SEARCH, prompts, write_json

LENGTHS = [11, 6, 24, 17, 7, 9]
N_PROMPT_TOKENS = 4


def embed(model: Any, tokens: list[int], mode: str, p: torch.Tensor | None) -> torch.Tensor:
    """[1, rows, H]: what the model is called with."""
    x = model.get_input_embeddings()(torch.tensor(tokens))
    if p is None:
        return x[None]
    if mode == "add":
        return torch.cat([x[: len(p)] + p, x[len(p) :]])[None]
    return torch.cat([p, x])[None]


def logits_of(model: Any, case: dict[str, Any], about: dict[str, Any]) -> list[list[float]]:
    n_prompt = case["n_prompt_tokens"]
    p_all = prompts(n_prompt, model.config.hidden_size, case["z"], about["projection_scale"], case["offset"])
    rows = []
    for tokens, index in zip(case["sequences"], case["prompt_index"], strict=True):
        x = embed(model, tokens, case["mode"], p_all[index] if n_prompt else None)
        with torch.no_grad():
            rows.append(model(inputs_embeds=x).logits[0, -1, about["label_ids"]].tolist())
    return rows


def draw_sequences(draw: np.random.Generator, n_vocab: int) -> list[list[int]]:
    """Of several lengths; the first four begin alike, and the first two have the same tokens up to the shorter's end."""
    start = draw.integers(0, n_vocab, 5).tolist()
    sequences = [draw.integers(0, n_vocab, length).tolist() for length in LENGTHS]
    for sequence in sequences[:4]:
        sequence[: len(start)] = start
    sequences[1] = sequences[0][: LENGTHS[1]]
    return sequences


def add_cases(model: Any, about: dict[str, Any], draw: np.random.Generator, n_prompt_tokens: int) -> None:
    for mode, offset in (("none", 0), ("add", 0), ("cat", 1), ("input", 0)):
        n_prompt = 0 if mode == "none" else n_prompt_tokens
        sequences = draw_sequences(draw, model.config.vocab_size)
        case = {"mode": mode, "n_prompt_tokens": n_prompt, "offset": offset, "sequences": sequences,
                "readout": [len(sequence) - 1 for sequence in sequences],
                "prompt_index": [s % 2 if n_prompt else 0 for s in range(len(sequences))],
                "z": (draw.integers(-96, 97, (N_PROMPTS, N_SEARCH)) / 64.0).tolist()}
        case["logits"] = logits_of(model, case, about)
        about["cases"].append(case)


def randomise(model: Any, generator: torch.Generator) -> None:
    """Every parameter counts: no zero biases, no unit gains. The vectors called weight are gains. Matrices are small
    beside the embeddings, as in trained models: so bfloat16 itself, in transformers, is within 2% of float64."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_((0.3 if any(word in name for word in ("embed", "wte", "wpe")) else 0.1) * noise)
            else:
                parameter.copy_(1 + 0.2 * noise if name.endswith("weight") else 0.2 * noise)


def rewrite(folder: pathlib.Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = folder / "model.safetensors"
    safetensors.torch.save_file(change(safetensors.torch.load_file(path)), path, metadata={"format": "pt"})


def edit_config(folder: pathlib.Path, remove: list[str], **more: Any) -> None:
    path = folder / "config.json"
    config = {key: value for key, value in json.loads(path.read_text()).items() if key not in remove}
    path.write_text(json.dumps(config | more, indent=2) + "\n")


def age_gpt2(folder: pathlib.Path) -> None:
    """As the published GPT-2: no prefix, and buffers among the weights."""

    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        plain = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        return plain | {f"h.{i}.attn.bias": torch.ones(1, 1, 8, 8).tril() for i in range(2)}

    rewrite(folder, change)


def age_neox(folder: pathlib.Path) -> None:
    """As the published Pythia: embed_out, buffers, and rotary positions told by keys of their own."""

    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        old = {name.replace("lm_head.", "embed_out."): tensor for name, tensor in tensors.items()}
        for i in range(2):
            attention = f"gpt_neox.layers.{i}.attention."
            old |= {attention + "bias": torch.ones(1, 1, 8, 8).tril().bool(), attention + "masked_bias": torch.tensor(-1e9),
                    attention + "rotary_emb.inv_freq": torch.ones(2)}
        return old

    rewrite(folder, change)
    edit_config(folder, ["rope_parameters"], rotary_emb_base=100, rotary_pct=0.25)


def age_rope(folder: pathlib.Path) -> None:
    """Rotary positions in the words of transformers 4."""
    parameters = json.loads((folder / "config.json").read_text())["rope_parameters"]
    theta = parameters.pop("rope_theta")
    parameters["type"] = parameters.pop("rope_type")
    edit_config(folder, ["rope_parameters"], rope_theta=theta, rope_scaling=parameters)


@dataclasses.dataclass
class Fixture:
    model_class: Any
    config: Any
    storage: torch.dtype = F32
    change: Callable[[pathlib.Path], None] | None = None  # of the saved folder


def shape(h: int, heads: int, kv: int, wide: int, vocab: int, **more: Any) -> dict[str, Any]:
    return dict(hidden_size=h, num_attention_heads=heads, num_key_value_heads=kv, intermediate_size=wide,
                num_hidden_layers=2, vocab_size=vocab, max_position_embeddings=40, attn_implementation="eager",
                bos_token_id=1, eos_token_id=2) | more


def rope(kind: str = "default", **more: Any) -> dict[str, Any]:
    return {"rope_type": kind, "rope_theta": 100.0} | more


def llama(*sizes: int, storage: torch.dtype = F32, change: Callable[[pathlib.Path], None] | None = None,
          **more: Any) -> Fixture:
    return Fixture(hf.LlamaForCausalLM, hf.LlamaConfig(**shape(*sizes, **more)), storage, change)


def neox(*sizes: int, change: Callable[[pathlib.Path], None] | None = None, **more: Any) -> Fixture:
    config = shape(*sizes, **more)
    del config["num_key_value_heads"]
    return Fixture(hf.GPTNeoXForCausalLM, hf.GPTNeoXConfig(**config), change=change)


def opt(enable_bias: bool) -> Fixture:
    return Fixture(hf.OPTForCausalLM, hf.OPTConfig(
        hidden_size=24, num_attention_heads=3, ffn_dim=40, num_hidden_layers=2, vocab_size=53, max_position_embeddings=40,
        word_embed_proj_dim=24, enable_bias=enable_bias, attn_implementation="eager"))


def make_fixtures() -> dict[str, Fixture]:
    yarn = {"factor": 4.0, "original_max_position_embeddings": 16}
    qwen = {"tie_word_embeddings": True, "rope_parameters": rope()}
    return {
        "llama_tied": llama(32, 4, 2, 56, 61, tie_word_embeddings=True, rope_parameters=rope()),
        "llama_biases_linear": llama(30, 6, 3, 44, 47, attention_bias=True, mlp_bias=True, head_dim=10,
                                     hidden_act="gelu", rope_parameters=rope("linear", factor=4.0)),
        "llama_llama3_bf16": llama(32, 4, 1, 56, 61, storage=BF16, rope_parameters=rope(
            "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32),
            head_dim=16),
        "llama_dynamic_old": llama(24, 3, 3, 40, 53, change=age_rope, rope_parameters=rope("dynamic", factor=2.0)),
        "llama_yarn_f16": llama(32, 2, 2, 56, 61, storage=F16, rope_parameters=rope("yarn", **yarn)),
        "llama_yarn_scaled": llama(32, 2, 1, 40, 53, rope_parameters=rope(
            "yarn", **yarn, beta_fast=4.0, beta_slow=0.5, truncate=False, mscale=0.8, mscale_all_dim=0.4)),
        "mistral": Fixture(hf.MistralForCausalLM, hf.MistralConfig(
            **shape(40, 5, 1, 48, 59, sliding_window=32, rope_parameters=rope()))),
        "qwen2": Fixture(hf.Qwen2ForCausalLM, hf.Qwen2Config(**shape(36, 6, 2, 44, 51, **qwen))),
        "qwen3": Fixture(hf.Qwen3ForCausalLM, hf.Qwen3Config(
            **shape(32, 4, 2, 40, 57, head_dim=16, attention_bias=True, **qwen))),
        "gpt2": Fixture(hf.GPT2LMHeadModel, hf.GPT2Config(
            n_embd=27, n_head=3, n_layer=2, vocab_size=53, n_positions=40, attn_implementation="eager"), change=age_gpt2),
        "opt": opt(True),
        "opt_no_biases": opt(False),
        "neox_old": neox(32, 2, 2, 56, 61, change=age_neox, rope_parameters=rope(partial_rotary_factor=0.25)),
        "neox_serial": neox(30, 3, 3, 44, 47, use_parallel_residual=False, attention_bias=False, hidden_act="gelu_fast",
                            rope_parameters=rope(partial_rotary_factor=0.6)),
    }


def make_fixture(name: str, fixture: Fixture, number: int) -> None:
    folder = DATA / f"hf_{name}"
    shutil.rmtree(folder, ignore_errors=True)
    model = fixture.model_class(fixture.config).eval()
    randomise(model, torch.Generator().manual_seed(5000 + number))
    model.to(fixture.storage).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if fixture.change is not None:
        fixture.change(folder)
    # The folder as it is now is what must give these numbers.
    model = fixture.model_class.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    about = {"readout": "last", "scale": 1.0, "n_search": N_SEARCH, "projection_scale": 0.25,
             "label_ids": [7, 5, model.config.vocab_size - 1], "label_texts": [],
             "embedding_std": float(model.get_input_embeddings().weight.detach().numpy().std()), "cases": []}
    add_cases(model, about, np.random.default_rng(6000 + number), N_PROMPT_TOKENS)
    write_json(folder / "cases.json", about)


def make_smollm2(source: pathlib.Path) -> None:
    """Real weights and texts. Not committed with the weights, so one file."""
    tokenizer = hf.AutoTokenizer.from_pretrained(source)
    model = hf.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float64, attn_implementation="eager").eval()
    texts = ["Ink helps drive democracy in Asia. Topic:", "China net cafe culture crackdown. Topic:",
             "UK economy facing 'major risks'. Topic:", "Mirza makes Indian tennis history. Topic:", "Brown"]
    labels = [" business", " entertainment", " politics", " sport", " technology"]
    about = {"readout": "last", "scale": 1.0, "n_search": N_SEARCH, "projection_scale": 0.02, "label_texts": [],
             "label_ids": [tokenizer.encode(label)[0] for label in labels],
             "embedding_std": float(model.get_input_embeddings().weight.detach().double().numpy().std()), "cases": []}
    draw = np.random.default_rng(7000)
    for mode in ("none", "cat"):
        n_prompt = 0 if mode == "none" else 10
        sequences = [tokenizer.encode(text) for text in texts]
        case = {"mode": mode, "n_prompt_tokens": n_prompt, "offset": 0, "sequences": sequences,
                "readout": [len(sequence) - 1 for sequence in sequences],
                "prompt_index": [s % 2 if n_prompt else 0 for s in range(len(sequences))],
                "z": (draw.integers(-96, 97, (N_PROMPTS, N_SEARCH)) / 64.0).tolist()}
        case["logits"] = logits_of(model, case, about)
        about["cases"].append(case)
    write_json(DATA / "smollm2.json", about)


def main() -> None:
    if len(sys.argv) == 2:
        make_smollm2(pathlib.Path(sys.argv[1]))
        return
    for number, (name, fixture) in enumerate(make_fixtures().items()):
        make_fixture(name, fixture, number)


if __name__ == "__main__":
    main()
