"""Calls the program named by the environment variable FEDBPT, alone or under mpirun, and judges how it ended."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT / "analysis")]

import toy  # noqa: E402
from fedbpt_analysis import seal  # noqa: E402
from journal import journal_rounds  # noqa: E402

PROGRAM = os.environ.get("FEDBPT", str(ROOT / "build" / "release" / "bin" / "fedbpt"))
SANITIZED = os.environ.get("FEDBPT_SANITIZED", "0") == "1"
# Words that never belong on a terminal, however a call ends.
NOISE = re.compile(r"Sanitizer|runtime error|MPI_ABORT|MPI_Abort|Traceback|HDF5-DIAG|Assertion|\bassert\b|\*\*\* Process|core dumped")
MPI_FOLDER = tempfile.TemporaryDirectory(prefix="fedbpt-mpi-", ignore_cleanup_errors=True)
DIGESTS: dict[str, str] = {}  # of runs that Study.expected has made, by Study.key
LOG_LINE = re.compile(r"\[\d+\] +[\d.]+ s \w+: ")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "thorough: left out of builds with sanitizers, where every start is slow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SANITIZED and item.get_closest_marker("thorough"):
            item.add_marker(pytest.mark.skip(reason="runs without sanitizers"))


@dataclass
class Result:
    """How a call ended."""

    code: int
    out: str
    err: str
    seconds: float

    def good(self) -> Result:
        assert self.code == 0, self.err
        return self

    def sentence(self, *words: str) -> str:
        """Asserts that the call failed and told why in one sentence, holding all of the words."""
        lines = [line for line in self.err.splitlines() if line and not LOG_LINE.match(line)]
        assert self.code == 1, f"exit code {self.code}: {self.err}"
        assert len(lines) == 1 and lines[0].startswith("fedbpt: error: "), self.err
        assert self.out == ""
        for word in words:
            assert word in lines[0], f"{word!r} is not in: {lines[0]}"
        assert self.seconds < 60
        return lines[0]


def command(arguments: tuple[object, ...], ranks: int) -> list[str]:
    words = [PROGRAM, *map(str, arguments)]
    if ranks > 1:
        words = ["mpirun", "--quiet", "-n", str(ranks), "--oversubscribe", "--bind-to", "none", *words]
    return words


def environment(changes: dict[str, str]) -> dict[str, str]:
    """Of one call, with a folder of its own for Open MPI's files: calls that begin and end at the same time remove each other's where they
    share one."""
    mpi = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
           "OMPI_MCA_orte_tmpdir_base": tempfile.mkdtemp(dir=MPI_FOLDER.name)}
    package = {"FEDBPT_PYTHON": sys.executable, "PYTHONPATH": str(ROOT / "analysis")}  # the checkout's own, wherever the program lies
    return os.environ | mpi | package | changes


def call(*arguments: object, ranks: int = 1, env: dict[str, str] | None = None, before: Callable[[], None] | None = None,
         cwd: Path | None = None) -> Result:
    """Calls the program to its end. `before` runs in the child."""
    start = time.monotonic()
    with subprocess.Popen(command(arguments, ranks), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                          env=environment(env or {}), start_new_session=True, preexec_fn=before, cwd=cwd) as process:
        try:
            out, err = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"no end after 120 s: {arguments}")
    assert not NOISE.search(err), err
    return Result(process.returncode, out, err, time.monotonic() - start)


def finish(process: subprocess.Popen[str]) -> Result:
    """Waits for the end of a started call; one that does not end is a failure."""
    begin = time.monotonic()
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail("it goes on")
    return Result(process.returncode, out or "", err or "", time.monotonic() - begin)


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """The process numbers of an mpirun's ranks, lowest rank first; none where there is no mpirun."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


@dataclass
class Pace:
    """Seconds of a run outside its rounds, and of one generation of all clients."""

    start_s: float
    generation_s: float

    def generations(self, seconds: float) -> int:
        """So many local generations make a round of this length."""
        return max(1, round(seconds / self.generation_s))


