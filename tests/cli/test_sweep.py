"""Sweeps: the right runs, each made once whoever shares the work, whatever is killed, and the same numbers as runs made one by one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import h5py
import pytest
import toy
from conftest import SANITIZED, Result, Study, call, command, digest_of, environment, finish, last_round, ranks_of, read_rounds

AXES = {"grid": {"fed.protocol": ["nvflare", "synchronous"]}, "repeats": 3}
DEAD = "fedbpt lock of a run file\nidentity {:032x}\nhost elsewhere\nboot b\npids p\npid 4711\nborn 1\njob {}\nstart 0\nend\n"


@dataclass
class Sweep:
    """A sweep file over a study's settings, and calls of it."""

    study: Study
    values: dict[str, object]

    @property
    def file(self) -> Path:
        base = self.study.config
        path = self.study.folder / "sweep.yaml"
        head = {"name": "trial", "base": base.name, "output": str(self.output)}
        path.write_text(json.dumps(head | self.values, indent=1), encoding="utf-8")
        return path

    @property
    def output(self) -> Path:
        return Path(str(self.values.get("output", self.study.folder / "sweep" / "runs")))

    def call(self, *words: object, ranks: int = 1) -> Result:
        return call("sweep", self.file, *words, ranks=ranks)

    def start(self, *words: object, ranks: int = 1) -> subprocess.Popen[str]:
        return subprocess.Popen(command(("sweep", self.file, *words), ranks), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=environment({}), start_new_session=True)

    def runs(self) -> dict[str, dict[str, str]]:
        """Values on the axes by name of run, as --list tells."""
        lines = self.call("--list").good().out.splitlines()
        axes = lines[0].split()[1:-2]
        rows = [line.split() for line in lines[1:-1]]
        assert [int(row[0]) for row in rows] == list(range(len(rows)))
        return {row[-1]: dict(zip(axes, row[1:-2], strict=True)) for row in rows}

    def states(self) -> dict[str, str]:
        """State by name of run, as --status tells."""
        found = re.findall(r"^ *\d+  (\S.*?) {2,}(\d+)/\d+ .*  (\S+)$", self.call("--status").good().out, re.MULTILINE)
        return {name: state for state, _, name in found}

    def files(self) -> dict[str, Path]:
        return {path.stem: path for path in self.output.glob("*.h5")}

    def check_complete(self) -> None:
        """All runs are there, finished, with the numbers of a run that was made alone; nothing else is left."""
        runs = self.runs()
        assert self.files().keys() == runs.keys()
        for name, values in runs.items():
            path = self.output / f"{name}.h5"
            settings = {**self.values.get("settings", {}), **{key: value for key, value in values.items() if value != "-"}}
            assert read_rounds(path)[0] == "finished", name
            assert digest_of(path) == self.study.expected(**{key.replace(".", "__"): value for key, value in settings.items()}), name
        assert sorted(path.name for path in self.output.iterdir()) == sorted(f"{name}.h5" for name in runs)


@pytest.fixture
def sweep(mask: Study) -> Sweep:
    return Sweep(mask, dict(AXES))


def make_slow(sweep: Sweep) -> float:
    """Gives each run eight rounds that together take longer than its start; returns the seconds up to the middle of the first run."""
    pace = sweep.study.pace()
    length = max(0.5, 1.5 * pace.start_s)
    sweep.values["settings"] = {"fed.local_generations": pace.generations(length / 8), "fed.rounds": 8}
    return pace.start_s + length / 2


def made(*results: Result) -> Counter[str]:
    """How often each run was brought to its end."""
    return Counter(re.findall(r" s (\S+): finished with round", "".join(result.err for result in results)))


