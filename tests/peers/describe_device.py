"""Writes docs/device.md and the README's part on devices from docs/device/*.json, the results of jobs/device_day.py.

.venv/bin/python tests/peers/describe_device.py --take build/device    put a day's parts into docs/device/DATE-DEVICE.json first
.venv/bin/python tests/peers/describe_device.py                        write page and README
.venv/bin/python tests/peers/describe_device.py --check                compare; exit code 1 if one is out of date, or kernels have changed
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from fedbpt_analysis.tables import Table
from pages import DOCS, README, ROOT, compare_pages, filled, readme_with, write_pages

PAGE, MEASURED = DOCS / "device.md", DOCS / "device"
PARTS = ("correct", "fast", "same")
PROGRAM = "describe_device.py"
Part = dict[str, Any]
Day = dict[str, Part]  # by the name of the part

HEAD = f"""# On a device

Written by `tests/peers/{PROGRAM}` from the results of `jobs/device_day.py` in docs/device; do not edit.
"""
NOTHING = filled("No figure and no check of the CUDA backend is from a device so far: its kernels have run emulated on the processor alone "
                 "(tests/cuda/emulated), and what they may reach is predicted (docs/cuda-kernels.md). The three parts of "
                 f"`jobs/device_day.py` check and time it in half an hour; `tests/peers/{PROGRAM} --take FOLDER` puts their results here.")


def take(folder: Path) -> None:
    """The parts that are there, as one file, in the place of those of the same date and device."""
    day = {part: json.loads((folder / f"{part}.json").read_text(encoding="utf-8")) for part in PARTS if (folder / f"{part}.json").exists()}
    if not day:
        sys.exit(f"error: {folder} has none of {', '.join(f'{part}.json' for part in PARTS)}; jobs/device_day.py writes them")
    first = next(iter(day.values()))
    name = re.sub(r"[^a-z0-9]+", "-", first["device"].split(",")[0].lower()).strip("-") or first["backend"]
    MEASURED.mkdir(exist_ok=True)
    (MEASURED / f"{first['date']}-{name}.json").write_text(json.dumps(day, indent=1) + "\n", encoding="utf-8")


def read() -> list[Day]:
    """The latest first."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(MEASURED.glob("*.json"), reverse=True)]


def kernels_sentence(version: str) -> str:
    """Whether the kernels are still those that were measured."""
    found = re.search(r"\(([0-9a-f]{7,40})(-dirty)?", version)
    if found is None or found[2]:
        return "The kernels are not those of a commit: measure them again."
    same = subprocess.run(["git", "-C", str(ROOT), "diff", "--quiet", found[1], "--", "kernels/cuda"], check=False, capture_output=True)
    return {0: "The kernels are as they were.", 1: "**The kernels have changed since: measure them again.**"}.get(
        same.returncode, "The measured commit is not in this repository: measure the kernels again.")


def device_of(day: Day) -> str:
    part = next(iter(day.values()))
    return f"{part['device'] or part['backend']}, {part['date']}"


def checks(part: Part) -> str:
    rows = [[result["name"], result["status"], f"{result['seconds']:.0f}"] for result in part["results"]]
    return Table("", ["check", "result", "seconds"], rows, words=2).markdown()


def peers(part: Part) -> dict[tuple[int, int], tuple[float, str]]:
    """PyTorch's best seconds, and the way, by samples and length."""
    best: dict[tuple[int, int], tuple[float, str]] = {}
    for result in part["results"]:
        for row in result["value"] if result["name"].startswith("PyTorch") and result["value"] else []:
            key = (row["samples"], row["length"])
            if "seconds" in row and (key not in best or row["seconds"] < best[key][0]):
                best[key] = (row["seconds"], row["way"])
    return best


def speeds(part: Part) -> str:
    """A row a benchmark: of the products, what they reach, and beside PyTorch in bf16."""
    best, rows = peers(part), []
    for result in part["results"]:
        for one in result["value"] if result["name"].startswith("bench") and result["value"] else []:
            batch = one["batch"]
            seconds, way = best.get((batch["samples"], batch["length"]), (0.0, ""))
            beside = f"{seconds / one['seconds']:.2f} ({way})" if seconds and one["precision"] == "bf16" else ""
            rows.append([one["precision"], f"{batch['samples']} x {batch['length']}", f"{batch['rows']:,}", f"{1e3 * one['seconds']:.1f}",
                         f"{1e3 * one['streams']['seconds']:.1f}", f"{1e-3 * one['matrix_gflops']:.0f}", f"{100 * one['fraction_of_peak']:.0f}%",
                         f"{100 * one['fraction_of_nominal']:.0f}%", beside])
    head = ["precision", "samples x tokens", "rows", "batch, ms", "in parts on streams, ms", "products, TFLOP/s", "of cuBLASLt's best", "of the nominal peak",
            "times as fast as PyTorch"]
    return Table("", head, rows, words=2).markdown()


def products(part: Part) -> str:
    """How each product is made, as the largest batch's benchmark tells."""
    told = [one for result in part["results"] if result["name"].startswith("bench") and result["value"] for one in result["value"]]
    largest = max(told, key=lambda one: one["batch"]["rows"], default={"products": []})
    return "".join(f"- {sentence}\n" for sentence in largest["products"])


def runs(part: Part) -> str:
    """Results that must be equal or close, and were or were not."""
    text = ""
    for result in part["results"]:
        if result["name"] in ("equal digests", "close losses"):
            text += f"- {result['name']}: {result['status']}: {', '.join(f'{name} {value}' for name, value in result['value'].items())}\n"
    return text


def document(days: list[Day]) -> str:
    texts = [HEAD]
    for day in days:
        version = next(iter(day.values()))["version"]
        texts += [f"## {device_of(day)}\n", filled(f"{version}. {kernels_sentence(version)}") + "\n"]
        made = {"correct": checks, "fast": lambda part: f"{speeds(part)}\n{products(part)}", "same": runs}
        for name, part in day.items():
            texts += [f"### {name}: {'passed' if part['passed'] else 'failed'}\n", made[name](part)]
    return "\n".join(texts) if days else f"{HEAD}\n{NOTHING}\n"


def readme_part(days: list[Day]) -> str:
    if not days:
        return "No figure here or in the documents was measured on a GPU ([docs/device.md](docs/device.md)).\n"
    text = filled(f"The latest device ({device_of(days[0])}; [docs/device.md](docs/device.md) has its checks):") + "\n"
    return text + (f"\n{speeds(days[0]['fast'])}" if "fast" in days[0] else "")


def pages() -> dict[Path, str]:
    days = read()
    return {PAGE: document(days), README: readme_with(PROGRAM, readme_part(days))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    parser.add_argument("--take", type=Path, help="folder of correct.json, fast.json and same.json")
    arguments = parser.parse_args()
    if arguments.check:
        return compare_pages(pages(), PROGRAM)
    if arguments.take:
        take(arguments.take)
    write_pages(pages())
    return 0


if __name__ == "__main__":
    sys.exit(main())
