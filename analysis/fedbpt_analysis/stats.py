"""Means over seeds with their uncertainty: Student's t, and differences of settings on equal seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

LEVEL = 0.95


def t_probability(t: float, degrees: int) -> float:
    """P(|T| <= t) for Student's t with a whole number of degrees of freedom (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(degrees))
    cosine, odd = math.cos(angle), degrees % 2 == 1
    term, total = (cosine, cosine) if odd else (1.0, 1.0)
    if degrees == 1:
        return 2 * angle / math.pi
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


@lru_cache(maxsize=1024)
def t_quantile(degrees: int, level: float = LEVEL) -> float:
    """Half-width, in standard errors, of a two-sided interval; by bisection."""
    low, high = 0.0, 1.0
    while t_probability(high, degrees) < level:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_probability(middle, degrees) < level else (low, middle)
    return high


@dataclass(frozen=True)
class Estimate:
    """Mean, standard deviation, and half-width of the 95% interval of the mean; the last two NaN for a single value."""

    n: int
    mean: float
    sd: float
    half: float

    def excludes_zero(self) -> bool:
        return math.isfinite(self.half) and abs(self.mean) > self.half


def estimate(values: Sequence[float] | np.ndarray) -> Estimate:
    """Of the finite values."""
    given = np.asarray(values, dtype=float)
    finite = given[np.isfinite(given)]
    n = len(finite)
    if n == 0:
        return Estimate(0, math.nan, math.nan, math.nan)
    if n == 1:
        return Estimate(1, float(finite[0]), math.nan, math.nan)
    sd = float(np.std(finite, ddof=1))
    return Estimate(n, float(np.mean(finite)), sd, t_quantile(n - 1) * sd / math.sqrt(n))
