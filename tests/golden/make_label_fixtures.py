#!/usr/bin/env python3
"""Log-probabilities of label words of one to three tokens that Hugging Face computes, for tests/golden/test_model_labels.c.

Run by hand when the decoders' fixtures change; the results are committed. Made as make_decoder_fixtures.py says, from the
folders and cases that it has made:

    python tests/golden/make_label_fixtures.py   # tests/golden/data/hf_*/label_cases.json
"""
import json
from typing import Any

import torch
import transformers as hf
from make_decoder_fixtures import embed
from make_hf_fixtures import DATA, prompts, write_json

MODELS = ("llama_tied", "llama_llama3_bf16", "qwen3", "gpt2", "opt", "neox_serial")
LABELS = [[7], [5, 9], [5, 9, 30], [11, 3]]


def score(model: Any, x: torch.Tensor, label: list[int]) -> float:
    """The label's log-probability behind the rows x [1, rows, H], one token after another."""
    words = model.get_input_embeddings()(torch.tensor([label]))
    logits = model(inputs_embeds=torch.cat([x, words], dim=1)).logits[0]
    rows = logits[x.shape[1] - 1 : -1].log_softmax(dim=-1)
    return float(rows[torch.arange(len(label)), torch.tensor(label)].sum())


def scores_of(model: Any, case: dict[str, Any], about: dict[str, Any]) -> list[list[float]]:
    n_prompt = case["n_prompt_tokens"]
    p_all = prompts(n_prompt, model.config.hidden_size, case["z"], about["projection_scale"], case["offset"])
    rows = []
    for tokens, index in zip(case["sequences"], case["prompt_index"], strict=True):
        with torch.no_grad():
            x = embed(model, tokens, case["mode"], p_all[index] if n_prompt else None)
            rows.append([score(model, x, label) for label in LABELS])
    return rows


def main() -> None:
    for name in MODELS:
        folder = DATA / f"hf_{name}"
        model = hf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
        about = json.loads((folder / "cases.json").read_text())
        about |= {"label_texts": LABELS, "label_ids": [label[0] for label in LABELS]}
        for case in about["cases"]:
            case["logits"] = scores_of(model, case, about)
        write_json(folder / "label_cases.json", about)


if __name__ == "__main__":
    main()
