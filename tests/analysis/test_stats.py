"""Student's t and means against tabulated and hand-made values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fedbpt_analysis.stats import DIFFERENCE, FRACTION, estimate, t_quantile

# Two-sided 95% points as tables print them.
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 9: 2.262, 10: 2.228, 19: 2.093, 30: 2.042, 60: 2.000,
         120: 1.980}


@pytest.mark.parametrize(("degrees", "value"), TABLE.items())
def test_quantiles(degrees: int, value: float) -> None:
    assert t_quantile(degrees) == pytest.approx(value, abs=5.1e-4)


def test_other_level_and_normal_limit() -> None:
    assert t_quantile(5, 0.99) == pytest.approx(4.032, abs=5e-4)
    assert t_quantile(100_000) == pytest.approx(1.96, abs=1e-3)
    assert t_quantile(7, 0) == 0


def test_quantiles_against_integration() -> None:
    """The density integrated by Simpson's rule up to the quantile, for odd and even degrees of freedom."""
    for degrees in (1, 2, 3, 8, 15):
        scale = math.gamma((degrees + 1) / 2) / math.sqrt(degrees * math.pi) / math.gamma(degrees / 2)
        for level in (0.5, 0.95):
            x = np.linspace(0, t_quantile(degrees, level), 20_001)
            density = scale * (1 + x**2 / degrees) ** (-(degrees + 1) / 2)
            simpson = (density[0] + density[-1] + 4 * density[1:-1:2].sum() + 2 * density[2:-1:2].sum()) * (x[1] - x[0]) / 3
            assert 2 * simpson == pytest.approx(level, rel=1e-9)


def test_estimate() -> None:
    found = estimate([1.0, 2.0, 6.0, math.nan])
    assert (found.n, found.mean) == (3, 3.0) and found.sd == pytest.approx(math.sqrt(7))
    assert found.half == pytest.approx(4.30265 * math.sqrt(7 / 3), rel=1e-5)
    assert not found.excludes_zero() and estimate([1.0, 1.1, 0.9]).excludes_zero()


def test_estimate_of_little() -> None:
    one, none = estimate([2.5]), estimate([math.nan])
    assert (one.n, one.mean) == (1, 2.5) and math.isnan(one.sd) and math.isnan(one.half) and not one.excludes_zero()
    assert none.n == 0 and math.isnan(none.mean)


def test_interval_within_limits() -> None:
    """Near the middle as without limits; at a limit it ends before it; equal values have no width."""
    middle = estimate([0.49, 0.5, 0.51], FRACTION)
    assert middle.low == pytest.approx(0.5 - middle.half, abs=1e-4) and middle.high == pytest.approx(0.5 + middle.half, abs=1e-4)
    top = estimate([0.97, 0.99, 1.0], FRACTION)
    reach = top.half / (top.mean * (1 - top.mean))
    logits = [math.log(end / (1 - end)) - math.log(top.mean / (1 - top.mean)) for end in (top.low, top.high)]
    assert logits == pytest.approx([-reach, reach]) and top.high < 1 < top.mean + top.half
    assert 0 < estimate([0.0, 1.0], FRACTION).low < 1e-9 and estimate([0.0, 1.0], FRACTION).high <= 1
    for value in (0.0, 0.3, 1.0):
        same = estimate([value] * 3, FRACTION)
        assert (same.low, same.high, same.sd) == (value, value, 0.0)
    assert estimate([0.1] * 3).half == 0  # whatever rounding does to their mean
    difference = estimate([0.9, 0.99, 0.95], DIFFERENCE)
    assert -1 < difference.low < 0.9 < difference.high < 1 and difference.excludes_zero()
    assert math.isnan(estimate([0.5], FRACTION).low) and math.isnan(estimate([], FRACTION).high)
    assert estimate([0.9, 1.3], FRACTION).high == pytest.approx(1.1 + estimate([0.9, 1.3]).half)  # no fractions after all
