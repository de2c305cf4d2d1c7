"""Tests of the job scripts on a real SLURM, which they start. The helpers of tests/cli make models, data and calls.

Where no SLURM can be started, pytest's exit code is 77: CTest then shows the tests as skipped, not as passed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import slurm_cluster  # noqa: E402
from job import Job, cli  # noqa: E402

SKIPPED = 77


def pytest_sessionfinish(session: pytest.Session) -> None:
    why = slurm_cluster.missing()
    if why is not None and session.exitstatus == pytest.ExitCode.OK:
        print(f"\nskipped: {why}")
        session.exitstatus = SKIPPED


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[slurm_cluster.SlurmCluster]:
    why = slurm_cluster.missing()
    if why is not None:
        pytest.skip(why)
    with slurm_cluster.SlurmCluster() as running:
        yield running


@pytest.fixture
def cluster(running_cluster: slurm_cluster.SlurmCluster) -> Iterator[slurm_cluster.SlurmCluster]:
    """Two idle nodes, and no job, whatever the last test did."""
    yield running_cluster
    running_cluster.clear()


@pytest.fixture
def job(cluster: slurm_cluster.SlurmCluster, tmp_path: Path) -> Job:
    return Job(cluster, tmp_path)


@pytest.fixture
def study(cluster: slurm_cluster.SlurmCluster, tmp_path: Path) -> cli.Study:
    return cli.make_study(tmp_path, cli.toy.MASK_MODEL, cli.toy.Toy())
