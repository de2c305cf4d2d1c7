#!/usr/bin/env python3
"""Small random models and the logits that Hugging Face computes for them under deep prompts (Sun et al. 2022, arXiv 2205.11200), for
tests/golden/test_model.c.

Run by hand when a fixture is to change; the results are committed. Made with Python 3.11, torch 2.15.0, transformers 5.24.0,
safetensors 0.8.0, numpy 2.4.6:

    python tests/golden/make_deep_fixtures.py                     # tests/golden/data/hf_deep_*

As make_hf_fixtures.py and make_decoder_fixtures.py, which say what the first layer's prompt is. Behind it every layer l has a prompt
p_l = A_l z_l of its own, z_l being its part of z. A forward pre-hook of each layer puts it into the P rows of the prompt:
  add         added to what the layer before left there, as in the authors' code
  cat, input  in place of it
"""
import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import make_decoder_fixtures as decoders
import make_hf_fixtures as encoders
import numpy as np
import torch
import transformers as hf
from make_hf_fixtures import DATA, N_PROMPTS, N_SEARCH, projection, write_json

N_LAYERS = 3
N_PROMPT_TOKENS = 4
SCALE = 0.25
MODES = (("none", 0), ("add", 0), ("cat", 0), ("input", 0), ("cat", 1))


def deep_prompts(n_hidden: int, z: list[list[float]], has_offset: int) -> torch.Tensor:
    """[n_prompts, L, P, H] in float64; p0 is the first layer's."""
    n_out, d = N_PROMPT_TOKENS * n_hidden, N_SEARCH // N_LAYERS
    a = projection(N_LAYERS * n_out, SCALE).astype(np.float64)[:, :d].reshape(N_LAYERS, n_out, d)
    p = np.einsum("lod,nld->nlo", a, np.asarray(z).reshape(N_PROMPTS, N_LAYERS, d))
    if has_offset:
        p[:, 0] += encoders.offset(n_out, SCALE)
    return torch.from_numpy(p.reshape(N_PROMPTS, N_LAYERS, N_PROMPT_TOKENS, n_hidden))


@contextlib.contextmanager
def prompts_put(layers: Any, p: torch.Tensor, first: int, adds: bool) -> Iterator[None]:
    """p: [L, P, H], put into rows from `first` on of the input of every layer but the first."""
    span = slice(first, first + N_PROMPT_TOKENS)

    def put(prompt: torch.Tensor) -> Any:
        def hook(_module: Any, arguments: tuple[torch.Tensor, ...], named: dict[str, Any]) -> tuple[tuple[torch.Tensor, ...], Any]:
            x = arguments[0].clone()
            x[0, span] = x[0, span] + prompt if adds else prompt
            return (x, *arguments[1:]), named

        return hook

    handles = [layer.register_forward_pre_hook(put(p[i]), with_kwargs=True) for i, layer in enumerate(layers) if i > 0]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def hidden_states(model: Any, tokens: list[int], mode: str, p: torch.Tensor | None) -> torch.Tensor:
    """Last hidden states [rows, H] of one sequence, p: [L, P, H] or None."""
    is_decoder = model.config.model_type == "llama"
    base = model.model if is_decoder else getattr(model, model.base_model_prefix, model)
    layers = base.layers if is_decoder else base.encoder.layer

    def run() -> torch.Tensor:
        first = None if p is None else p[0]
        if is_decoder:
            return base(inputs_embeds=decoders.embed(model, tokens, mode, first)).last_hidden_state[0]
        return encoders.last_hidden(base, tokens, mode, first)

    if p is None:
        return run()
    with prompts_put(layers, p, 1 if mode == "add" and not is_decoder else 0, mode == "add"):
        return run()


def scores(model: Any, about: dict[str, Any], hidden: torch.Tensor, row: int) -> list[float]:
    if about["readout"] == "embedding":
        labels = torch.stack([encoders.embedding(hidden_states(model, t, "none", None)) for t in about["label_texts"]])
        return (encoders.SCALE * labels @ encoders.embedding(hidden)).tolist()
    head = model.lm_head if about["readout"] == "last" else model.cls
    return head(hidden[row][None, None])[0, 0][about["label_ids"]].tolist()


def make_case(model: Any, about: dict[str, Any], draw: np.random.Generator, mode: str, offset: int) -> dict[str, Any]:
    n_prompt = 0 if mode == "none" else N_PROMPT_TOKENS
    sequences = decoders.draw_sequences(draw, model.config.vocab_size)
    if about["readout"] != "last":
        sequences = [[4 if token == 0 else token for token in sequence] for sequence in sequences]  # 0 is the padding
    z = (draw.integers(-96, 97, (N_PROMPTS, N_SEARCH)) / 64.0).tolist()
    p = deep_prompts(model.config.hidden_size, z, offset)
    case = {"mode": mode, "is_deep": int(mode != "none"), "n_prompt_tokens": n_prompt, "offset": offset, "sequences": sequences,
            "readout": [len(s) - 1 if about["readout"] == "last" else int(draw.integers(0, len(s))) for s in sequences],
            "prompt_index": [i % 2 if n_prompt else 0 for i in range(len(sequences))], "z": z, "logits": []}
    with torch.no_grad():
        for tokens, readout, index in zip(sequences, case["readout"], case["prompt_index"], strict=True):
            hidden = hidden_states(model, tokens, mode, p[index] if n_prompt else None)
            case["logits"].append(scores(model, about, hidden, readout + len(hidden) - len(tokens)))
    return case


def make_fixture(name: str, model: Any, readout: str, number: int) -> None:
    folder = DATA / f"hf_deep_{name}"
    shutil.rmtree(folder, ignore_errors=True)
    (decoders if readout == "last" else encoders).randomise(model, torch.Generator().manual_seed(8000 + number))
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    model = model.to(torch.float64).eval()
    about = {"readout": readout, "scale": 1.0 if readout == "last" else encoders.SCALE, "n_search": N_SEARCH, "projection_scale": SCALE,
             "label_ids": [] if readout == "embedding" else [7, 5, model.config.vocab_size - 1],
             "label_texts": [[1, 5, 6, 2], [1, 9, 2]] if readout == "embedding" else [],
             "embedding_std": float(model.get_input_embeddings().weight.detach().numpy().std())}
    draw = np.random.default_rng(9000 + number)
    about["cases"] = [make_case(model, about, draw, mode, offset) for mode, offset in MODES]
    write_json(folder / "cases.json", about)


def main() -> None:
    bert = encoders.shape(32, 2, 48, N_LAYERS, 59, **encoders.BERT)
    llama = decoders.shape(32, 4, 2, 48, 53, tie_word_embeddings=True, rope_parameters=decoders.rope()) | {"num_hidden_layers": N_LAYERS}
    make_fixture("bert", hf.BertForMaskedLM(hf.BertConfig(**bert)), "mask", 0)
    make_fixture("bert_embedding", hf.BertModel(hf.BertConfig(**bert)), "embedding", 1)
    make_fixture("llama", hf.LlamaForCausalLM(hf.LlamaConfig(**llama)), "last", 2)


if __name__ == "__main__":
    main()
