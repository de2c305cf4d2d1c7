"""Data sets that are damaged, or do not fit the model or the settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
import toy
import yaml
from conftest import Study, call
from toy import copy_model


def rewrite(study: Study, **changes: object) -> None:
    for name, value in changes.items():
        setattr(study.toy, name, value)
    toy.write(study.data, study.toy)


def test_another_tokenizer(mask: Study) -> None:
    """The digest of the model's tokenizer.json is compared where the folder has one."""
    model = copy_model(mask.model, mask.folder / "model")
    (model / "tokenizer.json").write_text(json.dumps({"model": {}}))
    mask.run(model__path=model).sentence(str(mask.data), "another tokenizer", str(model))
    mask.run(model__path=model, ranks=3).sentence(str(mask.data), "another tokenizer")
    rewrite(mask, tokenizer=hashlib.sha256((model / "tokenizer.json").read_bytes()).hexdigest())
    mask.run(model__path=model).good()


@pytest.mark.parametrize("part", ["train", "test"])
def test_padding_in_a_sample(mask: Study, part: str) -> None:
    """RoBERTa's positions are counted from what is not padding (id 1): breaks if such a sample runs with positions in order."""
    with h5py.File(mask.data, "a") as file:
        file[f"{part}/tokens"][1] = 1
    mask.run().sentence(str(mask.data), f"{part}/tokens[1] is 1", "pad_token_id")
    mask.run(ranks=3).sentence(f"{part}/tokens[1] is 1")


def test_padding_in_a_label(embedding: Study) -> None:
    """The same for label texts; a BERT counts positions in order, so its id 1 may be any token."""
    with h5py.File(embedding.data, "a") as file:
        file["labels/tokens"][4] = 1
    embedding.run().good()
    roberta = embedding.model.parent / "hf_roberta_embedding"
    rewrite(embedding, vocabulary=json.loads((roberta / "config.json").read_text())["vocab_size"], bos=0)
    embedding.run(model__path=roberta, run__overwrite="true").good()
    with h5py.File(embedding.data, "a") as file:
        file["labels/tokens"][4] = 1
    embedding.run(model__path=roberta, run__overwrite="true").sentence("labels/tokens[4] is 1", "pad_token_id")


def test_another_vocabulary(mask: Study) -> None:
    rewrite(mask, vocabulary=90)
    mask.run().sentence(str(mask.data), "90", "97")


def test_more_clients_than_samples(mask: Study) -> None:
    mask.run(fed__clients=13).sentence("12", "13", "empty", "fed.clients")
    mask.run(fed__clients=13, ranks=3).sentence("12", "13", "empty", "fed.clients")
    mask.run(fed__clients=12).good()


def test_dirichlet_leaves_no_client_empty(mask: Study) -> None:
    path = mask.finished(fed__clients=12, fed__partition="dirichlet", fed__dirichlet_alpha=0.01)
    with h5py.File(path) as file:
        assert (file["partition/class_count"][:].sum(axis=1) == 1).all()


def test_more_shots_than_samples(mask: Study) -> None:
    mask.run(data__shots=21).sentence("21", "20", "data.shots")
    mask.run(data__dev_shots=5).sentence("5", "4", "data.dev_shots")


def test_class_without_samples(mask: Study) -> None:
    rewrite(mask, splits={"train": [20, 0, 20]})
    mask.run().sentence("green", "0", "data.shots")


def test_prompt_of_another_kind(mask: Study, embedding: Study) -> None:
    mask.run(prompt__mode="input").sentence("prompt.mode", "input", "add")
    mask.run(prompt__tokens=4).sentence("prompt.tokens", "4", "3")
    embedding.run(prompt__mode="cat").sentence("prompt.mode", "cat", "input")


def test_data_for_no_prompt(embedding: Study) -> None:
    rewrite(embedding, mode="none", prompt_tokens=0)
    embedding.run().sentence("prompt.mode", "no prompt")
    call("evaluate", "--model", embedding.model, "--data", embedding.data).good()


def test_prompt_longer_than_the_positions(embedding: Study) -> None:
    """38 positions; the longest text takes about 20."""
    embedding.run(prompt__tokens=30).sentence("prompt.tokens", "30", "38 positions")
    embedding.run(prompt__tokens=65535).sentence("prompt.tokens", "65535", "38 positions")
    embedding.run(prompt__tokens=65535, ranks=3).sentence("prompt.tokens", "65535", "38 positions")


