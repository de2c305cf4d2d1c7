"""Writes docs/performance.md from docs/performance/*.json, which measure.sh has measured.

.venv/bin/python tests/peers/describe_performance.py            write it
.venv/bin/python tests/peers/describe_performance.py --check    compare; exit code 1 if it is out of date
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable
from typing import Any

from fedbpt_analysis.stats import DIFFERENCE, FRACTION, estimate
from fedbpt_analysis.tables import Table
from fedbpt_analysis.words import plural, three_digits
from pages import DOCS, compare_pages, filled, write_pages

DOCUMENT, MEASURED = DOCS / "performance.md", DOCS / "performance"
Part = dict[str, Any]


def percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def ratio(value: float) -> str:
    return f"{value:.2f}"


def interval(values: Iterable[float], limits: tuple[float, float], sign: str = "") -> str:
    """0.604 (0.568 to 0.638)."""
    found = estimate(list(values), limits)
    return f"{found.mean:{sign}.3f} ({found.low:{sign}.3f} to {found.high:{sign}.3f})"


def machine_text(part: Part) -> str:
    """A sentence for below a table."""
    machine, found = part["machine"], part["found"]
    told = found[0] if isinstance(found, list) else found
    isa = told.get("machine", told).get("instruction_set")
    model = f"{machine['processor']} (family {machine['family']}{', ' + isa if isa else ''})"
    busy = (" **Other programs kept the processors busy: take these figures again.**" if machine["load"] > machine["processors"] / 2
            else "")
    return (f"{model}, {machine['processors']} processors, load {machine['load']} before it began; {part['taken']}, "
            f"commit {part['commit']}.{busy}")


def table(part: Part, head: list[str], rows: list[list[str]], words: int = 1) -> str:
    return Table("", head, rows, words=words).markdown() + f"\n{filled(machine_text(part))}\n"


def bench(part: Part) -> str:
    rows, fp32 = [], {}
    for one in part["found"]:
        batch = one["batch"]
        fp32.setdefault(one["model"], one["seconds"])  # the first precision is fp32
        rows.append([one["model"], one["precision"], f"{batch['rows']:,}", percent(one["fraction_of_peak"]),
                     ratio(fp32[one["model"]] / one["seconds"])])
    return table(part, ["shape", "precision", "rows", "of the peak", "times as fast as fp32"], rows, words=2)


def cma(part: Part) -> str:
    by_population: dict[int, list[Part]] = {}
    for one in part["found"]:
        by_population.setdefault(one["population"], []).append(one)
    rows = []
    for population, ways in by_population.items():
        theirs = next(one for one in ways if one["way"].startswith("pycma"))
        for one in ways:
            rows.append([one["way"], str(population), ratio(theirs["seconds_mean"] / one["seconds_mean"])])
    return table(part, ["computed by", "population", "times as fast as pycma"], rows)


def record(part: Part) -> str:
    rows = [[f"{one['clients']:,}", f"{one['dimension']:,}", f"{one['rounds']:,}", f"{100 * one['share']:.2f}%", three_digits(one["commit_mb"])]
            for one in part["found"]]
    return table(part, ["clients", "d", "rounds", "of the time", "MB written a round"], rows, words=0)


def peer(part: Part) -> str:
    found = part["found"]
    names = {"official": "official code's way", "one_batch": "one padded batch", "fedbpt": "fedbpt, packed"}
    spread = {name: max(values) / min(values) for name, values in found["seconds"].items()}
    rows = []
    for name, what in names.items():
        n_rows = found["batch"]["rows"] if name == "fedbpt" else found["padded_rows"]
        rows.append([what, f"{n_rows:,}", ratio(found["medians"][name] / found["medians"]["fedbpt"]), ratio(spread[name])])
    text = table(part, ["computed by", "rows", "time, fedbpt = 1", "slowest over fastest"], rows)
    versions, batch = found["versions"], found["batch"]
    counts = ", ".join(plural(batch[f"{name}s"], name) for name in ("sample", "candidate"))
    return text + filled(f"{counts}, each {batch['copies']} times. PyTorch {versions['torch']}, transformers {versions['transformers']}, {found['machine']['threads']} threads each; "
                         f"{plural(len(found['seconds']['fedbpt']), 'turn')}. Logits of both agree within {found['logits_error']:.0e} of the largest.") + "\n"


def verdict(differences: list[float]) -> str:
    """The verdict of these seeds on a difference to fp32."""
    found = estimate(differences, DIFFERENCE)
    if found.excludes_zero():
        return f"is {'above' if found.mean > 0 else 'below'} fp32 by more than the 95% interval"
    return f"is not told apart from fp32 by these {found.n} seeds: a loss of more than {max(0.0, -found.low):.3f} is what they speak against"


def int8(part: Part) -> str:
    found = part["found"]
    runs = {precision: {run["seed"]: run for run in found["runs"] if run["precision"] == precision}
            for precision in dict.fromkeys(run["precision"] for run in found["runs"])}
    reference, rows, seen = runs["fp32"], [], []
    for precision, by_seed in runs.items():
        row = [precision, str(len(by_seed)), interval((run["accuracy_start"] for run in by_seed.values()), FRACTION).split(" ")[0]]
        for moment in ("best", "last"):
            row.append(interval((run[f"accuracy_{moment}"] for run in by_seed.values()), FRACTION))
        differences = [run["accuracy_last"] - reference[seed]["accuracy_last"] for seed, run in by_seed.items()]
        row.append("–" if precision == "fp32" else interval(differences, DIFFERENCE, "+"))
        if precision != "fp32":
            seen.append(f"{precision} {verdict(differences)}")
        taus = [tau for run in by_seed.values() for tau in run["tau"]]
        row.append(f"{statistics.mean(taus):.2f}, {min(taus):.2f}" if taus else "–")
        rows.append(row)
    head = ["precision", "seeds", "before tuning", "best on dev (95%)", "last round (95%)", "last round less fp32 (95%)", "tau: mean, least"]
    about = (f"After the last round {'; '.join(seen)}. {found['rounds']} rounds, tau measured in every {found['checked_every']}th; "
             f"{found['device']} ({found['instruction_set']}), commit {', '.join(found['commits'])}.")
    return Table("", head, rows).markdown() + f"\n{filled(about)}\n"


PARTS: dict[str, tuple[str, Callable[[Part], str]]] = {
    "bench": ("""## Products

