"""A rerun computes what its run file records, from that file alone, and says where it does not."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import LOG_LINE, Result, Study, call, command, digest_of, edited, environment, finish, last_round, read_rounds
from safetensors.numpy import load_file, save_file
from test_identity import has_bf16
from toy import copy_model, write

ONE_ROUND = {"run__max_seconds": 1e-6}  # a session of one round: its time is up at once
EVERYTHING = {"fed__clients": 6, "fed__participation": 0.5, "fed__partition": "dirichlet", "fed__dirichlet_alpha": 0.3,
              "perturb__rate": 0.5, "run__client_means": "true", "eval__every": 2}
LONG = {"fed__rounds": 100_000, "fed__local_generations": 1, "cma__population": 2}


def rerun(run: Path, *words: object, ranks: int = 1, env: dict[str, str] | None = None) -> Result:
    return call("rerun", run, *words, ranks=ranks, env=env)


def same(run: Path, *words: object, ranks: int = 1, env: dict[str, str] | None = None) -> Result:
    """A rerun with the same results: says so with the digest, and leaves nothing behind but what it was asked to keep."""
    before, files = run.read_bytes(), sorted(run.parent.iterdir())
    result = rerun(run, *words, ranks=ranks, env=env).good()
    digest, last = digest_of(run), read_rounds(run)[1][-1]
    assert result.out == f"{run}: the same results again, rounds 0 to {last}, digest {digest}\n"
    assert run.read_bytes() == before
    if not words:
        assert sorted(run.parent.iterdir()) == files
    return result


def other(run: Path, *words: str, ranks: int = 1, env: dict[str, str] | None = None) -> str:
    """A rerun with other results: one sentence; both files are kept."""
    before = run.read_bytes()
    sentence = rerun(run, ranks=ranks, env=env).sentence(*words)
    assert run.read_bytes() == before
    run.with_suffix(".rerun.h5").unlink()
    return sentence


def stopped(study: Study, n_sessions: int = 1, **changes: object) -> Path:
    """A run of so many sessions of one round each; its file."""
    path = study.output()
    for _ in range(n_sessions):
        assert call("run", study.config, "--resume", *study.set(run__output=path, **ONE_ROUND, **changes)).code == 75
    assert read_rounds(path) == ("interrupted", list(range(n_sessions + 1)))
    return path


# ---- The same results ----


@pytest.mark.parametrize("protocol", ["nvflare", "paper", "fedavg-bbt", "synchronous"])
def test_same_results(mask: Study, protocol: str) -> None:
    """On any number of ranks; broken by any setting that is not taken from the file."""
    path = mask.finished(fed__protocol=protocol, ranks=2, **EVERYTHING)
    mask.config.unlink()
    same(path)
    same(path, ranks=7)


def test_embedding_readout(embedding: Study) -> None:
    same(embedding.finished(), ranks=3)


def test_labels_of_several_tokens(labels: Study) -> None:
    """Also of a run that has made one round."""
    same(labels.finished(**EVERYTHING), ranks=3)
    same(stopped(labels, fed__rounds=4))


def test_new_file(mask: Study) -> None:
    """The file that --output names is kept, a whole run file, and says what it is."""
    path, again = mask.finished(), mask.folder / "again.h5"
    same(path, "--output", again, "--set", "backend.threads=2", "--set", "backend.batch_tokens=100", ranks=2)
    assert read_rounds(again) == read_rounds(path)
    with h5py.File(again) as file:
        assert file["environment"].attrs["rerun_of"] == str(path)
        assert "batch_tokens: 100" in file["config"].attrs["resolved"]
    same(again, "--set", f"run.output={mask.folder / 'third.h5'}")
    assert digest_of(mask.folder / "third.h5") == digest_of(path)


def test_several_sessions(mask: Study) -> None:
    path = stopped(mask, 2, fed__rounds=4)
    call("run", mask.config, "--resume", *mask.set(run__output=path, fed__rounds=4), ranks=3).good()
    same(path)


def test_rounds_that_were_added(mask: Study) -> None:
    path = mask.finished()
    call("run", mask.config, "--resume", *mask.set(run__output=path, fed__rounds=5)).good()
    same(path)


@pytest.mark.parametrize("n_rounds", [1, 3])
def test_interrupted(mask: Study, n_rounds: int) -> None:
    """As many rounds as the file has, scored as in it: not as if the third were the last. Its time limit is not taken over."""
    path = stopped(mask, n_rounds, fed__rounds=5, eval__every=2)
    again = mask.folder / "again.h5"
    same(path)
    same(path, "--output", again, ranks=2)
    assert read_rounds(again) == read_rounds(path)
    with h5py.File(again) as file:
        assert np.isnan(file["rounds/train_loss"][n_rounds])


def test_running_and_killed(mask: Study) -> None:
    """A run that goes on meanwhile has rounds that its rerun does not make; a killed one says that it runs."""
    path = mask.output()
    words = command(("run", mask.config, *mask.set(run__output=path, **LONG)), 1)
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, text=True, env=environment({}), start_new_session=True)  # no full pipe
    end = time.monotonic() + 60
    while not path.exists() or len(read_rounds(path)[1]) < 3:
        assert process.poll() is None and time.monotonic() < end, "no rounds"
        time.sleep(0.01)
    live = rerun(path)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    finish(process)
    assert live.code == 0 and "the same results" in live.out, live.err
    assert read_rounds(path)[0] == "running"
    made = int(re.search(r"rounds 0 to (\d+)", live.out).group(1))
    assert made < last_round(path), "the run made no rounds meanwhile: the test shows nothing"
    path.with_name(f".{path.name}.lock").unlink()  # the killed run's, which sealing would respect
    with edited(path) as file:  # so that the second rerun is a short one
        shorten(file, 4)
    other(path, "all rounds are the same", "checkpoint")


def shorten(file: h5py.File, n_rows: int) -> None:
    """Takes the rounds from n_rows on away, but not what they made of result and checkpoint."""
    file["rounds"].visititems(lambda _, item: item.resize(n_rows, axis=0) if isinstance(item, h5py.Dataset) else None)
    file["checkpoint"].attrs["round"] = n_rows - 1
    file["result"].attrs["best_round"] = 0


def test_before_the_first_round(mask: Study) -> None:
    """The state before tuning alone, as a run leaves it that was stopped at once."""
    path = mask.finished(fed__rounds=1)
    with edited(path) as file:
        shorten(file, 1)
        file.attrs["status"] = "interrupted"
    assert "round   0/0" in rerun(path).err


# ---- Other results ----


def change(path: Path, name: str, position: tuple[int, ...]) -> None:
    """The smallest change of one number."""
    with edited(path) as file:
        values = file[name][...]
        integer = np.issubdtype(values.dtype, np.integer)
        values[position] = values[position] + 1 if integer else np.nextafter(values[position], np.inf)
        file[name][...] = values


@pytest.mark.parametrize(("name", "position", "shown"), [("z", (2, 7), "rounds/z[7]"), ("test_loss", (0,), "rounds/test_loss is"),
                                                         ("client/mean", (1, 4, 11), "rounds/client/mean[59]"),
                                                         ("client/fitness", (2, 2), "rounds/client/fitness[2]")])
def test_first_round_that_differs(mask: Study, name: str, position: tuple[int, ...], shown: str) -> None:
    """A single bit; later rounds that differ too do not matter."""
    path = mask.finished(run__client_means="true")
    change(path, f"rounds/{name}", position)
    change(path, "rounds/test_accuracy", (3,))
    words = (f"round {position[0]} is the first that differs", shown, "those recorded", str(path))
    assert other(path, *words) == other(path, *words, ranks=3).removesuffix(" (rank 0)")


@pytest.mark.parametrize("name", ["checkpoint/mean", "result/last_z"])
def test_what_is_in_no_round(mask: Study, name: str) -> None:
    path = mask.finished()
    with h5py.File(path) as file:
        name = name if name in file else f"checkpoint/{next(iter(file['checkpoint']))}"
    change(path, name, (0,))
    other(path, "all rounds are the same")


def test_new_file_of_other_results_is_kept(mask: Study) -> None:
    """For a look at both, and the next rerun does not replace it unasked."""
    path = mask.finished()
    change(path, "rounds/z", (2, 0))
    new = path.with_suffix(".rerun.h5")
    rerun(path).sentence("round 2", str(new))
    assert read_rounds(new) == ("finished", [0, 1, 2, 3])
    rerun(path).sentence(new.name, "exists", "--overwrite")
    rerun(path, "--overwrite").sentence("round 2")


def test_other_kind_of_processor(mask: Study) -> None:
    """Is told before the rounds, and where their results differ."""
    path = mask.finished(env={"ONEDNN_MAX_CPU_ISA": "SSE41"})
    result = rerun(path)
    told = [line for line in result.err.splitlines() if LOG_LINE.match(line) and "instruction set sse41" in line]
    assert len(told) == 1 and "results may differ" in told[0], result.err
    assert result.err.index(told[0]) < result.err.index("round   0/3")
    assert result.code == 0 or re.search(r"first that differs .* made with instruction set sse41 \(here ", result.err), result.err
    same(path, "--overwrite", env={"ONEDNN_MAX_CPU_ISA": "SSE41"})


def test_other_program(mask: Study) -> None:
    """Each session's own: the file of a run that another version of the program went on with."""
    path = stopped(mask, 2)
    with edited(path) as file:
        file["environment/sessions/0002"].attrs["git_commit"] = "0123456789ab"
    result = same(path)
    assert result.err.count("results may differ") == 1 and "from round 2 on, with git commit 0123456789ab (here " in result.err
    change(path, "rounds/z", (1, 0))
    assert "0123456789ab" not in other(path, "round 1 ", "those recorded")
    change(path, "rounds/dev_loss", (1,))
    with edited(path) as file:
        file["environment/sessions/0001"].attrs["git_commit"] = "ba9876543210"
    assert "0123456789ab" not in other(path, "round 1 ", "it was made with git commit ba9876543210 (here ")


