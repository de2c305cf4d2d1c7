#!/usr/bin/env python3
"""Checks and times the CUDA backend on a machine that may be there for minutes only: three parts of ten minutes, each one JSON file.

correct: the conformance suite and the kernels' tests, by themselves and under compute-sanitizer; where one fails, what may explain it.
fast:    fedbpt bench at several lengths and precisions, PyTorch beside it, and the hot kernels' counters by Nsight Compute.
same:    a short run in every way that must not change its numbers: twice, on 2 and 5 ranks, in smaller batches, killed and resumed.

Needs Python 3.9 alone, and programs that run there: those of an archive of jobs/bundle.sh --cuda, or of a build."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

LACKING = 77  # the exit code of a program whose device, precision or library is not there
TAIL_BYTES = 6000  # of a program's output, which a result keeps
PRECISIONS = ("bf16", "fp32", "tf32")
KERNEL_TESTS = ("test_row_kernels", "test_attention_kernels")
SANITIZERS = ("memcheck", "racecheck", "synccheck", "initcheck")
LENGTHS = ((71, 8), (71, 23), (71, 40), (71, 84), (75, 8), (90, 8))  # tokens, samples: 5,680 rows, 16,330, 28,400, 59,640, ...
ROUNDS = 3

EXAMPLES = """examples:
  python3 jobs/device_day.py correct --programs fedbpt-0.1.0-linux-x86_64-cuda/bin --output day
  python3 jobs/device_day.py fast --programs build/cuda/bin --output day
  python3 jobs/device_day.py same --programs build/cuda/bin --settings configs/quickstart.yaml --output day

Exit code 0: all that could be done passed; 1: something failed; 77: the device cannot be used here."""


@dataclass
class Result:
    """How a program ended. `status`: passed, failed, lacking (something that it needs) or no time."""

    name: str
    command: list[str]
    status: str
    code: int | None = None
    seconds: float = 0
    output: str = ""
    value: object = None  # what the output says, where it is JSON or a digest


@dataclass
class Day:
    """A part of the day: where its programs are, how long it may still take, and its results so far."""

    programs: Path
    scratch: Path
    end_s: float
    environment: dict[str, str]
    results: list[Result] = field(default_factory=list)

    def call(self, name: str, *words: object, reads: str = "", limit_s: float = 600) -> Result:
        """Runs a program by its name here or anywhere and keeps its result. reads: "json" or "text", of its output."""
        own = self.programs / str(words[0])
        command = [str(own if own.exists() else words[0]), *map(str, words[1:])]
        limit_s = min(limit_s, self.end_s - time.monotonic())
        result = Result(name, command, "no time") if limit_s <= 0 else self._run(name, command, reads, limit_s)
        self.results.append(result)
        print(f"{result.status:8} {result.seconds:7.1f} s  {name}", flush=True)
        return result

    def _run(self, name: str, command: list[str], reads: str, limit_s: float) -> Result:
        start_s = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, timeout=limit_s, check=False, env=self.environment)
            code, out, err = done.returncode, done.stdout, done.stderr
        except FileNotFoundError:
            return Result(name, command, "lacking", output=f"{command[0]} is not on this machine")
        except subprocess.TimeoutExpired as expired:
            code, out, err = None, expired.stdout or b"", expired.stderr or b""
        status = {0: "passed", LACKING: "lacking", None: "no time"}.get(code, "failed")
        text = out.decode(errors="replace")
        result = Result(name, command, status, code, time.monotonic() - start_s, (text + err.decode(errors="replace"))[-TAIL_BYTES:])
        if reads and status == "passed":
            result.value = json.loads(text) if reads == "json" else text.strip()
            result.output = err.decode(errors="replace")[-TAIL_BYTES:]
        return result

    def note(self, name: str, passed: bool, value: object) -> None:
        """Keeps what a comparison of results found."""
        self.results.append(Result(name, [], "passed" if passed else "failed", value=value))
        print(f"{self.results[-1].status:8}            {name}", flush=True)

    def failed(self) -> bool:
        """Whether anything has so far."""
        return any(result.status == "failed" for result in self.results)


# ---- correct ----


def check(day: Day, backend: str) -> None:
    """The short checks first: whether the rest is worth its time."""
    day.call("info", "fedbpt", "info")
    for precision in PRECISIONS:
        day.call(f"conformance {precision}", "conformance", "--backend", backend, "--precision", precision)
    for test in KERNEL_TESTS:
        day.call(test, test)
    if day.failed():
        explain(day, backend)
        return
    for tool in SANITIZERS:
        options = ("--tool", tool, "--error-exitcode", 1, "--target-processes", "all")
        for test in KERNEL_TESTS:
            day.call(f"{tool} {test}", "compute-sanitizer", *options, day.programs / test, limit_s=90)
    day.call("memcheck conformance bf16", "compute-sanitizer", "--tool", "memcheck", "--error-exitcode", 1, "--target-processes", "all",
             day.programs / "conformance", "--backend", backend, "--precision", "bf16")


def explain(day: Day, backend: str) -> None:
    """The failed checks again, such that the launch that failed is named."""
    day.environment["CUDA_LAUNCH_BLOCKING"] = "1"
    day.call("driver", "nvidia-smi", "-q")
    watched = ("compute-sanitizer", "--tool", "memcheck", "--target-processes", "all")
    for failed in [result for result in day.results if result.status == "failed"]:
        day.call(f"memcheck {failed.name}", *watched, *failed.command, limit_s=120)


# ---- fast ----


def time_batches(day: Day, backend: str, shape: str) -> None:
    """A client's generation at the lengths of real data, in every precision."""
    for length, samples in LENGTHS:
        for precision in PRECISIONS if length == LENGTHS[0][0] and samples == LENGTHS[0][1] else ("bf16",):
            day.call(f"bench {precision}, {samples} samples of {length} tokens", "fedbpt", "bench", "--backend", backend, "--shape", shape,
                     "--precision", precision, "--samples", samples, "--length", length, "--json", reads="json")
    for length in dict.fromkeys(length for length, _ in LENGTHS):
        samples = [n for other, n in LENGTHS if other == length]
        day.call(f"PyTorch at {length} tokens", sys.executable, Path(__file__).with_name("device_pytorch.py"), "--shape", shape,
                 "--length", length, "--samples", *samples, reads="json", limit_s=120)
    day.call("counters", "ncu", "--clock-control", "none", "--launch-skip", 200, "--launch-count", 60, "--section", "SpeedOfLight", "--csv",
             day.programs / "fedbpt", "bench", "--backend", backend, "--shape", shape, "--precision", "bf16", "--repeats", 1, limit_s=180)