def test_text_longer_than_the_positions(mask: Study) -> None:
    rewrite(mask, longest=60)
    mask.run().sentence("38 positions")


def set_value(where: str, position: int, value: int) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[where][position] = value

    return change


def set_attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file.attrs[name] = value

    return change


def remove(where: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if where in file:
            del file[where]
        else:
            del file.attrs[where]

    return change


DAMAGES = {
    "label out of range": (set_value("train/labels", 2, 3), ["train", "sample 2", "label 3"]),
    "negative label": (set_value("test/labels", 0, -1), ["test", "label -1"]),
    "token out of range": (set_value("train/tokens", 5, 97), ["train", "token 97", "vocabulary"]),
    "negative token": (set_value("dev/tokens", 5, -7), ["dev", "token -7"]),
    "offsets out of order": (set_value("train/offsets", 3, 10**6), ["train", "offsets"]),
    "readout beyond the sample": (set_value("train/readout", 0, 1000), ["train", "position 1000"]),
    "readout at no mask": (set_value("train/readout", 0, 0), ["train", "position 0", "mask"]),
    "frozen flag": (set_value("train/frozen", 0, 9), ["frozen", "9"]),
    "no train split": (remove("train"), ["train"]),
    "no labels": (remove("train/labels"), ["train/labels"]),
    "no vocabulary": (remove("vocab_size"), ["vocab_size"]),
    "no version": (remove("format_version"), ["format_version"]),
    "newer version": (set_attribute("format_version", 2), ["format version 2", "prepare"]),
    "unknown readout": (set_attribute("readout", "middle"), ["readout", "middle"]),
    "label words alike": (set_attribute("label_token_ids", [7, 7, 96]), ["label", "7"]),
    "label word out of range": (set_attribute("label_token_ids", [7, 5, 97]), ["label 2", "97"]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_content(mask: Study, damage: str) -> None:
    change, words = DAMAGES[damage]
    with h5py.File(mask.data, "r+") as file:
        change(file)
    mask.run().sentence(mask.data.name, *words)


def test_damage_on_three_ranks(mask: Study) -> None:
    with h5py.File(mask.data, "r+") as file:
        file["train/labels"][1] = 17
    mask.run(ranks=3).sentence(mask.data.name, "label 17")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.95])
def test_truncated(mask: Study, share: float) -> None:
    content = mask.data.read_bytes()
    mask.data.write_bytes(content[: int(share * len(content))])
    mask.run().sentence(mask.data.name)


def test_no_hdf5(mask: Study) -> None:
    mask.data.write_text("label\ttext\n")
    mask.run().sentence(mask.data.name, "HDF5")
    mask.run(data__path=mask.folder).sentence(str(mask.folder))


def test_run_file_as_data(mask: Study) -> None:
    run = mask.finished()
    call("evaluate", "--model", mask.model, "--data", run).sentence(run.name)
    mask.run(data__path=run).sentence(run.name)


def test_data_as_run_file(mask: Study) -> None:
    call("show", mask.data).sentence(mask.data.name)
    call("show", "--digest", mask.data).sentence(mask.data.name)
    call("evaluate", "--run", mask.data).sentence(mask.data.name)


def test_without_dev_and_test(tmp_path: Path, mask: Study) -> None:
    """Both splits may be absent: dev samples then come from the train split, and there are no test scores."""
    rewrite(mask, splits={"train": [20, 20, 20]})
    result = mask.run(run__output=mask.output())
    assert "nan" not in result.good().err
    path = mask.finished(data__dev_shots=0)
    out = call("show", path).good().out
    assert "nan" not in out and "test loss" not in out
    call("evaluate", "--run", path).sentence("no best round", "last")
    call("evaluate", "--run", path, "--round", "last").sentence("no test split")
    call("evaluate", "--run", path, "--round", "last", "--split", "dev").sentence("no dev samples")
    call("evaluate", "--run", path, "--round", "last", "--split", "train").good()


def test_odd_texts_in_the_data(mask: Study) -> None:
    """Line ends in a task's name or source must not break the dry run's YAML, which has them in comments."""
    rewrite(mask, task="two\nlines: [", source="päth\nfed: 3\r\u2028x: y")
    out = call("run", mask.config, "--dry-run").good().out
    assert yaml.safe_load(out)["fed"]["clients"] == 5
