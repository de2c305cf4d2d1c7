"""jobs/quickstart.sh in a checkout in which all is installed, built and staged in, and whose run is a toy."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import PROGRAM, ROOT, Study, call, digest_of, environment, read_rounds

SETUP = """
FBT_ROOT={folder}
fbt_local_caches() {{ :; }}
fbt_install_packages() {{ :; }}
fbt_make_venv() {{ :; }}
fbt_stage_quickstart() {{ :; }}
fbt_mpirun() {{ "$@"; }}
cmake() {{ :; }}
"""
REPORT = "#!/bin/sh\necho report of $2\n"


@pytest.fixture
def checkout(mask: Study) -> Path:
    folder = mask.folder / "checkout"
    for name in ("jobs", "configs", "runs", "build/release/bin", ".venv/bin"):
        (folder / name).mkdir(parents=True)
    (folder / "jobs" / "quickstart.sh").write_text((ROOT / "jobs" / "quickstart.sh").read_text())
    (folder / "jobs" / "setup.sh").write_text(SETUP.format(folder=folder))
    (folder / ".venv" / "bin" / "fedbpt-analysis").write_text(REPORT)
    (folder / ".venv" / "bin" / "fedbpt-analysis").chmod(0o755)
    (folder / "build" / "release" / "bin" / "fedbpt").symlink_to(PROGRAM)
    mask.values["run"]["output"] = "runs/quickstart.h5"
    mask.values["fed"]["rounds"] = 4
    mask.values["data"]["test_limit"] = 5
    (folder / "configs" / "quickstart.yaml").write_text(yaml.safe_dump(mask.values))
    return folder


def quickstart(checkout: Path, *words: str, seconds: object = 1000) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "jobs/quickstart.sh", *words], cwd=checkout, capture_output=True, text=True, check=False,
                          env=environment({"FBT_QUICKSTART_SECONDS": str(seconds)}))


def test_all_rounds_fit(checkout: Path, mask: Study) -> None:
    """Whole test scores at the end, as `evaluate` has them; a second call computes nothing anew."""
    result = quickstart(checkout)
    run = checkout / "runs" / "quickstart.h5"
    assert result.returncode == 0 and "rounds fitted" not in result.stdout, result.stderr
    assert read_rounds(run)[0] == "finished" and digest_of(run) == mask.expected()
    scores = [call("evaluate", "--run", run, "--round", which, "--set", "data.test_limit=0").good().out for which in ("0", "best")]
    assert all("test split, 21 samples" in text for text in scores)
    before, best = (float(text.split("\naccuracy ")[1].split()[0]) for text in scores)
    assert f"test accuracy: {before:.3f} before tuning, {best:.3f} with the prompt" in result.stdout
    assert "report of runs/quickstart.h5" in result.stdout
    content = run.read_bytes()
    again = quickstart(checkout)
    assert again.returncode == 0 and "finished already" in again.stderr and run.read_bytes() == content, again.stderr


def test_goes_on(checkout: Path, mask: Study) -> None:
    """With time for one round each call makes one; the command that is named makes the others, and the results are those of a whole
    run."""
    run = checkout / "runs" / "quickstart.h5"
    for n in (1, 2):
        result = quickstart(checkout, seconds=1e-6)
        assert result.returncode == 0 and f"{n} of 4 rounds fitted into 1e-06 s" in result.stdout, result.stderr
        assert "test accuracy:" in result.stdout and read_rounds(run) == ("interrupted", list(range(n + 1)))
    command = result.stdout.splitlines()[-1].strip()
    assert "--resume" in command
    subprocess.run(["bash", "-c", command], cwd=checkout, check=True, capture_output=True, env=environment({}))
    assert read_rounds(run)[0] == "finished" and digest_of(run) == mask.expected()


def test_failed_run(checkout: Path, mask: Study) -> None:
    """Its exit code and what to do, not the report of an earlier one."""
    quickstart(checkout, seconds=1e-6)
    mask.values["cma"]["sigma"] = 2
    (checkout / "configs" / "quickstart.yaml").write_text(yaml.safe_dump(mask.values))
    result = quickstart(checkout)
    assert result.returncode == 1 and "cma.sigma is 2" in result.stderr and "remove runs/quickstart.h5" in result.stderr, result.stderr
    assert "report of" not in result.stdout


def test_arguments_are_refused(checkout: Path) -> None:
    """Broken by an option that is passed over: settings change in the configuration, or with `fedbpt run`."""
    result = quickstart(checkout, "--set", "fed.rounds=1")
    assert result.returncode == 2 and "without arguments" in result.stderr and result.stdout == ""
    assert not (checkout / "runs" / "quickstart.h5").exists()
