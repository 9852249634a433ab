"""Metrics in the form the papers published them where that form compares tables with one another."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def dimension_wise_distance(
    prevalence_sums: ArrayLike, wasserstein: ArrayLike, p: int, divide_by: float = 10.0
) -> NDArray[np.float64]:
    """Return the dimension-wise distance of each compared table, times 1000, as the public code has it.

    (sum of abs prevalence differences + sum of normalised Wasserstein distances) / (p - 1) * 1000,
    where each continuous column's distance is min-max normalised across the compared tables and
    divided by 10 (Yan et al., JMIR AI 2024) or by 1 (Yan et al., Nature Communications 2022). The
    result is relative: adding or removing a table changes that of all others.

    Args:
        prevalence_sums: [runs], sum over the 0/1 columns of abs(prevalence_S - prevalence_R).
        wasserstein: [runs, C], distance per continuous column, in any unit.
        p: number of columns, at least 2.
        divide_by: what the normalised distances are divided by.

    Returns:
        [runs]; a column on which all tables agree adds nothing.
    """
    distances = np.asarray(wasserstein, dtype=np.float64)
    low, span = distances.min(0), np.ptp(distances, axis=0)
    scaled = np.divide(distances - low, span, out=np.zeros_like(distances), where=span > 0) / divide_by
    return np.asarray((np.asarray(prevalence_sums, dtype=np.float64) + scaled.sum(1)) / (p - 1) * 1000)
