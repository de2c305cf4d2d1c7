"""Numbers and runs in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePath

import numpy as np

from . import claims
from .run import Run, last_scored
from .schema import ENERGY
from .settings import method

PROTOCOLS = {
    "nvflare": "nvflare (the official code's arithmetic)",
    "paper": "paper (the published formulas)",
    "fedavg-bbt": "fedavg-bbt (federated averaging of local searches)",
    "synchronous": "synchronous (all clients score one population)",
    "feedsign": "feedsign (all clients vote on pairs of one population)",
    "gradients": "gradients (federated averaging of the prompt)",
}


BYTE_UNITS = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def bytes_text(n: float) -> str:
    """20360 -> 20.4 kB: decimal units, three digits."""
    for unit, size in BYTE_UNITS:
        if abs(n) >= 0.9995 * size:
            return f"{three_digits(n / size)} {unit}"
    return f"{n:.0f} bytes"


def bytes_tick(n: float, digits: int = 3) -> str:
    """1000000 -> 1 MB."""
    size, unit = next(((size, unit) for unit, size in BYTE_UNITS if abs(n) >= 0.9995 * size), (1.0, "bytes"))
    return f"{n / size:.{digits}g} {unit}"


def three_digits(value: float) -> str:
    """0.686, 12.3, 489."""
    return f"{value:#.3g}".removesuffix(".") if abs(value) < 999.5 else f"{value:.0f}"


def time_text(seconds: float) -> str:
    """67.5 -> 1 min 8 s."""
    if seconds < 59.95:
        return f"{three_digits(seconds) if seconds < 9.995 else round(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def energy_text(joules: float) -> str:
    """4210 -> 4.21 kJ."""
    unit, size = next(((unit, size) for unit, size in (("MJ", 1e6), ("kJ", 1e3)) if joules >= 0.9995 * size), ("J", 1.0))
    return f"{three_digits(joules / size)} {unit}"


def energies(joules: Mapping[str, float]) -> list[str]:
    """4.21 kJ of the processors, of what was measured; by the names of schema.ENERGY."""
    return [f"{energy_text(joules[name])} of the {what}" for name, what in ENERGY.items() if math.isfinite(joules[name])]


def time_unit(seconds: float) -> tuple[str, float]:
    """The unit for an axis up to so many seconds, and its seconds."""
    return next(((unit, size) for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)) if seconds >= 2 * size),
                ("seconds", 1.0))


def number_text(value: float, decimals: int = 3) -> str:
    return "–" if not math.isfinite(value) else f"{value:.{decimals}f}"


def spread_text(mean: float, sd: float, decimals: int | None = None) -> str:
    """Mean ± standard deviation, where there is one that shows. Without `decimals` 3 of scores and fewer of larger numbers."""
    if not math.isfinite(mean):
        return "–"
    if decimals is None:
        decimals = 3 if abs(mean) < 20 else 1 if abs(mean) < 100 and mean != round(mean) else 0
    shows = math.isfinite(sd) and sd >= 0.5 * 10**-decimals
    return f"{mean:,.{decimals}f} ± {sd:,.{decimals}f}" if shows else f"{mean:,.{decimals}f}"


def plural(n: int, word: str) -> str:
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


def is_killed(run: Run) -> bool:
    """Says running, and its process is known to have ended."""
    holder = claims.look(run.path) if run.status == "running" else None
    return holder is not None and holder.dead


def status_text(run: Run) -> str:
    """`finished: all 24 rounds`; of a run that says it is running, when it last wrote."""
    done = f"{run.last_round} of {plural(run.n_rounds, 'round')}"
    if run.status == "finished":
        return f"finished, all {plural(run.n_rounds, 'round')}"
    if is_killed(run):
        return f"killed after {done}"
    if run.status == "running":
        return f"running, {done}; last written {age_text(run)} ago (a killed run says running for ever)"
    return f"{run.status} after {done}"


def age_text(run: Run) -> str:
    age = datetime.now(UTC).timestamp() - run.path.stat().st_mtime
    return time_text(max(0.0, age))


def _what(run: Run) -> str:
    get = run.settings.get
    model = PurePath(run.inputs.get("model", "")).name
    deep = "" if get("prompt.deep", "none") == "none" else " at the input of every layer"
    name, *others = method(run.settings).split(", ", 1)
    protocol = ", ".join([PROTOCOLS.get(name, name), *others])
    return (
        f"A prompt of {plural(int(get('prompt.tokens', 0)), 'vector')}{deep} for {model} was tuned on {run.inputs.get('task', 'a task')} "
        f"by {plural(len(run.partition), 'client')} that hold {plural(int(run.partition.to_numpy().sum()), 'training sample')} in all, "
        f"{_held(run)}, {_dealt(run)}, with the protocol {protocol}, searching {get('cma.dimension')} numbers."
    )


def _held(run: Run) -> str:
    """Tell the samples and classes of a client: "4 to 40 each (median 12) of 2 to 5 of 5 classes"."""
    counts = run.partition.to_numpy()
    samples, classes = np.sort(counts.sum(axis=1)), np.sort((counts > 0).sum(axis=1))
    middle = (len(samples) - 1) // 2
    each = f"{samples[0]} each" if samples[0] == samples[-1] else f"{samples[0]} to {samples[-1]} each (median {samples[middle]})"
    kinds = f"{classes[0]}" if classes[0] == classes[-1] else f"{classes[0]} to {classes[-1]}"
    return f"{each} of {kinds} of {counts.shape[1]} classes"


def _dealt(run: Run) -> str:
    get = run.settings.get
    sizes = {"dirichlet": f", sizes by Dirichlet {get('fed.size_alpha')}", "lognormal": f", in lognormal sizes ({get('fed.size_sigma')})"}
    unequal = sizes.get(str(get("fed.sizes")), "")
    if get("fed.partition") == "iid":
        return f"dealt out at random (IID){unequal}" if unequal else "dealt out evenly (IID)"
    if get("fed.partition") == "natural":
        return "each with those of one client of the data set"
    return f"dealt out by Dirichlet {get('fed.dirichlet_alpha')}{unequal}"


def _besides(run: Run) -> str:
    """Parts of the method that the protocol's name does not tell; empty where there are none."""
    get = run.settings.get
    clip, noise = float(get("privacy.clip", 0)), float(get("privacy.noise_multiplier", 0))
    epsilon = number_text(float(run.epsilon.iloc[-1]), 2)
    private = f"noised (epsilon {epsilon} for delta {get('privacy.delta')})" if noise else "not noised"
    bits, feedback = int(get("fed.quantise_bits", 0)), ", with error feedback" if get("fed.error_feedback") else ""
    parts = {
        f"client {get('fed.only_client')} took part alone": int(get("fed.only_client", -1)) >= 0,
        f"the search was {get('fed.optimiser')}": get("fed.optimiser") != "cma",
        f"search points were at most {get('cma.norm_bound')} long at first": float(get("cma.norm_bound", 0)) > 0,
        f"results are means over the last {get('fed.average_means')} rounds": int(get("fed.average_means", 1)) > 1,
        f"messages had {plural(bits, 'bit')} a number{feedback}": bits > 0,
        f"messages were clipped to {clip:g} and {private}": clip > 0,
        "messages were summed under masks": bool(get("fed.secure_aggregation", False)),
    }
    text = "; ".join(part for part, applies in parts.items() if applies)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _scores(run: Run) -> str:
    rounds = run.rounds
    split = next((name for name in ("test", "dev", "train") if np.isfinite(rounds[f"{name}_accuracy"]).any()), None)
    if split is None:
        return "No round has been scored yet."

    def pair(row: int) -> str:
        return f"{number_text(100 * rounds[f'{split}_accuracy'].iloc[row], 1)} % (loss {number_text(rounds[f'{split}_loss'].iloc[row])})"

    last = last_scored(rounds[f"{split}_loss"].to_numpy())
    if last == 0:
        return f"Before tuning the {split} accuracy is {pair(0)}; no later round has been scored yet."
    text = f"The {split} accuracy was {pair(0)} before tuning and {pair(last)} after round {rounds.index[last]}"
    if run.best_row is None:
        return f"{text}; there are no dev samples to choose a round by."
    if run.best_row == 0:
        return f"{text}. On dev samples no round was better than the start."
    return f"{text}. The round that dev samples choose, {run.best_round}, has {pair(run.best_row)}."


