"""Kills runs at random instants with SIGKILL, one rank or all of them or the launcher, resumes each on some other number of ranks until
it is finished, and compares the digest with that of a run that nobody killed.

Broken by a run file that is not whole at some instant, by state that it does not hold, by a lock or a temporary file of a dead run
that stands in the way, and by ranks that live on after one has died.

    python kills.py --program build/release/bin/fedbpt --kills 200
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import h5py

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cli"))

import toy  # noqa: E402
from journal import journal_rounds  # noqa: E402

WORKERS = 3
MODES = ["alone"] * 4 + ["all"] * 3 + ["one"] * 3 + ["launcher"]
RUNS = [
    {"fed.protocol": "nvflare", "perturb.rate": 0.5},
    {"fed.protocol": "paper", "fed.participation": 0.5},
    {"fed.protocol": "fedavg-bbt", "fed.participation": 0.5, "perturb.rate": 0.3, "run.client_means": "true"},
    {"fed.protocol": "synchronous", "eval.every": 3},
]
COMMON = {"fed.rounds": 40, "fed.clients": 4, "cma.dimension": 60, "backend.threads": 1}
GONE_S = 30  # until which all ranks of a killed job must be gone
LAUNCHER_S = 5  # for which an mpirun without ranks may stay


class Failed(Exception):
    """A deed of the program that it must not do."""


@dataclass
class Tally:
    """Counts of what happened, over all workers."""

    wanted: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    kills: dict[str, int] = field(default_factory=dict)
    gone_s: dict[str, float] = field(default_factory=dict)
    finished: int = 0
    before_first: int = 0
    launcher_stuck: int = 0
    errors: list[str] = field(default_factory=list)

    def n_kills(self) -> int:
        return sum(self.kills.values())

    def add_kill(self, mode: str, gone_s: float, n_rounds: int) -> None:
        with self.lock:
            self.kills[mode] = self.kills.get(mode, 0) + 1
            self.gone_s[mode] = max(self.gone_s.get(mode, 0.0), gone_s)
            self.before_first += n_rounds == 0


def environment(mpi_folder: Path) -> dict[str, str]:
    """With a folder for Open MPI's own files: the workers' jobs would remove each other's."""
    mpi_folder.mkdir(exist_ok=True)
    own = {"OMPI_MCA_orte_tmpdir_base": str(mpi_folder), "OMPI_MCA_rmaps_base_oversubscribe": "1"}
    return os.environ | own | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def session_members(session: int) -> list[int]:
    """Processes of a session that are not dead: mpirun's ranks stay in its session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, own = entry.joinpath("stat").read_text().rpartition(") ")[2].split()[:4]
            except (OSError, ValueError):
                continue
            if int(own) == session and state not in "ZX":
                found.append(int(entry.name))
    return found


def read_rounds(path: Path) -> tuple[str, int]:
    """Status and number of rounds, those of the journal included, of a file that must be whole; 0 rounds where there is none."""
    if not path.exists():
        return "none", 0
    with h5py.File(path, "r") as file:
        index = file["rounds/index"][:].tolist()
        if index != list(range(len(index))) or int(file["checkpoint"].attrs["round"]) != index[-1]:
            raise Failed(f"{path}: rounds {index}")
        if any(len(file["rounds"][name]) != len(index) for name in ("z", "train_loss", "participants", "cost/seconds", "client/fitness")):
            raise Failed(f"{path}: half a round")
        status = file.attrs["status"]
    return status, len(index) + journal_rounds(path)


class Chain:
    """One run, killed and resumed until it is finished."""

    def __init__(self, program: str, folder: Path, number: int, draw: random.Random, tally: Tally) -> None:
        self.program, self.draw, self.tally = program, draw, tally
        self.config = folder / "settings.yaml"
        self.changes = COMMON | RUNS[number % len(RUNS)]
        self.path = folder / f"run{number}.h5"
        self.environment = environment(folder / f"mpi{number}")

    def words(self, ranks: int, path: Path) -> list[str]:
        words = [self.program, "run", str(self.config), "--resume", "--set", f"run.output={path}"]
        words += [word for key, value in self.changes.items() for word in ("--set", f"{key}={value}")]
        return words if ranks == 0 else ["mpirun", "--quiet", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *words]

    def start(self, ranks: int) -> subprocess.Popen[str]:
        return subprocess.Popen(self.words(ranks, self.path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                env=self.environment, start_new_session=True)

    def digest(self, path: Path) -> str:
        out = subprocess.run([self.program, "show", "--digest", str(path)], capture_output=True, text=True, check=True, env=self.environment)
        return out.stdout.strip()

    def expected(self) -> str:
        """Of a run that nobody kills."""
        path = self.path.with_suffix(".whole.h5")
        subprocess.run(self.words(0, path), capture_output=True, check=True, env=self.environment)
        return self.digest(path)

    def kill(self, process: subprocess.Popen[str], mode: str) -> bool:
        """Whether there was something left to kill."""
        members = session_members(process.pid)
        if mode == "launcher":
            members = [pid for pid in members if pid == process.pid]
        elif mode == "one":
            members = [pid for pid in members if pid != process.pid]
            members = [self.draw.choice(members)] if members else []
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(members)

    def wait_until_gone(self, process: subprocess.Popen[str], what: str) -> float:
        """Seconds until the ranks are gone. mpirun itself may stay for ever (Open MPI 4.1 locks itself up now and then when a rank dies
        while others are in MPI_Init): it is then killed, and counted."""
        begin = time.monotonic()
        gone_s = 0.0
        while members := session_members(process.pid):
            waited_s = time.monotonic() - begin
            ranks = [pid for pid in members if pid != process.pid or process.args[0] != "mpirun"]
            gone_s = waited_s if ranks else gone_s
            if waited_s > gone_s + LAUNCHER_S or waited_s > GONE_S:
                for pid in members:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                if ranks:
                    raise Failed(f"{what}: {len(ranks)} ranks live {GONE_S} s after the kill")
                with self.tally.lock:
                    self.tally.launcher_stuck += 1
            process.poll()
            time.sleep(0.02)
        return gone_s

    def session(self, span_s: float) -> bool:
        """One start and one kill; whether the run has finished instead."""
        mode = self.draw.choice(MODES)
        _, before = read_rounds(self.path)
        process = self.start(0 if mode == "alone" else self.draw.choice([2, 3, 5]))
        delay_s = self.draw.uniform(0, span_s if mode == "alone" else span_s + 0.7)
        time.sleep(delay_s)
        ended = process.poll() is not None
        killed = not ended and self.kill(process, mode)
        gone_s = self.wait_until_gone(process, f"{mode}, killed after {delay_s:.3f} s")
        _, err = process.communicate()
        if re.search(r"fedbpt: error|Sanitizer|runtime error", err):
            raise Failed(f"{mode}: {err}")
        status, after = read_rounds(self.path)
        if after < before:
            raise Failed(f"{self.path}: {before} rounds became {after}")
        if ended and (process.returncode != 0 or status != "finished"):
            raise Failed(f"exit code {process.returncode}, status {status}: {err}")
        if killed:
            self.tally.add_kill(mode, gone_s, after)
        return status == "finished"

    def run(self, span_s: float) -> None:
        expected = self.expected()
        while not self.session(span_s):
            pass
        if self.digest(self.path) != expected:
            raise Failed(f"{self.path}: another digest than that of a run that nobody killed")
        finished = subprocess.run(self.words(0, self.path), capture_output=True, text=True, check=False, env=self.environment)
        left = [file.name for pattern in (".{}*", "{}.*") for file in self.path.parent.glob(pattern.format(self.path.name))]
        if finished.returncode != 0 or "finished already" not in finished.stderr or left:
            raise Failed(f"a finished run, resumed: {finished.stderr}, {left} are left behind")
        with self.tally.lock:
            self.tally.finished += 1


def measure_span(program: str, folder: Path) -> float:
    """Seconds of a whole run on one rank: kills are drawn from all of it, the start included."""
    chain = Chain(program, folder, 10_000, random.Random(0), Tally(0))
    begin = time.monotonic()
    chain.expected()
    return time.monotonic() - begin


def work(program: str, folder: Path, worker: int, seed: int, span_s: float, tally: Tally) -> None:
    draw = random.Random(seed * WORKERS + worker)
    number = worker
    try:
        while tally.n_kills() < tally.wanted and not tally.errors:
            Chain(program, folder, number, draw, tally).run(span_s)
            number += WORKERS
    except (Failed, OSError, subprocess.SubprocessError) as error:
        tally.errors.append(str(error))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    tally = Tally(options.kills)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shape = toy.Toy()
        data = toy.write(folder / "data.h5", shape)
        toy.write_settings(folder / "settings.yaml", toy.settings(toy.MASK_MODEL, data, folder / "run.h5", shape))
        span_s = measure_span(options.program, folder)
        threads = [threading.Thread(target=work, args=(options.program, folder, i, options.seed, span_s, tally)) for i in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(f"seed {options.seed}: {tally.n_kills()} kills survived in {time.monotonic() - begin:.0f} s, {tally.before_first} of them before the "
          f"first file; {tally.finished} runs ended with the digest of one that nobody killed")
    for mode in sorted(tally.kills):
        print(f"  {mode:8}: {tally.kills[mode]:3} kills, all ranks gone after {tally.gone_s[mode]:.2f} s at most")
    if tally.launcher_stuck > 0:
        print(f"  {tally.launcher_stuck} times mpirun stayed when all ranks were gone")
    for error in tally.errors:
        print(f"FAILED: {error}")
    return 1 if tally.errors or tally.n_kills() < options.kills else 0


if __name__ == "__main__":
    sys.exit(main())