def wait_for(condition: object, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


# ---- Tables ----


@pytest.mark.parametrize("ranks", [1, 3])
def test_list(sweep: Sweep, ranks: int) -> None:
    """One table, however many ranks; nothing is made."""
    result = sweep.call("--list", ranks=ranks).good()
    lines = result.out.splitlines()
    assert lines[0].split() == ["index", "fed.protocol", "run.seed", "evaluations", "name"]
    counts = {"nvflare": "135", "synchronous": "120"}  # 3 rounds of 2 generations of 4 candidates on 5 clients, and of a final mean
    assert [line.split()[:4] for line in lines[1:-1]] == [
        [str(3 * p + s), protocol, str(3 + s), counts[protocol]] for p, protocol in enumerate(counts) for s in range(3)
    ]
    assert lines[-1].startswith("6 runs of sweep trial, 765 evaluations")
    assert result.err == "" and not sweep.output.exists()


def test_listed_evaluations(sweep: Sweep) -> None:
    """Those that the run files count. Broken by clients that take no part, perturbed copies or final means that are left out."""
    sweep.values = {"grid": {"fed.protocol": ["paper", "synchronous"], "perturb.rate": [0, 0.5]}, "settings": {"fed.participation": 0.5}}
    listed = {line.split()[-1]: float(line.split()[-2]) for line in sweep.call("--list").good().out.splitlines()[1:-1]}
    sweep.call().good()
    for name, path in sweep.files().items():
        with h5py.File(path) as file:
            assert file["rounds/client/evaluations"][:].sum() == listed.pop(name)
    assert not listed


def test_status(sweep: Sweep) -> None:
    assert set(sweep.states().values()) == {"to do"}
    names = list(sweep.runs())
    sweep.call("--index", 1).good()
    assert sweep.states() == {name: "finished" if i == 1 else "to do" for i, name in enumerate(names)}
    result = sweep.call("--status", ranks=2).good()
    row = next(line for line in result.out.splitlines() if names[1] in line).split()
    with h5py.File(sweep.output / f"{names[1]}.h5") as file:
        best = int(file["result"].attrs["best_round"])
        scores = [f"{file['rounds'][name][best]:.4f}" for name in ("dev_accuracy", "test_accuracy")]
    assert row == ["1", "finished", "3/3", str(best), *scores, names[1]]
    assert result.out.splitlines()[-1].startswith("sweep trial: 5 to do, 1 finished")
    assert len(result.out.splitlines()) == 8


# ---- Making runs ----


def test_index(sweep: Sweep) -> None:
    """One run on all ranks, its number as a job array gives it; a second time there is nothing to do."""
    name = list(sweep.runs())[4]
    result = sweep.call("--index", 4, ranks=3).good()
    assert made(result) == {name: 1} and list(sweep.files()) == [name]
    with h5py.File(sweep.files()[name]) as file:
        assert file["environment"].attrs["ranks"] == "3"
    assert digest_of(sweep.files()[name]) == sweep.study.expected(fed__protocol="synchronous", run__seed=4)
    assert made(sweep.call("--index", 4).good()) == {}


def test_provenance(sweep: Sweep) -> None:
    """A run file says of which sweep it is, and can be made again without it."""
    sweep.call("--index", 0).good()
    (name, path), = sweep.files().items()
    with h5py.File(path) as file:
        environment = dict(file["environment"].attrs)
        assert environment["sweep_name"] == "trial" and environment["sweep_run"] == name
        assert environment["sweep_axes"] == "fed.protocol=nvflare run.seed=3"
        (sweep.study.folder / "again.yaml").write_text(file["config"].attrs["resolved"])
    again = sweep.study.output()
    call("run", sweep.study.folder / "again.yaml", "--set", f"run.output={again}").good()
    assert digest_of(again) == digest_of(path)


@pytest.mark.parametrize("ranks_per_run", [1, 2])
def test_groups(sweep: Sweep, ranks_per_run: int) -> None:
    result = sweep.call("--ranks-per-run", ranks_per_run, ranks=4).good()
    assert made(result) == dict.fromkeys(sweep.runs(), 1)
    sweep.check_complete()
    with h5py.File(next(iter(sweep.files().values()))) as file:
        assert file["environment"].attrs["ranks"] == str(ranks_per_run)
    assert result.out.count("index  state") == 1 and "sweep trial: 6 finished" in result.out
    before = {path: path.stat().st_mtime_ns for path in sweep.files().values()}
    assert made(sweep.call("--ranks-per-run", 2, ranks=2).good()) == {}
    assert before == {path: path.stat().st_mtime_ns for path in sweep.files().values()}


@pytest.mark.thorough
def test_more_groups_than_runs(sweep: Sweep) -> None:
    sweep.values = {"grid": {"cma.sigma": [1, 2]}}
    assert made(sweep.call(ranks=5).good()) == dict.fromkeys(sweep.runs(), 1)


@pytest.mark.thorough
def test_every_kind_of_axis(sweep: Sweep) -> None:
    """Also models and data that change from run to run within a process."""
    other = toy.write(sweep.study.folder / "other.h5", toy.Toy(seed=9))
    model = toy.copy_model(sweep.study.model, sweep.study.folder / "model")
    sweep.values = {
        "settings": {"fed.rounds": 2},
        "grid": {"data.path": [str(sweep.study.data), str(other)], "backend.batch_tokens": [100, 5000]},
        "sets": [{"model.path": str(model)}, {"cma.population": 6}],
        "random": {"draws": 2, "seed": 1, "settings": {"cma.sigma": {"log_uniform": [0.1, 10]}}},
        "exclude": [{"data.path": str(other), "backend.batch_tokens": 100}],
    }
    result = sweep.call("--ranks-per-run", 1, ranks=2).good()
    assert len(sweep.runs()) == 12 and made(result) == dict.fromkeys(sweep.runs(), 1)
    sweep.check_complete()


def test_longest_first(sweep: Sweep) -> None:
    sweep.values = {"grid": {"cma.population": [4, 12, 8], "perturb.rate": [0, 0.5]}}
    result = sweep.call().good()
    order = re.findall(r"population=(\d+),rate=(\S+)-\S+: finished with", result.err)
    assert order == [("12", "0.5"), ("8", "0.5"), ("12", "0"), ("4", "0.5"), ("8", "0"), ("4", "0")]


def test_settings_for_all_runs(sweep: Sweep) -> None:
    sweep.call("--index", 0, "--set", "fed.rounds=2").good()
    (path,) = sweep.files().values()
    assert read_rounds(path) == ("finished", [0, 1, 2])
    sweep.call("--index", 0, "--set", "fed.protocol=paper").sentence("--set fed.protocol", "the sweep varies this setting")


def test_more_values_later(sweep: Sweep) -> None:
    """Old runs keep their names and are not made again."""
    sweep.call(ranks=2).good()
    before = {path: path.stat().st_mtime_ns for path in sweep.files().values()}
    sweep.values = {"repeats": 4, "grid": {"fed.protocol": ["paper", "synchronous", "nvflare"]}}
    result = sweep.call(ranks=2).good()
    assert len(made(result)) == 12 - 6 and len(sweep.files()) == 12
    assert before == {path: path.stat().st_mtime_ns for path in before}


# ---- Sweeps that are stopped or killed ----


@pytest.mark.parametrize(("ranks", "ranks_per_run"), [(1, 1), (4, 2)])
def test_killed(sweep: Sweep, ranks: int, ranks_per_run: int) -> None:
    """kill -9 of everything, twice, in the middle of runs: the next call goes on, and makes what a single call would have made."""
    make_slow(sweep)
    for n_finished in (1, 3):
        process = sweep.start("--ranks-per-run", ranks_per_run, ranks=ranks)
        wait_for(lambda n=n_finished: sum(read_rounds(path)[0] == "finished" for path in sweep.files().values()) >= n, process)
        time.sleep(0.2)
        kill_all(process)
        states = Counter(sweep.states().values())
        assert states["running"] == 0 and states["finished"] >= n_finished, states
        assert states["finished"] < 6, "too fast for the test to show anything"
    finished = {name for name, state in sweep.states().items() if state == "finished"}
    result = sweep.call("--ranks-per-run", ranks_per_run, ranks=ranks).good()
    assert made(result) == dict.fromkeys(sweep.runs().keys() - finished, 1)
    if not SANITIZED:
        sweep.check_complete()


def kill_all(process: subprocess.Popen[str]) -> None:
    """mpirun puts its ranks into process groups of their own."""
    ranks = ranks_of(process)
    for pid in (process.pid, *ranks):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in ranks) and time.monotonic() < end:
        time.sleep(0.01)


