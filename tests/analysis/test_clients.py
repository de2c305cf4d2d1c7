"""The clients in reports: their samples and classes, and how they came to them."""

from __future__ import annotations

from pathlib import Path

import fedbpt_analysis as fa
import h5py
import made
import numpy as np
import pytest
from fedbpt_analysis import words
from made import Made

UNEQUAL = [[9, 0, 0], [1, 1, 0], [2, 3, 4], [0, 0, 40]]


@pytest.mark.parametrize(("settings", "told"), [
    ({}, "dealt out evenly (IID)"),
    ({"fed.sizes": "lognormal", "fed.size_sigma": 1.5}, "dealt out at random (IID), in lognormal sizes (1.5)"),
    ({"fed.sizes": "dirichlet", "fed.size_alpha": 0.3}, "dealt out at random (IID), sizes by Dirichlet 0.3"),
    ({"fed.partition": "dirichlet"}, "dealt out by Dirichlet 0.5"),
    ({"fed.partition": "dirichlet", "fed.sizes": "lognormal", "fed.size_sigma": 2}, "dealt out by Dirichlet 0.5, in lognormal sizes (2)"),
    ({"fed.partition": "natural"}, "each with those of one client of the data set"),
])
def test_how_samples_came_to_clients(tmp_path: Path, settings: dict[str, object], told: str) -> None:
    """Broken by a report that calls unequal clients evenly dealt, or clients by nature Dirichlet's."""
    run = fa.open_run(made.write(tmp_path / "run.h5", Made(settings)))
    assert told in words.summary(run)[0]


def test_least_median_and_largest(tmp_path: Path) -> None:
    path = made.write(tmp_path / "run.h5", Made())
    with h5py.File(path, "r+") as file:
        counts = np.array(UNEQUAL, np.int32)
        del file["partition/class_count"]
        file["partition/class_count"] = counts
    assert "4 clients that hold 60 training samples in all, 2 to 40 each (median 9) of 1 to 3 of 3 classes, " in words.summary(fa.open_run(path))[0]
