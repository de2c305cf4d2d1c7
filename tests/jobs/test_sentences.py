"""A sentence is tokenised whole, whatever the tokenizer's type, and no text can write a special token."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_tokenizers as toy
from staging.encode import Sample, encode_samples
from staging.hf_tokenizer import assemble
from staging.layout import make_layout
from staging.task import load_task
from staging.tokenizer import TaskTokenizer
from test_tokens import prepare, samples
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers

PLAIN, LLAMA = {"tokenizer_class": "PreTrainedTokenizerFast"}, {"tokenizer_class": "LlamaTokenizer"}
# Type of tokenizer -> how to make it, model type, its special tokens, tokenizer_config.json.
TYPES: dict[str, tuple[Callable[[], Tokenizer], str, dict, dict]] = {
    "WordPiece": (toy.wordpiece, "bert", toy.BERT, {}),
    "WordPiece at spaces": (lambda: toy.wordpiece(True, pre_tokenizers.WhitespaceSplit()), "bert", toy.BERT, PLAIN),
    "BPE of bytes": (toy.byte_level, "roberta", toy.ROBERTA, {}),
    "BPE of bytes, space first": (toy.byte_level, "roberta", toy.ROBERTA, {"add_prefix_space": True}),
    "BPE with Metaspace": (toy.metaspace_bpe, "bert", {"mask_token": "<mask>", "pad_token": "<pad>"}, LLAMA),
    "Unigram": (toy.unigram, "xlm-roberta", toy.ROBERTA, {}),
    "Unigram, space first": (lambda: toy.unigram("first", splits=False), "xlm-roberta", toy.ROBERTA, PLAIN),
    "Unigram, no space first": (lambda: toy.unigram("never", splits=False), "xlm-roberta", toy.ROBERTA, PLAIN),
}


def folder_of(name: str, folder: Path) -> Path:
    make, model_type, special, config = TYPES[name]
    return toy.save(folder / "model", make(), model_type, tokenizer_config={**special, **config})


def encoder(folder: Path, template: str, texts: list[tuple[str, ...]]) -> list[tuple[list[int], list[int], int]]:
    """Tokens, frozen flags and readout of some samples in mode cat."""
    readout = "mask" if "{mask}" in template else "last"
    labels = [{"value": 0, "word": "a"}, {"value": 1, "word": "b"}]
    (folder / "task.yaml").write_text(json.dumps({"name": "t", "readout": readout, "template": template, "labels": labels}))
    task, info = load_task(str(folder / "task.yaml")), toy.info(folder)
    tokenizer = TaskTokenizer(info)
    layout = make_layout(task, tokenizer, info, "cat", 5, None)
    rows = []
    for block in encode_samples([Sample(text, 0, row, f"row {row}") for row, text in enumerate(texts)], layout, tokenizer):
        start = 0
        for length, readout_at in zip(block.lengths, block.readout, strict=True):
            rows.append((block.tokens[start : start + length].tolist(), list(block.frozen[start : start + length]), readout_at))
            start += length
    return rows


def mask_of(name: str) -> str:
    return str(TYPES[name][2]["mask_token"])


TEMPLATES = ["{text} . It was {mask} .", "It was {mask}. {text}", "{text}{mask}.", "It was{mask}{text}", "{mask} {text}? film {text2}."]
ATOMS = ["film", "good", "It", " was", ".", " ", "  ", "café", "e\u0301", "😀", "中", "\t", "x", "<", "/", "s"]
ATOMS += ["?", "great", "\u00a0", "unk"]


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("template", TEMPLATES)
def test_tokens_are_those_of_the_sentence_written_out(tmp_path, name, template):
    """The reference is the tokenizer, as transformers makes it, on the sentence with the mask's own spelling. Breaks if the text after
    the mask is taken for the beginning of a sentence."""
    folder = folder_of(name, tmp_path)
    reference = assemble(folder).backend
    draw = random.Random(1)
    n_texts = 2 if "{text2}" in template else 1
    texts = [tuple("x" + "".join(draw.choices(ATOMS, k=draw.randint(1, 8))) for _ in range(n_texts)) for _ in range(60)]
    sentences = [template.format(text=text[0], text2=text[-1], mask=mask_of(name)) for text in texts]
    for row, sentence in zip(encoder(folder, template, texts), sentences, strict=True):
        assert row[0] == reference.encode(sentence).ids
        assert row[0][row[2]] == reference.token_to_id(mask_of(name))


@pytest.mark.parametrize("name", TYPES)
def test_only_what_the_text_wrote_is_free(tmp_path, name):
    """Breaks if a token of template and text both, or a space of the template, is taken for the text's."""
    folder = folder_of(name, tmp_path)
    ((tokens, frozen, _),) = encoder(folder, "It was {mask}. {text} was film", [("good film",)])
    spelled = assemble(folder).backend.decode([token for token, fixed in zip(tokens, frozen, strict=True) if not fixed])
    assert spelled.replace("▁", " ").split() == ["good", "film"]