def test_one_rank_killed(sweep: Sweep) -> None:
    """The whole job dies with it, as MPI has it; nothing is lost, and nothing blocks the next call."""
    make_slow(sweep)
    process = sweep.start(ranks=3)
    wait_for(lambda: len(sweep.files()) >= 2, process)
    os.kill(ranks_of(process)[-1], signal.SIGKILL)
    assert finish(process).code not in (0, 75)
    sweep.call(ranks=3).good()
    assert set(sweep.states().values()) == {"finished"}


def test_time_limit(sweep: Sweep) -> None:
    """Exit code 75 until nothing is left: what a chain of short jobs sees. Each call gets on."""
    sweep.values["repeats"] = 2
    limit = make_slow(sweep)
    codes, results = [], []
    while codes[-1:] != [0]:
        results.append(sweep.call("--set", f"run.max_seconds={limit}", ranks=2))
        codes.append(results[-1].code)
        assert codes[-1] in (0, 75), results[-1].err
        assert len(codes) < 40
    assert len(codes) > 1, "no call was stopped"
    assert made(*results) == dict.fromkeys(sweep.runs(), 1)
    assert "interrupted" in "".join(result.out for result in results)
    assert "fedbpt: error" not in "".join(result.err for result in results)
    if not SANITIZED:
        sweep.check_complete()


