"""Settings that change nothing because of what others say: really nothing, and the user is told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Study, call

# Setting, two values, and the settings under which it makes no difference; then others, under which it does.
IDLE = [
    ("fed.dirichlet_alpha", (0.1, 10), {}, {"fed.partition": "dirichlet"}),
    ("fed.client_seeds", ("distinct", "shared"), {"fed.protocol": "synchronous"}, {}),
    ("fed.error_feedback", ("true", "false"), {}, {"fed.quantise_bits": 2}),
    ("fed.secure_range", (30, 3000), {}, {"fed.protocol": "fedavg-bbt", "cma.covariance": "isotropic",
                                              "fed.secure_aggregation": "true"}),
    ("perturb.scope", ("text", "all"), {}, {"perturb.rate": 0.9}),
    ("perturb.fitness", ("ratio_of_means", "sum_of_ratios"), {}, {"perturb.rate": 0.9, "fed.local_generations": 6}),
    ("cma.decomposition", ("eigen", "cholesky"), {"cma.covariance": "separable"}, {"fed.local_generations": 6}),
    ("cma.active", ("true", "false"), {"cma.covariance": "isotropic"}, {"fed.local_generations": 6}),
    ("cma.scale_by_sigma", ("true", "false"), {"cma.sigma": 1}, {"cma.sigma": 0.5}),
    ("cma.scale_by_sigma", ("true", "false"), {"cma.sigma": 0.5, "prompt.projection": "uniform"}, {"cma.sigma": 0.5}),
    ("cma.alpha", (0.5, 3), {"prompt.projection": "uniform"}, {}),
    ("fed.sizes", ("equal", "dirichlet"), {"fed.clients": 1, "fed.protocol": "fedavg-bbt"}, {}),
    ("fed.size_alpha", (0.1, 10), {}, {"fed.sizes": "dirichlet"}),
    ("fed.size_sigma", (0.1, 2), {"fed.sizes": "dirichlet"}, {"fed.sizes": "lognormal"}),
    ("fed.partition", ("iid", "dirichlet"), {"fed.clients": 1, "fed.protocol": "fedavg-bbt"}, {"fed.dirichlet_alpha": 0.1}),
    ("es.elite", (0.6, 1), {}, {"fed.optimiser": "cem"}),
    ("cma.covariance", ("separable", "isotropic"), {"fed.optimiser": "cem"}, {"fed.local_generations": 6}),
]


def losses(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return np.array([file["rounds"][name][:] for name in ("train_loss", "dev_loss", "test_loss")])


def results(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return np.concatenate([file["rounds/z"][...].ravel(), file["rounds/step_size"][:], losses(path).ravel()])


def changes(values: dict[str, object]) -> dict[str, object]:
    return {key.replace(".", "__"): value for key, value in values.items()}


@pytest.mark.parametrize(("key", "values", "idle", "active"), IDLE, ids=[f"{rule[0]} {number}" for number, rule in enumerate(IDLE)])
def test_no_effect_is_none(mask: Study, key: str, values: tuple[object, ...], idle: dict[str, object], active: dict[str, object]) -> None:
    """Breaks if a rule calls idle what is not, or is silent about it."""
    same, other = ([results(mask.finished(**changes({**others, key: value}))) for value in values] for others in (idle, active))
    assert np.array_equal(*same) and not np.array_equal(*other)
    for others, expected in ((idle, True), (active, False)):
        told = []
        for value in values:
            words = mask.set(run__output=mask.folder / "dry.h5", **changes({**others, key: value}))
            out = call("run", mask.config, *words, "--dry-run").good().out
            told += re.findall(rf"^# {re.escape(key)}: \S+ has no effect: ", out, re.MULTILINE)
        assert bool(told) is expected


def test_sigma(mask: Study) -> None:
    """With the official code's scale sigma0 changes no loss; without it it does, and is not told to be idle."""
    files = {sigma: mask.finished(cma__sigma=sigma) for sigma in (0.25, 1, 4)}
    assert all(np.array_equal(losses(files[1]), losses(files[sigma])) for sigma in files)
    words = mask.set(run__output=mask.output(), cma__sigma=0.25)
    told = call("run", mask.config, *words).good().err
    assert re.search(r"warning: cma\.sigma 0\.25 changes nothing: .*cma\.alpha.*cma\.scale_by_sigma", told)
    free = {sigma: mask.finished(cma__sigma=sigma, cma__scale_by_sigma="false") for sigma in (0.25, 1, 4)}
    assert np.array_equal(losses(free[1]), losses(files[1]))
    assert not np.array_equal(losses(free[0.25]), losses(free[1])) and not np.array_equal(losses(free[4]), losses(free[1]))
    # A step size of 4 on the undivided projection is a projection of four times the scale.
    alpha = float(mask.values["cma"]["alpha"])  # type: ignore[arg-type]
    assert np.array_equal(losses(free[4]), losses(mask.finished(cma__sigma=4, cma__alpha=4 * alpha)))
    words = mask.set(run__output=mask.output(), cma__sigma=0.25, cma__scale_by_sigma="false")
    assert "warning" not in call("run", mask.config, *words).good().err


SECURE = {"fed__protocol": "fedavg-bbt", "cma__covariance": "isotropic"}


@pytest.mark.parametrize("others", [{"prompt__projection": "uniform"}, {"cma__norm_bound": 2}, {**SECURE, "privacy__clip": 0.5},
                                    {**SECURE, "fed__secure_aggregation": "true", "fed__secure_range": 3000}])
def test_sigma_where_lengths_count(mask: Study, others: dict[str, object]) -> None:
    """A projection that it is not divided out of, and lengths that z is held against, make sigma0 count, and nobody says that it does
    not."""
    small, large = (losses(mask.finished(cma__sigma=sigma, fed__local_generations=6, **others)) for sigma in (1, 4))
    assert not np.array_equal(small, large)
    told = mask.run(run__output=mask.output(), cma__sigma=4, **others).good().err
    assert "cma.sigma" not in told
    assert "cma.sigma" not in "".join(re.findall("^#.*", call("run", mask.config, "--dry-run", *mask.set(cma__sigma=4, **others)).good().out, re.M))


def sweep(study: Study, **parts: object) -> str:
    path = study.folder / "sweep.yaml"
    head = {"name": "s", "base": study.config.name, "output": str(study.folder / "runs")}
    path.write_text(json.dumps(head | parts))
    return "\n".join(re.findall("sweep: (warning: .*)", call("sweep", path, "--list").good().err))


def test_sweeps_over_what_changes_nothing(mask: Study) -> None:
    told = sweep(mask, grid={"cma.sigma": [0.25, 1, 4], "fed.protocol": ["nvflare", "paper"]})
    assert "cma.sigma varies, but changes nothing in 6 of 6 runs" in told and "cma.alpha" in told
    assert sweep(mask, grid={"cma.sigma": [0.25, 1, 4]}, settings={"cma.scale_by_sigma": False}) == ""
    assert sweep(mask, grid={"cma.alpha": [0.25, 1, 4]}) == ""
    told = sweep(mask, grid={"fed.partition": ["iid", "dirichlet"], "fed.dirichlet_alpha": [0.1, 1]})
    assert "fed.dirichlet_alpha varies, but changes nothing in 2 of 4 runs" in told
    together = [{"fed.partition": "iid", "fed.dirichlet_alpha": 1}, {"fed.partition": "dirichlet", "fed.dirichlet_alpha": 0.1}]
    assert sweep(mask, sets=together) == ""
    assert "perturb.scope varies" in sweep(mask, grid={"perturb.scope": ["text", "all"], "perturb.rate": [0, 0.5]})
