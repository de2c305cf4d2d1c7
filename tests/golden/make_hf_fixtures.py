#!/usr/bin/env python3
"""Small random encoders and the logits that Hugging Face computes for them, for tests/golden/test_model.c.

Run by hand when a fixture is to change; the results are committed. Made with Python 3.11, torch 2.15.0,
transformers 5.23.0, safetensors 0.8.0, numpy 2.4.6:

    python tests/golden/make_hf_fixtures.py                     # tests/golden/data/hf_*
    python tests/golden/make_hf_fixtures.py models/all-MiniLM-L6-v2  # tests/golden/data/minilm.json alone

Each hf_NAME/ is a model folder as save_pretrained leaves it (or renamed where an older checkpoint's names are wanted)
and cases.json: token sequences, search points z, and per case the label logits, computed in float64 from the stored
weights, each sequence alone. The prompt is p = A z + p0 with A and p0 given by `projection` and `offset` below, which
the test repeats. Prompt modes are expressed with the model's own modules:
  add    p added to rows 1..P of the embedding module's output (after its LayerNorm)
  cat    [p; output of the embedding module] into the encoder
  input  the model called with inputs_embeds = [p; word embeddings]
"""
import json
import pathlib
import shutil
import sys

import numpy as np
import safetensors.torch
import torch
import transformers as hf

DATA = pathlib.Path(__file__).resolve().parent / "data"
N_SEARCH = 6
N_PROMPTS = 3
SCALE = 20.0


def projection(n_out, scale):
    i = np.arange(n_out, dtype=np.int64)[:, None]
    j = np.arange(N_SEARCH, dtype=np.int64)[None, :]
    return (scale * ((i * 31 + j * 17 + i * j % 7) % 101 - 50) / 50.0).astype(np.float32)


def offset(n_out, scale):
    return (scale * ((np.arange(n_out, dtype=np.int64) * 13) % 29 - 14) / 14.0).astype(np.float32)


def prompts(n_prompt_tokens, n_hidden, z, scale, has_offset):
    """[n_prompts, P, H] in float64."""
    a = projection(n_prompt_tokens * n_hidden, scale).astype(np.float64)
    p = np.asarray(z) @ a.T
    if has_offset:
        p = p + offset(n_prompt_tokens * n_hidden, scale).astype(np.float64)
    return torch.from_numpy(p.reshape(len(z), n_prompt_tokens, n_hidden))


def last_hidden(base, tokens, mode, p):
    """Last hidden states [rows, H] of one sequence in an encoder without head."""
    ids = torch.tensor([tokens])
    if mode == "none":
        return base(input_ids=ids).last_hidden_state[0]
    if mode == "input":
        embeds = torch.cat([p, base.get_input_embeddings()(ids)[0]])[None]
        return base(inputs_embeds=embeds).last_hidden_state[0]
    x = base.embeddings(input_ids=ids)[0]
    if mode == "add":
        x = x.clone()
        x[1 : 1 + len(p)] += p
    else:
        x = torch.cat([p, x])
    return base.encoder(x[None]).last_hidden_state[0]


def embedding(hidden):
    return torch.nn.functional.normalize(hidden.mean(0), dim=0)


def logits_of(model, base, case, about):
    p_all = prompts(case["n_prompt_tokens"], model.config.hidden_size, case["z"], about["projection_scale"], case["offset"])
    rows = []
    for tokens, readout, index in zip(case["sequences"], case["readout"], case["prompt_index"], strict=True):
        p = p_all[index] if case["n_prompt_tokens"] else None
        hidden = last_hidden(base, tokens, case["mode"], p)
        if about["readout"] == "mask":
            row = readout + (len(hidden) - len(tokens))
            head = model.lm_head if hasattr(model, "lm_head") else model.cls
            scores = head(hidden[row][None, None])[0, 0]
            rows.append(scores[about["label_ids"]].tolist())
        else:
            labels = torch.stack([embedding(last_hidden(base, t, "none", None)) for t in about["label_texts"]])
            rows.append((SCALE * labels @ embedding(hidden)).tolist())
    return rows


