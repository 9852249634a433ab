"""How measured values hang together from visit to visit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ehrsynth.metrics.temporal.ngrams import correlation
from ehrsynth.visits import Integers, Visits

Numbers = NDArray[np.float64]


def neighbours(visits: Visits, width: int) -> tuple[Integers, Numbers, Numbers]:
    """Return measurement, value and the next visit's value [P] wherever two consecutive visits have it."""
    keys = visits.visit_of_value * width + visits.measured
    place = np.searchsorted(keys, keys - width)  # of the visit before
    inside = (visits.number > 0)[visits.visit_of_value]
    found = np.flatnonzero(inside & (keys[place] == keys - width))
    values = visits.values.astype(np.float64)
    return visits.measured[found].astype(np.int64), values[place[found]], values[found]


def spearman(left: Numbers, right: Numbers) -> float:
    """Return the rank correlation, ties at their mean rank; 0 where a side does not vary or has one value."""
    return correlation(rankdata(left), rankdata(right))


def sums_within(visits: Visits, width: int, centre: Numbers) -> Numbers:
    """Return sums over patients [5, width] from which ``share_within`` is worked out; they add up.

    Args:
        visits: the visits.
        width: number of measurements.
        centre: [width], what to take from each value, so that squares keep their digits.
    """
    owner = visits.patient[visits.visit_of_value] * width + visits.measured
    x = visits.values.astype(np.float64) - centre[visits.measured]
    own, place, counts = np.unique(owner, return_inverse=True, return_counts=True)
    total = np.bincount(place, x, minlength=len(own))
    measure = own % max(width, 1)

    def by_measure(values: NDArray[Any]) -> Numbers:
        return np.bincount(measure, values, minlength=width).astype(np.float64)

    squares = np.bincount(visits.measured, x * x, minlength=width).astype(np.float64)
    summed = (
        by_measure(counts),
        by_measure(np.ones(len(own))),
        by_measure(total),
        squares,
        by_measure(total**2 / counts),
    )
    return np.stack(summed)


def share_within(sums: Numbers) -> Numbers:
    """Return the variance within patients over the variance of all values, [..., width] in [0, 1], NaN if undefined.

    Args:
        sums: [..., 5, width] of ``sums_within``: values, patients, sum, sum of squares, sum of S_i^2 / k_i.
    """
    n, patients, total, squares, between = np.moveaxis(sums, -2, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        within = (squares - between) / (n - patients)
        whole = (squares - total**2 / n) / (n - 1)
        share = within / whole
    defined = (n > patients) & (whole > 0)
    return np.where(defined, np.clip(share, 0.0, 1.0), np.nan)
