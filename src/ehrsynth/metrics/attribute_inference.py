"""Attribute inference: what the synthetic records nearest to a patient say about what is not known of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from ehrsynth.metrics.copies import fingerprints
from ehrsynth.metrics.neighbours import Points, References

TIE = 1e-5  # float32 rounding of equal squared distances
TILE = 2**22  # distances held at a time; they should stay in the cache
WITHIN = 0.1  # a continuous guess is right within this share of the true value
RESAMPLINGS = 200  # draws of the bootstrap
RESAMPLED = 20  # of them held at a time
BINS = 10  # equal bins of a continuous column's range, for its entropy

Metric = Callable[[Points], Callable[[Points], Tensor]]
Summary = Callable[[sparse.csr_array, NDArray[np.float64]], Callable[[sparse.csr_array], NDArray[np.float64]]]


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
    guessed 1 if more than half of them have it (the mode), a value as the mean of theirs.

    Args:
        targets: [n] known columns of the patients under attack.
        synthetic: [m] the same columns of S.
        hidden: [m] the hidden columns of S.

    Returns:
        [n] guesses; a value is NaN where no voter has one.
    """
    return _guess(targets, synthetic, hidden, lambda points: References(points).squared_distances, _means)


def infer_as_published(targets: Points, synthetic: Points, hidden: Hidden) -> Hidden:
    """Guess the hidden columns as the public code of the Nature Communications 2022 benchmark does.

    Nearest by L1 with each known column divided by the largest difference of any synthetic record to
    this target, or by 1 if that is larger; all records at the smallest distance vote, and the guess
    is their mode, the smallest one if several are as frequent. What goes in and comes out is as in ``infer``, but that
    known values are in raw units.
    """
    return _guess(targets, synthetic, hidden, _relative_l1, _modes)


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


def entropies(hidden: Hidden, unit_bins: bool = False) -> NDArray[np.float64]:
    """Return the entropy in bits of each hidden column [h + c].

    Args:
        hidden: [n] records.
        unit_bins: put values in bins of width 1, as the public code does, not in 10 equal bins of their range.
    """
    share = np.asarray(hidden.bits.mean(axis=0)).ravel()
    found = [_entropy(np.stack([share, 1 - share]))]
    for column in hidden.values.T:
        seen = column[~np.isnan(column)]
        counts = (
            np.bincount((seen - seen.min()).astype(int)) if unit_bins and len(seen) else np.histogram(seen, BINS)[0]
        )
        found.append(_entropy(counts[:, None] / max(counts.sum(), 1)))
    return np.concatenate(found)


def _entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.asarray(np.sum(shares * np.log2(shares, out=np.zeros_like(shares), where=shares > 0), axis=0))


def _guess(targets: Points, synthetic: Points, hidden: Hidden, metric: Metric, summary: Summary) -> Hidden:
    """Let the nearest records vote. Those that agree on all known columns are one pattern, which makes this fast."""
    asked, askers = _distinct(targets)
    first, pattern = _distinct(synthetic)
    pool = sparse.csr_array((np.ones(len(synthetic)), (pattern, np.arange(len(synthetic)))))
    sizes, ones = np.bincount(pattern).astype(np.float64), sparse.csr_array(pool @ hidden.bits)
    distances, value_of = metric(synthetic[torch.from_numpy(first)]), summary(pool, hidden.values)
    # All there will be is taken now: what is kept between one large block and the next would break up the memory.
    bits = np.zeros((len(asked), ones.shape[1]), dtype=bool)
    values = np.zeros((len(asked), hidden.values.shape[1]))
    for rows, block in targets[torch.from_numpy(asked)].blocks(max(TILE // len(first), 1)):
        near = _voters(distances(block))
        bits[rows] = 2 * (near @ ones).toarray() > (near @ sizes)[:, None]
        values[rows] = value_of(near)
    return Hidden(sparse.csr_array(bits).astype(np.float64)[askers], values[askers])


def _distinct(points: Points) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return a row of each distinct pattern [u], and which pattern each record has [n]."""
    _, first, pattern = np.unique(fingerprints(points), return_index=True, return_inverse=True)
    return first, pattern


def _voters(distances: Tensor) -> sparse.csr_array:
    """Return ones where a distance [n, m] is the smallest of its row."""
    smallest = distances.amin(1, keepdim=True).cpu().numpy()
    nearest = distances.cpu().numpy() <= smallest + np.float32(TIE)
    places = np.divmod(np.flatnonzero(nearest), nearest.shape[1])
    return sparse.csr_array((np.ones(len(places[0])), places), shape=nearest.shape)


def _relative_l1(synthetic: Points) -> Callable[[Points], Tensor]:
    """Return the distance of ``infer_as_published``; 0/1 columns differ by 0 or 1, so they need no division."""
    differing = References(Points(synthetic.bits, synthetic.values[:, :0]))
    ends = torch.stack([synthetic.values.amin(0), synthetic.values.amax(0)])

    def distances(targets: Points) -> Tensor:
        found = differing.squared_distances(Points(targets.bits, targets.values[:, :0]))
        largest = (targets.values[:, None] - ends).abs().amax(1).clamp_min(1)
        for k in range(targets.values.shape[1]):
            share = (targets.values[:, k, None] - synthetic.values[:, k]).abs_().div_(largest[:, k, None])
            found += share.to(found.device)
        return found

    return distances


def _means(pool: sparse.csr_array, values: NDArray[np.float64]) -> Callable[[sparse.csr_array], NDArray[np.float64]]:
    """Return what gives the mean value [n, c] of all records of the patterns that vote [n, u]."""
    observed = ~np.isnan(values)
    total, count = pool @ np.where(observed, values, 0.0), pool @ observed.astype(np.float64)

    def value_of(near: sparse.csr_array) -> NDArray[np.float64]:
        summed, voters = near @ total, near @ count
        return np.asarray(np.divide(summed, voters, out=np.full_like(summed, np.nan), where=voters > 0))

    return value_of


def _modes(pool: sparse.csr_array, values: NDArray[np.float64]) -> Callable[[sparse.csr_array], NDArray[np.float64]]:
    """Return what gives the most frequent value [n, c] of all records of the patterns that vote [n, u]."""
    counted = []
    for column in values.T:
        rows = np.flatnonzero(~np.isnan(column))
        levels, level = np.unique(column[rows], return_inverse=True)
        shape = (len(column), len(levels))
        counted.append((levels, sparse.csr_array(pool @ sparse.csr_array((np.ones(len(rows)), (rows, level)), shape))))

    def value_of(near: sparse.csr_array) -> NDArray[np.float64]:
        columns = [_most_frequent(sparse.csr_array(near @ counts), levels) for levels, counts in counted]
        return np.stack(columns, axis=1) if columns else np.zeros((near.shape[0], 0))

    return value_of


def _most_frequent(counts: sparse.csr_array, levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the level [n] with the largest count [n, l] in each row, the first of several; NaN in an empty row."""
    found = np.full(counts.shape[0], np.nan)
    sizes = np.diff(counts.indptr)
    starts = counts.indptr[:-1][sizes > 0]
    if len(starts):
        largest = np.repeat(np.maximum.reduceat(counts.data, starts), sizes[sizes > 0])
        first = np.minimum.reduceat(np.where(counts.data == largest, counts.indices, len(levels)), starts)
        found[sizes > 0] = levels[first]
    return found
