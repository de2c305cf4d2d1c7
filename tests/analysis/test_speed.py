"""A thousand runs."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import fedbpt_analysis as fa
import h5py
import made
import pytest
from fedbpt_analysis.compare import compare
from fedbpt_analysis.compare_report import settings_table, summary
from made import Made

N_RUNS = 1000
LIMIT_S = 20.0


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25 rounds of 10 clients and 500 dimensions, as the quickstart has; 5 values of each of two axes, 40 seeds."""
    folder = tmp_path_factory.mktemp("thousand")
    settings: dict[str, object] = {"fed.rounds": 24, "fed.clients": 10, "cma.dimension": 500, "fed.local_generations": 8}
    first = made.write(folder / "first.h5", Made(settings))
    for number in range(N_RUNS):
        path = Path(shutil.copyfile(first, folder / f"{number}.h5"))
        own = {"run.seed": number // 25, "cma.sigma": 1 + number % 5, "cma.population": 5 + number // 5 % 5, "run.output": str(path)}
        with h5py.File(path, "r+") as file:
            file["config"].attrs["resolved"] = made.yaml_text(made.SETTINGS | settings | own)
            file["rounds/test_accuracy"][:] += 0.01 * (number % 5)
    first.unlink()
    return folder


def test_compare_a_thousand(thousand: Path, record_property: pytest.RecordProperty) -> None:
    """Processor time, which other work on the machine does not stretch; wall-clock time is printed."""
    wall, busy = time.perf_counter(), time.process_time()
    comparison = compare([thousand])
    table, text = settings_table(comparison), summary(comparison)
    effects = comparison.main_effects("cma.sigma")
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    print(f"{N_RUNS} runs compared in {wall:.1f} s, {busy:.1f} s of processor time, load {os.getloadavg()[0]:.1f}")
    record_property("seconds", wall)
    assert busy < LIMIT_S
    assert len(table.rows) == 25 and "1,000 runs: 25 settings of cma.population, cma.sigma, 40 seeds each." in text[0]
    assert (effects["mean"].diff().dropna() - 0.01).abs().max() < 1e-9


def test_open_a_thousand(thousand: Path) -> None:
    """All runs open at once, with less than a limit of 256 open files."""
    runs = fa.open_runs(thousand)
    assert len(runs) == N_RUNS and len(os.listdir("/proc/self/fd")) < 64
    assert sum(run.last_round for run in runs) == 24 * N_RUNS