`fedbpt bench`: the floating-point operations of all matrix products over the whole time of a batch (norms, attention
and all else included), of the rate of oneDNN's best large product in the same precision, timed in turn with the
batches. int8: of its best product of 8-bit integers. The fastest of three batches and of the products beside them.
""", bench),
    "peer": ("""## The official code's way

One evaluation as NVIDIA's official code makes it, in plain transformers, fp32: the client's samples and then their
perturbed copies, each padded to the longest, the whole vocabulary's head at the mask
([official_evaluation.py](../tests/peers/official_evaluation.py)). RoBERTa-large's shape with random weights, movie
review sentences in SST-2's template with 50 prompt tokens. "One padded batch": PyTorch with all sequences at once. In
turn, in one run; medians. A round of the official code has 82 such passes a client, and scores the whole test set on
every client; fedbpt scores it once, which this does not count.
""", peer),
    "int8": ("""## int8 against fp32

Test accuracy of [configs/sweeps/int8.yaml](../configs/sweeps/int8.yaml), the quickstart's federation
(all-MiniLM-L6-v2, BBC News headlines, rounds of 20 candidates): runs of one seed begin with the same clients,
projection and noise. Intervals are Student's t over seeds, 95%. Tau: Kendall's, of the ranking in int8 against that
in fp32, as the guard of low precisions measures it.
""", int8),
    "cma": ("""## CMA-ES itself

`fedbpt bench --cma-es`: ask and tell of a generation, d = 500, full covariance, one thread; mean of 300 generations,
beside pycma. `eigen` is pycma's factor, `cholesky` the default.
""", cma),
    "record": ("""## The record

What a round costs to record, clients' means included, where a round is a second's work (`bench_record`).
""", record),
}

HEAD = """# Performance

Written by `tests/peers/describe_performance.py` from [docs/performance/](performance), which `bash
tests/peers/measure.sh` measures on the machine at hand; do not edit. What is compared was measured in turn in one
run, and ratios are told rather than times, which hold for one machine only. Nothing on this page was measured on a
GPU.
"""


def read_parts() -> list[Part]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(MEASURED.glob("*.json"))]


def document(parts: list[Part]) -> str:
    sections = [HEAD]
    for name, (about, describe) in PARTS.items():
        found = [part for part in parts if part["part"] == name]
        if found:
            sections += [about, *(describe(part) for part in found)]
    return "\n".join(sections)


def check() -> int:
    return compare_pages({DOCUMENT: document(read_parts())}, "describe_performance.py")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    if parser.parse_args().check:
        return check()
    write_pages({DOCUMENT: document(read_parts())})
    return 0


if __name__ == "__main__":
    sys.exit(main())