def _traffic(run: Run) -> str:
    cost = run.cost
    turns = max(1, run.n_turns)
    up, down = float(cost["bytes_up"].sum()), float(cost["bytes_down"].sum())
    each = f"{bytes_text(up / turns)} and {bytes_text(down / turns)} a client and round"
    if run.reports["reported"].notna().any():  # what is sent down goes to clients that do not report, too
        each = f"{bytes_text(up / turns)} up a report"
    return f"A deployment would have sent {bytes_text(up)} up and {bytes_text(down)} down in all, {each}."


def _reports(run: Run) -> str:
    """Who reported, and how long it would have taken; empty where that was not simulated."""
    reports = run.reports.iloc[1:]
    if reports.empty or reports["reported"].isna().any():
        return ""
    means = reports[["reported", "dropped", "late"]].mean()
    text = (f"On average {means['reported']:.1f} of {means.sum():.0f} chosen clients reported in a round, {means['dropped']:.1f} dropped "
            f"out and {means['late']:.1f} were late")
    abandoned = int((run.participants[1:] < 0).all(axis=1).sum())
    text += f"; {plural(abandoned, 'round')} had too few reports and changed nothing" if abandoned else ""
    elapsed = float(reports["elapsed_s"].iloc[-1])
    return f"{text}. A deployment would have taken {time_text(elapsed)}." if math.isfinite(elapsed) else f"{text}."


def _effort(run: Run) -> str:
    environment = run.environment
    ranks = int(environment.get("ranks", "1"))
    where = f"{plural(ranks, 'rank')} ({environment.get('device', 'unknown device')}, {environment.get('precision', '')})"
    return f"It took {' and '.join([time_text(run.wall_time_s), *energies(run.energy)])} on {where}. Status: {status_text(run)}."


def _precision(run: Run) -> str:
    """Findings of the checks of a low precision; empty where there were none."""
    checks = run.precision_checks
    if checks.empty:
        return ""
    lowest = checks["tau"].idxmin()
    text = (f"{plural(len(checks), 'check')} of the ranking in {run.precision} against fp32 had a Kendall's tau of "
            f"{number_text(checks['tau'].mean())} on average and of {number_text(checks['tau'][lowest])} at least (round {lowest})")
    if checks["fell_back"].any():
        return f"{text}; behind round {checks.index[checks['fell_back']][0]} all was computed in fp32."
    return f"{text}."


def summary(run: Run) -> list[str]:
    """Say what was run, how, what came of it, what a deployment would send and who would report, how long it took, how well its precision
    ranked: a sentence or two each."""
    return [text for text in (_what(run), _besides(run), _scores(run), _traffic(run), _reports(run), _effort(run), _precision(run)) if text]
