"""evaluate gives the numbers that the run recorded, and its logits give the numbers that it prints."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Study, call
from toy import Toy, write


def scores(*words: object, ranks: int = 1) -> dict[str, object]:
    return json.loads(call("evaluate", "--json", *words, ranks=ranks).good().out)


@pytest.fixture(params=["mask", "embedding", "decoder", "labels"])
def study(request: pytest.FixtureRequest) -> Study:
    return request.getfixturevalue(request.param)


def expect_recorded(path: Path, split: str, which: str, found: dict[str, object]) -> None:
    with h5py.File(path) as file:
        number = {"best": file["result"].attrs["best_round"], "last": file["result"].attrs["last_round"]}.get(which)
        row = int(which) if number is None else int(number)
        assert found["round"] == row
        assert found["loss"] == file[f"rounds/{split}_loss"][row]
        assert found["accuracy"] == file[f"rounds/{split}_accuracy"][row]
        if split != "train":
            assert found["f1"] == file[f"rounds/{split}_f1"][row]


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_recorded_numbers(study: Study, split: str) -> None:
    """To the last bit, for the samples that the run itself scored."""
    path = study.finished(fed__protocol="fedavg-bbt", data__dev_shots=3, data__test_limit=17)
    for which in ("best", "last", "1", "0"):
        expect_recorded(path, split, which, scores("--run", path, "--round", which, "--split", split))
    expect_recorded(path, split, "last", scores("--run", path, "--round", "last", "--split", split, ranks=3))


def test_dev_samples_of_the_train_split(mask: Study) -> None:
    """A data set without a dev split: the run took its dev samples from the train split."""
    mask.toy.splits = {"train": [20, 20, 20], "test": [5, 5, 5]}
    write(mask.data, mask.toy)
    path = mask.finished()
    expect_recorded(path, "dev", "last", scores("--run", path, "--round", "last", "--split", "dev"))


def test_without_a_run(study: Study) -> None:
    """Texts as they are. In mode add that is where every run starts, z = 0; elsewhere zero vectors in front of the text are seen.
    Broken by rows of a prompt, or by another data set's mode."""
    path = study.finished()
    words = ["--model", study.model, "--data", study.data, "--set", "backend.precision=fp32"]
    words += study.set(model__label_scoring=study.values["model"].get("label_scoring", "auto"))
    found = scores(*words)
    assert found["round"] is None and found["samples"] == 21
    with h5py.File(path) as file:
        assert (found["loss"] == file["rounds/test_loss"][0]) == (study.toy.mode == "add")
    if study.toy.mode != "add":
        study.toy.mode, study.toy.prompt_tokens = "none", 0
        write(study.data, study.toy)
    assert scores(*words, ranks=3) == found


def test_other_data(mask: Study) -> None:
    """With --data, whole splits count."""
    path = mask.finished()
    other = write(mask.folder / "other.h5", Toy(seed=77, splits={"train": [5, 6, 7], "test": [8, 8, 8]}))
    assert scores("--run", path, "--data", other, "--split", "train")["samples"] == 18
    found = scores("--run", path, "--data", other, "--set", "data.test_limit=10")
    assert found["samples"] == 10 and found["data"] == str(other)


@pytest.mark.parametrize("ranks", [1, 3])
def test_logits(study: Study, ranks: int) -> None:
    path = study.finished()
    output = study.folder / "logits.h5"
    found = scores("--run", path, "--round", "last", "--logits", output, ranks=ranks)
    with h5py.File(output) as file, h5py.File(study.data) as data:
        logits, predictions, labels = (file[name][:] for name in ("logits", "predictions", "labels"))
        assert np.array_equal(labels, data["test/labels"][:])
    assert logits.shape == (21, 3) and logits.dtype == np.float32
    assert np.array_equal(predictions, logits.argmax(axis=1))
    assert found["accuracy"] == np.mean(predictions == labels)
    wide = logits.astype(float)
    losses = np.log(np.exp(wide).sum(axis=1)) - wide[np.arange(21), labels]
    assert found["loss"] == pytest.approx(losses.mean(), rel=2e-6)


