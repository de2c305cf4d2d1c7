"""Sweeps as job arrays and inside one allocation."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import h5py
from job import Job, cli, environment_in, lasting, wait_until

N_HELD = 2  # runs that are in the middle when the clock strikes


class Sweep:
    """A sweep file and its runs."""

    def __init__(self, study: cli.Study, folder: Path, **axes: object) -> None:
        self.study, self.folder, self.output = study, folder, folder / "runs"
        self.file = folder / "sweep.yaml"
        self.file.write_text(json.dumps({"name": "test", "base": str(study.config), "output": str(self.output), **axes}))

    def names(self) -> list[str]:
        """By index."""
        lines = cli.call("sweep", self.file, "--list").good().out.splitlines()[1:-1]
        return [line.split()[-1] for line in lines]

    def path(self, name: str) -> Path:
        return self.output / f"{name}.h5"

    def check_complete(self, n_runs: int) -> None:
        """Every run is finished and has the numbers of a run by itself; nothing else is left."""
        names = self.names()
        assert len(names) == n_runs and {path.name for path in self.output.iterdir()} == {f"{name}.h5" for name in names}
        for name in names:
            with h5py.File(self.path(name)) as file:
                assert file.attrs["status"] == "finished"
                resolved = file["config"].attrs["resolved"]
            (self.folder / "alone.yaml").write_text(resolved)
            alone = self.study.output()
            cli.call("run", self.folder / "alone.yaml", "--set", f"run.output={alone}").good()
            assert cli.digest_of(alone) == cli.digest_of(self.path(name)), name


def hold(job: Job, array: int, sweep: Sweep, names: list[str]) -> list[int]:
    """Stops the processes of the first runs of `names` that have begun, in the middle of their rounds; their indices."""
    held: list[int] = []

    def hold_next() -> bool:
        for index, name in enumerate(sweep.names()):
            if len(held) < N_HELD and name in names and index not in held and sweep.path(name).exists():
                job.cluster.signal_ranks(signal.SIGSTOP, SLURM_ARRAY_JOB_ID=array, SLURM_ARRAY_TASK_ID=index)
                held.append(index)
        return len(held) == N_HELD

    wait_until(hold_next, lambda: f"{N_HELD} runs of {names}\n{job.logs()}", pause_s=0.02)
    return held


def test_array_and_the_wall_clock(job: Job, study: cli.Study, tmp_path: Path) -> None:
    """Six runs, each a job; the wall clock ends two of them in the middle: SLURM wakes them, sends SIGTERM, and five seconds later
    SIGKILL. They are requeued and go on. Held by SIGSTOP, so that they are in the middle on any machine."""
    length = lasting(study, 2.5)
    study.values["fed"]["local_generations"] = length["fed__local_generations"]
    study.values["run"]["stop_margin_seconds"] = 1  # the jobs that go on have a minute
    sweep = Sweep(study, tmp_path, grid={"run.seed": [1, 2, 3], "fed.rounds": [2, length["fed__rounds"]]})
    long = [name for name in sweep.names() if f"rounds={length['fed__rounds']}" in name]
    assert len(long) == 3
    array = job.submit("sweep.sbatch", sweep.file, options=("--array=0-5", "--signal=B:USR1@1"))
    held = hold(job, array, sweep, long)
    for index in held:
        assert cli.read_rounds(sweep.path(sweep.names()[index]))[0] == "running", "too fast for the test to show anything"
        job.cluster.run("scontrol", "update", f"JobId={array}_{index}", "EndTime=now")
    states = {int(s["ArrayTaskId"]): s for s in job.ended(array, "COMPLETED")}
    assert {index for index, s in states.items() if s["Restarts"] != "0"} == set(held) and len(states) == 6, job.logs()
    for index in held:
        log = (tmp_path / f"fedbpt-sweep-{array}-{index}.log").read_text()
        assert all(re.search(words, log) for words in ("DUE TO TIME LIMIT", "stopped by SIGTERM", "goes on after round")), log
    sweep.check_complete(6)


def test_inside_one_allocation(job: Job, study: cli.Study, tmp_path: Path) -> None:
    """Two runs at a time, each on two of the four ranks of two nodes. The log's name is SLURM's for a job that is no array."""
    sweep = Sweep(study, tmp_path, grid={"run.seed": [1, 2, 3], "cma.sigma": [0.5, 1.0]})
    number = job.shell(f"sbatch --chdir={tmp_path} --nodes=2 --ntasks-per-node=2 jobs/sweep.sbatch {sweep.file}", RANKS_PER_RUN="2")
    job.ended(number, "COMPLETED")
    assert "6 finished" in (tmp_path / f"slurm-{number}.out").read_text()
    for name in sweep.names():
        environment = environment_in(sweep.path(name))
        assert environment["ranks"] == "2" and environment["slurm_node_list"] == "n[1-2]"
    sweep.check_complete(6)
