"""Means over seeds with their uncertainty: Student's t, and differences of settings on equal seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, stdtrit

LEVEL = 0.95


def t_quantile(degrees: int, level: float = LEVEL) -> float:
    """Half-width, in standard errors, of a two-sided interval."""
    return float(stdtrit(degrees, (1 + level) / 2))


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
    reach = half / (width * p * (1 - p))
    low, high = limits[0] + width * expit(logit(p) + np.array([-reach, reach]))
    return float(low), float(high)


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