def test_time_that_is_over_before_a_run(sweep: Sweep) -> None:
    result = call("sweep", sweep.file, env={"SLURM_JOB_END_TIME": str(int(time.time()) + 30)})  # the margin is 60 s
    assert result.code == 75 and sweep.files() == {} and "6 to do" in result.out


@pytest.mark.parametrize("ranks", [1, 2])
def test_signal(sweep: Sweep, ranks: int) -> None:
    """Both groups stop after their rounds."""
    sweep.values["repeats"] = 2
    make_slow(sweep)
    process = sweep.start(ranks=ranks)
    wait_for(lambda: len(sweep.files()) >= ranks, process)
    process.send_signal(signal.SIGUSR1)
    result = finish(process)
    assert result.code == 75 and result.err.count("stopped by SIGUSR1") == ranks, result.err
    assert Counter(sweep.states().values())["interrupted"] == ranks
    sweep.call(ranks=2).good()


# ---- Several jobs ----


def test_two_jobs(sweep: Sweep) -> None:
    """They share the runs: none is made twice, none is left out."""
    sweep.values["settings"] = {"fed.local_generations": 20}
    sweep.values["repeats"] = 8
    jobs = [sweep.start("--ranks-per-run", 2, ranks=2), sweep.start(ranks=2), sweep.start()]
    results = [finish(job) for job in jobs]
    assert {result.code for result in results} <= {0, 75}, [result.err for result in results]  # 75: others were still at work
    assert 0 in {result.code for result in results}
    assert made(*results) == dict.fromkeys(sweep.runs(), 1)
    assert "goes on after" not in "".join(result.err for result in results)
    assert sum(len(made(result)) > 0 for result in results) >= 2, "one job made everything: the test shows nothing"
    assert set(sweep.states().values()) == {"finished"}


@pytest.mark.thorough
def test_array(sweep: Sweep) -> None:
    """A job for each run, all at once, and some twice."""
    sweep.runs()
    jobs = [sweep.start("--index", i) for i in (0, 1, 2, 3, 4, 5, 2, 4)]
    results = [finish(job) for job in jobs]
    assert {result.code for result in results} <= {0, 75}, [result.err for result in results]
    assert made(*results) == dict.fromkeys(sweep.runs(), 1)
    sweep.check_complete()


def claim(sweep: Sweep, name: str, seconds_ago: float, job: str = "77") -> Path:
    """As if a process on another host had claimed a run and had been alive so long ago."""
    sweep.output.mkdir(parents=True, exist_ok=True)
    lock = sweep.output / f".{name}.h5.lock"
    lock.write_text(DEAD.format(5, job))
    os.utime(lock, (time.time() - seconds_ago,) * 2)
    return lock


def test_host_that_died(sweep: Sweep) -> None:
    """Its runs are taken over once it has been silent for two minutes."""
    claim(sweep, list(sweep.runs())[0], 125)
    assert made(sweep.call().good()) == dict.fromkeys(sweep.runs(), 1)
    sweep.check_complete()


def test_host_that_lives(sweep: Sweep) -> None:
    """Its run is left to it, told as running, and not waited for once it has shown a sign of life."""
    name = list(sweep.runs())[0]
    lock = claim(sweep, name, 100)
    assert sweep.states()[name] == "running"
    process = sweep.start()
    wait_for(lambda: len(sweep.files()) == 5, process)
    time.sleep(1.5)
    assert process.poll() is None, "it did not wait for a sign of life or death"
    os.utime(lock)
    result = finish(process)
    assert result.code == 75 and made(result) == dict.fromkeys(sweep.runs().keys() - {name}, 1)
    assert "process 4711 on elsewhere, job 77" in result.out and result.seconds < 20


