"""How well generated records keep what a label says of the other columns: within the groups that its levels form."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Kept(NamedTuple):
    """What is kept within groups.

    Attributes:
        error: mean absolute difference of prevalence, over groups and columns.
        slope: of the differences between a group and the mean of all groups, generated on real ones, through zero: 1 is
            calibrated, above 1 a label says more of the other columns than it should, below 1 less. NaN if real groups
            do not differ.
    """

    error: float
    slope: float


def kept_within_groups(real: Array, generated: Array) -> Kept:
    """Compare prevalences [groups, columns] of real and generated records."""
    apart_real, apart = real - real.mean(0), generated - generated.mean(0)
    spread = float((apart_real**2).sum())
    slope = float((apart_real * apart).sum()) / spread if spread else float("nan")
    return Kept(float(np.abs(generated - real).mean()), slope)