def make_cases(model, about, draw, specials, lengths, n_vocab, p_tokens):
    """One case per prompt mode; every sequence starts with bos, ends with eos and holds one mask."""
    bos, eos, mask, low = specials
    base = getattr(model, model.base_model_prefix, model)
    for mode, has_offset in (("none", 0), ("add", 0), ("cat", 0), ("cat", 1), ("input", 0), ("input", 1)):
        n_prompt = 0 if mode == "none" else p_tokens
        case = {"mode": mode, "n_prompt_tokens": n_prompt, "offset": has_offset, "sequences": [], "readout": [],
                "prompt_index": [], "z": (draw.integers(-96, 97, (N_PROMPTS, N_SEARCH)) / 64.0).tolist()}
        for length in lengths:
            length = max(length, p_tokens + 3)
            tokens = [bos] + draw.integers(low, n_vocab, length - 2).tolist() + [eos]
            readout = int(draw.integers(0, length))
            tokens[readout] = mask
            case["sequences"].append(tokens)
            case["readout"].append(readout)
            case["prompt_index"].append(int(draw.integers(0, N_PROMPTS)) if n_prompt else 0)
        with torch.no_grad():
            case["logits"] = logits_of(model, base, case, about)
        about["cases"].append(case)


def check_direct_path(model, base, tokens):
    """The modules called one by one are the model."""
    with torch.no_grad():
        whole = base(input_ids=torch.tensor([tokens])).last_hidden_state
        parts = base.encoder(base.embeddings(input_ids=torch.tensor([tokens]))).last_hidden_state
    assert torch.equal(whole, parts)


def randomise(model, generator):
    """Every parameter counts: no zero biases, no unit gains."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "LayerNorm.weight" in name or "layer_norm.weight" in name:
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_((0.2 if parameter.dim() == 1 else 0.15) * noise)


def rename_layer_norms(folder):
    path = folder / "model.safetensors"
    tensors = {}
    for name, tensor in safetensors.torch.load_file(path).items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        tensors[name] = tensor
    safetensors.torch.save_file(tensors, path)


def unalign(folder):
    """One more blank in the header, which the format allows: no tensor starts at a multiple of its item size any more."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    n = int.from_bytes(content[:8], "little")
    path.write_bytes((n + 1).to_bytes(8, "little") + content[8 : 8 + n] + b" " + content[8 + n :])


def shape(h, heads, wide, layers, vocab, **more):
    return dict(hidden_size=h, num_attention_heads=heads, intermediate_size=wide, num_hidden_layers=layers, vocab_size=vocab,
                attn_implementation="eager", **more)


ROBERTA = dict(max_position_embeddings=40, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1, layer_norm_eps=1e-5)
BERT = dict(max_position_embeddings=38, pad_token_id=0)
F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
# name: class, config, storage, save_pretrained's options, change of the saved files
FIXTURES = {
    "roberta_mlm": (hf.RobertaForMaskedLM, hf.RobertaConfig(**shape(60, 3, 100, 2, 97, **ROBERTA)), F32, {}, None),
    "roberta_untied_f16": (hf.RobertaForMaskedLM, hf.RobertaConfig(
        **shape(35, 5, 77, 2, 53, hidden_act="gelu_new", tie_word_embeddings=False, **ROBERTA)), F16, {}, None),
    "xlm_roberta_unaligned": (hf.XLMRobertaForMaskedLM, hf.XLMRobertaConfig(**shape(24, 3, 40, 1, 47, **ROBERTA)), F32, {}, unalign),
    "bert_mlm_sharded": (hf.BertForMaskedLM, hf.BertConfig(**shape(64, 2, 144, 2, 89, hidden_act="relu", **BERT)), F32,
                         {"max_shard_size": "90KB"}, None),
    "bert_gamma_bf16": (hf.BertForMaskedLM, hf.BertConfig(**shape(128, 2, 96, 1, 61, **BERT)), BF16, {}, rename_layer_norms),
    "bert_embedding": (hf.BertModel, hf.BertConfig(**shape(48, 4, 80, 2, 71, **BERT)), F32, {}, None),
    "roberta_embedding": (hf.RobertaForSequenceClassification, hf.RobertaConfig(**shape(32, 1, 72, 2, 59, **ROBERTA)), F32, {}, None),
}