def test_host_that_goes_silent(sweep: Sweep) -> None:
    """Watched to the end of its two minutes, of which three seconds are left, and then taken over."""
    claim(sweep, list(sweep.runs())[0], 117 if SANITIZED else 118.5)
    assert made(sweep.call().good()) == dict.fromkeys(sweep.runs(), 1)


def test_earlier_start_of_a_requeued_job(sweep: Sweep) -> None:
    """It has ended, or the batch system would not have started the job again."""
    claim(sweep, list(sweep.runs())[0], 1)
    call("sweep", sweep.file, "--index", 0, env={"SLURM_JOB_ID": "77", "SLURM_RESTART_COUNT": "1"}).good()


def test_run_outside_the_sweep(sweep: Sweep) -> None:
    """`run` and `sweep` respect each other's claims."""
    sweep.values["settings"] = {"fed.rounds": 100_000}
    name = list(sweep.runs())[0]
    sweep.output.mkdir(parents=True)
    path = sweep.output / f"{name}.h5"
    words = command(("run", sweep.study.config, *sweep.study.set(run__output=path, fed__rounds=100_000)), 1)
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, env=environment({}), start_new_session=True)
    try:
        wait_for(path.exists, process)
        assert sweep.states()[name] == "running"
        result = sweep.call("--index", 0)
        assert result.code == 75 and result.err == "" and f"process {process.pid} on " in result.out
        sweep.study.run(run__output=path, run__overwrite="true").sentence("another run", f"process {process.pid} on ")
    finally:
        process.kill()
        process.wait()
    assert sweep.states()[name] == "interrupted"


def test_run_that_is_taken_over(sweep: Sweep) -> None:
    """Another host holds this one for dead: this one stops writing at once, says so, and does not note the run as failed."""
    sweep.values["settings"] = {"fed.rounds": 100_000}
    name = list(sweep.runs())[0]
    process = sweep.start("--index", 0)
    wait_for(lambda: name in sweep.files(), process)
    fresh = sweep.output / "fresh"
    fresh.write_text(DEAD.format(5, "77"))
    fresh.rename(sweep.output / f".{name}.h5.lock")
    result = finish(process)
    assert result.code == 75 and result.err.count("fedbpt: error") == 1
    assert "taken over by another run (process 4711 on elsewhere, job 77)" in result.err
    assert sweep.states()[name] == "running"
    left = {path.name for path in sweep.output.iterdir()} - {f"{name}.h5.journal"}
    assert left == {f".{name}.h5.lock", f"{name}.h5"}


def test_claims_are_renewed(sweep: Sweep) -> None:
    """Broken by a holder that gives no signs of life: others would take its runs over."""
    sweep.values["settings"] = {"fed.local_generations": 65535, "cma.population": 200}  # a round of hours
    process = sweep.start()
    try:
        wait_for(lambda: list(sweep.output.glob(".*.lock")), process)
        (lock,) = sweep.output.glob(".*.lock")
        first = lock.stat().st_mtime_ns
        end = time.monotonic() + 30
        while lock.stat().st_mtime_ns == first and time.monotonic() < end:
            time.sleep(0.2)
        assert 9e9 < lock.stat().st_mtime_ns - first < 30e9  # taken over after 120 s
    finally:
        process.kill()
        process.communicate()


# ---- Runs that fail ----


