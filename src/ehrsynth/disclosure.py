"""What may leave about training patients by default: nothing that fewer than ``LEAST`` of them share.

Names of codes, levels and bounds of numbers travel with schemas, checkpoints, reports and trackers; rows do not.
"""

from collections.abc import Callable
from math import ceil, floor, log10

import numpy as np
import pandas as pd

LEAST = 10  # training patients


def shared_bounds(numbers: "pd.Series[int]") -> tuple[float, float]:
    """Return bounds of a column that point at no patient: its tenth most extreme values, rounded outwards.

    They are rounded to a power of ten, about a tenth of their distance. Of fewer than twenty rows there are no two such
    values: the bounds are then around the median, rounded to its first digit. A value that ten rows share stays.

    Args:
        numbers: how many rows have each value, by value, ascending; at least one.
    """
    values, up_to = numbers.index.to_numpy(float), numbers.to_numpy().cumsum()
    n = int(up_to[-1])
    ranks = (LEAST, n + 1 - LEAST) if n >= 2 * LEAST else ((n + 1) // 2,) * 2
    low, high = (float(values[np.searchsorted(up_to, rank)]) for rank in ranks)
    if low < high:
        exponent = floor(log10(high - low) - 0.5)
        return _multiple(floor, low, exponent), _multiple(ceil, high, exponent)
    if numbers[low] >= LEAST:
        return low, low
    exponent = floor(log10(abs(low))) if low else 0
    return _multiple(floor, low, exponent), _multiple(lambda steps: floor(steps) + 1, low, exponent)


def _multiple(rounded: Callable[[float], int], value: float, exponent: int) -> float:
    """Return ``value`` rounded to a multiple of ten to the power of ``exponent``."""
    steps = round(value / 10.0**exponent, 9)  # 0.3 / 0.1 is 2.9999999999999996
    return round(rounded(steps) * 10.0**exponent, max(-exponent, 0))
