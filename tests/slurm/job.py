"""Submits the job scripts as a user would, and watches what comes of them."""

from __future__ import annotations

import importlib.util
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from slurm_cluster import SlurmCluster

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("cli_helpers", ROOT / "tests" / "cli" / "conftest.py")
cli = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = cli  # where dataclasses look themselves up
_spec.loader.exec_module(cli)

ENDLESS = 1_000_000  # rounds
LIMIT_S = 300  # for whatever is waited for: long enough for a machine that is busy otherwise


def wait_until(condition: Callable[[], object], complaint: Callable[[], str], pause_s: float = 0.1) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not after {LIMIT_S} s: {complaint()}")
        time.sleep(pause_s)


def environment_in(path: Path) -> dict[str, str]:
    """Read from a run file where it was made."""
    with h5py.File(path) as file:
        return dict(file["environment"].attrs)


def lasting(study: cli.Study, seconds: float, n_rounds: int = 50) -> dict[str, object]:
    """Settings of a run that takes about so long on one rank of this machine, to be caught in the middle."""
    return {"fed__rounds": n_rounds, "fed__local_generations": study.pace().generations(seconds / n_rounds)}


class Job:
    """Jobs of a test, with their logs in its folder."""

    def __init__(self, cluster: SlurmCluster, folder: Path, checkout: Path = ROOT) -> None:
        self.cluster, self.folder, self.checkout = cluster, folder, checkout

    def environment(self, **variables: str) -> dict[str, str]:
        """Two nodes on one machine talk as if they were two, over TCP; ranks have fewer cores than they are told, so that one that
        waits should let another one work."""
        mpi = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "lo", "OMPI_MCA_mpi_yield_when_idle": "1"}
        own = {"FEDBPT": cli.PROGRAM, "OMP_NUM_THREADS": "1", "TMPDIR": str(self.cluster.folder)}
        return {**self.cluster.environment, **mpi, **own, **variables}

    def shell(self, line: str, **variables: str) -> int:
        """A line with sbatch in it, given in the checkout's folder; the job's number."""
        result = self.cluster.run("bash", "-c", line, cwd=self.checkout, env=self.environment(**variables), check=False)
        found = re.fullmatch(r"Submitted batch job (\d+)\n", result.stdout)
        assert result.returncode == 0 and found, f"{line}\n{result.stdout}{result.stderr}"
        return int(found[1])

    def beside(self, folder: Path) -> Path:
        """A checkout with the program under test where job scripts look for it, which is not the folder of the job."""
        program = folder / "build" / "release" / "bin" / "fedbpt"
        program.parent.mkdir(parents=True)
        program.symlink_to(cli.PROGRAM)
        (folder / "jobs").symlink_to(ROOT / "jobs")
        return folder

    def submit(self, script: str, *arguments: object, options: tuple[str, ...] = (), **variables: str) -> int:
        words = ("sbatch", f"--output={self.folder}/%x-%A-%a.log", *options, f"jobs/{script}", *map(str, arguments))
        return self.shell(" ".join(words), **variables)

    def logs(self) -> str:
        """Without the rounds, of which there may be thousands."""
        texts = []
        for path in [*sorted(self.folder.glob("*.log")), *sorted(self.folder.glob("slurm-*.out"))]:
            lines = [line for line in path.read_text().splitlines() if not re.search(r"round +\d+/\d+:", line)]
            texts.append(f"--- {path.name}\n" + "\n".join(lines))
        return "\n".join(texts)

    def ended(self, job: int, state: str) -> list[dict[str, str]]:
        """Waits for the end of the job, or of all elements of the array, in that state."""
        found = self.cluster.wait_for_job(job, LIMIT_S)
        assert [s["JobState"] for s in found] == [state] * len(found), f"{found}\n{self.logs()}"
        return found

    def wait_for_round(self, path: Path, index: int) -> None:
        wait_until(lambda: cli.last_round(path) >= index, lambda: f"round {index} in {path}\n{self.logs()}")

    def wait_for_state(self, job: object, **fields: str) -> None:
        """Until scontrol says so of the job, or of this element of an array: wait_for_state("7_2", JobState="PENDING")."""
        wait_until(lambda: all(fields.items() <= s.items() for s in self.cluster.job_states(job) or [{}]),
                   lambda: f"{fields}: {self.cluster.job_states(job)}\n{self.logs()}")
