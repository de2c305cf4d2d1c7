"""Runs that stop and go on: bit for bit the run that never stopped, on any number of ranks, and never with other settings or inputs."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import (
    Result,
    Study,
    call,
    command,
    digest_of,
    edited,
    environment,
    finish,
    last_round,
    ranks_of,
    read_rounds,
    wait_for_rounds,
)
from safetensors.numpy import load_file, save_file
from toy import copy_model, write

PROTOCOLS = ("nvflare", "paper", "fedavg-bbt", "synchronous")
ONE_ROUND = {"run__max_seconds": 1e-6}  # a session of one round: its time is up at once
EVERYTHING = {"fed__clients": 6, "fed__participation": 0.5, "fed__partition": "dirichlet", "fed__dirichlet_alpha": 0.3,
              "perturb__rate": 0.5, "run__client_means": "true", "eval__every": 2}


def resume(study: Study, path: Path, *, ranks: int = 1, env: dict[str, str] | None = None, **changes: object) -> Result:
    return call("run", study.config, "--resume", *study.set(run__output=path, **changes), ranks=ranks, env=env)


def stopped(study: Study, **changes: object) -> Path:
    """A run that was stopped after its first round; its file."""
    path = study.output()
    assert study.run(run__output=path, **ONE_ROUND, **changes).code == 75
    assert read_rounds(path) == ("interrupted", [0, 1])
    return path


@pytest.mark.parametrize("name", ["last_means", "residuals", "step_size_local", "server_reals"])
@pytest.mark.parametrize("ranks", [1, 3])
def test_a_checkpoint_with_what_is_no_number(mask: Study, name: str, ranks: int) -> None:
    """Told before anything is computed from it. Broken by an array that is taken as it is: the model would be blamed."""
    changes = {"fed__average_means": 3, "fed__quantise_bits": 2, "fed__error_feedback": "true"}
    path = stopped(mask, **changes)
    with edited(path) as file:
        file[f"checkpoint/{name}"][0] = np.nan
    resume(mask, path, ranks=ranks, **changes).sentence("checkpoint", "damaged")


def leftovers(path: Path) -> list[str]:
    return [file.name for file in path.parent.glob(f".{path.name}*")]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_session_for_each_round(mask: Study, protocol: str) -> None:
    """Broken by any state of the server, of the best round or of the scores that the file does not hold."""
    changes = {"fed__protocol": protocol, "fed__rounds": 4}
    path = stopped(mask, **changes)
    for last, ranks in ((2, 3), (3, 1)):
        assert resume(mask, path, ranks=ranks, **ONE_ROUND, **changes).code == 75
        assert read_rounds(path) == ("interrupted", list(range(last + 1)))
    resume(mask, path, ranks=2, **changes).good()
    assert read_rounds(path) == ("finished", [0, 1, 2, 3, 4])
    assert digest_of(path) == mask.expected(**changes)
    assert leftovers(path) == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_with_everything_on(mask: Study, protocol: str) -> None:
    """Half of the clients take part, perturbed samples, unequal mixes, recorded means, scores every other round."""
    changes = {"fed__protocol": protocol, "fed__rounds": 5, **EVERYTHING}
    path = stopped(mask, **changes)
    assert resume(mask, path, ranks=7, **ONE_ROUND, **changes).code == 75
    resume(mask, path, ranks=4, **changes).good()
    assert digest_of(path) == mask.expected(**changes)


@pytest.mark.thorough
def test_embedding_readout(embedding: Study) -> None:
    path = stopped(embedding)
    resume(embedding, path, ranks=3).good()
    assert digest_of(path) == embedding.expected()


@pytest.mark.thorough
@pytest.mark.parametrize("covariance", ["full", "separable", "isotropic"])
def test_covariances(mask: Study, covariance: str) -> None:
    """In few dimensions, so that decompositions fall due and updates stay deferred over a stop."""
    changes = {"cma__covariance": covariance, "cma__dimension": 6, "fed__local_generations": 9, "fed__rounds": 8,
               "fed__protocol": "fedavg-bbt"}
    path = stopped(mask, **changes)
    for _ in range(5):
        assert resume(mask, path, **ONE_ROUND, **changes).code == 75
    resume(mask, path, **changes).good()
    assert digest_of(path) == mask.expected(**changes)


def test_best_round(mask: Study) -> None:
    """The best round of an earlier session stays the best until a later one is better."""
    changes = {"fed__rounds": 12, "cma__sigma": 0.3}
    path = stopped(mask, **changes)
    best = []
    for _ in range(11):
        resume(mask, path, **ONE_ROUND, **changes)
        with h5py.File(path) as file:
            best.append(int(file["result"].attrs["best_round"]))
            assert np.array_equal(file["result/best_z"], file["rounds/z"][best[-1]])
    assert digest_of(path) == mask.expected(**changes)
    assert any(a == b for a, b in zip(best, best[1:], strict=False)), "every round was the best so far: the test shows nothing"


def test_file_does_not_grow_by_being_resumed(mask: Study) -> None:
    """Broken by holes that a session leaves for good: a checkpoint of 200 dimensions takes 160 KB."""
    changes = {"fed__rounds": 12, "cma__dimension": 200, "fed__protocol": "synchronous"}
    path = stopped(mask, **changes)
    for _ in range(10):
        assert resume(mask, path, **ONE_ROUND, **changes).code == 75
    resume(mask, path, **changes).good()
    whole = mask.finished(**changes)
    assert digest_of(path) == digest_of(whole)
    assert path.stat().st_size < whole.stat().st_size + 120_000  # sessions take some KB each


# ---- Ends before the last round ----

LONG = {"fed__rounds": 100_000, "fed__local_generations": 1, "cma__population": 2}


def start(study: Study, path: Path, *, ranks: int = 1, env: dict[str, str] | None = None, **changes: object) -> subprocess.Popen[str]:
    words = command(("run", study.config, "--resume", *study.set(run__output=path, **{**LONG, **changes})), ranks)
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment(env or {}), start_new_session=True)


def check_goes_on(study: Study, path: Path) -> None:
    """Two more rounds are those of a run that was never stopped."""
    status, index = read_rounds(path)
    assert status == "interrupted"
    n_rounds = index[-1] + 2
    with edited(path) as file:  # as if so many had been wanted from the first
        file["config"].attrs["resolved"] = file["config"].attrs["resolved"].replace("rounds: 100000", f"rounds: {n_rounds}")
    changes = {**LONG, "fed__rounds": n_rounds}
    resume(study, path, ranks=2, **changes).good()
    assert digest_of(path) == study.expected(**changes)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_signal(mask: Study, name: str) -> None:
    path = mask.output()
    process = start(mask, path)
    wait_for_rounds(path, process, 3)
    process.send_signal(signal.Signals[name])
    result = finish(process)
    assert result.code == 75 and f"stopped by {name}" in result.err and "--resume goes on" in result.err, result.err
    check_goes_on(mask, path)


@pytest.mark.parametrize("rank", [0, 2])
def test_signal_to_one_rank_of_three(mask: Study, rank: int) -> None:
    path = mask.output()
    process = start(mask, path, ranks=3)
    wait_for_rounds(path, process, 3)
    os.kill(ranks_of(process)[rank], signal.SIGTERM)
    result = finish(process)
    assert result.code == 75 and "stopped by SIGTERM" in result.err, result.err
    check_goes_on(mask, path)


def test_signal_to_mpirun(mask: Study) -> None:
    """It passes SIGUSR1 on."""
    path = mask.output()
    process = start(mask, path, ranks=2)
    wait_for_rounds(path, process, 3)
    process.send_signal(signal.SIGUSR1)
    result = finish(process)
    assert result.code == 75 and "stopped by SIGUSR1" in result.err, result.err
    assert read_rounds(path)[0] == "interrupted"


def test_signal_before_the_first_round(mask: Study) -> None:
    """Nothing but the state before tuning is recorded, or nothing at all; either can be gone on with."""
    path = mask.output()
    for delay in (0.0, 0.03, 0.06, 0.1, 0.15):
        process = start(mask, path, fed__rounds=3)
        time.sleep(delay)
        process.send_signal(signal.SIGUSR1)
        result = finish(process)
        assert result.code in (75, 0, -signal.SIGUSR1), result.err  # the last: before the program could ask for it
    resume(mask, path, **{**LONG, "fed__rounds": 3}).good()
    assert digest_of(path) == mask.expected(**{**LONG, "fed__rounds": 3})


def test_second_interrupt_ends_at_once(mask: Study) -> None:
    """In the middle of a round that would take hours."""
    path = mask.output()
    process = start(mask, path, fed__local_generations=65535, cma__population=200)
    wait_for_rounds(path, process, 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    result = finish(process)
    assert result.code == -signal.SIGINT and "once more stops at once" in result.err


@pytest.mark.parametrize("ranks", [1, 3])
def test_end_of_the_batch_job(mask: Study, ranks: int) -> None:
    path = mask.output()
    env = {"SLURM_JOB_END_TIME": str(int(time.time()) + 65)}
    result = call("run", mask.config, *mask.set(run__output=path, **LONG), ranks=ranks, env=env)
    assert result.code == 75 and "stopped by the end of the batch job" in result.err, result.err
    assert result.seconds < 30, "the margin of 60 s was not kept"
    assert read_rounds(path)[0] == "interrupted"


@pytest.mark.parametrize("text", ["", "soon", "0", "-5", "99999999999999999999999", "1e9"])
def test_end_of_the_job_that_says_nothing(mask: Study, text: str) -> None:
    mask.run(run__output=mask.output(), env={"SLURM_JOB_END_TIME": text}).good()


@pytest.mark.thorough
def test_rounds_that_would_end_too_late_are_not_begun(mask: Study) -> None:
    """With time for three rounds and a half. Held to the rounds' own times: the machine may be busier or idler than a moment ago."""
    pace = mask.pace(cma__population=6)
    length = max(0.5, 2 * pace.start_s)
    limit = pace.start_s + 3.5 * length
    path = mask.output()
    result = mask.run(run__output=path, fed__local_generations=pace.generations(length), cma__population=6, fed__rounds=1000, run__max_seconds=limit)
    assert result.code == 75 and read_rounds(path)[0] == "interrupted", result.err
    with h5py.File(path) as file:
        seconds = file["rounds/cost/seconds"][:].sum(axis=1)
    assert result.seconds + 1.1 * seconds.max() > limit, "another round would have fitted"
    before = seconds[:-1]
    assert len(before) == 1 or before.sum() + before[1:].max() <= limit, "the last round was begun too late"
    assert " s left for about " in result.err, result.err