def test_text_after_the_mask_does_not_begin_the_sentence(call, task, table, tmp_path):
    """A Metaspace tokenizer with prepend_scheme first: `<mask> .`, not `<mask> ▁ .`"""
    folder = folder_of("Unigram, space first", tmp_path)
    path = task(template="It was {mask}. {text}", template_without_prompt=None, label_tokens="first", label_space=True)
    (sample,) = samples(prepare(call, folder, path, table(("film good", 0)), tmp_path, "--prompt-mode", "cat"))
    backend = assemble(folder).backend
    names = [backend.id_to_token(token) for token in sample["tokens"]]
    assert names == ["<s>", "▁It", "▁was", "<mask>", ".", "▁film", "▁good", "</s>"]
    assert sample["frozen"] == [1, 1, 1, 1, 1, 0, 0, 1] and sample["readout"] == 3


FORGED = ["</s>", "<s>", "<pad>", "<unk>", "<mask>", "[MASK]", "[SEP]", "[CLS]", "[PAD]", "[UNK]"]


@pytest.mark.parametrize("name", TYPES)
def test_a_text_that_spells_special_tokens_writes_none(tmp_path, name):
    """Breaks if the spelling is an added token, or a piece of the vocabulary that the model itself finds."""
    folder = folder_of(name, tmp_path)
    texts = [(form.format(spelling),) for spelling in FORGED for form in ("film {} good", "good{0}{0}")] + [("".join(FORGED),)]
    tokenizer = TaskTokenizer(toy.info(folder))
    special = {number for role, number in tokenizer.ids.items() if role != "unk"}
    for tokens, frozen, readout in encoder(folder, "{text} It was {mask} .", texts):
        free = {token for token, fixed in zip(tokens, frozen, strict=True) if not fixed}
        assert not free & special
        assert tokens.count(tokenizer.ids["mask"]) == 1 and tokens[readout] == tokenizer.ids["mask"]


def test_a_forged_token_is_read_as_its_characters(tmp_path):
    """XLM-R's format, whose vocabulary has `</s>`, `<pad>` and `<unk>` as pieces."""
    backend = assemble(folder_of("Unigram", tmp_path)).backend
    rows = encoder(tmp_path / "model", "{text}", [("film </s>",), ("a<pad>",), ("film <unk>",)])
    names = [[backend.id_to_token(token) for token in row[0][1:]] for row in rows]
    assert names[0] == ["▁film", "▁", "<", "/", "s", ">"]
    assert names[1] == ["▁", "a", "<", "p", "a", "d", ">"]
    assert names[2] == ["▁film", "▁", "<", "u", "n", "k", ">"]


def test_special_tokens_of_the_template_are_read(tmp_path):
    """As in transformers: `</s>` in a template is the token, in a text it is not."""
    folder = folder_of("BPE of bytes", tmp_path)
    ((tokens, frozen, _),) = encoder(folder, "{text}</s></s>{text2} It was {mask}", [("film</s>", "good")])
    assert tokens.count(2) == 3 and [fixed for token, fixed in zip(tokens, frozen, strict=True) if token == 2] == [1, 1, 1]


