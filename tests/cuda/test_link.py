"""The program of the preset cuda: it links against the real libraries and says what is missing where there is no device."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cubins
import pytest
from cubins import ROOT

sys.path.insert(0, str(ROOT / "tests" / "cli"))

import toy  # noqa: E402

BUILD = Path(os.environ.get("FBT_LINK_BUILD", ROOT / "build" / "cuda-link"))
HAS_DEVICE = Path("/dev/nvidia0").exists()


@pytest.fixture(scope="session")
def program() -> Path:
    nvcc = cubins.tool("FBT_NVCC", "nvcc")
    environment = os.environ | {"CUDACXX": nvcc, "CUDAToolkit_ROOT": str(Path(nvcc).parents[1])}
    options = ["-DBUILD_TESTING=OFF", "-DFBT_WARNINGS_ARE_ERRORS=ON"]
    for command in (["cmake", "--preset", "cuda", "-B", BUILD, *options], ["cmake", "--build", BUILD, "--target", "fedbpt", "-j2"]):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return BUILD / "bin" / "fedbpt"


def test_kernels_are_compiled_as_other_tests_compile_them(program: Path) -> None:  # noqa: ARG001
    """Breaks if what the other tests read, and the document tells, is not the machine code that runs."""
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    kernels = {Path(one["file"]).name: shlex.split(one["command"]) for one in commands if one["file"].endswith(".cu")}
    assert set(kernels) == {path.name for path in cubins.sources()}
    assert {name for name, words in kernels.items() if not set(cubins.CODE_FLAGS) <= set(words)} == set()


def call(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def dynamic(program: Path, tag: str) -> list[str]:
    text = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout
    return re.findall(rf"\({tag}\).*\[(.*)\]", text)


def test_libraries(program: Path) -> None:
    """Breaks if the backend is left out of the link, or if the program would need a driver to start."""
    names = {name.split(".so")[0] for name in dynamic(program, "NEEDED")}
    assert {"libcublasLt", "libcudart"} <= names and "libcuda" not in names
    assert "not found" not in subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout


def test_libraries_are_found_where_they_were_linked(program: Path) -> None:
    """Breaks on a machine whose loader does not know the toolkit's folder; compilers take it for one that every loader knows."""
    folders = {Path(folder).resolve() for folder in dynamic(program, "RUNPATH")[0].split(":")}
    assert any((folder / "libcublasLt.so").exists() for folder in folders), folders


def test_kernels_of_every_architecture_are_in_it(program: Path) -> None:
    """A cubin's notes hold the assembler's options."""
    found = re.findall(rb"-arch (sm_\d+)", program.read_bytes())
    n_files = len(cubins.sources())
    assert {arch: found.count(arch.encode()) for arch in cubins.ARCHES} == dict.fromkeys(cubins.ARCHES, n_files)


@pytest.mark.skipif(HAS_DEVICE, reason="this machine has a device")
def test_info_says_what_is_missing(program: Path) -> None:
    """The other backend works all the same, so this is no failure."""
    result = call(program, "info")
    assert result.returncode == 0 and re.search(r"^backend: cpu ", result.stdout, re.MULTILINE), result.stderr
    assert re.search(r"^backend: cuda: not available: .*(driver|device)", result.stdout, re.MULTILINE), result.stdout


@pytest.mark.skipif(HAS_DEVICE, reason="this machine has a device")
def test_run_says_what_is_missing(program: Path, tmp_path: Path) -> None:
    shape = toy.Toy()
    data = toy.write(tmp_path / "data.h5", shape)
    settings = toy.write_settings(tmp_path / "settings.yaml", toy.settings(toy.MASK_MODEL, data, tmp_path / "run.h5", shape))
    result = call(program, "run", settings, "--set", "backend.name=cuda")
    sentences = [line for line in result.stderr.splitlines() if line.startswith("fedbpt: error: ")]
    assert result.returncode == 1 and len(sentences) == 1, result.stderr
    assert re.search(r"cuda.*(driver|device)", sentences[0]), sentences[0]
    assert not (tmp_path / "run.h5").exists()