# ---- Settings that may differ, and those that may not ----

OTHER = [("run.seed", "3", "4"), ("cma.sigma", "1", "0.5"), ("fed.protocol", "nvflare", "paper"), ("fed.clients", "5", "4"),
         ("fed.participation", "1", "0.8"), ("fed.participants", "0", "3"), ("eval.train_limit", "0", "5"),
         ("cma.dimension", "12", "13"), ("cma.population", "4", "5"), ("data.shots", "4", "3"),
         ("perturb.rate", "0", "0.5"), ("eval.every", "1", "2"), ("run.client_means", "false", "true"), ("data.test_limit", "0", "5"),
         ("prompt.projection", "normal", "uniform"), ("objective.loss", "ce", "hinge"), ("model.embedding_scale", "20", "10")]


def test_other_settings_are_refused(mask: Study) -> None:
    """One sentence with the setting and both values, and the file stays as it is; also where it is finished."""
    interrupted, finished = stopped(mask), mask.finished()
    for path in (interrupted, finished):
        before = path.read_bytes()
        for key, old, new in OTHER if path is interrupted else OTHER[:2]:
            resume(mask, path, **{key.replace(".", "__"): new}).sentence(f"{key} is {new}", f"run with {old}", str(path))
        assert path.read_bytes() == before
    assert leftovers(interrupted) == []


