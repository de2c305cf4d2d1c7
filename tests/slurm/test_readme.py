"""The commands of README's section on clusters, as they stand there, in a copy of the checkout in which runs are short."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from job import ROOT, Job, cli
from slurm_cluster import SlurmCluster

STAGED = [ROOT / "models" / "all-MiniLM-L6-v2", ROOT / "datasets" / "bbc-headlines.h5"]
# Settings of configs/quickstart.yaml and configs/sweeps/quickstart.yaml that make a run of seconds.
SHORT = {"rounds": 1, "fed.rounds": 1, "local_generations": 1, "shots": 4, "dev_shots": 4, "test_limit": 10, "data.test_limit": 10}


def commands() -> list[str]:
    section = (ROOT / "README.md").read_text().split("\n## On a cluster\n")[1].split("\n## ")[0]
    return [line.strip() for line in section.splitlines() if line.startswith("    ")]


def shorten(folder: Path) -> None:
    found = set()
    for path in (folder / "quickstart.yaml", folder / "sweeps" / "quickstart.yaml"):
        text = path.read_text()
        for key, value in SHORT.items():
            text, n = re.subn(rf"^( +{re.escape(key)}: )\d+", rf"\g<1>{value}", text, flags=re.MULTILINE)
            found |= {key} if n > 0 else set()
        path.write_text(text)
    assert found == SHORT.keys(), "the configurations have no such settings"


def copy_environment(folder: Path) -> None:
    """Of links, so that nothing that a job script does to it reaches the checkout's, but for what tells whether it is up to date."""
    folder.mkdir()
    for item in (ROOT / ".venv").iterdir():
        (folder / item.name).symlink_to(item)
    stamp = folder / "requirements.sha256"
    stamp.unlink()
    shutil.copyfile(ROOT / ".venv" / stamp.name, stamp)


@pytest.fixture
def checkout(cluster: SlurmCluster, tmp_path: Path) -> Job:
    """Submits in a folder like the checkout, with the program under test and without network."""
    if not all(path.exists() for path in STAGED):
        pytest.skip("the packaged model or corpus is not staged in (bash jobs/quickstart.sh)")
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "configs", folder / "configs")
    shorten(folder / "configs")
    for name in ("jobs", "analysis", "models", "datasets"):
        (folder / name).symlink_to(ROOT / name)
    copy_environment(folder / ".venv")
    program = folder / "build" / "release" / "bin" / "fedbpt"
    program.parent.mkdir(parents=True)
    program.symlink_to(cli.PROGRAM)
    (folder / "runs").mkdir()
    return Job(cluster, folder, checkout=folder)


def submit(job: Job, line: str) -> str:
    """Runs a line to the end of its job; what the job printed."""
    before = set(job.folder.glob("*.log"))
    job.ended(job.shell(line, FEDBPT="", PIP_NO_INDEX="1", HF_HUB_OFFLINE="1"), "COMPLETED")
    return "\n".join(path.read_text() for path in sorted(set(job.folder.glob("*.log")) - before))


def digests(folder: Path) -> dict[str, str]:
    return {path.name: cli.digest_of(path) for path in folder.iterdir()}


def test_commands(checkout: Job) -> None:
    """Breaks when a command of the README does not do what it says. The sweep as an array and the sweep inside one allocation are
    two ways to the same numbers."""
    stage_in, run, array, allocation = commands()
    assert "jobs/stage_in.sbatch" in stage_in and "--array" in array and "RANKS_PER_RUN" in allocation
    folder = checkout.folder

    log = submit(checkout, stage_in)
    assert ".venv is up to date" in log and log.count("already there") == 2, log

    submit(checkout, run)
    alone = folder / "runs" / "alone.h5"
    cli.call("run", "configs/quickstart.yaml", "--set", f"run.output={alone}", cwd=folder).good()
    assert cli.digest_of(folder / "runs" / "quickstart.h5") == cli.digest_of(alone)

    sweep, first = folder / "runs" / "sweep-quickstart", folder / "runs" / "first"
    submit(checkout, array)
    sweep.rename(first)
    submit(checkout, allocation)
    assert len(digests(sweep)) == 6 and digests(sweep) == digests(first)
