"""How often the 0/1 columns are set.

S may carry leading dimensions wherever an ellipsis stands: all its records, then without each group.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.bits import Cells, ones

Floats = NDArray[np.float64]


def prevalence(bits: Cells) -> Tensor:
    """Return the mean [B] of uint8 ``bits`` [n, B] in float64, exactly."""
    return ones(bits).double() / len(bits)


def absolute_prevalence_difference(real: Floats, synthetic: Floats) -> Floats:
    """Return the mean over columns of abs(prevalence_S - prevalence_R), in [0, 1]; [B] and [..., B]."""
    return np.asarray(np.abs(synthetic - real).mean(-1))


def nonzero_columns(real: Floats, synthetic: Floats) -> Floats:
    """Return the share of the columns that are non-zero in R and also in S; prevalences [B] and [..., B]."""
    return np.asarray((synthetic[..., real > 0] > 0).mean(-1))
