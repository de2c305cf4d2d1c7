"""jobs/cuda.sh: which toolkit is taken, and why others are not. pip is stood in for: nothing is installed here."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cubins import ROOT

Shell = Callable[..., subprocess.CompletedProcess[str]]
REQUIREMENTS = ROOT / "jobs" / "requirements-cuda.txt"


def make_toolkit(folder: Path, release: str, without: str = "") -> Path:
    """Files as a toolkit has them; its nvcc knows only what setup asks it."""
    for name in ("include/cuda_runtime.h", "include/cublasLt.h", "lib/libcublasLt.so.13", "lib64/libcublasLt.so"):
        if not without or without not in name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    nvcc = folder / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True, exist_ok=True)
    nvcc.write_text(
        f'#!/bin/bash\n[ "$1" = --version ] && echo "Cuda compilation tools, release {release}, V{release}.1" && exit\n'
        f'echo "#\\$ TOP={folder}/bin/.." >&2\n'
    )
    nvcc.chmod(0o755)
    return nvcc


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Runs bash lines after sourcing setup.sh from a checkout of its own, with the toolkit named by `nvcc` on PATH; what pip
    is asked lands in tmp_path/calls, and the packages arrive unless told otherwise."""
    shutil.copytree(ROOT / "jobs", tmp_path / "jobs")
    venv = tmp_path / ".venv" / "bin"
    venv.mkdir(parents=True)
    site = tmp_path / "site"

    def run(lines: str, nvcc: Path | None = None, arrives: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        source = tmp_path / "packages"
        make_toolkit(source, "13.0", without="lib64")
        (venv / "python").write_text(
            f'#!/bin/bash\ncase "$*" in\n*sysconfig*) echo {site} ;;\n'
            f'*install*) echo "$*" >> {tmp_path}/calls; {"true" if arrives else "exit 1"}\n'
            f"    mkdir -p {site}/nvidia; cp -r {source} {site}/nvidia/cu13 ;;\nesac\n"
        )
        (venv / "python").chmod(0o755)
        path = "/usr/bin:/bin" if nvcc is None else f"{nvcc.parent}:/usr/bin:/bin"
        command = ["bash", "-c", f"source {tmp_path}/jobs/setup.sh\nfbt_make_venv() {{ :; }}\nFBT_CUDA_USUAL={tmp_path}/nowhere\n{lines}"]
        return subprocess.run(command, capture_output=True, text=True, env={"PATH": path} | environment, check=False)

    return run


def calls(tmp_path: Path) -> list[str]:
    file = tmp_path / "calls"
    return file.read_text().splitlines() if file.exists() else []


def test_the_toolkit_on_path_is_taken(shell: Shell, tmp_path: Path) -> None:
    result = shell("fbt_cuda_toolkit; echo $CUDACXX $CUDAToolkit_ROOT", make_toolkit(tmp_path / "cuda", "12.8"))
    assert result.stdout == f"cuda: toolkit 12.8 at {tmp_path}/cuda\n{tmp_path}/cuda/bin/nvcc {tmp_path}/cuda\n", result.stderr
    assert calls(tmp_path) == []


def test_the_toolkit_in_cuda_home_is_taken(shell: Shell, tmp_path: Path) -> None:
    make_toolkit(tmp_path / "cuda", "13.2")
    result = shell("fbt_cuda_toolkit", CUDA_HOME=str(tmp_path / "cuda"))
    assert result.stdout == f"cuda: toolkit 13.2 at {tmp_path}/cuda\n" and calls(tmp_path) == []


@pytest.mark.parametrize(
    ("release", "without", "why"),
    [("12.6", "", "it is CUDA 12.6, and at least 12.8 is needed"), ("11.8", "", "11.8"), ("13.0", "cublasLt.h", "it has no cublasLt.h"),
     ("13.0", "libcublasLt.so", "it has no libcublasLt.so")],
)
def test_others_are_left_aside_for_the_packages(shell: Shell, tmp_path: Path, release: str, without: str, why: str) -> None:
    """12.10 would be later than 12.8, 12.6 is not: breaks if versions are compared as text or numbers."""
    result = shell("fbt_cuda_toolkit; echo $CUDACXX", make_toolkit(tmp_path / "cuda", release, without))
    assert why in result.stderr and f"cuda: toolkit 13.0 at {tmp_path}/.venv/cuda\n{tmp_path}/.venv/cuda/bin/nvcc\n" in result.stdout
    packages = re.findall(r"nvidia-[\w-]+==[\d.]+", calls(tmp_path)[0])
    assert packages == [line for line in REQUIREMENTS.read_text().splitlines() if line.startswith("nvidia-")]


def test_12_10_is_later_than_12_8(shell: Shell, tmp_path: Path) -> None:
    assert "toolkit 12.10 at" in shell("fbt_cuda_toolkit", make_toolkit(tmp_path / "cuda", "12.10")).stdout


def test_packages_are_installed_once(shell: Shell, tmp_path: Path) -> None:
    for _ in range(2):
        assert shell("fbt_cuda_toolkit").returncode == 0
    assert len(calls(tmp_path)) == 1
    (tmp_path / "jobs" / "requirements-cuda.txt").write_text(REQUIREMENTS.read_text() + "# changed\n")
    assert shell("fbt_cuda_toolkit").returncode == 0 and len(calls(tmp_path)) == 2


def test_packages_get_the_names_that_linkers_look_for(shell: Shell, tmp_path: Path) -> None:
    assert shell("fbt_cuda_toolkit").returncode == 0
    assert (tmp_path / ".venv" / "cuda" / "lib64" / "libcublasLt.so").resolve().name == "libcublasLt.so.13"


def test_packages_can_be_asked_for(shell: Shell, tmp_path: Path) -> None:
    result = shell("fbt_cuda_toolkit", make_toolkit(tmp_path / "cuda", "13.0"), FBT_CUDA_PACKAGES="1")
    assert f"at {tmp_path}/.venv/cuda" in result.stdout and len(calls(tmp_path)) == 1


def test_a_failed_installation_fails(shell: Shell, tmp_path: Path) -> None:
    result = shell("fbt_cuda_toolkit", arrives=False)
    assert result.returncode != 0 and "error: could not install CUDA packages" in result.stderr
    assert shell("fbt_cuda_toolkit").returncode == 0 and len(calls(tmp_path)) == 2


def test_nvdisasm_alone_is_installed_where_only_it_is_missing(shell: Shell, tmp_path: Path) -> None:
    lines = "fbt_cuda_toolkit && fbt_nvdisasm"
    assert shell(lines, make_toolkit(tmp_path / "cuda", "13.0")).returncode == 0
    assert len(calls(tmp_path)) == 1 and re.findall(r"nvidia-[\w-]+", calls(tmp_path)[0]) == ["nvidia-cuda-nvdisasm"]
    (tmp_path / "cuda" / "bin" / "nvdisasm").touch(0o755)
    assert f"nvdisasm at {tmp_path}/cuda/bin" in shell(lines, tmp_path / "cuda" / "bin" / "nvcc").stdout
    assert len(calls(tmp_path)) == 1


def test_packages_are_pinned() -> None:
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    assert lines and all(re.fullmatch(r"[a-z-]+==[\d.]+", line) for line in lines)