def test_other_settings_are_refused_on_three_ranks(mask: Study) -> None:
    resume(mask, stopped(mask), ranks=3, cma__sigma=2).sentence("cma.sigma is 2", "run with 1")


def test_fewer_rounds_are_refused(mask: Study) -> None:
    resume(mask, stopped(mask), fed__rounds=2).sentence("fed.rounds is 2", "3", "not shrink")


def test_more_rounds(mask: Study) -> None:
    """A finished run goes on as if so many rounds had been wanted from the first."""
    path = mask.finished()
    resume(mask, path, fed__rounds=5).good()
    assert digest_of(path) == mask.expected(fed__rounds=5)
    assert "rounds: 5" in call("show", path).good().out


def test_more_rounds_after_a_last_one_that_alone_was_scored(mask: Study) -> None:
    changes = {"eval__every": 2, "fed__rounds": 3}
    path = mask.finished(**changes)
    resume(mask, path, **{**changes, "fed__rounds": 4}).sentence("fed.rounds", "eval.every", "round 3")
    path = stopped(mask, **changes)  # whose last round is still to come
    resume(mask, path, **{**changes, "fed__rounds": 4}).good()
    assert digest_of(path) == mask.expected(**{**changes, "fed__rounds": 4})


def test_what_decides_no_number_may_change(mask: Study) -> None:
    """Threads, batches, where the files are."""
    path = stopped(mask)
    moved = mask.folder / "moved"
    moved.mkdir()
    data, model, output = moved / "data.h5", copy_model(mask.model, moved / "model"), moved / "run.h5"
    shutil.copy(mask.data, data)
    path.rename(output)
    resume(mask, output, ranks=2, backend__threads=2, backend__batch_tokens=100, run__max_seconds=1000, data__path=data, model__path=model,
           run__stop_margin_seconds=5).good()
    assert digest_of(output) == mask.expected()
    call("evaluate", "--run", output, "--round", "last").good()


