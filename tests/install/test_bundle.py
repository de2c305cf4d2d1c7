"""jobs/bundle.sh: the archive runs in a system of another release that has none of the libraries, and gives the results of this machine.

The system is Debian 13 as debootstrap makes it. Each call mounts /proc, /dev and /sys into it for itself alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import toy
from conftest import BUILD, ROOT
from tokenizers import Tokenizer, models

MOUNTS = 'root=$1; shift; for part in proc dev sys; do mount --rbind "/$part" "$root/$part" || exit; done; exec chroot --userspec=1000:1000 "$root" "$@"'
PLACE = "home/some one"


@dataclass
class System:
    """The bare system, with the archive unpacked for a user of it."""

    root: Path
    folder: Path

    def call(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """As that user, in the archive's folder, with a path that holds nothing of this machine."""
        line = 'cd "$1" && shift && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", MOUNTS, "sh", str(self.root), "sh", "-c", line, "sh", f"/{self.folder.relative_to(self.root)}"]
        clean = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/tmp", "LC_ALL": "C.UTF-8", **environment}
        return subprocess.run([*command, *words], capture_output=True, text=True, check=False, env=clean)

    def output(self, *words: str) -> str:
        result = self.call(*words)
        assert result.returncode == 0, f"{words}:\n{result.stdout}\n{result.stderr}"
        return result.stdout


def make_root(root: Path) -> None:
    """Skips where a system cannot be made: as another user than root, or where mounting is forbidden."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("needs root and mount namespaces")
    made = subprocess.run(["debootstrap", "--variant=minbase", "trixie", str(root)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr
    root.chmod(0o755)


def write_inputs(folder: Path) -> toy.Toy:
    """A model with a tokenizer, without which it is not complete, and data that fit it."""
    model = toy.copy_model(toy.MASK_MODEL, folder / "toy")
    tokenizer = model / "tokenizer.json"
    Tokenizer(models.WordLevel({f"word{number}": number for number in range(97)}, "word0")).save(str(tokenizer))
    contents = toy.Toy(tokenizer=hashlib.sha256(tokenizer.read_bytes()).hexdigest())
    toy.write(folder / "toy.h5", contents)
    return contents


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    root = tmp_path_factory.mktemp("system")
    made = tmp_path_factory.mktemp("archive")
    make_root(root)
    contents = write_inputs(made)
    command = ["bash", "jobs/bundle.sh", "--build", BUILD, "--cut", "--model", made / "toy", "--data", made / "toy.h5", "--output", made]
    packed = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert packed.returncode == 0, packed.stdout + packed.stderr
    place = root / PLACE
    place.mkdir(parents=True)
    with tarfile.open(next(made.glob("fedbpt-*-linux-x86_64*.tar.xz"))) as file:
        file.extractall(place)
    shutil.chown(place, 1000, 1000)
    (folder,) = place.iterdir()
    shutil.chown(folder, 1000, 1000)
    settings = toy.settings(Path("models/toy-cut"), Path("datasets/toy.h5"), Path("run.h5"), contents)
    toy.write_settings(folder / "toy.yaml", settings)
    yield System(root, folder)
    shutil.rmtree(root)


def test_system_is_bare(system: System) -> None:
    """Else what follows would prove nothing."""
    found = system.output("find", "/usr", "-name", "lib*.so*")
    assert not any(name in found for name in ("libmpi", "libhdf5", "libgsl", "libgomp", "libdnnl", "libjansson", "libyaml"))


def test_runs_give_the_results_of_this_machine(system: System) -> None:
    """Breaks if a library or component is missing, if Open MPI or the libraries find each other by this machine's paths, or if another
    library than this machine's is used."""
    assert "backend: cpu" in system.output("bin/fedbpt", "info")
    system.output("bin/fedbpt", "run", "toy.yaml", "--set", "fed.rounds=2")
    system.output("bin/mpirun", "-n", "2", "--oversubscribe", "bin/fedbpt", "run", "toy.yaml", "--set", "fed.rounds=2", "--set", "run.output=two.h5")
    digests = {system.output("bin/fedbpt", "show", "--digest", name).strip() for name in ("run.h5", "two.h5")}
    own = [BUILD / "bin" / "fedbpt", "run", "toy.yaml", "--set", "fed.rounds=2", "--set", f"run.output={system.root}/own.h5"]
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    subprocess.run(own, cwd=system.folder, check=True, capture_output=True, env=os.environ | root)
    show = [BUILD / "bin" / "fedbpt", "show", "--digest", f"{system.root}/own.h5"]
    digests.add(subprocess.run(show, check=True, capture_output=True, text=True).stdout.strip())
    assert len(digests) == 1


def test_eigenvalues_are_there(system: System) -> None:
    """LAPACK is loaded by name, which no list of a program's libraries shows."""
    system.output("bin/fedbpt", "run", "toy.yaml", "--set", "cma.decomposition=eigen", "--set", "run.output=eigen.h5")


def test_dry_run_on_two_ranks(system: System) -> None:
    said = system.call("bin/mpirun", "-n", "2", "--oversubscribe", "bin/fedbpt", "run", "toy.yaml", "--dry-run", "--set", "run.output=dry.h5")
    assert said.returncode == 0 and "2 ranks" in said.stdout + said.stderr, said.stderr
    assert "mca" not in said.stderr.lower()


def test_a_machine_without_a_device(system: System) -> None:
    """Exit code 77 and a sentence: of the conformance suite, and of a program whose cuBLAS is not there."""
    lacks = system.call("bin/conformance", "--backend", "cuda", "--precision", "fp32")
    assert lacks.returncode == 77 and "cuda" in lacks.stdout + lacks.stderr
    needs = system.folder / "needs"
    needs.write_text("cublas libcublasLt.so.99\n")
    try:
        missing = system.call("bin/fedbpt", "info")
        assert missing.returncode == 77 and "libcublasLt.so.99 is not on this machine" in missing.stderr and "FEDBPT_CUBLAS" in missing.stderr
        for folder in ("opt/cuda", "usr/local/cuda-99.1/lib64"):
            (system.root / folder).mkdir(parents=True)
            (system.root / folder / "libcublasLt.so.99").touch()
            assert system.call("bin/fedbpt", "info", FEDBPT_CUBLAS="/opt/cuda" if folder == "opt/cuda" else "").returncode == 0
            (system.root / folder / "libcublasLt.so.99").unlink()
    finally:
        needs.unlink()


def test_every_library_has_its_licence(system: System) -> None:
    names = {path.name for path in (system.folder / "licences").iterdir()}
    assert {"LICENSE", "third-party-licences.md", "libhdf5-103-1.txt", "libopenmpi3.txt", "libgsl27.txt", "libdnnl2.txt"} <= names


@pytest.mark.parametrize("words", [["--model"], ["--model", "nowhere"], ["--cut"], ["--fast"]])
def test_refusals(words: list[str]) -> None:
    refused = subprocess.run(["bash", "jobs/bundle.sh", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and refused.stderr.startswith("error: ") and refused.stderr.count("\n") == 1