@dataclass
class Study:
    """A model, a data set, settings, and calls that use them."""

    folder: Path
    toy: toy.Toy
    model: Path
    data: Path
    values: dict[str, dict[str, object]]
    n_runs: int = 0

    @property
    def config(self) -> Path:
        return toy.write_settings(self.folder / "settings.yaml", self.values)

    def output(self) -> Path:
        self.n_runs += 1
        return self.folder / f"run{self.n_runs}.h5"

    def set(self, **changes: object) -> list[str]:
        """fed__rounds=3 becomes --set fed.rounds=3."""
        return [word for key, value in changes.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]

    def run(self, *, ranks: int = 1, env: dict[str, str] | None = None, before: Callable[[], None] | None = None,
            **changes: object) -> Result:
        return call("run", self.config, *self.set(**changes), ranks=ranks, env=env, before=before)

    def finished(self, *, ranks: int = 1, env: dict[str, str] | None = None, **changes: object) -> Path:
        """A run to its end; its file."""
        path = self.output()
        self.run(ranks=ranks, env=env, run__output=path, **changes).good()
        return path

    def digest(self, *, ranks: int = 1, env: dict[str, str] | None = None, **changes: object) -> str:
        return digest_of(self.finished(ranks=ranks, env=env, **changes))

    def expected(self, **changes: object) -> str:
        """The digest of a run alone that nothing stopped, with which others are compared: made once for all tests of a file."""
        key = self.key(changes)
        if key is None:
            return self.digest(**changes)
        if key not in DIGESTS:
            DIGESTS[key] = self.digest(**changes)
        return DIGESTS[key]

    def key(self, changes: dict[str, object]) -> str | None:
        """Equal for runs of equal settings, data and model; None where a test may have changed a model."""
        values = json.loads(json.dumps(self.values))
        paths = [values["model"].pop("path"), values["data"].pop("path")]
        values["run"].pop("output")
        if paths != [str(self.model), str(self.data)] or self.model.parent != toy.GOLDEN or any("path" in name for name in changes):
            return None
        data = hashlib.sha256(self.data.read_bytes()).hexdigest()
        return json.dumps([str(self.model), data, values, changes], sort_keys=True, default=str)

    def pace(self, **changes: object) -> Pace:
        """How fast this machine is at the moment; the faster of two runs, so that what else it does counts little."""
        found = []
        for _ in range(2):
            path = self.output()
            result = self.run(run__output=path, **{"fed__local_generations": 40, **changes}).good()
            with h5py.File(path) as file:
                rounds = file["rounds/cost/seconds"][1:].sum(axis=1)
            found.append(Pace(result.seconds - float(rounds.sum()), float(rounds.min()) / 40))
        return min(found, key=lambda pace: pace.generation_s)


def digest_of(path: Path) -> str:
    text = call("show", "--digest", path).good().out.strip()
    assert re.fullmatch("[0-9a-f]{64}", text)
    return text


def make_study(folder: Path, model: Path, shape: toy.Toy) -> Study:
    folder = folder / shape.readout
    folder.mkdir()
    data = toy.write(folder / "data.h5", shape)
    return Study(folder, shape, model, data, toy.settings(model, data, folder / "run.h5", shape))


@pytest.fixture
def mask(tmp_path: Path) -> Study:
    """Mask readout, prompt added to fixed words."""
    return make_study(tmp_path, toy.MASK_MODEL, toy.Toy())


@pytest.fixture
def embedding(tmp_path: Path) -> Study:
    """Embedding readout, prompt in front."""
    return make_study(tmp_path, toy.EMBEDDING_MODEL, toy.Toy.embedding())


@pytest.fixture
def decoder(tmp_path: Path) -> Study:
    """Readout at the last token, prompt in front of a template's words and the text."""
    return make_study(tmp_path, toy.DECODER_MODEL, toy.Toy.decoder())


@pytest.fixture
def labels(tmp_path: Path) -> Study:
    """As decoder, with labels of one to three tokens, of which all count."""
    study = make_study(tmp_path, toy.DECODER_MODEL, toy.Toy.decoder(label_texts=toy.LABELS))
    study.values["model"]["label_scoring"] = "sum"
    return study


@contextmanager
def edited(path: Path) -> Iterator[h5py.File]:
    """A run file to be changed; it is sealed again afterwards, as its user would."""
    with h5py.File(path, "r+") as file:
        yield file
    seal.write(path)


def read_rounds(path: Path) -> tuple[str, list[int]]:
    """Opens a run file as any reader would and checks that it holds whole rounds; its status and their indices."""
    with h5py.File(path, "r") as file:
        index = file["rounds/index"][:].tolist()
        assert index == list(range(len(index))), "the rounds are not contiguous"

        def check(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                assert len(item) == len(index), f"rounds/{name}"
                item[...]

        file["rounds"].visititems(check)
        assert file["result/last_z"][...].shape == file["rounds/z"].shape[1:]
        return file.attrs["status"], index


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def last_round(path: Path) -> int:
    """That a run has saved, in its run file or the journal; -1: there is no file yet."""
    return read_rounds(path)[1][-1] + journal_rounds(path) if path.exists() else -1


def wait_for_rounds(path: Path, process: subprocess.Popen[str], n: int) -> None:
    """Until a run has saved n rounds, round 0 among them."""
    end = time.monotonic() + 60
    while last_round(path) < n - 1:
        assert process.poll() is None and time.monotonic() < end, "no rounds"
        time.sleep(0.01)