@pytest.mark.thorough
def test_other_precision_is_refused(mask: Study) -> None:
    """`auto` stands for what it turned out to be."""
    if "precision (auto): bf16" not in call("info").good().out:
        pytest.skip("bf16 is not fast on this processor")
    path = stopped(mask, backend__precision="auto")
    resume(mask, path, backend__precision="fp32").sentence("backend.precision", "fp32", "bf16")
    resume(mask, path, backend__precision="auto", env={"ONEDNN_MAX_CPU_ISA": "AVX2"}).sentence("fp32", "bf16")
    resume(mask, path, backend__precision="bf16").good()
    assert digest_of(path) == mask.expected(backend__precision="bf16")


def test_other_kind_of_processor_is_told(mask: Study) -> None:
    path = stopped(mask)
    result = resume(mask, path, env={"ONEDNN_MAX_CPU_ISA": "SSE41"}).good()
    assert "may differ in their last bits" in result.err, result.err
    assert read_rounds(path)[0] == "finished"


def test_other_data_is_refused(mask: Study) -> None:
    path = stopped(mask)
    mask.toy.seed += 1
    write(mask.data, mask.toy)
    for ranks in (1, 2):
        resume(mask, path, ranks=ranks).sentence("data.path", str(mask.data), "SHA-256")
    assert read_rounds(path) == ("interrupted", [0, 1])


def test_other_model_is_refused(mask: Study) -> None:
    folder = copy_model(mask.model, mask.folder / "model")
    path = stopped(mask, model__path=folder)
    tensors = load_file(folder / "model.safetensors")
    name = sorted(tensors)[3]
    tensors[name] = tensors[name].copy()
    tensors[name].flat[0] += np.float32(0.001)
    save_file(tensors, folder / "model.safetensors")
    resume(mask, path, model__path=folder).sentence("model.path", str(folder), "SHA-256")


def test_digests_are_sha256sums(mask: Study) -> None:
    """So that anyone can find out what a run file was made with."""
    with h5py.File(mask.finished()) as file:
        inputs = dict(file["inputs"].attrs)
    shell = f"cd '{mask.model}' && LC_ALL=C sha256sum config.json *.safetensors | sha256sum"
    model = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True).stdout.split()[0]
    data = subprocess.run(["sha256sum", mask.data], capture_output=True, text=True, check=True).stdout.split()[0]
    assert (inputs["model_sha256"], inputs["data_sha256"]) == (model, data)


# ---- Files to go on with ----

@pytest.mark.parametrize("ranks", [1, 3])
def test_no_file_is_a_start(mask: Study, ranks: int) -> None:
    path = mask.output()
    resume(mask, path, ranks=ranks).good()
    assert digest_of(path) == mask.expected()
    resume(mask, mask.folder / "nowhere" / "run.h5", ranks=ranks).sentence("nowhere", "No such file or directory")


@pytest.mark.parametrize("ranks", [1, 3])
def test_finished(mask: Study, ranks: int) -> None:
    path = mask.finished()
    before = path.read_bytes()
    assert "finished already" in resume(mask, path, ranks=ranks).good().err
    assert path.read_bytes() == before
    assert leftovers(path) == []


def test_overwrite_in_the_settings_does_not_start_anew(mask: Study) -> None:
    path = stopped(mask)
    resume(mask, path, run__overwrite="true").good()
    with h5py.File(path) as file:
        assert sorted(file["environment/sessions"]) == ["0001", "0002"]
    result = call("run", mask.config, "--resume", "--overwrite")
    assert result.code == 1 and "exclude each other" in result.err


