"""Differential privacy of a run: the epsilon that it has recorded, and the exact one of the same mechanisms.

A run records epsilon by zero-concentrated differential privacy (Bun and Steinke 2016). Its averages are Gaussian mechanisms, which compose
into one of rho = mu^2 / 2, and of that the trade-off is known exactly (Balle and Wang 2018, theorem 8; Dong, Roth and Su 2022, corollary 1):

    delta(epsilon) = Phi(mu / 2 - epsilon / mu) - exp(epsilon) Phi(-mu / 2 - epsilon / mu)
"""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.special import log_ndtr

from .errors import AnalysisError
from .run import Run
from .tables import Table


def rho_of(epsilon: float, delta: float) -> float:
    """The rho whose epsilon this is: epsilon = rho + 2 sqrt(rho ln(1 / delta)), solved for rho."""
    logarithm = -math.log(delta)
    return (math.sqrt(logarithm + epsilon) - math.sqrt(logarithm)) ** 2


def delta_of(epsilon: float, rho: float) -> float:
    """The exact delta of Gaussian mechanisms of rho together."""
    mu = math.sqrt(2 * rho)
    return float(math.exp(log_ndtr(mu / 2 - epsilon / mu)) - math.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu)))


def exact_epsilon(rho: float, delta: float) -> float:
    """The least epsilon for which they are (epsilon, delta)-differentially private."""
    if rho == 0 or delta_of(0, rho) <= delta:
        return 0.0
    most = rho + 2 * math.sqrt(rho * -math.log(delta))
    return float(brentq(lambda epsilon: delta_of(epsilon, rho) - delta, 0, most, xtol=1e-12, rtol=1e-12))


def table(runs: list[Run]) -> Table:
    """A row a run, of its last round. Errors: a run that adds no noise."""
    rows = []
    for run in runs:
        recorded = float(run.epsilon.iloc[-1])
        if math.isnan(recorded):
            raise AnalysisError(f"{run.path}: the run adds no noise (privacy.noise_multiplier), so that it has no epsilon")
        delta = float(run.settings["privacy.delta"])
        exact = exact_epsilon(rho_of(recorded, delta), delta)
        rows.append([str(run.path), f"{run.settings['privacy.clip']:g}", f"{run.settings['privacy.noise_multiplier']:g}",
                     str(run.last_round), f"{delta:g}", f"{recorded:.4g}", f"{exact:.4g}"])
    head = ["run", "clip", "noise multiplier", "rounds", "delta", "epsilon (zCDP)", "epsilon (exact)"]
    return Table("Differential privacy of clients", head, rows,
                 notes=["Every client is counted in every round. What the guarantee is for, and what it assumes: docs/privacy.md."])
