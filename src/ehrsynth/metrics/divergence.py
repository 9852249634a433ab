"""Divergences between the distributions of many columns at once.

The cells of all columns lie side by side in one vector, and ``starts`` [columns] says where each
column begins. S may carry leading dimensions (all records, then without each group).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

Cells = NDArray[np.float64]
Starts = NDArray[np.intp]


def shares(counts: Cells, starts: Starts) -> Cells:
    """Return counts [..., cells] as shares of their column; a column must have counted something."""
    widths = np.diff(np.append(starts, counts.shape[-1]))
    return np.asarray(counts / np.repeat(np.add.reduceat(counts, starts, axis=-1), widths, axis=-1))


def js_divergence(real: Cells, synthetic: Cells, starts: Starts) -> Cells:
    """Return the Jensen-Shannon divergence in bits, in [0, 1], per column (Lin 1991, equation 3.8).

    Args:
        real: [cells] shares.
        synthetic: [..., cells] shares.
        starts: [columns].

    Returns:
        [..., columns].
    """
    middle = (real + synthetic) / 2
    parts = (rel_entr(real, middle) + rel_entr(synthetic, middle)) / (2 * np.log(2))
    return np.clip(np.add.reduceat(parts, starts, axis=-1), 0.0, 1.0)  # rounding


def kl_divergence(real: Cells, synthetic: Cells, starts: Starts) -> Cells:
    """Return KL(R || S) in nats per column, with half a record added to each cell of both sides.

    Args:
        real: [cells] counts.
        synthetic: [..., cells] counts.
        starts: [columns].

    Returns:
        [..., columns], not negative and finite.
    """
    parts = rel_entr(shares(real + 0.5, starts), shares(synthetic + 0.5, starts))
    return np.maximum(np.add.reduceat(parts, starts, axis=-1), 0.0)


def total_variation(real: Cells, synthetic: Cells, starts: Starts) -> Cells:
    """Return half the L1 distance of the shares, in [0, 1], per column; of two cells, the difference of one.

    Args:
        real: [cells] shares.
        synthetic: [..., cells] shares.
        starts: [columns].

    Returns:
        [..., columns].
    """
    return np.asarray(np.add.reduceat(np.abs(real - synthetic), starts, axis=-1) / 2)
