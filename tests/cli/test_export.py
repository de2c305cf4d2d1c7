"""Exported prompts are those that the run file keeps, and Hugging Face PEFT gives the same scores with them."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import PROGRAM, ROOT, Result, Study, call, digest_of, environment
from fedbpt_analysis import program, seal
from fedbpt_analysis.export import read as read_prompt
from fedbpt_analysis.files import RunError
from safetensors import safe_open
from toy import Toy, settings, write, write_settings

sys.path[:0] = [str(ROOT / "tests" / "golden"), str(ROOT / "tests" / "analysis")]

import made  # noqa: E402
from peft_cases import CASES, Case, read_texts, scores, write_texts  # noqa: E402
from peft_cases import settings as case_settings  # noqa: E402

FILES = ("npz", "safetensors")
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
# Label logits of fp32 against float64 that are 17 at most; a prompt of zeros instead changes them by more than 0.5.
TOLERANCE = 5e-5


def export(run: Path, form: str, *words: object, ranks: int = 1, env: dict[str, str] | None = None) -> Result:
    return call("export", run, "--format", form, *words, ranks=ranks, env=env)


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Arrays and facts of an exported file."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            entries = {name: archive[name] for name in archive.files}
        arrays = {name: entries.pop(name) for name in ("prompt_embeddings", "z")}
        return arrays, {name: value.tolist() for name, value in entries.items()}
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


# ---- Files ----


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("which", ["best", "last"])
def test_arrays_and_facts(mask: Study, form: str, which: str) -> None:
    path = mask.finished(cma__sigma=0.3, fed__rounds=5)
    output = mask.folder / f"prompt.{form}"
    out = export(path, form, "--round", which, "--output", output).good().out
    arrays, facts = read(output)
    with h5py.File(path) as file:
        round_, result, inputs = int(file["result"].attrs[f"{which}_round"]), file["result"], dict(file["inputs"].attrs)
        assert arrays["prompt_embeddings"].dtype == np.float32 and arrays["z"].dtype == np.float64
        assert np.array_equal(arrays["prompt_embeddings"], result[f"{which}_prompt"]) and np.array_equal(arrays["z"], result[f"{which}_z"])
        assert np.array_equal(arrays["z"], file["rounds/z"][round_])
        assert facts["git_commit"] == file.attrs["git_commit"] and facts["program_version"] == file.attrs["program_version"]
    numbers = {"seed": 3, "round": round_}
    words = ["red", "green", "blue"]
    assert {name: facts[name] for name in numbers} == (numbers if form == "npz" else {name: str(n) for name, n in numbers.items()})
    assert facts["label_words"] == (words if form == "npz" else '["red","green","blue"]')
    assert facts["prompt_mode"] == "add" and facts["run_digest"] == digest_of(path) and facts["task"] == "toy"
    for name in ("model", "model_sha256", "model_family", "tokenizer_sha256", "template"):
        assert facts[name] == inputs[name]
    assert str(output) in out and f"round {round_} of" in out and "[3, 60]" in out
    assert leftovers(mask.folder) == []


def test_label_words_in_the_run_file(mask: Study) -> None:
    """As in the data set file; `show` knows them too."""
    path = mask.finished()
    with h5py.File(path) as file:
        assert file["inputs"].attrs["label_words"].tolist() == ["red", "green", "blue"]
    assert json.loads(call("show", "--json", path).good().out)["inputs"]["label_words"] == ["red", "green", "blue"]
    assert "red, green, blue" in call("show", path).good().out


@pytest.mark.parametrize("form", FILES)
def test_any_language(mask: Study, form: str) -> None:
    """Broken by bytes taken for characters."""
    words = ["größer", "小さい", "🙂"]
    with h5py.File(mask.data, "r+") as file:
        file.attrs.create("label_words", np.array(words, dtype=object), dtype=h5py.string_dtype("utf-8"))
    output = mask.folder / f"prompt.{form}"
    export(mask.finished(), form, "--output", output).good()
    found = read(output)[1]["label_words"]
    assert (found if form == "npz" else json.loads(str(found))) == words


@pytest.mark.parametrize("form", ["peft", *FILES])
def test_same_bytes(embedding: Study, form: str) -> None:
    """Whenever and wherever: broken by times, time zones, or the order of a table."""
    path = embedding.finished()
    outputs = [embedding.folder / f"{name}.{form}" for name in "ab"]
    for output, zone in zip(outputs, ("UTC", "Asia/Tokyo"), strict=True):
        export(path, form, "--output", output, env={"TZ": zone}).good()
    for name in ADAPTER if form == "peft" else [""]:
        assert (outputs[0] / name).read_bytes() == (outputs[1] / name).read_bytes()


def test_beside_the_run_file(embedding: Study) -> None:
    path = embedding.finished()
    for form in ("peft", *FILES):
        export(path, form).good()
        assert path.with_suffix(f".{form}").exists()


@pytest.mark.parametrize("form", ["peft", *FILES])
def test_what_is_there_already(embedding: Study, form: str) -> None:
    """It stays, unless --overwrite says otherwise and it is of the kind that is written."""
    path, output = embedding.finished(), embedding.folder / "out"
    export(path, form, "--output", output).good()
    written = output / ADAPTER[0] if form == "peft" else output
    before = written.read_bytes()
    for ranks in (1, 3):
        export(path, form, "--output", output, "--round", "last", ranks=ranks).sentence("exists", "--overwrite")
    assert written.read_bytes() == before
    export(path, form, "--output", output, "--overwrite").good()
    assert written.read_bytes() == before
    written.write_bytes(b"a letter to my aunt")
    export(path, form, "--output", output, "--overwrite").sentence("not overwritten")
    assert written.read_bytes() == b"a letter to my aunt"
    assert leftovers(embedding.folder) == []


def test_paths_that_cannot_be_written(embedding: Study) -> None:
    path = embedding.finished()
    for form in ("peft", *FILES):
        export(path, form, "--output", embedding.folder / "no" / "where").sentence("No such file or directory")
    export(path, "npz", "--output", embedding.folder).sentence("folder")
    export(path, "peft", "--output", path).sentence(str(path))


@pytest.mark.parametrize("form", ["peft", *FILES])
def test_full_disk(embedding: Study, form: str) -> None:
    """Nothing half written is left."""
    path, output = embedding.finished(), embedding.folder / "out"
    limited = call("export", path, "--format", form, "--output", output,
                   before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300)))
    limited.sentence("cannot be written")
    assert not output.exists() and leftovers(embedding.folder) == []


def test_of_an_unfinished_run(mask: Study) -> None:
    path = mask.output()
    assert mask.run(run__output=path, run__max_seconds=1e-6).code == 75
    export(path, "npz", "--round", "last", "--output", mask.folder / "p.npz", ranks=2).good()
    assert read(mask.folder / "p.npz")[1]["round"] == 1


def test_wrong_requests(mask: Study) -> None:
    path = mask.finished()
    call("export", path, "--format", "onnx").sentence("onnx", "peft, npz or safetensors")
    export(path, "npz", "--round", "2").sentence("'2'", "best or last")
    export(mask.folder / "none.h5", "npz").sentence("none.h5")
    export(mask.data, "npz").sentence("not a run file")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    for ranks in (1, 2):
        export(path, "npz", ranks=ranks).sentence(path.name)
    assert call("export", path).code == 1 and call("export", "--format", "npz").code == 1


def test_run_without_dev_samples(mask: Study) -> None:
    path = mask.finished(data__dev_shots=0)
    export(path, "npz").sentence("best", "no dev samples", "last")
    export(path, "npz", "--round", "last").good()


# ---- Damaged files, and files that others write ----


@pytest.mark.parametrize(("name", "value", "words"), [
    ("best_prompt", np.full((3, 60), np.nan, np.float32), "not finite"),
    ("best_z", np.array([np.inf]), "not finite"),
    ("best_prompt", np.zeros(180, np.float32), "wrong shape"),
    ("best_z", np.zeros((2, 2)), "wrong shape"),
    ("best_prompt", None, "damaged"),
    ("best_z", h5py.Empty("f8"), "wrong shape"),
])
def test_prompts_that_are_none(mask: Study, name: str, value: np.ndarray | h5py.Empty | None, words: str) -> None:
    """Broken by vectors handed on that no model can use."""
    path = mask.finished()
    with h5py.File(path, "r+") as file:
        del file["result"][name]
        if value is not None:
            file["result"][name] = value
    seal.write(path)
    export(path, "npz").sentence(str(path), words)
    assert not path.with_suffix(".npz").exists()


@pytest.mark.parametrize("resolved", ["[", "- 1", "run:\n  seed: x\nprompt:\n  mode: add\n", "prompt:\n  mode: add\n"])
def test_settings_that_are_none(mask: Study, resolved: str) -> None:
    path = mask.finished()
    with h5py.File(path, "r+") as file:
        file["config"].attrs["resolved"] = resolved
    seal.write(path)
    export(path, "npz").sentence(str(path))


def test_place_of_a_run_that_goes_on(mask: Study) -> None:
    """Broken by a file put where a run will put its own."""
    path, place = mask.finished(), mask.folder / "next.h5"
    lock = made.lock(place)
    export(path, "npz", "--output", place).sentence("next.h5 is being written by another run", f"process {os.getpid()}")
    lock.unlink()
    made.lock(place, **made.dead_process())
    export(path, "npz", "--output", place).good()


@pytest.mark.parametrize("often", [False, True])
def test_run_that_goes_on(mask: Study, often: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken by a prompt of one round with the digest of another."""
    path, later = mask.finished(), mask.finished(run__seed=4)
    expected, content = digest_of(later), later.read_bytes()
    with h5py.File(later) as file:
        vectors = file["result/last_prompt"][:]
    call_program, calls = program.call, []

    def call_and_replace(*words: str, named: bool) -> str:
        found = call_program(*words, named=named)
        if often or not calls:
            later.write_bytes(content)
            os.replace(later, path)
        calls.append(found)
        return found

    monkeypatch.setattr(program, "call", call_and_replace)
    if often:
        with pytest.raises(RunError, match="faster than it can be read"):
            read_prompt(path, "last", PROGRAM)
    else:
        prompt = read_prompt(path, "last", PROGRAM)
        assert prompt.facts["run_digest"] == expected != calls[0] and np.array_equal(prompt.vectors, vectors)


