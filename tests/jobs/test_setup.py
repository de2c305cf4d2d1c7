"""jobs/setup.sh with dpkg-query, apt-get, sudo and id stood in for: nothing is installed here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

LIST = ROOT / "jobs" / "debian-packages.txt"


@pytest.fixture
def shell(tmp_path: Path):
    """Runs bash lines after sourcing setup.sh, with stand-ins first on PATH; what apt-get is asked lands in tmp_path/calls."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()

    def stand_in(name: str, body: str) -> None:
        (bin_folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (bin_folder / name).chmod(0o755)

    def run(lines: str, missing: str = "", user: int = 0, sudo: bool = False) -> subprocess.CompletedProcess[str]:
        stand_in("dpkg-query", f'for last; do :; done; case " {missing} " in *" $last "*) exit 1;; esac; printf installed')
        stand_in("apt-get", f'echo "$DEBIAN_FRONTEND: $*" >> {tmp_path}/calls')
        stand_in("id", f"echo {user}")
        stand_in("sudo", '[ "$1" = -n ] && shift; exec "$@"' if sudo else "exit 1")
        environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
        command = ["bash", "-c", f"source {ROOT}/jobs/setup.sh\n{lines}"]
        return subprocess.run(command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, check=False)

    return run


def calls(tmp_path: Path) -> list[str]:
    file = tmp_path / "calls"
    return file.read_text().splitlines() if file.exists() else []


def test_every_package_has_a_tag(shell):
    """Breaks if a line of the list is written so that no tag finds it: the package would silently never be installed."""
    lines = [line.split()[0] for line in LIST.read_text().splitlines() if line.strip() and not line.startswith("#")]
    listed = shell("fbt_packages build cuda bundle tests").stdout.split()
    assert sorted(listed) == sorted(lines) and len(set(lines)) == len(lines)
    assert shell("fbt_packages cuda").stdout.split() == ["g++"]
    assert shell("fbt_packages bundle").stdout.split() == ["binutils", "patchelf", "xz-utils"]
    assert shell("fbt_packages tests").stdout.split() == [
        *("libboost-context-dev", "libcmocka-dev", "gcovr", "clang-14", "libclang-rt-14-dev", "libomp-14-dev", "clang-format",
          "clang-tidy-14", "cppcheck", "shellcheck"),
        *("slurm-wlm", "munge", "debootstrap"),
    ]


def test_nothing_missing_calls_no_apt(shell, tmp_path):
    result = shell("fbt_install_packages build tests")
    assert result.returncode == 0 and result.stdout == "packages: all there\n" and calls(tmp_path) == []


@pytest.mark.parametrize(("user", "sudo"), [(0, False), (1000, True)])
def test_root_and_sudo_install_what_is_missing(shell, tmp_path, user, sudo):
    result = shell("fbt_install_packages build", missing="cmake libgsl-dev libcmocka-dev", user=user, sudo=sudo)
    assert result.returncode == 0, result.stderr
    assert calls(tmp_path) == [
        "noninteractive: -qq update",
        "noninteractive: -qq -y --no-install-recommends install cmake libgsl-dev",
    ]


def test_neither_root_nor_sudo_says_what_is_missing(shell, tmp_path):
    result = shell("fbt_install_packages build tests", missing="cmake libcmocka-dev", user=1000)
    assert result.returncode != 0 and calls(tmp_path) == []
    assert "2 Debian packages are missing, and installing them needs root or sudo: cmake libcmocka-dev" in result.stderr
    assert "apt-get install --no-install-recommends cmake libcmocka-dev" in result.stderr


def test_wrong_option():
    result = subprocess.run(["bash", ROOT / "jobs" / "setup.sh", "--test"], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and "usage" in result.stderr


def test_python_packages_are_all_pinned():
    lines = (ROOT / "jobs" / "requirements.txt").read_text().splitlines()
    assert all("==" in line for line in lines if line and not line.startswith("#"))


CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_are_plain_sections(name):
    """Valid YAML with sections of scalars; that the keys are right is checked by the program's own --dry-run."""
    config = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())
    assert {"run", "model", "data", "prompt", "fed", "cma", "perturb", "objective", "eval", "backend"} == set(config)
    assert not any(isinstance(value, (dict, list)) for section in config.values() for value in section.values())
    assert config["fed"]["clients"] == 10
    if not name.startswith(("quickstart", "smollm2")):  # the official code's
        assert config["cma"]["population"] == 5 and config["cma"]["dimension"] == 500


@pytest.mark.parametrize(("words", "code", "said"), [(["--help"], 0, "--quick"), (["--fast"], 2, "'--fast'"), (["--quick", "now"], 2, "--help")])
def test_how_the_tests_are_called(words, code, said):
    """Breaks if a slip of the pen starts half an hour of tests."""
    result = subprocess.run(["bash", ROOT / "tests" / "run.sh", *words], capture_output=True, text=True, check=False)
    assert result.returncode == code and said in result.stdout + result.stderr
