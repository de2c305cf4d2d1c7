"""Runs as SLURM jobs: two nodes, the wall clock, warnings, scancel, drained and lost nodes, dead ranks."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from job import ENDLESS, ROOT, Job, cli, environment_in, lasting, wait_until
from slurm_cluster import environment_of


def test_two_nodes_equal_one_rank(job: Job, study: cli.Study) -> None:
    """Breaks when a number depends on where clients live, or when srun's ranks do not find each other (four runs of one rank)."""
    path = study.output()
    number = job.submit("run.sbatch", study.config, *study.set(run__output=path), options=("--nodes=2", "--ntasks-per-node=2"))
    job.ended(number, "COMPLETED")
    environment = environment_in(path)
    assert environment["ranks"] == "4" and environment["slurm_job_id"] == str(number)
    assert environment["slurm_node_list"] == "n[1-2]"
    assert cli.digest_of(path) == study.digest()


def test_cores_of_a_rank(job: Job, study: cli.Study) -> None:
    """Breaks when srun does not hear of --cpus-per-task: SLURM would then bind all threads of a rank to one core. It shows where a job
    has more cores than it asks for its ranks: the step takes what it hears of."""
    path = study.output()
    number = job.submit("run.sbatch", study.config, *study.set(run__output=path, fed__rounds=ENDLESS),
                        options=("--ntasks-per-node=1", "--cpus-per-task=1", "--exclusive"))
    job.wait_for_round(path, 1)
    assert "NumCPUs=2 " in job.cluster.run("scontrol", "show", "job", str(number)).stdout
    assert "CPUs=1 Tasks=1 " in job.cluster.run("scontrol", "show", "step", f"{number}.0").stdout


@pytest.mark.parametrize("export", ["NONE", "HOME,PATH"])
def test_from_another_folder_without_variables(job: Job, study: cli.Study, tmp_path: Path, export: str) -> None:
    """Breaks when the ranks do not get what the site's file exports (the default of some sites is --export=NONE), or when a job that is
    not submitted in the project's folder does not find the project, or its own configuration."""
    checkout, path = job.beside(tmp_path / "check out"), study.output()
    job.checkout = tmp_path  # where the job is submitted
    (tmp_path / "mine.yaml").write_text(study.config.read_text())
    settings = " ".join(map(str, study.set(run__output=path, fed__rounds=ENDLESS)))
    number = job.shell(f"sbatch --export={export} --ntasks-per-node=2 '{checkout}/jobs/run.sbatch' mine.yaml {settings}", FEDBPT="")
    job.wait_for_round(path, 1)
    ranks = job.cluster.ranks(SLURM_JOB_ID=number)
    assert len(ranks) == 2, job.logs()
    assert all(environment_of(pid)["OMPI_MCA_pml"] == "ucx" for pid in ranks)
    assert f"submitted from {tmp_path}, runs in {checkout}" in job.logs()
    job.cluster.run("scancel", str(number))
    job.ended(number, "CANCELLED")
    assert cli.read_rounds(path)[0] == "interrupted"


def test_no_project(job: Job, study: cli.Study, tmp_path: Path) -> None:
    """A copy of the script elsewhere, or a wrong FEDBPT_ROOT, ends with what to do."""
    job.checkout = tmp_path
    (tmp_path / "copy.sbatch").write_text((ROOT / "jobs" / "run.sbatch").read_text())
    job.ended(job.shell("sbatch copy.sbatch mine.yaml"), "FAILED")
    assert "the project is not found" in job.logs() and "set FEDBPT_ROOT" in job.logs()


def test_wall_clock(job: Job, study: cli.Study) -> None:
    """Breaks when SLURM's clock is not known to the program, a stopped run is not requeued, or goes on differently. With a margin as
    long as the job every start makes one round."""
    path = study.output()
    number = job.submit("run.sbatch", study.config, *study.set(run__output=path, fed__rounds=3, run__stop_margin_seconds=60),
                        options=("--time=1", "--signal=B:USR1@1"))
    (state,) = job.ended(number, "COMPLETED")
    assert state["Restarts"] == "2", job.logs()
    assert job.logs().count("stopped by the end of the batch job") == job.logs().count("back into the queue") == 2
    assert cli.digest_of(path) == study.digest(fed__rounds=3)


def test_warning_and_limit_of_requeues(job: Job, study: cli.Study) -> None:
    """Breaks when the warning that SLURM gives the script (--signal=B:USR1) does not reach the ranks, or when a job that never
    ends would be requeued for ever."""
    path = study.output()
    number = job.submit("run.sbatch", study.config, *study.set(run__output=path, fed__rounds=ENDLESS), FEDBPT_MAX_REQUEUES="0",
                        options=("--nodes=2", "--ntasks-per-node=1"))
    job.wait_for_round(path, 1)
    job.cluster.run("scancel", "--batch", "--signal=USR1", str(number))
    (state,) = job.ended(number, "FAILED")
    assert state["ExitCode"] == "75:0" and "not requeued again (FEDBPT_MAX_REQUEUES=0)" in job.logs()
    assert "stopped by SIGUSR1" in job.logs() and cli.read_rounds(path)[0] == "interrupted"


