"""The run file: readable at any instant, whole after any end, never lost by accident."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import SANITIZED, Study, call, command, digest_of, environment, read_rounds
from journal import journal_rounds
from safetensors.numpy import load_file, save_file
from toy import MASK_MODEL, copy_model

MANY = {"fed__rounds": 100_000, "fed__local_generations": 1, "cma__population": 2, "run__client_means": "true"}


ROOM = 250_000  # bytes: more than such a run's file takes in its first rounds, less than after a hundred


def start(study: Study, path: Path, ranks: int = 1, **changes: object) -> subprocess.Popen[bytes]:
    words = command(("run", study.config, *study.set(run__output=path, **MANY, **changes)), ranks)
    return subprocess.Popen(words, stderr=subprocess.DEVNULL, env=environment({}), start_new_session=True)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None and time.monotonic() < end, "no run file"
        time.sleep(0.01)


@pytest.mark.parametrize("ranks", [1, 3])
def test_read_while_written(mask: Study, ranks: int) -> None:
    path = mask.output()
    process = start(mask, path, ranks)
    try:
        wait_for(path, process)
        counts = []
        end = time.monotonic() + 8  # the file takes rounds up every two seconds
        while time.monotonic() < end:
            status, index = read_rounds(path)
            assert status == "running"
            counts.append(len(index))
        assert counts == sorted(counts), "rounds have vanished"
        assert counts[-1] > counts[0] + 3
        assert process.poll() is None
        assert "running" in call("show", path).good().out
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_killed_at_any_instant(mask: Study) -> None:
    draw = random.Random(11)
    lengths = set()
    for _ in range(6 if SANITIZED else 25):
        path = mask.output()
        process = start(mask, path)
        wait_for(path, process)
        time.sleep(draw.uniform(0, 0.25))
        process.kill()
        process.wait()
        status, index = read_rounds(path)
        assert status == "running"
        lengths.add(len(index) + journal_rounds(path))
        digest_of(path)
    assert len(lengths) > 2, "every kill came at the same round"


def test_killed_over_an_older_file(mask: Study) -> None:
    """Until the new run has a round, the older file stays; what a killed run left behind does not stand in the next one's way."""
    path = mask.finished()
    old = digest_of(path)
    for delay in (0.0, 0.02, 0.05, 0.1):
        process = start(mask, path, run__overwrite="true")
        time.sleep(delay)
        process.kill()
        process.wait()
        status, index = read_rounds(path)
        assert status == "running" or digest_of(path) == old
    mask.run(run__output=path, run__overwrite="true").good()
    assert digest_of(path) == old
    assert [file.name for file in path.parent.glob(f".{path.name}*")] == []


def test_one_rank_killed(mask: Study) -> None:
    """The death of a rank ends the job; no rank waits for it."""
    path = mask.output()
    process = start(mask, path, 3)
    wait_for(path, process)
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)
    try:
        assert process.wait(timeout=30) != 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    status, _ = read_rounds(path)
    assert status == "running"


def test_finished(mask: Study) -> None:
    assert read_rounds(mask.finished()) == ("finished", [0, 1, 2, 3])


@pytest.mark.parametrize("ranks", [1, 3])
def test_existing_file_is_refused(mask: Study, ranks: int) -> None:
    path = mask.finished()
    before = path.read_bytes()
    mask.run(run__output=path, run__seed=9, ranks=ranks).sentence(str(path), "exists", "overwrite")
    assert path.read_bytes() == before
    mask.run(run__output=path, run__overwrite="true", run__seed=9, ranks=ranks).good()
    assert path.read_bytes() != before
    call("run", mask.config, "--overwrite", "--set", f"run.output={path}", "--set", "run.seed=10", ranks=ranks).good()
    with h5py.File(path) as file:
        assert "  seed: 10\n" in file["config"].attrs["resolved"]


def test_only_run_files_are_overwritten(mask: Study) -> None:
    path = mask.folder / "thesis.txt"
    path.write_text("two years of work")
    mask.run(run__output=path, run__overwrite="true").sentence(str(path), "not an HDF5 file")
    assert path.read_text() == "two years of work"


def test_two_runs_on_one_path(mask: Study) -> None:
    path = mask.output()
    process = start(mask, path)
    try:
        wait_for(path, process)
        mask.run(run__output=path, run__overwrite="true").sentence(str(path), "another run")
    finally:
        process.kill()
        process.wait()