# ---- same ----


def run_words(day: Day, settings: Path, name: str, changes: dict[str, object], *more: str) -> list[object]:
    """A short run into a file of its own."""
    changes = {"fed.rounds": ROUNDS, "eval.every": 1, "run.output": day.scratch / f"{name}.h5", **changes}
    return ["fedbpt", "run", settings, *more, *(word for key, value in changes.items() for word in ("--set", f"{key}={value}"))]


def digest(day: Day, name: str) -> str | None:
    """Of a run that has finished; None: it has not."""
    return str(day.call(f"digest {name}", "fedbpt", "show", "--digest", day.scratch / f"{name}.h5", reads="text").value or "") or None


def kill_and_resume(day: Day, settings: Path, name: str, changes: dict[str, object]) -> None:
    """Kills a run as soon as its file is there, and goes on with it."""
    words = run_words(day, settings, name, changes)
    process = subprocess.Popen([str(day.programs / "fedbpt"), *map(str, words[1:])], env=day.environment, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    while process.poll() is None and not (day.scratch / f"{name}.h5").exists() and time.monotonic() < day.end_s:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    day.call(f"run {name}", *run_words(day, settings, name, changes, "--resume"))


def compare_runs(day: Day, own: str, settings: Path, ways: list[str], changes: dict[str, object]) -> None:
    """Runs in one way (backend:precision) whose numbers must have the same bits, and others whose losses must be close."""

    def by(way: str) -> dict[str, object]:
        name, precision = way.split(":")
        return {**changes, "backend.name": name, "backend.precision": precision}

    same = by(own)
    day.call("run once", *run_words(day, settings, "once", same))
    day.call("run again", *run_words(day, settings, "again", same))
    day.call("run in smaller batches", *run_words(day, settings, "smaller", {**same, "backend.batch_tokens": 2048}))
    for ranks in (2, 5):
        words = run_words(day, settings, f"ranks{ranks}", same)
        launcher = ("mpirun", "--oversubscribe", "--bind-to", "none", "-n", ranks)
        day.call(f"run on {ranks} ranks", *launcher, day.programs / "fedbpt", *words[1:])
    kill_and_resume(day, settings, "resumed", same)
    names = ("once", "again", "smaller", "ranks2", "ranks5", "resumed")
    digests = {name: digest(day, name) for name in names}
    day.note("equal digests", len(set(digests.values())) == 1 and None not in digests.values(), digests)
    for way in ways:
        day.call(f"run {way}", *run_words(day, settings, way.replace(":", "-"), by(way)))
    compare_losses(day, [way.replace(":", "-") for way in ways])


def compare_losses(day: Day, names: list[str]) -> None:
    """Of the start, before which no search has chosen by rounding errors."""
    losses = {}
    for name in ("once", *names):
        shown = day.call(f"losses {name}", "fedbpt", "show", "--json", day.scratch / f"{name}.h5", reads="json").value
        losses[name] = shown["rounds"][0]["train_loss"] if isinstance(shown, dict) else None
        day.results[-1].value = losses[name]
    known = [loss for loss in losses.values() if loss is not None]
    close = len(known) == len(losses) and max(known) - min(known) <= 0.02 * max(known)
    day.note("close losses", close, losses)


# ---- The program ----


def first_line(*command: str) -> str:
    """The first line that a program prints; nothing where there is no such program."""
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return lines[0] if lines else ""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("correct", "fast", "same"))
    parser.add_argument("--programs", type=Path, required=True, help="folder of fedbpt, conformance and the kernels' tests")
    parser.add_argument("--output", type=Path, required=True, help="folder in which PART.json is written")
    parser.add_argument("--backend", default="cuda", help="default: cuda")
    parser.add_argument("--minutes", type=float, default=9.5, help="after which nothing is begun and what runs is ended (9.5)")
    parser.add_argument("--shape", default="roberta-large", help="of the part fast")
    parser.add_argument("--settings", type=Path, default=Path("configs/quickstart.yaml"), help="of the part same")
    parser.add_argument("--model", type=Path, help="of the part same: in place of the settings' model, e.g. an archive's models/NAME-cut")
    parser.add_argument("--precision", default="bf16", help="of the part same (bf16)")
    parser.add_argument("--beside", nargs="*", default=["cpu:fp32", "cuda:fp32"], metavar="BACKEND:PRECISION",
                        help="of the part same: what else to compare losses with (cpu:fp32 cuda:fp32)")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    programs = options.programs.resolve()
    if not (programs / "fedbpt").exists():
        print(f"error: {programs} has no fedbpt; name the folder bin of an unpacked archive, or of a build", file=sys.stderr)
        return 2
    options.output.mkdir(parents=True, exist_ok=True)
    scratch = options.output / "runs"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    day = Day(programs, scratch.resolve(), time.monotonic() + 60 * options.minutes, os.environ | root)
    if options.part == "correct":
        check(day, options.backend)
    elif options.part == "fast":
        time_batches(day, options.backend, options.shape)
    else:
        changes = {} if options.model is None else {"model.path": options.model}
        compare_runs(day, f"{options.backend}:{options.precision}", options.settings, options.beside, changes)
    shutil.rmtree(scratch)
    summary = {"part": options.part, "date": time.strftime("%Y-%m-%d"), "version": first_line(str(programs / "fedbpt"), "--version"),
               "device": first_line("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
               "backend": options.backend, "passed": not day.failed(), "results": [asdict(result) for result in day.results]}
    file = options.output / f"{options.part}.json"
    file.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    statuses = [result.status for result in day.results]
    print(", ".join(f"{statuses.count(status)} {status}" for status in ("passed", "failed", "lacking", "no time")) + f"; {file}")
    if day.failed():
        return 1
    return 0 if any(result.status == "passed" and result.name != "info" for result in day.results) else LACKING


if __name__ == "__main__":
    sys.exit(main())
