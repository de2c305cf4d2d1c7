"""Tests of the job scripts on a real SLURM. The helpers of tests/cli make models, data and calls; jobs are submitted as a user would,
from the checkout's folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "tests" / "cli", ROOT / "tests" / "slurm"):
    sys.path.insert(0, str(folder))

import slurm_cluster  # noqa: E402


@pytest.fixture(scope="session")
def cluster() -> Iterator[slurm_cluster.SlurmCluster]:
    why = slurm_cluster.missing()
    if why is not None:
        pytest.skip(why)
    with slurm_cluster.SlurmCluster() as running:
        yield running