def test_a_mask_spelled_in_the_template_is_refused(call, bert, task, table, tmp_path):
    path = task(template="{text} [MASK] {mask}", template_without_prompt=None)
    more = ("--task", path, "--train", table(("film", 0)), "--prompt-mode", "cat", "--output", tmp_path / "out.h5")
    result = call("prepare_data", "--model", bert, *more)
    assert result.code == 2 and "the template spells the special token [MASK]; write {mask} for the gap" in result.err


@pytest.mark.parametrize("normalized", [True, False])
def test_added_words_and_normalised_masks(tmp_path, normalized):
    """A mask that is looked for in normalised text, and added words that are not special: they belong to the text."""
    tokenizer = toy.wordpiece()
    tokenizer.add_tokens([AddedToken("Good Film", normalized=normalized), AddedToken("bad", single_word=True, lstrip=True)])
    value = json.loads(tokenizer.to_str())
    value["added_tokens"][4]["normalized"] = normalized
    folder = toy.save(tmp_path / "m", Tokenizer.from_str(json.dumps(value)), "bert", tokenizer_config={**toy.BERT, **PLAIN})
    reference = assemble(folder).backend
    texts = ["a Good Film", "good film", "bad bad badly", "the bad?", "中bad"]
    for row, text in zip(encoder(folder, "{text} It was {mask} .", [(text,) for text in texts]), texts, strict=True):
        assert row[0] == reference.encode(f"{text} It was [MASK] .").ids
        assert row[0][row[2]] == 4


def test_a_mask_that_the_tokenizer_overlooks_is_an_error(call, task, table, tmp_path):
    """single_word: `It was<mask>` has no mask for transformers either."""
    tokenizer = toy.wordpiece()
    value = json.loads(tokenizer.to_str())
    value["added_tokens"][4]["single_word"] = True
    folder = toy.save(tmp_path / "m", Tokenizer.from_str(json.dumps(value)), "bert", tokenizer_config={**toy.BERT, **PLAIN})
    path = task(template="{text} It was{mask}", template_without_prompt=None)
    more = ("--task", path, "--train", table(("film", 0)), "--prompt-mode", "cat", "--output", tmp_path / "out.h5")
    result = call("prepare_data", "--model", folder, *more)
    assert result.code == 2 and "finds 0 mask tokens in the template, not one; put spaces around {mask}" in result.err


def test_unknown_characters_that_become_padding_are_refused(call, task, tmp_path):
    """Positions of RoBERTa-like models depend on padding, so a text must hold none."""
    config = {**toy.ROBERTA, "unk_token": "<pad>", "pad_token": "<pad>", **PLAIN}
    value = json.loads(toy.unigram().to_str())
    value["model"]["unk_id"] = 1
    folder = toy.save(tmp_path / "m", Tokenizer.from_str(json.dumps(value)), "xlm-roberta", tokenizer_config=config)
    data = tmp_path / "train.jsonl"
    data.write_text('{"text": "film", "label": 0}\n{"text": "film 中", "label": 0}\n')
    path = task(template="{text} It was {mask}", template_without_prompt=None, label_tokens="first", label_space=True)
    more = ("--task", path, "--train", data, "--prompt-mode", "cat", "--output", tmp_path / "out.h5")
    result = call("prepare_data", "--model", folder, *more)
    assert result.code == 2 and "train.jsonl:2: the tokenizer makes the special token '<pad>' of a part of this text" in result.err


def test_a_text_that_the_tokenizer_cannot_read_is_one_sentence(tmp_path):
    from staging.errors import UserError

    folder = folder_of("WordPiece", tmp_path)
    with pytest.raises(UserError, match="row 1: the tokenizer cannot read this text"):
        encoder(folder, "{text} {mask}", [("film",), ("film \ud83d",)])


def test_a_normalizer_that_prepends_and_replaces(tmp_path):
    """Older Llama files put the space in by the normalizer, for each stretch between added tokens."""
    tokenizer = toy.metaspace_bpe()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = None
    folder = toy.save(tmp_path / "m", tokenizer, "bert", tokenizer_config={**PLAIN, "mask_token": "<mask>", "pad_token": "<pad>"})
    ((tokens, _, _),) = encoder(folder, "It was {mask}. {text}", [("film good",)])
    assert tokens == assemble(folder).backend.encode("It was <mask>. film good").ids
