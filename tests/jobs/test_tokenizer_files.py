"""Files of a model folder that state the same facts: the tokens are those of transformers' AutoTokenizer, or the folder is refused.

The expected ids were recorded from transformers 5.24.
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest
import toy_tokenizers as toy
from staging.errors import UserError
from staging.hf_tokenizer import assemble
from staging.tokenizer import TaskTokenizer
from test_tokens import prepare, samples

TEXT = "The Film café 中国 is good."


def encode(folder: Path, text: str) -> list[int]:
    tokenizer = TaskTokenizer(toy.info(folder))
    return [*tokenizer.prefix, *tokenizer.encode(text), *tokenizer.suffix]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize(
    ("stated", "ids"),
    [
        ({}, [2, 5, 6, 14, 26, 1, 8, 9, 10, 3]),
        ({"do_lower_case": False}, [2, 1, 7, 15, 26, 1, 8, 9, 10, 3]),
        ({"strip_accents": False}, [2, 5, 6, 15, 26, 1, 8, 9, 10, 3]),
        ({"do_lower_case": False, "strip_accents": True}, [2, 1, 7, 14, 26, 1, 8, 9, 10, 3]),
        ({"tokenize_chinese_chars": False}, [2, 5, 6, 14, 27, 8, 9, 10, 3]),
    ],
)
def test_berts_options_are_those_of_tokenizer_config(tmp_path, lowercase, stated, ids):
    """Breaks if tokenizer.json's normalizer counts, which transformers' class does not even read."""
    config = {"tokenizer_class": "BertTokenizer", **stated}
    folder = toy.save(tmp_path / "m", toy.wordpiece(lowercase), "bert", tokenizer_config=config, special_tokens_map=toy.BERT)
    assert encode(folder, TEXT) == ids


def test_a_plain_class_takes_tokenizer_json_as_it_is(tmp_path):
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True}
    folder = toy.save(tmp_path / "m", toy.wordpiece(False), "bert", tokenizer_config=config, special_tokens_map=toy.BERT)
    assert encode(folder, TEXT) == [2, 1, 7, 15, 26, 1, 8, 9, 10, 3]


def test_the_user_reads_what_differs(call, task, table, tmp_path):
    """Breaks if a file is overruled in silence."""
    folder = toy.save(tmp_path / "m", toy.wordpiece(), "bert", tokenizer_config={"do_lower_case": False}, special_tokens_map=toy.BERT)
    more = ("--task", task(), "--train", table(("Film", 0)), "--prompt-mode", "cat", "--output", tmp_path / "out.h5")
    result = call("prepare_data", "--model", folder, *more)
    assert result.code == 0, result.err
    said = "normalizer.lowercase is false, as in transformers (tokenizer_config.json: do_lower_case), not true as in tokenizer.json"
    assert said in result.out
    assert [token for token in samples(tmp_path / "out.h5")[0]["tokens"] if token in (6, 7)] == [7]


@pytest.mark.parametrize(("space", "ids"), [(True, [0, 263, 267, 2]), (False, [0, 275, 267, 2])])
@pytest.mark.parametrize("name", ["RobertaTokenizer", "GPT2TokenizerFast"])
def test_byte_levels_first_space_is_that_of_tokenizer_config(tmp_path, space, ids, name):
    config = {"tokenizer_class": name, "add_prefix_space": space}
    folder = toy.save(tmp_path / "m", toy.byte_level(), "roberta", tokenizer_config=config, special_tokens_map=toy.ROBERTA)
    assert encode(folder, "film good") == ids


@pytest.mark.parametrize(
    ("config", "ids"),
    [
        ({"tokenizer_class": "XLMRobertaTokenizer", "add_prefix_space": False}, [0, 7, 8, 11, 2]),
        ({"tokenizer_class": "XLMRobertaTokenizerFast"}, [0, 5, 6, 11, 2]),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, [0, 5, 6, 11, 2]),
    ],
)
def test_xlm_robertas_class_builds_its_own_pre_tokenizer(tmp_path, config, ids):
    folder = toy.save(tmp_path / "m", toy.unigram(), "xlm-roberta", tokenizer_config=config, special_tokens_map=toy.ROBERTA)
    assert encode(folder, "film good.") == ids


@pytest.mark.parametrize(
    ("stated", "ids"),
    [
        ({}, [287, 304, 282, 287]),
        ({"legacy": True}, [287, 304, 259, 282, 287]),
        ({"legacy": True, "add_prefix_space": False}, [275, 272, 276, 270, 304, 282, 287]),
    ],
)
def test_llamas_first_space_is_that_of_tokenizer_config(call, task, table, tmp_path, stated, ids):
    """The sentence is `film<mask>. film`."""
    config = {"tokenizer_class": "LlamaTokenizer", "mask_token": "<mask>", **stated}
    folder = toy.save(tmp_path / "m", toy.metaspace_bpe(), "bert", tokenizer_config=config)
    labels = [{"value": 0, "word": "film"}, {"value": 1, "word": "bad"}]
    path = task(template="{text}{mask}. film", template_without_prompt=None, labels=labels, label_tokens="first", label_space=True)
    (sample,) = samples(prepare(call, folder, path, table(("film", 0)), tmp_path, "--prompt-mode", "cat"))
    assert sample["tokens"] == [1, *ids]


def test_a_default_that_no_file_states_is_refused(tmp_path):
    """transformers would lower-case this cased model, because nothing says do_lower_case."""
    folder = toy.save(tmp_path / "m", toy.wordpiece(False), "bert", special_tokens_map=toy.BERT)
    with pytest.raises(UserError, match='lowercase is false in tokenizer.json, but .* takes true; .* "do_lower_case"'):
        assemble(folder)


def test_a_class_that_makes_something_else_of_the_file_is_refused(tmp_path):
    folder = toy.save(tmp_path / "m", toy.unigram("first", splits=False), "xlm-roberta", special_tokens_map=toy.ROBERTA)
    with pytest.raises(UserError, match='pre_tokenizer is "Metaspace" in tokenizer.json, but .* "Sequence, WhitespaceSplit, Metaspace"'):
        assemble(folder)
    for model_type in ("bert", "distilbert"):
        folder = toy.save(tmp_path / model_type, toy.unigram(), model_type, special_tokens_map=toy.ROBERTA)
        with pytest.raises(UserError, match=f"holds a Unigram model, but transformers makes a BertTokenizer .* model_type {model_type}"):
            assemble(folder)
    folder = toy.save(tmp_path / "o", toy.wordpiece(), "bert", tokenizer_config={"tokenizer_class": "T5Tokenizer"})
    with pytest.raises(UserError, match="tokenizer_class T5Tokenizer: this program knows"):
        assemble(folder)


def added(content: str, **flags: bool) -> dict[str, object]:
    return {"content": content, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True, **flags}


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"tokenizer_config": {"mask_token": "<blank>"}}, "tokenizer_config.json: mask_token is '<blank>', which is not in the vocabulary"),
        ({"special_tokens_map": {"mask_token": "<blank>"}}, "special_tokens_map.json: mask_token is '<blank>', which is not in the voc"),
        ({"tokenizer_config": {"added_tokens_decoder": {"7": added("[MASK]")}}}, "gives '[MASK]' the id 7, but in the vocabulary it has 4"),
        ({"added_tokens": {"[MASK]": 9}}, "added_tokens.json: gives '[MASK]' the id 9, but in the vocabulary it has 4"),
        ({"added_tokens": {"word": 4}}, "added_tokens.json: id 4 is 'word', but in tokenizer.json it is '[MASK]'"),
        ({"tokenizer_config": {"do_lower_case": "no"}}, "do_lower_case must be true or false, not 'no'"),
        ({"tokenizer_config": {"fast_tokenizer_files": ["tokenizer.4.0.0.json"]}}, "fast_tokenizer_files names other tokenizer files"),
        ({"tokenizer_config": {"mask_token": 4}}, "mask_token is 4, not a token"),
        ({"tokenizer_config": {"model_max_length": "512"}}, "model_max_length must be a positive number, not '512'"),
        ({"tokenizer_config": {"truncation_side": "middle"}}, "truncation_side must be left or right, not 'middle'"),
    ],
)
def test_contradictions_are_refused_with_both_values(tmp_path, files, sentence):
    folder = toy.save(tmp_path / "m", toy.wordpiece(), "bert", **files)
    with pytest.raises(UserError) as error:
        TaskTokenizer(toy.info(folder))
    assert sentence in str(error.value)


def test_special_tokens_map_counts_unless_tokens_are_listed(tmp_path):
    """transformers' order: special_tokens_map.json overrules tokenizer_config.json, but is not read beside added_tokens_decoder."""
    folder = toy.save(
        tmp_path / "m", toy.wordpiece(), "bert", tokenizer_config={"mask_token": "film"}, special_tokens_map={"mask_token": "[MASK]"}
    )
    assert TaskTokenizer(toy.info(folder)).ids["mask"] == 4
    listed = {str(number): added(content) for number, content in enumerate(toy.BERT_ORDER)}
    config = {"mask_token": "[MASK]", "added_tokens_decoder": listed}
    folder = toy.save(tmp_path / "n", toy.wordpiece(), "bert", tokenizer_config=config, special_tokens_map={"mask_token": "film"})
    assert TaskTokenizer(toy.info(folder)).ids["mask"] == 4


