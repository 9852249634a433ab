"""Records that equal one another, or nearly."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.bits import pack
from ehrsynth.metrics.intervals import Estimate, difference, share
from ehrsynth.metrics.neighbours import Points


def fingerprints(points: Points) -> NDArray[np.void]:
    """Return one opaque item per record [n]; two are equal if and only if all their cells are."""
    bits = pack(points.bits).packed.numpy()
    values = (points.values.numpy() + np.float32(0)).view(np.uint8)  # adding 0 makes -0.0 and 0.0 one
    rows = np.ascontiguousarray(np.hstack([bits, values.reshape(len(points), -1)]))
    return rows.view(np.dtype((np.void, rows.shape[1]))).ravel()


def copied(points: Points, originals: Points) -> int:
    """Return how many of ``points`` equal some record of ``originals``."""
    return int(np.isin(fingerprints(points), fingerprints(originals)).sum())


def isolated(to_train: Tensor, to_holdout: Tensor, within: float, gap: float) -> tuple[Estimate, Estimate, Estimate]:
    """Return how many more synthetic records lie close to a lone record of R than of H.

    A synthetic record is an isolated copy of R if it is ``within`` the squared distance of some
    record of a part of R while every record of an equal-sized part of H is farther by at least
    ``gap``; of H likewise with the tables exchanged. If S knows R only as it knows any patients, the
    two are equally likely, however good, bad or collapsed S is.

    Args:
        to_train: [k, n] squared distances from n records of S to the nearest of each of k parts of R.
        to_holdout: [l, n] to those of l parts of H, all parts of the same size; k or l is 1.
        within: largest squared distance of a copy.
        gap: by how much the other table has to be farther.

    Returns:
        The difference of the two shares, and each of them; Wilson intervals, combined by Newcombe's.
    """
    # Being near to one of k disjoint parts is k trials a record; being near to the one part of the other table, and
    # not to any of the k, is one trial that is only asked k times.
    n = to_train.shape[1]
    near_train = float(((to_train <= within) & (to_holdout - to_train >= gap)).double().mean())
    near_holdout = float(((to_holdout <= within) & (to_train - to_holdout >= gap)).double().mean())
    train = share(near_train * n * len(to_train), n * len(to_train))
    holdout = share(near_holdout * n * len(to_holdout), n * len(to_holdout))
    return difference(train, holdout), train, holdout


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
    beyond, (low, _) = difference(share(shared, m), share(twins, n))
    beyond_chance = beyond > FAR * (beyond - low)
    same = n == m and bool((known == held_out).all() or (beyond_chance and (np.sort(known) == np.sort(held_out)).all()))
    return Overlap(shared / m, twins / n, beyond_chance, same)
