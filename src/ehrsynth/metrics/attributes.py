"""Attribute inference: what the synthetic records nearest to a patient say about what is not known of them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.metrics.copies import fingerprints
from ehrsynth.metrics.neighbours import Points, References

TIE = 1e-5  # float32 rounding of equal squared distances
TILE = 2**24  # distances held at a time
WITHIN = 0.1  # a continuous guess is right within this share of the true value
RESAMPLINGS = 200  # draws of the bootstrap
RESAMPLED = 20  # of them held at a time
BINS = 10  # equal bins of a continuous column's range, for its entropy


@dataclass(frozen=True)
class Hidden:
    """What the attacker wants to know, one row per record.

    Attributes:
        bits: 0/1 sparse [n, h].
        values: float64 [n, c] in raw units, NaN where missing.
    """

    bits: sparse.csr_array
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Tally:
    """Right guesses and chances per record and hidden column, sparse [n, h + c].

    Summed over records, ``right / chances`` is F1 of a bit (2 TP / (called + true)) and the share
    within 10 % of a value.
    """

    right: sparse.csr_array
    chances: sparse.csr_array


def infer(targets: Points, synthetic: Points, hidden: Hidden) -> Hidden:
    """Guess the hidden columns of each target from its nearest synthetic records.

    Nearest by squared L2 over the known columns; all records at the smallest distance vote. A bit is
    guessed 1 if more than half of them have it (the mode), a value as the mean of theirs. Records
    that agree on all known columns are handled as one, which is what makes this fast.

    Args:
        targets: [n] known columns of the patients under attack.
        synthetic: [m] the same columns of S.
        hidden: [m] the hidden columns of S.

    Returns:
        [n] guesses; a value is NaN where no voter has one.
    """
    asked, askers = _distinct(targets)
    patterns, pattern = _distinct(synthetic)
    pool = sparse.csr_array((np.ones(len(synthetic)), (pattern, np.arange(len(synthetic)))))
    near = _nearest(targets[torch.from_numpy(asked)], synthetic[torch.from_numpy(patterns)])
    voters = near @ np.bincount(pattern).astype(np.float64)
    bits = sparse.csr_array(near @ (pool @ hidden.bits))
    bits.data = (2 * bits.data > np.repeat(voters, np.diff(bits.indptr))).astype(np.float64)
    bits.eliminate_zeros()
    observed = ~np.isnan(hidden.values)
    total = near @ (pool @ np.where(observed, hidden.values, 0.0))
    count = near @ (pool @ observed.astype(np.float64))
    values = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return Hidden(bits[askers], values[askers])


def tally(guess: Hidden, truth: Hidden) -> Tally:
    """Compare guesses with the truth, record by record; missing true values are no chance."""
    asked = ~np.isnan(truth.values)
    error = np.abs(guess.values - truth.values)
    right = asked & (error <= WITHIN * np.abs(truth.values))
    bits = 2 * guess.bits.multiply(truth.bits), guess.bits + truth.bits
    return Tally(
        sparse.csr_array(sparse.hstack([bits[0], sparse.csr_array(right.astype(np.float64))])),
        sparse.csr_array(sparse.hstack([bits[1], sparse.csr_array(asked.astype(np.float64))])),
    )


def weighted_f1(counts: Tally, weights: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted mean of the columns' scores for each resampling of the records.

    Args:
        counts: of [n] records.
        weights: [h + c], summing to 1.
        times: [b, n] how often each record counts; ones for the plain score.

    Returns:
        [b] in [0, 1]; a column that nobody has and nobody is said to have scores 0.
    """
    right, chances = (np.asarray((part.T @ times.T).T) for part in (counts.right, counts.chances))
    return np.asarray(np.divide(right, chances, out=np.zeros_like(right), where=chances > 0) @ weights)


def bootstrap_f1(counts: Tally, weights: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return ``weighted_f1`` [200] of records drawn with replacement, as many as there are.

    Twenty resamplings are held at a time: all of them would be 200 numbers per record.

    Args:
        counts: of [n] records.
        weights: [h + c], summing to 1.
        rng: draws the records.
    """
    n = counts.chances.shape[0]
    chance = np.full(n, 1 / n)
    draws = [
        weighted_f1(counts, weights, rng.multinomial(n, chance, RESAMPLED).astype(np.float64))
        for _ in range(RESAMPLINGS // RESAMPLED)
    ]
    return np.concatenate(draws)


def entropies(hidden: Hidden) -> NDArray[np.float64]:
    """Return the entropy in bits of each hidden column [h + c]; values in 10 equal bins of their range."""
    share = np.asarray(hidden.bits.mean(axis=0)).ravel()
    found = [_entropy(np.stack([share, 1 - share]))]
    for column in hidden.values.T:
        bins = np.histogram(column[~np.isnan(column)], BINS)[0]
        found.append(_entropy(bins[:, None] / max(bins.sum(), 1)))
    return np.concatenate(found)


def _entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.asarray(np.sum(shares * np.log2(shares, out=np.zeros_like(shares), where=shares > 0), axis=0))


def _distinct(points: Points) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return a row of each distinct pattern [u], and which pattern each record has [n]."""
    _, first, pattern = np.unique(fingerprints(points), return_index=True, return_inverse=True)
    return first, pattern


def _nearest(targets: Points, references: Points) -> sparse.csr_array:
    """Return ones [n, m] where a reference is at the smallest distance from the target."""
    prepared = References(references)
    found = []
    for _, block in targets.blocks(max(TILE // len(references), 1)):
        distances = prepared.squared_distances(block)
        rows, columns = (distances <= distances.amin(1, keepdim=True) + TIE).nonzero(as_tuple=True)
        places = rows.numpy(), columns.numpy()
        found.append(sparse.csr_array((np.ones(len(rows)), places), shape=(len(block), len(references))))
    return sparse.csr_array(sparse.vstack(found))
