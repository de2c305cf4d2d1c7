"""Runs and sweeps as SLURM jobs: two nodes, the wall clock, requeueing, scancel, lost nodes."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path

import h5py
import pytest
from slurm_cluster import SlurmCluster

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("cli_helpers", ROOT / "tests" / "cli" / "conftest.py")
cli = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = cli  # where dataclasses look themselves up
_spec.loader.exec_module(cli)

LONG_ROUNDS = 400  # of the small model: long enough to be stopped in the middle


class Job:
    """What a test submits: scripts of jobs/ with a log in the test's folder."""

    def __init__(self, cluster: SlurmCluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder

    def submit(self, script: str, *arguments: object, options: tuple[str, ...] = (), **env: str) -> int:
        # Two nodes of one host name would share the segments by which Open MPI's ranks of a node talk: TCP alone.
        fixed = {"FEDBPT": cli.PROGRAM, "OMP_NUM_THREADS": "1", "OMPI_MCA_btl": "self,tcp"}
        environment = cli.environment(fixed | env)
        for name in [n for n in environment if n.startswith("SLURM_")]:
            del environment[name]
        return self.cluster.submit(f"--output={self.folder}/%x-%A-%a.log", *options, f"jobs/{script}", *map(str, arguments),
                                   cwd=ROOT, env=environment)

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))

    def completed(self, job: int, timeout: float = 120) -> list[dict[str, str]]:
        states = self.cluster.wait_for_job(job, timeout)
        assert [s["JobState"] for s in states] == ["COMPLETED"] * len(states), f"{states}\n{self.logs()}"
        return states


@pytest.fixture
def job(cluster: SlurmCluster, tmp_path: Path) -> Job:
    return Job(cluster, tmp_path)


@pytest.fixture
def study(tmp_path: Path) -> cli.Study:
    return cli.make_study(tmp_path, cli.toy.MASK_MODEL, cli.toy.Toy())