def test_failed_run(sweep: Sweep) -> None:
    """It is told, noted, and does not stop the others; it is tried again only when asked; then it may succeed."""
    sweep.values = {"grid": {"data.shots": [4, 30]}, "repeats": 2}  # there are 20 samples of a label
    failing = [name for name, values in sweep.runs().items() if values["data.shots"] == "30"]
    result = sweep.call("--ranks-per-run", 2, ranks=4)
    assert result.code == 1 and len(made(result)) == 2, result.err
    errors = [line for line in result.err.splitlines() if line.startswith("fedbpt: error: ")]
    assert sorted(line.split(": ")[2] for line in errors) == sorted(failing)
    assert all("data.shots" in line or "samples" in line for line in errors)
    assert "2 finished, 2 failed" in result.out and errors[0].split(": ", 3)[3] in result.out
    assert Counter(sweep.states().values()) == {"finished": 2, "failed": 2}

    for words, ranks in (((), 2), (("--index", list(sweep.runs()).index(failing[0])), 1)):
        result = sweep.call(*words, ranks=ranks)
        assert result.code == 1 and "fedbpt: error" not in result.err, "tried again without being asked"
    result = sweep.call("--retry-failed", ranks=2)
    assert result.code == 1 and result.err.count("fedbpt: error") == 2, "each is tried again once"

    sweep.study.toy.splits["train"] = [60, 60, 60]
    finished = {name: path.read_bytes() for name, path in sweep.files().items()}
    toy.write(sweep.study.data, sweep.study.toy)
    assert made(sweep.call("--retry-failed", ranks=2).good()) == dict.fromkeys(failing, 1)
    assert list(sweep.output.glob("*.failed")) == []
    assert all((sweep.output / f"{name}.h5").read_bytes() == content for name, content in finished.items())


def test_run_that_fails_in_a_round(sweep: Sweep) -> None:
    """Losses that overflow: all ranks of its group unwind and make the next run."""
    model = toy.copy_model(sweep.study.model, sweep.study.folder / "model")
    sweep.values = {"grid": {"model.path": [str(sweep.study.model), str(explosive(model))]},
                    "settings": {"cma.alpha": 1e6, "cma.sigma": 1e-6}}
    result = sweep.call("--ranks-per-run", 3, ranks=3)
    assert result.code == 1 and len(made(result)) == 1
    assert result.err.count("fedbpt: error") == 1 and "not a number" in result.err
    assert Counter(sweep.states().values()) == {"finished": 1, "failed": 1}


def assert_out_of_room(result: Result, sweep: Sweep) -> None:
    errors = [line for line in result.err.splitlines() if line.startswith("fedbpt: error: ")]
    assert result.code == 75 and len(errors) == 1, result.err
    assert "No space left on device" in errors[0] and "the sweep stops here, and the same command goes on" in errors[0]
    assert "failed" not in sweep.states().values() and not list(sweep.output.glob("*.failed"))


@pytest.mark.parametrize("ranks", [1, 2])
def test_full_disk(sweep: Sweep, small_disk: Path, ranks: int) -> None:
    """No run's fault: the sweep stops, no run is marked as failed, and the same command goes on once there is room for a lock."""
    sweep.values |= {"output": str(small_disk / "runs"), "repeats": 1}
    sweep.output.mkdir()
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(1600 * 1024))
    assert_out_of_room(sweep.call("--ranks-per-run", ranks, ranks=ranks), sweep)
    ballast.unlink()
    sweep.call().good()
    sweep.check_complete()


def test_disk_that_fills_up(sweep: Sweep, small_disk: Path) -> None:
    """In the middle of a run: its rounds are kept."""
    sweep.values |= {"output": str(small_disk / "runs"), "settings": {"fed.rounds": 100_000, "run.client_means": True, "cma.population": 2,
                                                                      "fed.local_generations": 1}}
    (small_disk / "ballast").write_bytes(bytes(1130 * 1024))
    assert_out_of_room(sweep.call(), sweep)
    assert Counter(sweep.states().values()) == {"interrupted": 1, "to do": 5}
    (path,) = sweep.files().values()
    assert last_round(path) > 0
    (small_disk / "ballast").unlink()
    result = sweep.call("--index", list(sweep.runs()).index(path.stem), "--set", "run.max_seconds=0.1")
    assert result.code == 75 and "goes on after round" in result.err and "fedbpt: error" not in result.err