def test_flags_of_listed_tokens_count(call, task, table, tmp_path):
    """The mask of tokenizer_config.json takes in the space before it, tokenizer.json's would not."""
    tokenizer = toy.byte_level()
    value = json.loads(tokenizer.to_str())
    value["added_tokens"][-1]["lstrip"] = False
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    listed = {str(number): added(name) for number, name in enumerate(names)}
    listed[str(tokenizer.token_to_id("<mask>"))] = added("<mask>", lstrip=True)
    config = {**toy.ROBERTA, "added_tokens_decoder": listed}
    folder = toy.save(tmp_path / "m", type(tokenizer).from_str(json.dumps(value)), "roberta", tokenizer_config=config)
    path = task(template="{text} It was {mask} .", template_without_prompt=None)
    (sample,) = samples(prepare(call, folder, path, table(("film", 0)), tmp_path, "--prompt-mode", "cat"))
    names = [tokenizer.id_to_token(number) for number in sample["tokens"]]
    assert names == ["<s>", "film", "ĠIt", "Ġwas", "<mask>", "Ġ", ".", "</s>"]


def test_padding_of_config_and_tokenizer_agree_where_positions_depend_on_it(tmp_path):
    folder = toy.save(tmp_path / "m", toy.byte_level(), "roberta", special_tokens_map=toy.ROBERTA)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": 3}))
    with pytest.raises(UserError, match="pad_token_id is 3, but the tokenizer's padding token has the id 1"):
        TaskTokenizer(toy.info(folder))