def wait_for_round(path: Path, index: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and cli.read_rounds(path)[1][-1] >= index:
            return
        time.sleep(0.1)
    pytest.fail(f"{path} has not come to round {index} after {seconds} s")


def test_two_nodes_equal_one_rank(job: Job, study: cli.Study) -> None:
    """Breaks when a number depends on where clients live, or when srun's ranks do not find each other (two runs of one rank)."""
    path = study.output()
    number = job.submit("run.sbatch", study.config, *study.set(run__output=path), options=("--nodes=2", "--ntasks-per-node=2"))
    job.completed(number)
    assert cli.digest_of(path) == study.digest()
    with h5py.File(path) as file:
        environment = dict(file["environment"].attrs)
    assert environment["ranks"] == "4"
    assert environment["slurm_job_id"] == str(number)
    assert environment["slurm_node_list"] == "n[1-2]"


def test_clock_stops_and_requeues(job: Job, study: cli.Study) -> None:
    """Breaks when a run does not stop before its wall clock, is not requeued, or goes on differently."""
    path = study.output()
    changes = dict(fed__rounds=LONG_ROUNDS, run__stop_margin_seconds=54)
    number = job.submit("run.sbatch", study.config, *study.set(run__output=path, **changes), options=("--time=1",))
    (state,) = job.completed(number, 180)
    assert int(state["Restarts"]) >= 1, job.logs()
    assert "back into the queue" in job.logs()
    assert cli.digest_of(path) == study.digest(**changes)


def test_requeues_are_limited(job: Job, study: cli.Study) -> None:
    path = study.output()
    number = job.submit("run.sbatch", study.config, *study.set(run__output=path, fed__rounds=LONG_ROUNDS, run__max_seconds=1),
                        FEDBPT_MAX_REQUEUES="0")
    (state,) = job.cluster.wait_for_job(number, 60)
    assert state["JobState"] == "FAILED" and state["ExitCode"] == "75:0", job.logs()
    assert cli.read_rounds(path)[0] == "interrupted"


def test_scancel_leaves_a_run_to_resume(job: Job, study: cli.Study) -> None:
    """Breaks when SIGTERM does not reach the ranks, or leaves a file that does not open or resume."""
    path = study.output()
    number = job.submit("run.sbatch", study.config, *study.set(run__output=path, fed__rounds=LONG_ROUNDS))
    wait_for_round(path, 5)
    job.cluster.run("scancel", str(number))
    (state,) = job.cluster.wait_for_job(number, 60)
    assert state["JobState"] == "CANCELLED"
    status, index = cli.read_rounds(path)
    assert status == "interrupted" and len(index) < LONG_ROUNDS, job.logs()
    rounds = index[-1] + 3
    study.values["fed"]["rounds"] = LONG_ROUNDS
    cli.call("run", study.config, *study.set(run__output=path), "--resume").good()
    assert cli.read_rounds(path)[1][-1] == LONG_ROUNDS >= rounds


def test_drained_node_finishes_its_job(job: Job, study: cli.Study) -> None:
    path = study.output()
    number = job.submit("run.sbatch", study.config, *study.set(run__output=path, fed__rounds=40),
                        options=("--nodes=2", "--ntasks-per-node=1"))
    wait_for_round(path, 2)
    job.cluster.run("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=test")
    try:
        job.completed(number)
        assert cli.read_rounds(path)[0] == "finished"
    finally:
        job.cluster.run("scontrol", "update", "NodeName=n2", "State=RESUME")


def test_lost_node(job: Job, study: cli.Study) -> None:
    """A node that is declared down takes its ranks along: the job is requeued, and ends as if nothing had happened."""
    path = study.output()
    number = job.submit("run.sbatch", study.config, *study.set(run__output=path, fed__rounds=LONG_ROUNDS),
                        options=("--nodes=2", "--ntasks-per-node=1"))
    wait_for_round(path, 3)
    job.cluster.run("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test")
    time.sleep(1)
    cli.read_rounds(path)
    job.cluster.run("scontrol", "update", "NodeName=n2", "State=RESUME")
    job.completed(number, 180)
    assert cli.digest_of(path) == study.digest(fed__rounds=LONG_ROUNDS)


def write_sweep(study: cli.Study, folder: Path, axes: dict[str, object]) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(json.dumps({"name": "test", "base": str(study.config), "output": str(folder / "runs"), **axes}))
    return path


def assert_complete(study: cli.Study, folder: Path, sweep: Path, n_runs: int) -> None:
    """Every run is finished and has the numbers of a run by itself."""
    files = sorted((folder / "runs").glob("*.h5"))
    assert len(files) == n_runs
    for path in files:
        assert cli.read_rounds(path)[0] == "finished"
        with h5py.File(path) as file:
            resolved = file["config"].attrs["resolved"]
        alone = folder / "alone.yaml"
        alone.write_text(resolved)
        output = study.output()
        cli.call("run", alone, "--set", f"run.output={output}").good()
        assert cli.digest_of(output) == cli.digest_of(path), path.name


def test_array_sweep_with_a_short_clock(job: Job, study: cli.Study, tmp_path: Path) -> None:
    """Six runs, two of them too long for the wall clock."""
    study.values["run"]["stop_margin_seconds"] = 54
    sweep = write_sweep(study, tmp_path, {"grid": {"run.seed": [1, 2], "fed.rounds": [3, 5, LONG_ROUNDS]}})
    number = job.submit("sweep.sbatch", sweep, options=("--array=0-5", "--time=1"))
    states = job.completed(number, 300)
    assert sum(int(s["Restarts"]) > 0 for s in states) >= 2, job.logs()
    assert_complete(study, tmp_path, sweep, 6)


def test_sweep_inside_one_allocation(job: Job, study: cli.Study, tmp_path: Path) -> None:
    sweep = write_sweep(study, tmp_path, {"grid": {"run.seed": [1, 2, 3], "cma.sigma": [0.5, 1.0]}})
    number = job.submit("sweep.sbatch", sweep, options=("--nodes=2", "--ntasks-per-node=2"), RANKS_PER_RUN="2")
    job.completed(number)
    assert_complete(study, tmp_path, sweep, 6)
