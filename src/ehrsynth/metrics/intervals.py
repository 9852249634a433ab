"""95 % intervals of shares, means and differences, and from resampling."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, t

Z = 1.959963984540054  # the 97.5 % point of the normal distribution
Interval = tuple[float, float]
Estimate = tuple[float, Interval]  # a value and its 95 % interval


def wilson(successes: float, n: int) -> Interval:
    """Return the Wilson interval of a share of ``n`` trials (Wilson 1927)."""
    share, z2 = successes / n, Z * Z / n
    centre = (share + z2 / 2) / (1 + z2)
    half = Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n)) / (1 + z2)
    return (max(centre - half, 0.0) if successes else 0.0), (min(centre + half, 1.0) if successes < n else 1.0)


def share(successes: float, n: int) -> Estimate:
    """Return ``successes / n`` with its Wilson interval."""
    return successes / n, wilson(successes, n)


def normal(value: float, error: float, low: float = 0.0, high: float = 1.0) -> Estimate:
    """Return ``value`` with 1.96 standard ``error`` on both sides, clipped to the range."""
    return value, (max(value - Z * error, low), min(value + Z * error, high))


def t_mean(values: ArrayLike, low: float = -math.inf, high: float = math.inf) -> Estimate:
    """Return the mean of [n] independent values with its Student t interval; with n = 1 the whole range."""
    x = np.asarray(values, dtype=np.float64)
    mean = float(x.mean())
    if len(x) < 2:
        return mean, (low, high)
    half = float(t.ppf(0.975, len(x) - 1) * x.std(ddof=1)) / math.sqrt(len(x))
    return mean, (max(mean - half, low), min(mean + half, high))


def mover_mean(values: Sequence[float], intervals: Sequence[Interval]) -> Estimate:
    """Return the mean of independent estimates with an interval recovered from theirs (MOVER).

    Zou and Donner, Statistics in Medicine 2008: the distances of the ends add up in squares.
    """
    n, mean = len(values), float(np.mean(values))
    below = math.sqrt(sum((value - low) ** 2 for value, (low, _) in zip(values, intervals, strict=True))) / n
    above = math.sqrt(sum((high - value) ** 2 for value, (_, high) in zip(values, intervals, strict=True))) / n
    return mean, (mean - below, mean + above)


def difference(left: Estimate, right: Estimate) -> Estimate:
    """Return left minus right of two independent estimates, the interval by MOVER.

    With Wilson intervals this is Newcombe's hybrid score interval (Statistics in Medicine 1998, method 10).
    """
    (one, (one_low, one_high)), (other, (other_low, other_high)) = left, right
    below = math.hypot(one - one_low, other_high - other)
    above = math.hypot(one_high - one, other - other_low)
    return one - other, (one - other - below, one - other + above)


def together(estimate: Estimate, results: int, low: float = -math.inf, high: float = math.inf) -> Interval:
    """Return the interval of an estimate that holds together with those of other results, with 95 %.

    Bonferroni: each at 1 - 0.05 / results; its ends are farther out as those of a normal estimate would be, on either
    side by itself.

    Args:
        estimate: with its 95 % interval.
        results: that are looked at, this one included.
        low: smallest value there is.
        high: largest value there is.
    """
    value, (below, above) = estimate
    times = float(norm.ppf(1 - 0.025 / results)) / Z
    return max(value - times * (value - below), low), min(value + times * (above - value), high)


def distance(estimate: Estimate, right: float) -> Estimate:
    """Return |value - right| and the interval that follows from that of the value."""
    value, ends = abs(estimate[0] - right), sorted(abs(end - right) for end in estimate[1])
    return value, (0.0 if estimate[1][0] <= right <= estimate[1][1] else ends[0], ends[1])


def quantiles(value: float, draws: ArrayLike) -> Estimate:
    """Return ``value`` with the 2.5 and 97.5 percentiles of its bootstrap draws."""
    low, high = np.quantile(np.asarray(draws, dtype=np.float64), [0.025, 0.975])
    return value, (float(low), float(high))
