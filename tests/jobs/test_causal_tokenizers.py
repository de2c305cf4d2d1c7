"""Tokenizers of causal models: the tokens are those of transformers' AutoTokenizer, BOS where that adds one.

The expected ids were recorded from transformers 5.24.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy_tokenizers as toy
from staging import program
from staging.errors import UserError
from staging.hf_tokenizer import assemble
from staging.model import load_info
from staging.tokenizer import TaskTokenizer
from tokenizers import Tokenizer, normalizers

BYTES, PIECES = "film e\u0301 good 12  12<|user|>x", "film</s>good é"
LLAMA = {**toy.LLAMA_NAMES, "tokenizer_class": "LlamaTokenizer"}


def named(class_name: str) -> dict[str, object]:
    return toy.causal_names(tokenizer_class=class_name)


def older_llama() -> Tokenizer:
    """Files that put the space in by the normalizer, for each stretch between special tokens."""
    tokenizer = toy.metaspace_bpe()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = None
    return tokenizer


def with_bos(**options: Any) -> Callable[[], Tokenizer]:
    return lambda: toy.causal(bos="<|user|>", **options)


# Model type, tokenizer.json, tokenizer_config.json, ids of BYTES or PIECES.
CASES: dict[str, tuple[str, Callable[[], Tokenizer], dict[str, object], list[int]]] = {
    "GPT-2": ("gpt2", toy.causal, toy.causal_names(), [268, 222, 70, 138, 225, 265, 222, 269, 222, 222, 269, 1, 89]),
    "GPT-2, space first": (
        "gpt2", toy.causal, toy.causal_names(add_prefix_space=True), [261, 222, 70, 138, 225, 265, 222, 269, 222, 222, 269, 1, 222, 89],
    ),
    "GPT-2, whose key add_bos_token is not read": (
        "gpt2", toy.causal, toy.causal_names(add_bos_token=True), [268, 222, 70, 138, 225, 265, 222, 269, 222, 222, 269, 1, 89],
    ),
    "OPT, whose tokenizer.json adds BOS": ("opt", with_bos(), named("GPT2Tokenizer"), [1, 268, 222, 70, 138, 225, 265, 222, 269, 222, 222, 269, 1, 89]),
    "GPT-NeoX, whose tokenizer.json does so in vain": (
        "gpt_neox", with_bos(composed=True), named("GPTNeoXTokenizer"), [268, 222, 129, 104, 265, 222, 269, 222, 222, 269, 1, 89],
    ),
    "Qwen2": ("qwen2", with_bos(), named("Qwen2Tokenizer"), [1, 268, 222, 129, 104, 265, 222, 18, 19, 222, 222, 18, 19, 1, 89]),
    "Qwen2, overruling another class": (
        "qwen2", toy.causal, named("LlamaTokenizerFast"), [268, 222, 129, 104, 265, 222, 18, 19, 222, 222, 18, 19, 1, 89],
    ),
    "Qwen2, overruling a plain class": (
        "qwen2", toy.causal, named("PreTrainedTokenizerFast"), [268, 222, 129, 104, 265, 222, 18, 19, 222, 222, 18, 19, 1, 89],
    ),
    "Qwen3": ("qwen3", toy.causal, named("Qwen2Tokenizer"), [268, 222, 129, 104, 265, 222, 18, 19, 222, 222, 18, 19, 1, 89]),
    "Qwen3, not overruling": ("qwen3", toy.causal, named("LlamaTokenizerFast"), [268, 222, 70, 138, 225, 265, 222, 269, 222, 222, 269, 1, 89]),
    "Llama 3": (
        "llama", lambda: toy.causal(bos="<|end|>"), named("PreTrainedTokenizerFast"), [0, 268, 222, 70, 138, 225, 265, 222, 269, 222, 222, 269, 1, 89],
    ),
    "Llama 3 by the class of Llama 2": (
        "llama", lambda: toy.causal(True, "<|end|>"), named("LlamaTokenizer"), [0, 268, 222, 70, 138, 225, 265, 222, 18, 19, 222, 222, 18, 19, 1, 89],
    ),
    "SmolLM2 by a class that does not cut digits": (
        "llama", lambda: toy.causal(True), named("GPT2Tokenizer"), [268, 222, 70, 138, 225, 265, 222, 269, 222, 222, 269, 1, 89],
    ),
    "SmolLM2": (
        "llama", lambda: toy.causal(True), named("PreTrainedTokenizerFast"), [268, 222, 70, 138, 225, 265, 222, 18, 19, 222, 222, 18, 19, 1, 89],
    ),
    "Llama 2": ("llama", toy.metaspace_bpe, {**LLAMA, "legacy": False}, [1, 287, 2, 278, 277, 277, 266, 259, 198, 172]),
    "Llama 2, older": ("llama", older_llama, {**LLAMA, "legacy": True}, [1, 287, 2, 291, 259, 198, 172]),
    "Mistral, as its tokenizer.json is": ("mistral", older_llama, LLAMA, [1, 287, 2, 291, 259, 198, 172]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def without_program(monkeypatch):
    """Tests of this file do not depend on which models a build runs."""
    monkeypatch.setattr(program, "find_program", lambda: None)


@pytest.mark.parametrize("name", CASES)
def test_tokens_are_those_of_the_auto_tokenizer(tmp_path, name):
    """Breaks if the class is chosen otherwise than AutoTokenizer does it, or builds another tokenizer."""
    model_type, make, config, expected = CASES[name]
    folder = toy.save(tmp_path / "m", make(), model_type, tokenizer_config=config)
    assert assemble(folder).backend.encode(PIECES if expected[1] == 287 else BYTES).ids == expected


@pytest.mark.parametrize("name", CASES)
def test_no_text_writes_a_special_token(tmp_path, name):
    """Breaks if `<|user|>` of a text begins another message. Roles may share a token, as end of text and padding do."""
    model_type, make, config, expected = CASES[name]
    folder = toy.save(tmp_path / "m", make(), model_type, tokenizer_config=config)
    tokenizer = TaskTokenizer(load_info(folder, "last"))
    spelled = {token.content for token in assemble(folder).backend.get_added_tokens_decoder().values() if token.special}
    assert spelled >= ({"<s>", "</s>"} if expected[1] == 287 else {"<|end|>", "<|user|>"})
    for content in spelled - {"<unk>"}:
        assert not tokenizer.forbidden[tokenizer.encode(f"film{content} {content}good")].any(), content


def test_what_overrules_the_folder_is_said(tmp_path):
    folder = toy.save(tmp_path / "m", toy.causal(), "qwen2", tokenizer_config=named("LlamaTokenizerFast"))
    assert any("tokenizer_class LlamaTokenizerFast of a qwen2 model" in note for note in assemble(folder).notes)


def test_a_key_that_changes_the_tokenizer_is_refused(tmp_path):
    folder = toy.save(tmp_path / "m", toy.causal(), "mistral", tokenizer_config=toy.causal_names(fix_mistral_regex=True))
    with pytest.raises(UserError, match="fix_mistral_regex changes how text is cut"):
        assemble(folder)


def test_gpt2s_positions(tmp_path):
    """GPT-2 calls them n_positions."""
    folder = toy.save(tmp_path / "m", toy.causal(), "gpt2", tokenizer_config=toy.causal_names())
    config = json.loads((folder / "config.json").read_text())
    del config["max_position_embeddings"]
    Path(folder / "config.json").write_text(json.dumps(config | {"n_positions": 77}))
    assert load_info(folder, "last").positions == 77
