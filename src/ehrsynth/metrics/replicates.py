"""The delete-a-group jackknife: a statistic of all records beside the same without each group of them.

A table is cut into g random groups of equal size. What adds up over records (counts, histograms,
products) is kept per group once; ``replicates`` turns it into the sum over all records and the g
sums that leave one group out. Any statistic of these sums then has its interval from ``half_width``.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

from ehrsynth.metrics.intervals import Estimate


def replicates(groups: ArrayLike) -> NDArray[np.float64]:
    """Return the total and the totals without each group, [1 + g, ...], of sums per group [g, ...].

    With a single group nothing can be left out, and only the total [1, ...] is returned.
    """
    parts = np.asarray(groups, dtype=np.float64)
    total = parts.sum(0)
    return total[None] if len(parts) == 1 else np.concatenate([total[None], total - parts])


def half_width(values: ArrayLike) -> NDArray[np.float64]:
    """Return half the width of the 95 % jackknife interval of each statistic.

    The variance is (g - 1) / g times the sum of squared deviations of the g values from their mean
    (Kott, Journal of Official Statistics 2001); Student's t has g - 1 degrees of freedom.

    Args:
        values: [1 + g, ...], the statistic of all records, then without each group; g at least 2.

    Returns:
        [...], not negative.
    """
    left_out = np.asarray(values, dtype=np.float64)[1:]
    g = len(left_out)
    variance = (g - 1) / g * ((left_out - left_out.mean(0)) ** 2).sum(0)
    return np.asarray(_student(g - 1) * np.sqrt(variance))


def jackknife(values: ArrayLike, low: float = -math.inf, high: float = math.inf) -> Estimate:
    """Return a statistic of all records, the first of [1 + g] values, with its interval, both within a range."""
    x = np.asarray(values, dtype=np.float64)
    value, half = float(np.clip(x[0], low, high)), float(half_width(x))
    return value, (max(value - half, low), min(value + half, high))


def _student(freedom: int) -> float:
    return float(t.ppf(0.975, freedom)) if freedom else math.inf
