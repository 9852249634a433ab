"""Rare codes: how often they occur, and with which other codes."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def relative_error(real: Floats, synthetic: Floats) -> Floats:
    """Return abs(p_S - p_R) / p_R per code, [m] and [..., m]; p_R above 0, a lost code gives 1."""
    return np.asarray(np.abs(synthetic - real) / real)


def rare_pairs(together: Floats, rare: NDArray[np.bool_], least: int) -> NDArray[np.intp]:
    """Return the pairs (rare code, any other code) with at least ``least`` records that have both, [2, m].

    Args:
        together: [b, p], how many records of R have both codes: of the first b of p, usually all, with each.
        rare: [p], which codes are rare; a pair of two counts once.
        least: records with both.
    """
    either = np.triu(rare[: len(together), None] | rare[None], k=1)
    return np.stack(np.nonzero(either & (together >= least)))


def log_lift(together: Floats, counts: Floats, pairs: NDArray[np.intp], n: Floats | float) -> Floats:
    """Return log(P(a and b) / (P(a) P(b))) of each pair, with half a record added to every count.

    Args:
        together: [..., m], records that have both codes of the pair.
        counts: [..., p], records that have each code.
        pairs: [2, m], positions among the p codes.
        n: [..., 1], records in all.
    """
    first, second = (np.log(counts[..., side] + 0.5) for side in pairs)
    return np.asarray(np.log(together + 0.5) + np.log(n + 1.0) - first - second)