@pytest.mark.thorough
def test_recorded_precision(mask: Study) -> None:
    """`auto` stands for what came of it."""
    if not has_bf16():
        pytest.skip("this processor does not compute in bf16")
    path = mask.finished(backend__precision="auto", env={"ONEDNN_MAX_CPU_ISA": "AVX2"})
    assert "cpu fp32" in rerun(path, "--output", mask.folder / "again.h5").err
    rerun(path, "--set", "backend.precision=bf16").sentence("backend.precision is bf16", "run with fp32")


# ---- Refusals ----


@pytest.mark.parametrize("assignment", ["run.seed=4", "cma.sigma=0.5", "fed.protocol=paper", "fed.rounds=2", "fed.rounds=4",
                                        "backend.precision=bf16", "eval.every=2", "backend.name=cuda"])
def test_settings_that_decide_numbers(mask: Study, assignment: str) -> None:
    path = mask.finished()
    key, value = assignment.split("=")
    for ranks in (1, 3):
        rerun(path, "--set", assignment, ranks=ranks).sentence(f"{key} is {value}", "was run with", "decide numbers")
    assert not path.with_suffix(".rerun.h5").exists()


def test_settings_that_are_wrong(mask: Study) -> None:
    path = mask.finished()
    rerun(path, "--set", "fed.round=2").sentence("fed.round", "did you mean")
    rerun(path, "--set", "backend.threads=many", ranks=2).sentence("backend.threads", "many")
    same(path, "--set", "cma.sigma=1")  # the recorded value