def make_fixture(name, number):
    model_class, config, storage, options, change = FIXTURES[name]
    folder = DATA / f"hf_{name}"
    shutil.rmtree(folder, ignore_errors=True)
    model = model_class(config).eval()
    randomise(model, torch.Generator().manual_seed(1000 + number))
    model.to(storage).save_pretrained(folder, **options)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if change is not None:
        change(folder)
    model = model.to(torch.float64)
    is_mask = "MaskedLM" in model_class.__name__
    n_vocab = config.vocab_size
    draw = np.random.default_rng(2000 + number)
    is_bert = config.model_type == "bert"
    specials = (1, 2, 3, 4) if is_bert else (0, 2, 3, 4)
    about = {"readout": "mask" if is_mask else "embedding", "scale": SCALE, "n_search": N_SEARCH, "projection_scale": 0.25,
             "label_ids": [7, 5, n_vocab - 1] if is_mask else [],
             "label_texts": [] if is_mask else [[specials[0], 5, 6, specials[1]], [specials[0], 9, specials[1]]],
             "embedding_std": None, "cases": []}
    base = getattr(model, model.base_model_prefix, model)
    words = base.get_input_embeddings().weight.detach().numpy()
    about["embedding_std"] = float(words.std())
    check_direct_path(model, base, [specials[0], 5, 9, 8, specials[1]])
    make_cases(model, about, draw, specials, [11, 3, 24, 17, 5], n_vocab, 4)
    write_json(folder / "cases.json", about)


def make_minilm(source):
    """Real weights: the embeddings' quality matters to the quickstart. Not committed with the weights, so one file."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    model = hf.BertModel.from_pretrained(source, dtype=torch.float64, attn_implementation="eager").eval()
    texts = ["Ink helps drive democracy in Asia", "China net cafe culture crackdown", "UK economy facing 'major risks'",
             "Mirza makes Indian tennis history", "Brown"]
    labels = ["business", "entertainment", "politics", "sport", "technology"]
    draw = np.random.default_rng(3000)
    about = {"readout": "embedding", "scale": SCALE, "n_search": N_SEARCH, "projection_scale": 0.02, "label_ids": [],
             "label_texts": [tokenizer.encode(t).ids for t in labels],
             "embedding_std": float(model.get_input_embeddings().weight.detach().numpy().std()), "cases": []}
    for mode in ("none", "cat", "input"):
        case = {"mode": mode, "n_prompt_tokens": 0 if mode == "none" else 10, "offset": 0,
                "sequences": [tokenizer.encode(t).ids for t in texts], "readout": [0] * len(texts),
                "prompt_index": [s % N_PROMPTS if mode != "none" else 0 for s in range(len(texts))],
                "z": (draw.integers(-96, 97, (N_PROMPTS, N_SEARCH)) / 64.0).tolist()}
        with torch.no_grad():
            case["logits"] = logits_of(model, model, case, about)
        about["cases"].append(case)
    write_json(DATA / "minilm.json", about)


def write_json(path, about):
    path.write_text(json.dumps(about, indent=None, separators=(",", ":")) + "\n")


def main():
    if len(sys.argv) == 2:
        make_minilm(pathlib.Path(sys.argv[1]))
        return
    for number, name in enumerate(FIXTURES):
        make_fixture(name, number)


if __name__ == "__main__":
    main()