def test_dry_run(mask: Study) -> None:
    path = stopped(mask)
    before = path.read_bytes()
    out = call("run", mask.config, "--resume", "--dry-run", *mask.set(run__output=path)).good().out
    assert "goes on after round 1" in out
    assert "has them all" in call("run", mask.config, "--resume", "--dry-run", *mask.set(run__output=mask.finished())).good().out
    call("run", mask.config, "--resume", "--dry-run", *mask.set(run__output=path, run__seed=9)).sentence("run.seed is 9")
    assert path.read_bytes() == before


def test_without_resume_nothing_is_gone_on_with(mask: Study) -> None:
    mask.run(run__output=stopped(mask)).sentence("exists")


def test_running_elsewhere(mask: Study) -> None:
    path = mask.output()
    process = start(mask, path)
    try:
        wait_for_rounds(path, process, 2)
        resume(mask, path, **LONG).sentence(str(path), "another run")
    finally:
        process.kill()
        process.communicate()
    resume(mask, path, **ONE_ROUND, **LONG)
    assert read_rounds(path)[0] == "interrupted"


def test_not_a_run_file(mask: Study) -> None:
    path = mask.folder / "notes.txt"
    path.write_text("words")
    resume(mask, path).sentence("notes.txt", "not an HDF5 file")
    data = mask.folder / "other.h5"
    shutil.copy(mask.data, data)
    resume(mask, data).sentence("other.h5", "not a run file")
    assert path.read_text() == "words" and data.read_bytes() == mask.data.read_bytes()


def test_damaged_files(mask: Study) -> None:
    """Never a crash, never a run from a half-known state, and the file stays as it is."""
    path = stopped(mask)
    content = path.read_bytes()
    for share in (0.0, 0.01, 0.3, 0.8, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        resume(mask, path).sentence(path.name)

    def without(name: str) -> None:
        with edited(path) as file:
            del file[name]

    def attribute(group: str, name: str, value: object) -> None:
        with edited(path) as file:
            file[group].attrs[name] = value

    def values(name: str, index: int, value: float) -> None:
        with edited(path) as file:
            file[name][index] = value

    def shorter(name: str) -> None:
        with edited(path) as file:
            file[name].resize(1, axis=0)

    damages = [lambda: without("checkpoint"), lambda: without("checkpoint/server_reals"), lambda: without("rounds/client/loss"),
               lambda: without("rounds/z"), lambda: without("partition/sample_index"), lambda: without("environment"),
               lambda: attribute("checkpoint", "round", 0), lambda: attribute("/", "status", "perhaps"),
               lambda: attribute("result", "best_round", 7), lambda: attribute("config", "resolved", "fed: 3"),
               lambda: values("checkpoint/server_reals", 0, np.nan), lambda: values("checkpoint/server_integers", 1, 2**62),
               lambda: values("checkpoint/server_integers", 10, 2), lambda: values("checkpoint/step_size_local", 0, -1),
               lambda: values("partition/sample_index", 0, -1), lambda: shorter("rounds/client/fitness"), lambda: shorter("rounds/index"),
               lambda: attribute("/", "format_version", 99)]
    for number, damage in enumerate(damages):
        path.write_bytes(content)
        damage()
        damaged = path.read_bytes()
        resume(mask, path, ranks=1 if number % 5 else 2).sentence()
        assert path.read_bytes() == damaged or read_rounds(path)[0] == "failed", number
    path.write_bytes(content)
    resume(mask, path).good()


def test_after_a_full_disk(mask: Study) -> None:
    """A quota ends the run; with more room it goes on."""
    path = mask.output()
    room = 250_000
    changes = {**LONG, "fed__rounds": 300, "run__client_means": "true"}
    mask.run(run__output=path, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)), **changes).sentence("File too large", "kept")
    assert 0 < last_round(path) < 299
    resume(mask, path, **changes).good()
    assert digest_of(path) == mask.expected(**changes)


def test_after_a_failure(mask: Study) -> None:
    """A run that is marked as failed goes on from its last whole round: the cause may be gone."""
    path = stopped(mask)
    with edited(path) as file:
        file.attrs["status"] = "failed"
    resume(mask, path).good()
    assert digest_of(path) == mask.expected()


# ---- Records ----