def test_scancel(job: Job, study: cli.Study) -> None:
    """Breaks when SIGTERM does not stop the ranks between two rounds, or when the script requeues what its user has cancelled."""
    path = study.output()
    number = job.submit("run.sbatch", study.config, *study.set(run__output=path, fed__rounds=ENDLESS))
    job.wait_for_round(path, 2)
    job.cluster.run("scancel", str(number))
    (state,) = job.ended(number, "CANCELLED")
    assert state["Restarts"] == "0" and "back into the queue" not in job.logs()
    status, index = cli.read_rounds(path)
    assert status == "interrupted", job.logs()
    assert cli.digest_of(path) == study.digest(fed__rounds=index[-1])


def test_drained_node(job: Job, study: cli.Study) -> None:
    """A node that is drained finishes its part of the run."""
    path, length = study.output(), lasting(study, 2.5)
    number = job.submit("run.sbatch", study.config, *study.set(run__output=path, **length),
                        options=("--nodes=2", "--ntasks-per-node=1"))
    job.wait_for_round(path, 2)
    job.cluster.set_node("n2", State="DRAIN", Reason="test")
    (state,) = job.cluster.job_states(number)
    assert state["JobState"] == "RUNNING" and cli.last_round(path) < length["fed__rounds"], "too fast for the test to show anything"
    (state,) = job.ended(number, "COMPLETED")
    assert state["Restarts"] == "0" and job.cluster.node_state("n2") == "IDLE+DRAIN"
    assert cli.digest_of(path) == study.digest(**length)


@pytest.mark.parametrize("step_ends", [False, True])
def test_lost_node(job: Job, study: cli.Study, step_ends: bool) -> None:
    """A node loses its power in mid-run. The job goes back into the queue: by SLURM, once it has noticed, or by the job script, if the
    step ends before, because MPI has noticed. When the node is back, the run ends as if nothing had happened."""
    path, length = study.output(), lasting(study, 2.5)
    number = job.submit("run.sbatch", study.config, *study.set(run__output=path, **length),
                        options=("--nodes=2", "--ntasks-per-node=1"))
    job.wait_for_round(path, 2)
    job.cluster.kill_node("n2")
    if step_ends:
        assert job.cluster.kill_srun(number) > 0  # the step ends while SLURM still holds the node for sound
        wait_until(lambda: "a node was lost (start 1), back into the queue" in job.logs(), job.logs)
    else:
        job.wait_for_state(number, JobState="PENDING", Restarts="1")
        assert job.cluster.node_state("n2").startswith("DOWN")
    last = cli.last_round(path)
    assert cli.read_rounds(path)[0] == "running" and 2 <= last < length["fed__rounds"], "too fast for the test to show anything"
    job.cluster.start_node("n2")
    (state,) = job.ended(number, "COMPLETED")
    assert state["Restarts"] == "1" and f"goes on after round {last} of" in job.logs()
    assert cli.digest_of(path) == study.digest(**length)


@pytest.mark.parametrize("rank", [0, 3])
def test_dead_rank(job: Job, study: cli.Study, rank: int) -> None:
    """Breaks when the other ranks wait for a dead one until the wall clock ends the job, or when a round is lost."""
    path = study.output()
    number = job.submit("run.sbatch", study.config, *study.set(run__output=path, fed__rounds=ENDLESS),
                        options=("--nodes=2", "--ntasks-per-node=2"))
    job.wait_for_round(path, 2)
    assert job.cluster.signal_ranks(signal.SIGKILL, SLURM_JOB_ID=number, SLURM_PROCID=rank) == 1
    (state,) = job.ended(number, "FAILED")
    assert state["Restarts"] == "0" and state["ExitCode"] != "75:0", job.logs()  # SIGKILL's, or of a rank whose MPI noticed
    assert cli.read_rounds(path)[0] == "running"
    last, one_round = cli.last_round(path), {"fed__rounds": ENDLESS, "run__max_seconds": 1e-6}
    assert cli.call("run", study.config, "--resume", *study.set(run__output=path, **one_round)).code == 75
    assert cli.digest_of(path) == study.digest(fed__rounds=last + 1)


def test_rank_that_never_starts(job: Job, study: cli.Study, tmp_path: Path) -> None:
    """A node on which the program does not run: breaks when the others wait for it in MPI_Init until the wall clock ends the job."""
    program = tmp_path / "fedbpt"
    program.write_text(f'#!/bin/sh\n[ "$SLURM_PROCID" != 1 ] && exec {cli.PROGRAM} "$@"\nexit 127\n')
    program.chmod(0o755)
    number = job.submit("run.sbatch", study.config, *study.set(run__output=study.output()), FEDBPT=str(program),
                        options=("--nodes=2", "--ntasks-per-node=1"))
    job.ended(number, "FAILED")