# ---- The Python that does it ----


def installed(folder: Path, python: Path) -> None:
    """A .venv that has the package."""
    folder.mkdir(parents=True)
    (folder / "python3").write_text(f"#!/bin/sh\nPYTHONPATH={ROOT / 'analysis'} exec {python} \"$@\"\n", encoding="utf-8")
    (folder / "python3").chmod(0o755)


@pytest.mark.parametrize(("place", "venv"), [("checkout/build/release/bin", "checkout"), ("usr/bin", "usr")])
def test_python_beside_the_program(embedding: Study, tmp_path: Path, place: str, venv: str) -> None:
    """Of a checkout and of an installed program. Without it one sentence says what to install; nothing else is searched."""
    path = embedding.finished()
    program = tmp_path / place / "fedbpt"
    program.parent.mkdir(parents=True)
    shutil.copy(PROGRAM, program)
    (tmp_path / "bare").mkdir()  # what PATH has; first a Python without the package
    words = [program, "export", path, "--format", "npz"]
    variables = environment({"PATH": str(tmp_path / "bare"), "FEDBPT_PYTHON": "", "PYTHONPATH": ""})
    for _ in range(2):
        missing = subprocess.run(words, capture_output=True, text=True, env=variables, check=False)
        assert missing.returncode == 1 and missing.stderr.startswith("fedbpt: error: ") and missing.stderr.count("\n") == 1
        assert "pip install ./analysis" in missing.stderr and "FEDBPT_PYTHON" in missing.stderr
        (tmp_path / "bare/python3").unlink(missing_ok=True)
        (tmp_path / "bare/python3").symlink_to("/bin/false")
    installed(tmp_path / venv / ".venv/bin", Path(sys.executable))
    subprocess.run(words, env=variables, check=True)
    assert path.with_suffix(".npz").exists()
    given = variables | {"FEDBPT_PYTHON": "/bin/false"}  # it is asked for: no other takes its place
    refused = subprocess.run([*words, "--overwrite"], capture_output=True, text=True, env=given, check=False)
    assert refused.returncode == 1 and "FEDBPT_PYTHON names /bin/false" in refused.stderr


