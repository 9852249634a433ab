"""Distances between the empirical distribution functions of one column in two tables."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Distances(NamedTuple):
    """Two distances for all records of S and without each group of them, each [1 + g]."""

    wasserstein: NDArray[np.float64]
    ks: NDArray[np.float64]


def ecdf_distances(real: NDArray[np.floating], groups: Sequence[NDArray[np.floating]]) -> Distances | None:
    """Return the 1-d Wasserstein distance and the Kolmogorov-Smirnov statistic.

    W = integral of |F_R - F_S| (Vallender 1974) and D = max |F_R - F_S|, both exact, from one sort.
    NaN is no observation and is left out.

    Args:
        real: [n] values of R.
        groups: the values of S in g groups, on the same scale.

    Returns:
        None if a side has no observed value. A group that holds all observed values of S cannot be
        left out; its place repeats the distance of all.
    """
    cells = [real, *groups]
    observed = [x[~np.isnan(x)].astype(np.float64) for x in cells]
    if not len(observed[0]) or not sum(map(len, observed[1:])):
        return None
    points, place = np.unique(np.concatenate(observed), return_inverse=True)
    owner = np.repeat(np.arange(len(cells)), [len(x) for x in observed])
    counts = np.bincount(owner * len(points) + place, minlength=len(cells) * len(points))
    below = counts.reshape(len(cells), -1).cumsum(1)
    total = below[1:].sum(0)
    synthetic = total[None] if len(groups) == 1 else np.concatenate([total[None], total - below[1:]])
    size = synthetic[:, -1:]
    gap = np.abs(synthetic / np.maximum(size, 1) - below[0] / below[0, -1])
    gap[size[:, 0] == 0] = gap[0]
    return Distances(gap[:, :-1] @ np.diff(points), gap.max(1))
