"""Inference: does the synthetic record most like a patient tell the one thing that is not known of them?"""

import numba
import numpy as np
from numpy.typing import NDArray

from ehrsynth.metrics.gower import Gower, Mixed

TIE = 1e-4  # float32 rounding of equal distances
TOLERANCE = 0.05  # a number is guessed right within this share of the true one


def nearest_without(
    targets: Mixed,
    synthetic: Mixed,
    secrets: tuple[NDArray[np.float32], NDArray[np.float32]],
    discrete: NDArray[np.bool_],
) -> NDArray[np.intp]:
    """Return the synthetic record [n, q] nearest to each target when all columns but one secret are known.

    Gower's distance over all columns is worked out once; for each secret its own share is taken off
    again. Among records at the same distance the earliest in ``synthetic`` is taken.

    Args:
        targets: [n] patients, all columns.
        synthetic: [m] records of S, all columns.
        secrets: the secret columns of both, [n, q] and [m, q]: the number of the level, or the scaled
            value, NaN where missing.
        discrete: [q], whether a secret is a level.
    """
    known, source = np.ascontiguousarray(secrets[0]), np.ascontiguousarray(secrets[1].T)
    cells = np.concatenate(secrets)
    reach = np.fmax(np.fmax.reduce(cells) - np.fmin.reduce(cells), np.float32(1))  # S may leave the range of R
    found = np.empty((len(targets), len(discrete)), dtype=np.intp)
    for rows, distances in Gower(synthetic).blocks(targets):
        _without(distances, known[rows], source, discrete, reach, found[rows])
    return found


def right(guess: NDArray[np.floating], truth: NDArray[np.floating], discrete: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which guesses [n, q] are right: the same level, a number within 5 % of the true one, or both missing.

    Args:
        guess: [n, q] level numbers or raw values, NaN where missing.
        truth: [n, q].
        discrete: [q], whether a secret is a level.
    """
    close = np.abs(guess - truth) <= np.where(discrete, 0.0, TOLERANCE * np.abs(truth))
    return np.asarray(close | (np.isnan(guess) & np.isnan(truth)))


@numba.njit(nogil=True, cache=True)
def _without(
    distances: NDArray[np.float32],
    known: NDArray[np.float32],
    source: NDArray[np.float32],
    discrete: NDArray[np.bool_],
    reach: NDArray[np.float32],
    found: NDArray[np.intp],
) -> None:
    for i in range(len(distances)):
        row = distances[i]
        for q in range(len(discrete)):
            secret, exact = known[i, q], discrete[q]
            best, at = np.float32(np.inf), 0
            for j in range(len(row)):
                if row[j] - reach[q] >= best:  # the secret adds no more
                    continue
                other = source[q, j]
                if exact:
                    share = np.float32(secret != other)
                elif np.isnan(secret) or np.isnan(other):
                    share = np.float32(np.isnan(secret) != np.isnan(other))
                else:
                    share = abs(secret - other)
                if row[j] - share < best - np.float32(TIE):
                    best, at = row[j] - share, j
            found[i, q] = at