def test_packages_in_the_current_folder(embedding: Study) -> None:
    """Broken by a Python that takes modules from wherever it is started."""
    path = embedding.finished()
    for name in ("json", "h5py", "fedbpt_analysis"):
        (embedding.folder / f"{name}.py").write_text("raise SystemExit('taken from the current folder')", encoding="utf-8")
    call("export", path, "--format", "npz", cwd=embedding.folder).good()


# ---- PEFT ----


def cat_study(folder: Path) -> Study:
    shape = Toy(mode="cat")
    data = write(folder / "data.h5", shape)
    model = CASES[1].model
    return Study(folder, shape, model, data, settings(model, data, folder / "run.h5", shape))


def test_modes_that_peft_does_not_know(mask: Study, tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for study, mode in ((mask, "add"), (cat_study(tmp_path / "cat"), "cat")):
        path = study.finished()
        for ranks in (1, 2):
            export(path, "peft", ranks=ranks).sentence(f"mode {mode}", "PEFT", "safetensors or npz")
        assert not path.with_suffix(".peft").exists()


def recorded(case: Case, folder: Path) -> tuple[Path, dict[str, object]]:
    """A run file with the fixture's prompt as its last round's: those of another machine's run may differ."""
    about = json.loads((case.folder / "cases.json").read_text(encoding="utf-8"))
    data, path = write(folder / "data.h5", case.shape), folder / "run.h5"
    write_texts(data, about)
    assert read_texts(data) == {name: about[name] for name in read_texts(data)}
    call("run", write_settings(folder / "settings.yaml", case_settings(case, data, path))).good()
    with h5py.File(path, "r+") as file:
        assert file["result/last_prompt"].shape == np.shape(about["prompt"])
        file["result/last_prompt"][...] = about["prompt"]
        file["result/last_z"][...] = file["rounds/z"][-1] = about["z"]
    seal.write(path)
    return path, about


def evaluated(path: Path, round_: str) -> np.ndarray:
    output = path.with_name(f"logits_{round_}.h5")
    call("evaluate", "--run", path, "--round", round_, "--logits", output).good()
    with h5py.File(output) as file:
        return file["logits"][...]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_peft_saves(case: Case, tmp_path: Path) -> None:
    """The fixture is what PEFT saved of an adapter that it made itself, with the same vectors."""
    path, about = recorded(case, tmp_path)
    export(path, "peft", "--round", "last", "--output", tmp_path / "adapter").good()
    assert sorted(file.name for file in (tmp_path / "adapter").iterdir()) == list(ADAPTER)
    ours = json.loads((tmp_path / "adapter" / ADAPTER[0]).read_text(encoding="utf-8"))
    theirs = json.loads((case.folder / ADAPTER[0]).read_text(encoding="utf-8"))
    assert ours.pop("base_model_name_or_path") == str(case.model) and theirs.pop("base_model_name_or_path")
    from_the_model = {"num_layers", "num_attention_heads", "peft_version"}  # PEFT fills in what is missing when it loads
    assert ours == {name: theirs[name] for name in ours}
    assert all(theirs[name] is None for name in theirs.keys() - ours.keys() - from_the_model)
    (vectors, facts), (their_vectors, their_facts) = read(tmp_path / "adapter" / ADAPTER[1]), read(case.folder / ADAPTER[1])
    assert vectors.keys() == their_vectors.keys() and facts["format"] == their_facts["format"]
    assert facts.get("label_scoring") == ("sum" if case.name == "labels" else None)
    for name, values in their_vectors.items():
        assert vectors[name].dtype == values.dtype and np.array_equal(vectors[name], values)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_scores_of_peft(case: Case, tmp_path: Path) -> None:
    """Under the prompt A z, which the program makes from z, the scores are those that PEFT gave with the exported vectors."""
    path, about = recorded(case, tmp_path)
    ours, theirs = evaluated(path, "last"), np.array(about["logits"])
    assert ours.shape == theirs.shape and np.abs(ours - theirs).max() < TOLERANCE
    assert np.abs(evaluated(path, "0") - theirs).max() > 0.5, "a prompt of zeros scores the same: the test shows nothing"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_loaded_by_peft(case: Case, tmp_path: Path) -> None:
    """With PEFT itself, where it is installed."""
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    path, about = recorded(case, tmp_path)
    export(path, "peft", "--round", "last", "--output", tmp_path / "adapter").good()
    base = getattr(transformers, case.auto_class).from_pretrained(case.model)
    model = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    found = np.array(scores(model, about))
    assert np.abs(found - evaluated(path, "last")).max() < TOLERANCE