def test_padding_that_the_tokenizer_does_not_have(tmp_path):
    """Breaks if an id of config.json beyond the tokenizer's is looked up in it."""
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    tokenizer = toy.wordpiece()
    value = json.loads(tokenizer.to_str().replace("[PAD]", "padding"))
    folder = toy.save(tmp_path / "m", type(tokenizer).from_str(json.dumps(value)), "roberta", tokenizer_config=config)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": 50}))
    made = TaskTokenizer(toy.info(folder))
    assert made.ids["pad"] == -1 and made.forbidden[:5].tolist() == [True, False, True, True, True]


@pytest.mark.parametrize(("stated", "more", "longest"), [(12, (), 12), (1e30, (), 99), (500, (), 99), (12, ("--max-tokens", 20), 20)])
def test_model_max_length_is_the_limit(call, task, table, tmp_path, stated, more, longest):
    folder = toy.save(tmp_path / "m", toy.wordpiece(), "bert", tokenizer_config={"model_max_length": stated}, special_tokens_map=toy.BERT)
    output = prepare(call, folder, task(), table(("film " * 200, 0)), tmp_path, "--prompt-mode", "cat", *more)
    assert [len(sample["tokens"]) for sample in samples(output)] == [longest]
    with h5py.File(output) as file:
        assert file["train"].attrs["n_truncated"] == 1


def test_truncation_side_left_keeps_the_end_of_a_text(call, task, table, tmp_path):
    config = {"truncation_side": "left"}
    folder = toy.save(tmp_path / "m", toy.wordpiece(), "bert", tokenizer_config=config, special_tokens_map=toy.BERT)
    data = table(("the film is good it was bad", 0))
    (sample,) = samples(prepare(call, folder, task(), data, tmp_path, "--prompt-mode", "cat", "--max-tokens", 10))
    assert sample["tokens"] == [2, 12, 13, 16, 10, 12, 13, 4, 10, 3]  # it was bad . it was [MASK] .
    assert sample["readout"] == 7 and sample["frozen"] == [1, 0, 0, 0, 1, 1, 1, 1, 1, 1]


def test_added_tokens_json_is_staged_with_the_model():
    import prepare_model

    assert {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"} <= set(prepare_model.KEPT)
