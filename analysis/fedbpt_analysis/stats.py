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
    """Mean and standard deviation of `n` values; half-width of Student's 95% interval of the mean, and the ends of the interval that
    keeps the limits of what is measured. Of a single value there is a mean only; the rest is NaN."""

    n: int
    mean: float
    sd: float = math.nan
    half: float = math.nan
    low: float = math.nan
    high: float = math.nan

    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


Limits = tuple[float, float] | None
FRACTION, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)  # of an accuracy, of two accuracies


def interval(mean: float, half: float, limits: Limits) -> tuple[float, float]:
    """mean ± half, or, within limits (a, b), the same on the logit scale of p = (mean - a) / (b - a): logit p ± half / ((b - a) p q),
    brought back (the delta method; q = 1 - p). Near the middle it is almost mean ± half. Values that are all equal, at a limit or
    not, give an interval of no width, which says nothing about seeds that were not run."""
    if limits is None or not math.isfinite(half) or half == 0 or not limits[0] < mean < limits[1]:
        return mean - half, mean + half
    width = limits[1] - limits[0]
    p = (mean - limits[0]) / width
    centre, reach = math.log(p / (1 - p)), half / (width * p * (1 - p))
    low, high = (limits[0] + width * (1 + math.tanh(end / 2)) / 2 for end in (centre - reach, centre + reach))
    return low, high


def estimate(values: Sequence[float] | np.ndarray, limits: Limits = None) -> Estimate:
    """Of the finite values. `limits`: the smallest and the largest value that there can be."""
    given = np.asarray(values, dtype=float)
    finite = given[np.isfinite(given)]
    n = len(finite)
    if n == 0:
        return Estimate(0, math.nan)
    mean = float(np.mean(finite))
    if n == 1:
        return Estimate(1, mean)
    sd = float(np.std(finite, ddof=1)) if np.ptp(finite) > 0 else 0.0  # rounding gives equal values a spread of 1e-17
    half = t_quantile(n - 1) * sd / math.sqrt(n)
    outside = limits is not None and (finite.min() < limits[0] or finite.max() > limits[1])
    return Estimate(n, mean, sd, half, *interval(mean, half, None if outside else limits))