def test_moved_inputs(mask: Study) -> None:
    """Are found where --set says, if they are the same."""
    path = mask.finished()
    moved = mask.folder / "moved"
    moved.mkdir()
    model = copy_model(mask.model, moved / "model")
    shutil.move(mask.data, moved / "data.h5")
    rerun(path).sentence("data.h5", "No such file")
    same(path, "--set", f"data.path={moved / 'data.h5'}", "--set", f"model.path={model}")


def test_other_data(mask: Study) -> None:
    path = mask.finished()
    mask.toy.seed += 1
    write(mask.data, mask.toy)
    for ranks in (1, 2):
        rerun(path, ranks=ranks).sentence("data.path", str(mask.data), "SHA-256", "a rerun needs the same")
    assert not path.with_suffix(".rerun.h5").exists()


def test_other_model(mask: Study) -> None:
    path = mask.finished()
    model = copy_model(mask.model, mask.folder / "model")
    tensors = load_file(model / "model.safetensors")
    name = next(name for name in tensors if name.endswith("dense.bias"))
    tensors[name][0] += 1e-3
    save_file(tensors, model / "model.safetensors")
    for ranks in (1, 3):
        rerun(path, "--set", f"model.path={model}", ranks=ranks).sentence("model.path", str(model), "SHA-256", "a rerun needs the same")


@pytest.mark.parametrize("words", [[], ["--overwrite"], ["--resume"]])
def test_the_run_file_itself(mask: Study, words: list[str]) -> None:
    """However it is called, and whatever is asked."""
    path = mask.finished()
    before = path.read_bytes()
    link, hard = mask.folder / "link.h5", mask.folder / "hard.h5"
    link.symlink_to(path)
    os.link(path, hard)
    for name in (path, link, hard, path.parent / "." / path.name):
        rerun(path, "--output", name, *words).sentence("run file itself")
    rerun(link, "--set", f"run.output={path}", *words, ranks=2).sentence("run file itself")
    assert path.read_bytes() == before


def test_wrong_requests(mask: Study) -> None:
    path = mask.finished()
    for ranks in (1, 3):
        rerun(mask.folder / "none.h5", ranks=ranks).sentence("none.h5")
        rerun(mask.data, ranks=ranks).sentence("not a run file")
    rerun(path, "--output", mask.folder / "no" / "where.h5").sentence("No such file or directory")
    rerun(path, "--output", mask.folder).sentence("folder")
    assert rerun(path, "--overwrite", "--resume").code == 1 and call("rerun").code == 1 and rerun(path, path).code == 1
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    rerun(path, ranks=2).sentence(path.name)


# ---- Stopped reruns ----


def test_stopped_and_resumed(mask: Study) -> None:
    """A rerun of many hours gets through the limits of a batch system."""
    path, new = mask.finished(fed__rounds=4), mask.folder / "again.h5"
    words = ("--output", new, "--set", "run.max_seconds=1e-6")
    result = rerun(path, *words)
    assert result.code == 75 and result.out == "" and "--resume goes on" in result.err, result.err
    assert rerun(path, *words, "--resume", ranks=2).code == 75
    assert read_rounds(new) == ("interrupted", [0, 1, 2])
    same(path, "--output", new, "--resume")
    same(path, "--output", new, "--resume")  # is finished already
    assert read_rounds(new)[0] == "finished"


def test_resumed_where_there_is_more(mask: Study) -> None:
    """The longer file is no rerun of the shorter."""
    path, longer = stopped(mask, 1), mask.finished()
    rerun(path, "--output", longer, "--resume").sentence(str(longer), "3 rounds", "no rerun")
