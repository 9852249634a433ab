"""Rows that two real tables share, and whether chance explains them."""

from typing import NamedTuple

import numpy as np

from ehrsynth.metrics.copies import fingerprints
from ehrsynth.metrics.intervals import difference, wilson
from ehrsynth.metrics.neighbours import Points

FAR = 1.7  # times the 95 % margin: a table drawn alike is that far off once in some two thousand times


class Overlap(NamedTuple):
    """How many rows of H equal a row of R.

    Attributes:
        shared: share of H that equals some row of R in every cell.
        expected: that share if H was drawn as R was: the share of R that equals another row of R. A record is seen
            again with the probability that records seen more than once have (Good, Biometrika 1953: one minus the
            share of R that is there once).
        beyond_chance: whether ``shared`` is larger than chance explains.
        same: whether H is R, in the same order or, if chance does not explain that, in any.
    """

    shared: float
    expected: float
    beyond_chance: bool
    same: bool


def overlap(train: Points, holdout: Points) -> Overlap:
    """Compare R [n, p] with H [m, p]; memory is linear in the rows."""
    known, held_out = fingerprints(train), fingerprints(holdout)
    _, position, counts = np.unique(known, return_inverse=True, return_counts=True)
    shared, twins = int(np.isin(held_out, known).sum()), int((counts[position] > 1).sum())
    n, m = len(known), len(held_out)
    value, (low, _) = difference(shared / m, wilson(shared, m), twins / n, wilson(twins, n))
    beyond_chance = value > FAR * (value - low)
    same = n == m and bool((known == held_out).all() or (beyond_chance and (np.sort(known) == np.sort(held_out)).all()))
    return Overlap(shared / m, twins / n, beyond_chance, same)
