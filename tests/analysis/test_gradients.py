"""Tuning by gradients: the federation and its run file on made models, without PyTorch; the model itself where PyTorch is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fedbpt_analysis as fa
import h5py
import made
import numpy as np
import pytest
import toy
from conftest import PROGRAM, ROOT, Result, program
from fedbpt_analysis import gradients, run_writer, schema
from fedbpt_analysis.gradients import Federation, Plan, Split, Tuning
from fedbpt_analysis.verify import verify
from made import Made

P, H, RATE = 2, 3, 0.125
CENTRES = {0: 1.0, 1: -2.0, 2: 4.0}
SIZES = {0: 1, 1: 3, 2: 4}
DATA = ROOT / "tests" / "golden" / "data"
SETTINGS: dict[str, Any] = {"fed.rounds": 3, "fed.local_generations": 2, "gradients.optimiser": "sgd", "gradients.learning_rate": RATE,
                            "eval.every": 2, "eval.test_every": 1}


class Bowl:
    """A model whose loss is the squared distance to the samples' centre, so that all is known in closed form. Label 0 is always said."""

    hidden_size = H

    def tune(self, prompt: np.ndarray, samples: Any, optimiser: str, learning_rate: float, steps: int) -> np.ndarray:
        assert prompt.dtype == np.float32 and optimiser == "sgd"
        return (samples[0] + (prompt - samples[0]) * (1 - 2 * learning_rate) ** steps).astype(np.float32)

    def score(self, prompt: np.ndarray, samples: Any) -> tuple[np.ndarray, np.ndarray]:
        centre, n = samples
        return np.full(n, float(((prompt - centre) ** 2).sum())), np.zeros(n, int)


def split_of(centre: float, labels: list[int]) -> Split:
    return Split((centre, len(labels)), np.array(labels), 10 * len(labels))


def federation(n_slots: int = 2) -> Federation:
    clients = {k: split_of(centre, [0] * SIZES[k]) for k, centre in CENTRES.items()}
    participants = np.array([[-1, -1], [0, 2], [1, 2], [0, 1]])[:, :n_slots]
    scored = {"train": split_of(1.0, [0, 1, 0, 1]), "dev": split_of(2.0, [0, 0, 2]), "test": split_of(3.0, [0, 1])}
    return Federation(clients, participants, scored, 3)


def tuned() -> dict[str, np.ndarray]:
    return Tuning(Bowl(), federation(), SETTINGS, np.zeros((P, H))).run()


def test_federated_averaging() -> None:
    """The server's prompt is the mean of its participants' by numbers of samples, each after I steps from what was sent. Broken by equal
    weights, by clients that go on from their own last prompt, or by a step too many."""
    columns, p = tuned(), 0.0
    for index, ids in enumerate([[0, 2], [1, 2], [0, 1]], 1):
        own = [CENTRES[k] + (p - CENTRES[k]) * (1 - 2 * RATE) ** 2 for k in ids]
        p = sum(SIZES[k] * value for k, value in zip(ids, own, strict=True)) / sum(SIZES[k] for k in ids)
        np.testing.assert_allclose(columns["z"][index], np.full(P * H, p), rtol=1e-6)
        losses = [P * H * (value - CENTRES[k]) ** 2 for k, value in zip(ids, own, strict=True)]
        np.testing.assert_allclose(columns["client/loss"][index], losses, rtol=1e-5)
    assert not columns["z"][0].any() and np.isnan(columns["client/loss"][0]).all()


def test_ledger_and_scores() -> None:
    """P * H floats up and down for each participant; forwards and backwards and one score for each; train and dev in scored rounds, test
    where dev is best too. Broken by bytes counted for absent clients, or by scores of rounds that are not scored."""
    columns = tuned()
    assert columns["cost/bytes_up"].tolist() == columns["cost/bytes_down"].tolist() == [0] + [2 * P * H * 4] * 3
    assert columns["client/evaluations"].tolist() == [[0, 0]] + [[5, 5]] * 3
    assert columns["cost/tokens"].tolist() == [90, 5 * 10 * (1 + 4), 5 * 10 * (3 + 4) + 90, 5 * 10 * (1 + 3) + 90]
    assert np.isfinite(columns["train_loss"]).tolist() == np.isfinite(columns["dev_f1"]).tolist() == [True, False, True, True]
    assert columns["train_accuracy"][0] == 0.5 and columns["dev_accuracy"][0] == 2 / 3
    np.testing.assert_allclose(columns["dev_f1"][0], 0.8 / 3)
    sparse = SETTINGS | {"eval.every": 1, "eval.test_every": 100}
    columns = Tuning(Bowl(), federation(), sparse, np.zeros((P, H))).run()
    best = int(np.nanargmin(columns["dev_loss"]))
    assert np.isfinite(columns["test_loss"][[0, best, 3]]).all()