def test_link_to_a_file_yet_to_be_made(mask: Study) -> None:
    """Breaks if the run takes the link's place: the run would not be where it was wanted, and could be made twice."""
    target, link = mask.folder / "disk" / "target.h5", mask.folder / "link.h5"
    target.parent.mkdir()
    link.symlink_to("disk/target.h5")
    mask.run(run__output=link).good()
    assert link.is_symlink() and read_rounds(target)[0] == "finished"
    assert [path.name for path in target.parent.iterdir()] == ["target.h5"]
    again = call("run", mask.config, *mask.set(run__output=target), "--resume").good()
    assert "finished already" in again.err
    (mask.folder / "nowhere.h5").symlink_to("missing/target.h5")
    mask.run(run__output=mask.folder / "nowhere.h5").sentence("nowhere.h5 cannot be written", "missing", "make the folder first")
    exported = mask.folder / "prompt.npz"
    exported.symlink_to("disk/prompt.npz")
    call("export", target, "--format", "npz", "--output", exported).good()
    assert exported.is_symlink() and (target.parent / "prompt.npz").is_file()


def test_two_runs_by_link_and_target(mask: Study) -> None:
    target, link = mask.folder / "target.h5", mask.folder / "link.h5"
    link.symlink_to(target)
    process = start(mask, link)
    try:
        wait_for(target, process)
        for path in (target, link):
            mask.run(run__output=path, run__overwrite="true").sentence(str(path), "another run")
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("ranks", [1, 3])
def test_missing_folder(mask: Study, ranks: int) -> None:
    path = mask.folder / "nowhere" / "run.h5"
    mask.run(run__output=path, ranks=ranks).sentence(str(path), "No such file or directory")


def test_path_is_a_folder(mask: Study) -> None:
    mask.run(run__output=mask.folder).sentence(str(mask.folder), "folder")
    mask.run(run__output=f"{mask.folder}/").sentence(str(mask.folder), "folder")


def test_longest_name(mask: Study) -> None:
    """A name that leaves no room for those of locks is refused at the start: such a run could not be gone on with after a kill."""
    longest = os.pathconf(mask.folder, "PC_NAME_MAX") - len("..lock.") - 32
    path = mask.folder / f"{'x' * (longest - 3)}.h5"
    process = start(mask, path)
    wait_for(path, process)
    process.kill()
    process.wait()
    index = read_rounds(path)[1]
    assert call("run", mask.config, "--resume", *mask.set(run__output=path, run__max_seconds=1e-6, **MANY)).code == 75
    assert len(read_rounds(path)[1]) > len(index)
    result = mask.run(run__output=mask.folder / f"{'x' * (longest - 2)}.h5")
    result.sentence(f"has {longest + 1} bytes", f"at most {longest} leave room", "choose a shorter name")
    assert result.seconds < 30


def test_longest_path(mask: Study) -> None:
    """The same of a path as a whole."""
    limit = os.pathconf(mask.folder, "PC_PATH_MAX")
    folder = mask.folder
    while len(str(folder)) < limit - 320:
        folder = folder / ("x" * 200)
    folder = folder / ("x" * (limit - 60 - len(str(folder))))
    folder.mkdir(parents=True)
    path = folder / f"{'x' * 21}.h5"  # the path itself fits
    assert len(str(path)) < limit - 30
    mask.run(run__output=path).sentence("choose a shorter path")


def test_read_only_folder(mask: Study) -> None:
    folder = mask.folder / "sealed"
    folder.mkdir(mode=0o500)
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    mask.run(run__output=folder / "run.h5").sentence("run.h5", "Permission denied")


def test_full_disk(mask: Study, small_disk: Path) -> None:
    path = small_disk / "run.h5"
    (small_disk / "ballast").write_bytes(bytes(1500 * 1024 - 2 * ROOM))
    mask.run(run__output=path, **MANY).sentence(str(path), "No space left", "kept")
    status, index = read_rounds(path)
    assert status == "running" and len(index) + journal_rounds(path) > 1
    assert {file.name for file in small_disk.iterdir()} - {"run.h5.journal"} == {"ballast", "run.h5"}
    larger = mask.folder / "larger"
    larger.mkdir()
    for name in ("run.h5", "run.h5.journal"):
        shutil.copy(small_disk / name, larger)
    rounds = len(index) + journal_rounds(path)
    assert call("run", mask.config, "--resume", *mask.set(run__output=larger / "run.h5", run__max_seconds=1e-6, **MANY)).code == 75
    assert read_rounds(larger / "run.h5") == ("interrupted", list(range(rounds + 1))), "the journal's rounds, and one more"
    assert [file.name for file in larger.iterdir()] == ["run.h5"]