def test_sessions(mask: Study) -> None:
    """Every start is known: where, when, for which rounds, and what the batch system called it."""
    first = {"SLURM_JOB_ID": "41", "SLURM_ARRAY_JOB_ID": "40", "SLURM_ARRAY_TASK_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]",
             "SLURM_CLUSTER_NAME": "big", "SLURM_RESTART_COUNT": "2"}
    path = mask.output()
    assert mask.run(run__output=path, env=first, **ONE_ROUND).code == 75
    with edited(path) as file:
        file.attrs["wall_time_s"] += 1000
        assert {key: file["environment"].attrs[key] for key in ("slurm_job_id", "slurm_array_job_id", "slurm_array_task_id", "slurm_node_list",
                "slurm_cluster", "slurm_restart_count")} == dict(zip(("slurm_job_id", "slurm_array_job_id", "slurm_array_task_id",
                "slurm_node_list", "slurm_cluster", "slurm_restart_count"), ("41", "40", "7", "n[1-2]", "big", "2"), strict=True))
    resume(mask, path, ranks=3).good()
    with h5py.File(path) as file:
        sessions = [dict(file["environment/sessions"][name].attrs) for name in ("0001", "0002")]
        assert [int(session["first_round"]) for session in sessions] == [0, 2]
        assert [session["ranks"] for session in sessions] == ["1", "3"]
        assert sessions[0]["slurm_job_id"] == "41" and "slurm_job_id" not in sessions[1]
        assert "slurm_job_id" not in file["environment"].attrs, "the environment is the last session's"
        assert all(session["started"].endswith("Z") for session in sessions)
        assert 1000 < file.attrs["wall_time_s"] < 1100, "the wall time is that of all sessions"
    found = json.loads(call("show", "--json", path).good().out)["sessions"]
    assert [session["first_round"] for session in found] == [0, 2]
    lines = call("show", path).good().out.split("\nSessions\n")[1].splitlines()[:2]
    assert "ranks 1 on" in lines[0] and "ranks 3 on" in lines[1]


def test_settings_in_force_are_recorded(mask: Study) -> None:
    path = stopped(mask)
    resume(mask, path, backend__batch_tokens=777).good()
    with h5py.File(path) as file:
        assert "batch_tokens: 777" in file["config"].attrs["resolved"]
        assert "--set backend.batch_tokens=777" in file["config"].attrs["given"]


@pytest.mark.parametrize("protocol", ["nvflare", "paper", "synchronous"])
def test_a_search_that_collapses(mask: Study, protocol: str) -> None:
    """A covariance beyond the condition limit is reset, counted and told once; breaks if ranks without participants keep theirs."""
    changes = {"fed__protocol": protocol, "fed__rounds": 6, "fed__participation": 0.4}
    path = stopped(mask, **changes)
    with edited(path) as file:
        file["checkpoint/server_reals"][-36:] *= 1e9  # the last solutions that C is yet to learn from
    paths = [path, mask.output()]
    shutil.copyfile(*paths)
    for file, ranks in zip(paths, (1, 3), strict=True):
        told = [line for line in resume(mask, file, ranks=ranks, **changes).good().err.splitlines() if "collapsed" in line]
        assert len(told) == 1 and "round 2: 1 search collapsed" in told[0] and "C = identity" in told[0]
    assert digest_of(paths[0]) == digest_of(paths[1])
    with h5py.File(path) as file:
        assert file["rounds/resets"][:].tolist() == [0, 0, 1, 0, 0, 0, 0]
        assert (file["rounds/condition_number"][:] < 1e6).all()
        assert np.isfinite(file["rounds/z"][...]).all()
    assert "1 search collapsed and began anew, the first in round 2" in call("show", path).good().out


def test_a_file_of_an_earlier_version(mask: Study) -> None:
    """It lacks the columns and settings that came later: none of its results depends on them."""
    path = stopped(mask)
    with edited(path) as file:
        n_rows = file["rounds/index"].shape[0]
        file["rounds/cost/energy_gpu"][:] = 7.0
        del file["rounds/resets"], file["rounds/cost/energy_cpu"]
        resolved = file["config"].attrs["resolved"]
        later = [line for line in resolved.splitlines() if line.strip() == "scale_by_sigma: true"]
        assert len(later) == 1
        file["config"].attrs["resolved"] = resolved.replace(later[0] + "\n", "")
    call("show", path).good()
    digest = digest_of(path)
    resume(mask, path).good()
    with h5py.File(path) as file:
        assert file["rounds/resets"][:].tolist() == [0, 0, 0, 0]
        assert np.isnan(file["rounds/cost/energy_cpu"][:n_rows]).all()  # 0 J would be a measurement
        assert (file["rounds/cost/energy_gpu"][:n_rows] == 7).all()
    assert digest_of(path) == mask.digest() != digest