@pytest.fixture(scope="session")
def written(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run file beside `real`, with its partition and participants and numbers of a bowl."""
    run, path = fa.open_run(real), tmp_path_factory.mktemp("gradients") / "gradients.h5"
    shape = run.last_prompt.shape
    settings = gradients.check(run, Plan(real, path, optimiser="sgd", learning_rate=RATE))
    clients = {k: split_of(k, [0] * int(n)) for k, n in enumerate(run.partition.sum(axis=1))}
    whole = Federation(clients, run.participants, federation().scored, run.partition.shape[1])
    columns = Tuning(Bowl(), whole, settings, np.zeros(shape)).run()
    texts = {"backend": "torch", "precision": "fp32", "device": "made", "instruction_set": "none"}
    record = run_writer.Record(real, settings | {"cma.dimension": shape[0] * shape[1]}, run.decides, "# by hand\n", columns,
                               gradients.PHASES, shape, texts, run_writer.now(), 1.5)
    run_writer.write(path, record, overwrite=False)
    return path


def test_run_file(written: Path, real: Path) -> None:
    """The file is whole, sealed, the program reads the same numbers from it, and its layout is the schema's. Broken by a column that the
    program has and this lacks, or by another partition than the run's."""
    verdict = verify(written, PROGRAM)
    assert verdict.problems == [] and verdict.digest
    run, like = fa.open_run(written), fa.open_run(real)
    assert run.settings["fed.protocol"] == "gradients" and run.settings["gradients.learning_rate"] == RATE
    assert "cma.population" not in run.settings and run.settings["fed.clients"] == like.settings["fed.clients"]
    assert run.partition.equals(like.partition) and np.array_equal(run.participants, like.participants)
    assert np.isnan(run.rounds["condition_number"]).all() and run.origins == like.origins
    assert run.cost["bytes_up"].to_list() == [0] + [4 * 4 * run.z.shape[1]] * 3
    np.testing.assert_array_equal(run.best_prompt.ravel(), run.best_z.astype(np.float32))
    with h5py.File(written) as file, h5py.File(real) as theirs:
        names = {name for name in schema.COLUMNS if name not in schema.OPTIONAL}
        assert all(file[f"rounds/{name}"].attrs["unit"] == theirs[f"rounds/{name}"].attrs["unit"] for name in names)
        assert file["rounds/z"].attrs["long_name"] == "the server's prompt, [P * H]"


def test_beside_each_other(written: Path, real: Path, tmp_path: Path, call: Callable[..., Result]) -> None:
    """compare, report, show and export take the file as any other. Broken by settings that only one of the two runs has."""
    table = call("compare", real, written, "--metric", "test_loss_last").good().out
    assert "gradients" in table and "nvflare" in table
    page = tmp_path / "both.html"
    call("report", real, written, "--output", page).good()
    assert "gradients" in page.read_text(encoding="utf-8")
    assert "tuned by gradients" not in program("show", written)
    program("export", written, "--format", "npz", "--output", tmp_path / "prompt.npz")
    with np.load(tmp_path / "prompt.npz") as file:
        assert any(np.array_equal(file[name], fa.open_run(written).best_prompt) for name in file.files)


@pytest.mark.parametrize("words", [["rerun"], ["evaluate", "--run"], ["bench", "--latency", "2us", "--bandwidth", "1GB/s", "--scale"], ["run"]])
def test_program_refuses(written: Path, real: Path, words: list[str]) -> None:
    """Commands that need z under the projection, or would go on as a search, refuse in one sentence. Broken by a search that goes on."""
    before = written.read_bytes()
    given = [real.with_name("settings.yaml"), "--resume", "--set", f"run.output={written}"] if words == ["run"] else [*words[1:], written]
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    result = subprocess.run([PROGRAM, words[0], *map(str, given)], capture_output=True, text=True, check=False, env=os.environ | root)
    lines = [line for line in result.stderr.splitlines() if "error: " in line]
    assert result.returncode == 1 and len(lines) == 1 and "was tuned by gradients (fed.protocol: gradients)" in lines[0], result.stderr
    assert written.read_bytes() == before


def test_every_setting_has_its_place(real: Path) -> None:
    """Broken by a new setting of the program that nobody has said about whether gradients compute it: it is then refused."""
    assert not set(gradients.KEPT) & set(gradients.LEFT_OUT)
    assert set(fa.open_run(real).settings) <= {*gradients.KEPT, *gradients.LEFT_OUT, *gradients.COMPUTED}


@pytest.mark.parametrize(("changes", "options", "words"), [
    ({"objective.loss": "accuracy"}, {}, ("objective.loss: accuracy", "ce, hinge")),
    ({"model.label_scoring": "sum"}, {}, ("model.label_scoring: sum",)),
    ({"prompt.future": 1}, {}, ("prompt.future", "does not know")),
    ({"fed.protocol": "gradients"}, {}, ("itself tuned by gradients",)),
    ({}, {"rounds": 5}, ("--rounds 5", "rounds 1 to 4")),
    ({}, {"learning_rate": float("nan")}, ("--learning-rate nan",)),
    ({}, {"local_steps": 0}, ("--local-steps 0",)),
])
def test_refusals(tmp_path: Path, changes: dict[str, object], options: dict[str, Any], words: tuple[str, ...]) -> None:
    """Anything that is not computed is refused by the setting's name, before anything is read or tuned."""
    like = made.write(tmp_path / "like.h5", Made(settings=changes))
    with pytest.raises(fa.AnalysisError) as error:
        gradients.tune(Plan(like, tmp_path / "out.h5", **options), "")
    assert all(word in str(error.value) for word in words), error.value


def test_command_without_pytorch(real: Path, tmp_path: Path, call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyTorch is missing the command says what to install; a file that is there is kept."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "fedbpt_analysis.prompted", raising=False)
    monkeypatch.delattr(fa, "prompted", raising=False)
    call("gradients", real, "--output", tmp_path / "new.h5").sentence("analysis[gradients]", "torch")
    call("gradients", real, "--output", real).sentence("--output")
    (tmp_path / "there.h5").write_bytes(b"mine")
    call("gradients", real, "--output", tmp_path / "there.h5").sentence("exists", "--overwrite")


# ---- With PyTorch ----


@pytest.fixture(scope="session")
def prompted() -> Any:
    pytest.importorskip("torch", reason="PyTorch is not installed: the model is tested by hand")
    pytest.importorskip("transformers")
    from fedbpt_analysis import prompted as module

    return module


def toy_like(folder: Path, shape: toy.Toy, model: Path) -> Path:
    values = toy.settings(model, toy.write(folder / "data.h5", shape), folder / "run.h5", shape)
    values["fed"]["participation"] = 0.8
    program("run", toy.write_settings(folder / "settings.yaml", values))
    return folder / "run.h5"


@pytest.mark.parametrize("name", sorted(path.parent.name for path in DATA.glob("*/cases.json") if path.parent.name[:3] in ("hf_", "st_")))
def test_logits(prompted: Any, name: str) -> None:
    """Label logits under a prompt are those recorded for each family, readout and mode (tests/golden), with sequences padded to one
    length. Broken by padding that is seen, or by a prompt in another place."""
    import torch

    sys.path.insert(0, str(ROOT / "tests" / "golden"))
    from make_hf_fixtures import prompts

    about = json.loads((DATA / name / "cases.json").read_text())
    for case in about["cases"]:
        task = prompted.Task(about["readout"], case["mode"], "ce", about["scale"], about["label_ids"], about["label_texts"])
        model = prompted.PromptedModel(DATA / name, task, torch.float64)
        n = case["n_prompt_tokens"]
        z = prompts(n, model.hidden_size, case["z"], about["projection_scale"], case["offset"]) if n else [None]
        for which in set(case["prompt_index"]):
            rows = [row for row, index in enumerate(case["prompt_index"]) if index == which]
            samples = prompted.Samples([case["sequences"][row] for row in rows], [case["readout"][row] for row in rows], [0] * len(rows))
            with torch.no_grad():
                found = model.logits(z[which], samples).numpy()
            np.testing.assert_allclose(found, np.array(case["logits"])[rows], atol=1e-6)


@pytest.mark.parametrize("loss", ["ce", "hinge"])
@pytest.mark.parametrize(("name", "shape"), [("hf_roberta_mlm", toy.Toy(mode="add")), ("hf_roberta_mlm", toy.Toy(mode="cat")),
                                             ("hf_bert_embedding", toy.Toy.embedding()), ("hf_llama_tied", toy.Toy.decoder())])
def test_gradient(prompted: Any, tmp_path: Path, name: str, shape: toy.Toy, loss: str) -> None:
    """The gradient over several pieces is the central difference of the mean loss, computed here from the logits in NumPy. Broken by a
    prompt that is cut out of the graph, by a piece counted twice, or by a loss other than the program's."""
    import torch

    with h5py.File(toy.write(tmp_path / "data.h5", shape)) as data:
        task = prompted.Task.of(data, shape.mode, loss, 20.0)
        samples = prompted.Samples.read(data, "train", range(50))
    model = prompted.PromptedModel(DATA / name, task, torch.float64)
    draw = np.random.default_rng(3)
    prompt, direction = (draw.normal(0, 0.3, (shape.prompt_tokens, model.hidden_size)) for _ in range(2))

    def mean_loss(values: np.ndarray) -> float:
        with torch.no_grad():
            logits = np.concatenate([model.logits(torch.from_numpy(values), piece).numpy() for piece in samples.pieces()])
        right = logits[np.arange(50), samples.labels][:, None]
        if loss == "ce":
            return float((np.log(np.exp(logits - right).sum(1))).mean())
        margins = np.maximum(0, 2 - right + logits)
        margins[np.arange(50), samples.labels] = 0
        return float(margins.sum(1).mean())

    p = torch.from_numpy(prompt).requires_grad_()
    model.gradient(p, samples)
    step, tolerance = (1e-3, 1e-3) if shape.readout == "last" else (1e-6, 1e-5)  # transformers' RMS norm is in fp32 whatever the rest is
    expected = (mean_loss(prompt + step * direction) - mean_loss(prompt - step * direction)) / (2 * step)
    np.testing.assert_allclose(float((p.grad.numpy() * direction).sum()), expected, rtol=tolerance)
    after = model.tune(prompt.astype(np.float32), samples, "sgd", 0.01, 1)
    np.testing.assert_allclose(after, prompt - 0.01 * p.grad.numpy(), atol=1e-6)


@pytest.mark.parametrize(("shape", "model"), [
    (toy.Toy(), toy.MASK_MODEL), (toy.Toy(mode="cat"), toy.MASK_MODEL), (toy.Toy(mode="input"), toy.MASK_MODEL),
    (toy.Toy.embedding(), toy.EMBEDDING_MODEL), (toy.Toy.decoder(), toy.DECODER_MODEL), (toy.Toy.decoder(mode="add"), toy.DECODER_MODEL),
])
def test_without_steps(prompted: Any, tmp_path: Path, call: Callable[..., Result], shape: toy.Toy, model: Path) -> None:
    """With learning rate 0 every row has the scores of the run's row 0. Broken by other samples, another dev split, another prompt."""
    like = toy_like(tmp_path, shape, model)
    call("gradients", like, "--output", tmp_path / "g.h5", "--learning-rate", 0).good()
    ours, theirs = fa.open_run(tmp_path / "g.h5").rounds, fa.open_run(like).rounds
    for name in ("train_loss", "train_accuracy", "dev_loss", "dev_accuracy", "dev_f1", "test_loss", "test_accuracy", "test_f1"):
        np.testing.assert_allclose(ours[name], np.full(4, theirs[name].iloc[0]), atol=1e-4)
    assert verify(tmp_path / "g.h5", PROGRAM).problems == []


def test_tuning(prompted: Any, tmp_path: Path, call: Callable[..., Result]) -> None:
    """Steps lower the training loss; the same command makes the same numbers; another model than the run's is refused."""
    like = toy_like(tmp_path, toy.Toy.embedding(), toy.EMBEDDING_MODEL)
    words = ("gradients", like, "--local-steps", 4, "--learning-rate", 0.05, "--threads", 1, "--output")
    paths = [tmp_path / "one.h5", tmp_path / "two.h5"]
    for path in paths:
        call(*words, path).good()
    one, two = map(fa.open_run, paths)
    assert one.rounds["train_loss"].iloc[-1] < one.rounds["train_loss"].iloc[0] - 0.1
    assert np.array_equal(one.z, two.z) and one.settings["fed.local_generations"] == 4
    other = toy.copy_model(toy.EMBEDDING_MODEL, tmp_path / "other")
    content = bytearray((other / "model.safetensors").read_bytes())
    tail = np.frombuffer(bytes(content[-4 * 4000 :]), np.float32)
    content[-4 * 4000 :] = (3 * tail).tobytes()
    (other / "model.safetensors").write_bytes(content)
    refused = call("gradients", like, "--model", other, "--output", tmp_path / "x.h5")
    assert refused.code == 1 and "before tuning" in refused.err.splitlines()[-1] and "--model" in refused.err.splitlines()[-1]
    assert not (tmp_path / "x.h5").exists()