@pytest.mark.parametrize("ranks", [1, 3])
def test_file_size_limit(mask: Study, ranks: int) -> None:
    """Stand-in for a quota, without a disk of its own."""
    path = mask.output()

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))

    if ranks > 1:  # Open MPI itself writes larger files: let the program alone meet the limit
        words = command(("run", mask.config, *mask.set(run__output=path, **MANY)), ranks)
        at = words.index("none") + 1
        words[at:at] = ["bash", "-c", f"[ $OMPI_COMM_WORLD_RANK != 0 ] || ulimit -f {ROOM // 1024}; exec \"$@\"", "limited"]
        result = subprocess.run(words, capture_output=True, text=True, env=environment({"OMPI_MCA_btl": "self,tcp"}), timeout=120, check=False)
        assert result.returncode == 1
        assert result.stderr.count("fedbpt: error:") == 1 and "File too large" in result.stderr, result.stderr
    else:
        mask.run(run__output=path, before=lower, **MANY).sentence(str(path), "File too large", "kept")
    status, index = read_rounds(path)
    assert status == "running" and len(index) + journal_rounds(path) > 1
    assert [file.name for file in path.parent.glob(f".{path.name}*")] == []


@pytest.mark.parametrize("ranks", [1, 3])
def test_time_limit(mask: Study, ranks: int) -> None:
    path = mask.output()
    result = mask.run(run__output=path, run__max_seconds=0.5, ranks=ranks, **MANY)
    assert result.code == 75, result.err
    assert "error" not in result.err
    assert result.seconds < 30
    status, index = read_rounds(path)
    assert status == "interrupted" and len(index) > 1


def test_time_limit_in_the_last_round(mask: Study) -> None:
    """Nothing is left to do, so the run has finished."""
    path = mask.output()
    mask.run(run__output=path, run__max_seconds=1e-6, fed__rounds=1).good()
    assert read_rounds(path) == ("finished", [0, 1])


def test_time_limit_that_is_up_at_once(mask: Study) -> None:
    """A round is made even so: a chain of jobs always gets on."""
    path = mask.output()
    assert mask.run(run__output=path, run__max_seconds=1e-6).code == 75
    assert read_rounds(path) == ("interrupted", [0, 1])


def test_interrupted_rounds_are_those_of_a_longer_run(mask: Study) -> None:
    path = mask.output()
    assert mask.run(run__output=path, run__max_seconds=1e-6).code == 75
    with h5py.File(path) as short, h5py.File(mask.finished()) as long:
        for name in ("z", "step_size", "train_loss", "test_loss", "client/fitness"):
            assert np.array_equal(short["rounds"][name][:], long["rounds"][name][:2], equal_nan=True), name


@pytest.mark.parametrize("ranks", [1, 3, 7])
def test_losses_that_are_no_numbers(mask: Study, ranks: int) -> None:
    """Prompts that overflow fp32: one sentence, and the rounds before are kept."""
    path = mask.output()
    result = mask.run(run__output=path, ranks=ranks, cma__alpha=1e6, cma__sigma=1e-6, model__path=explosive(mask))
    result.sentence("not a number", "cma.sigma", "cma.alpha")
    status, index = read_rounds(path)
    assert status == "failed" and index == [0]
    assert "failed" in call("show", path).good().out
    assert [file.name for file in path.parent.glob(f".{path.name}*")] == []


def explosive(study: Study) -> Path:
    """The model with word embeddings so large, and hence a projection so large, that any prompt but z = 0 overflows."""
    folder = copy_model(MASK_MODEL, study.folder / "explosive")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("embeddings.word_embeddings.weight"))
    tensors[name] = np.ascontiguousarray(tensors[name] * np.float32(1e17))
    save_file(tensors, folder / "model.safetensors")
    return folder
