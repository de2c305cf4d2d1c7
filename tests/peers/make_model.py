#!/usr/bin/env python3
"""A model folder of RoBERTa-large's shape with random weights, for timings where no hub can be reached, and a tokenizer for it:
byte-level BPE of at most RoBERTa's size, trained on the packaged movie reviews, which are SST-2's sentences, so that texts have about as
many tokens as with RoBERTa's own.

    python tests/peers/make_model.py FOLDER        needs torch and transformers (requirements.txt)
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch
import transformers as hf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "jobs"))

from staging.corpora import load_corpus

VOCABULARY, SEED = 50265, 1
SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
LABELS = ["bad", "great"]  # without a space in front, as the task has them: often enough to be tokens


def write_tokenizer(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        texts = [record.cells[0] for record in load_corpus("movie-reviews", Path(scratch)).records]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    mask = AddedToken(SPECIAL["mask_token"], lstrip=True, special=True)
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[*list(SPECIAL.values())[:-1], mask], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([*texts, *(word for word in LABELS for _ in range(1000))], trainer)
    ends = [(SPECIAL[f"{name}_token"], tokenizer.token_to_id(SPECIAL[f"{name}_token"])) for name in ("eos", "bos")]
    tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "RobertaTokenizer", "cls_token": "<s>", "sep_token": "</s>", **SPECIAL}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def write_weights(folder: Path) -> None:
    torch.manual_seed(SEED)
    config = hf.RobertaConfig(vocab_size=VOCABULARY, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16,
                              intermediate_size=4096, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
    hf.RobertaForMaskedLM(config).save_pretrained(folder)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    write_weights(folder)


if __name__ == "__main__":
    main()