def test_logits_are_the_same_on_every_number_of_ranks(mask: Study) -> None:
    path = mask.finished()
    for ranks in (1, 3):
        call("evaluate", "--run", path, "--logits", mask.folder / f"{ranks}.h5", ranks=ranks).good()
    with h5py.File(mask.folder / "1.h5") as one, h5py.File(mask.folder / "3.h5") as three:
        assert np.array_equal(one["logits"][:], three["logits"][:])


def test_hinge_as_recorded(mask: Study) -> None:
    path = mask.finished(objective__loss="hinge")
    expect_recorded(path, "test", "last", scores("--run", path, "--round", "last"))


def test_hinge(mask: Study) -> None:
    """Margin 2, summed over the wrong labels, mean over the samples (Black-Box-Tuning's loss)."""
    path = mask.finished(objective__loss="hinge")
    output = mask.folder / "logits.h5"
    found = scores("--run", path, "--round", "last", "--logits", output)
    with h5py.File(output) as file:
        logits, labels = file["logits"][:].astype(float), file["labels"][:]
    right = logits[np.arange(len(labels)), labels][:, None]
    margins = np.maximum(0, logits - right + 2)
    margins[np.arange(len(labels)), labels] = 0
    assert found["loss"] == pytest.approx(margins.sum(axis=1).mean(), rel=2e-6)


def test_of_an_unfinished_run(mask: Study) -> None:
    path = mask.output()
    assert mask.run(run__output=path, run__max_seconds=1e-6).code == 75
    expect_recorded(path, "test", "last", scores("--run", path, "--round", "last"))


def test_text(mask: Study) -> None:
    path = mask.finished()
    out = call("evaluate", "--run", path).good().out
    with h5py.File(path) as file:
        best = file["result"].attrs["best_round"]
        assert f"round {best} of" in out
        assert f"accuracy {file['rounds/test_accuracy'][best]:.6f}" in out
    assert "prompt: none\n" in call("evaluate", "--model", mask.model, "--data", mask.data).good().out


def test_wrong_requests(mask: Study) -> None:
    path = mask.finished()
    call("evaluate", "--run", path, "--round", "4").sentence("round 4", "3")
    call("evaluate", "--run", path, "--round", "-1").sentence("-1", "best or last")
    call("evaluate", "--run", path, "--round", "first").sentence("first", "best or last")
    call("evaluate", "--run", path, "--round", "4", ranks=3).sentence("round 4", "3")
    call("evaluate", "--run", path, "--split", "validation").sentence("validation", "train, dev or test")
    call("evaluate", "--run", mask.folder / "none.h5").sentence("none.h5")
    call("evaluate", "--run", path, "--data", mask.folder / "none.h5").sentence("none.h5")
    call("evaluate", "--model", mask.model, "--data", mask.folder / "none.h5").sentence("none.h5")


@pytest.mark.parametrize("assignment", ["cma.dimension=100000", "prompt.tokens=2", "run.seed=9", "prompt.mode=cat", "cma.sigma=2"])
def test_settings_of_the_prompt_are_the_runs(mask: Study, assignment: str) -> None:
    """z means something under the run's own projection only."""
    path = mask.finished()
    call("evaluate", "--run", path, "--set", assignment).sentence(assignment, "recorded prompt")


def test_logits_file_is_checked_first(mask: Study) -> None:
    path = mask.finished()
    output = mask.folder / "logits.h5"
    call("evaluate", "--run", path, "--logits", output).good()
    before = output.read_bytes()
    call("evaluate", "--run", path, "--logits", output).sentence("logits.h5", "exists")
    call("evaluate", "--run", path, "--logits", output, ranks=3).sentence("logits.h5", "exists")
    assert output.read_bytes() == before
    call("evaluate", "--run", path, "--logits", output, "--overwrite").good()
    call("evaluate", "--run", path, "--logits", mask.folder).sentence("folder")
    call("evaluate", "--run", path, "--logits", mask.folder / "no" / "x.h5").sentence("No such file or directory")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_run(mask: Study, share: float) -> None:
    path = mask.finished()
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    call("evaluate", "--run", path).sentence(path.name)