def explosive(folder: Path) -> Path:
    """A model of which any prompt but z = 0 overflows."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("embeddings.word_embeddings.weight"))
    tensors[name] = np.ascontiguousarray(tensors[name] * np.float32(1e17))
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_damaged_run_file(sweep: Sweep) -> None:
    name = list(sweep.runs())[2]
    sweep.output.mkdir(parents=True)
    (sweep.output / f"{name}.h5").write_bytes(b"two years of work")
    result = sweep.call(ranks=2)
    assert result.code == 1 and len(made(result)) == 5
    assert sweep.states()[name] == "failed" and "HDF5" in sweep.call("--status").good().out
    assert (sweep.output / f"{name}.h5").read_bytes() == b"two years of work"


def test_changed_base(sweep: Sweep) -> None:
    """Runs of other settings are neither mixed with those of the changed sweep nor overwritten."""
    sweep.call("--index", 0).good()
    (path,) = sweep.files().values()
    before = path.read_bytes()
    sweep.study.values["cma"]["sigma"] = 3
    for ranks in (1, 2):
        sweep.call(ranks=ranks).sentence("cma.sigma is 3", "was run with 1", str(path))
    assert path.read_bytes() == before and len(sweep.files()) == 1
    assert Counter(sweep.states().values()) == {"other settings": 1, "to do": 5}


def test_more_rounds(sweep: Sweep) -> None:
    """Finished runs go on."""
    sweep.values = {"repeats": 2}
    sweep.call(ranks=2).good()
    sweep.values["settings"] = {"fed.rounds": 5}
    assert set(sweep.states().values()) == {"interrupted"}
    sweep.call(ranks=2).good()
    sweep.check_complete()


@pytest.mark.parametrize("ranks", [1, 3])
def test_wrong_files(sweep: Sweep, ranks: int) -> None:
    """One sentence with file and line, before anything runs."""
    sweep.values["grid"] = {"fed.protocol": ["nvflare", "papers"]}
    sweep.call(ranks=ranks).sentence(f"{sweep.study.folder}/sweep.yaml:", "fed.protocol", "'papers'")
    sweep.values["grid"] = {"fed.clients": [5, 1]}
    sweep.call(ranks=ranks).sentence("sweep.yaml:", "the run fed.clients=1", "only one takes part")
    sweep.values["grid"] = {"data.path": [str(sweep.study.data), "nowhere.h5"]}
    sweep.call(ranks=ranks).sentence("nowhere.h5", "No such file")
    sweep.values["grid"] = {"prompt.tokens": [3, 4]}
    sweep.call(ranks=ranks).sentence("prompt.tokens is 4")
    call("sweep", "nowhere.yaml", ranks=ranks).sentence("nowhere.yaml", "No such file", "sweep file")
    assert not sweep.output.exists()


def test_wrong_calls(sweep: Sweep) -> None:
    sweep.call("--index", 6).sentence("--index 6", "6 runs, 0 to 5")
    sweep.call("--ranks-per-run", 2, ranks=3).sentence("--ranks-per-run 2", "3 ranks")
    for words in (["--index", "x"], ["--index", "-1"], ["--index", ""], ["--ranks-per-run", "0"], ["--list", "--status"],
                  ["--index", "1", "--ranks-per-run", "1"], ["--status", "--retry-failed"], ["more.yaml"]):
        assert call("sweep", sweep.file, *words).code == 1, words
    assert call("sweep").code == 1
    assert not sweep.output.exists()


def test_output_that_cannot_be_made(sweep: Sweep) -> None:
    (sweep.study.folder / "sweep").write_text("a file")
    sweep.call(ranks=2).sentence("output folder", "Not a directory")


def test_help() -> None:
    result = call("sweep", "--help").good()
    for word in ("--list", "--index", "--ranks-per-run", "--retry-failed", "Examples:", "Exit codes:"):
        assert word in result.out


def test_examples(tmp_path: Path) -> None:
    """The packaged sweeps can be listed from the project's folder."""
    from conftest import ROOT

    for path, n in (("quickstart", 6), ("paper", 36)):
        assert f"{n} runs of sweep {path}" in call("sweep", f"configs/sweeps/{path}.yaml", "--list", cwd=ROOT).good().out


def test_output_folder_that_is_none(sweep: Sweep) -> None:
    sweep.output.parent.mkdir()
    sweep.output.symlink_to("nowhere")
    sweep.call().sentence(str(sweep.output), "link to a folder that cannot be reached")
    sweep.output.unlink()
    sweep.output.write_text("")
    sweep.call().sentence(str(sweep.output), "is not a folder")
    sweep.output.unlink()
    (sweep.output.parent / "there").mkdir()
    sweep.output.symlink_to("there")
    sweep.call("--index", 0).good()
    assert sweep.output.is_symlink() and len(list((sweep.output.parent / "there").glob("*.h5"))) == 1
