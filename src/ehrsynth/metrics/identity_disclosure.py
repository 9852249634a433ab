"""Meaningful identity disclosure: a synthetic record points at a patient and tells something new about them.

El Emam, Mosquera and Bass, JMIR 2020, with the lattice of generalised quasi-identifiers of Yan et
al., Nature Communications 2022.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

VERIFIED = (0.10, 0.23, 0.43)  # least, mean and largest share of matches that an adversary can verify
WRONG = (0.0013, 0.0426, 0.065)  # least, mean and largest share of cells with an error
DENSE = 2**22  # largest number of possible groups that are counted in a table

Codes = NDArray[np.int32]


@dataclass(frozen=True)
class People:
    """Records as an adversary sees them.

    Attributes:
        known: for each quasi-identifier its generalisations, the exact one first, as level numbers [n]; the last one
            is suppressed and not held.
        rows, columns: [z], where a nominal sensitive attribute has a value that less than half of R has.
    """

    known: Sequence[Sequence[Codes]]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.known[0][0])


@dataclass(frozen=True)
class Ranks:
    """Which numbers of S lie near enough to those of a patient.

    Attributes:
        first, stop: [n, c], the range of ranks within reach of each patient's number; empty where it is missing.
        ranks: [m, c], of the numbers of S; -1 where missing.
        sizes: [c], more than the largest rank.
    """

    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    ranks: NDArray[np.int64]
    sizes: Sequence[int]


def verification(identifiers: int) -> float:
    """Return the expected (1 + lambda) / 2 of their equation for imperfect matching.

    lambda = v (1 - (1 - e)^k) with k quasi-identifiers, v and e independent and triangular with the least, mean and
    largest rates above. The published code draws it per patient; its mean is what those draws average to.
    """
    low, mean, high = WRONG
    mode = 3 * mean - low - high
    correct = 2 / (high - low) * (_slope(mode, high, identifiers) - _slope(low, mode, identifiers))  # E[(1 - e)^k]
    return (1 + VERIFIED[1] * (1 - correct)) / 2


def lattice(levels: Sequence[int], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the ways of generalising [nodes, k], the exact one first and never everything suppressed.

    Args:
        levels: how many ways there are for each quasi-identifier, suppression included.
        most: draw this many at random where there are more.
        rng: draws them.
    """
    if math.prod(levels) - 1 <= most:
        return np.array(list(itertools.product(*map(range, levels)))[:-1], dtype=np.int64)
    drawn = np.unique(rng.integers(0, np.array(levels), (2 * most, len(levels))), axis=0)
    suppressed = (drawn == np.array(levels) - 1).all(1)
    drawn = rng.permutation(drawn[~suppressed & drawn.any(1)])[: most - 1]
    return np.vstack([np.zeros((1, len(levels)), dtype=np.int64), drawn])


def groups(node: Sequence[int], tables: Sequence[Sequence[Sequence[Codes]]]) -> tuple[list[NDArray[np.int64]], int]:
    """Return the group [n] of each record of each of the ``tables`` under a generalisation, and how many there are."""
    keys = [np.zeros(len(table[0][0]), dtype=np.int64) for table in tables]
    size = 1
    for identifier, level in enumerate(node):
        if level == len(tables[0][identifier]):
            continue
        codes = [table[identifier][level] for table in tables]
        radix = max(int(code.max(initial=-1)) for code in codes) + 1
        if size * radix > DENSE:
            keys, size = _compact(keys)
        keys = [key * radix + code for key, code in zip(keys, codes, strict=True)]
        size *= radix
    return (keys, size) if size <= DENSE else _compact(keys)


def rank(values: NDArray[np.float64], reach: NDArray[np.float64], offered: NDArray[np.float64]) -> Ranks:
    """Rank what is offered and find what lies within reach of each value, once for all generalisations.

    Args:
        values: [n, c] of the patients, NaN where missing.
        reach: [n, c], how close a value must be; strictly.
        offered: [m, c] of S, NaN where missing.
    """
    first, stop = (np.zeros(values.shape, dtype=np.int64) for _ in range(2))
    ranks = np.full(offered.shape, -1, dtype=np.int64)
    sizes = []
    for i, (value, near, column) in enumerate(zip(values.T, reach.T, offered.T, strict=True)):
        seen, known = ~np.isnan(column), ~np.isnan(value)
        grid, ranks[seen, i] = np.unique(column[seen], return_inverse=True)
        first[known, i] = np.searchsorted(grid, (value - near)[known], side="right")
        stop[known, i] = np.searchsorted(grid, (value + near)[known], side="left")
        sizes.append(len(grid) + 1)
    return Ranks(first, stop, ranks, sizes)


def learned(
    target: People,
    group: NDArray[np.int64],
    source: People,
    others: NDArray[np.int64],
    numbers: Ranks,
    active: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return how many sensitive attributes [n] the matching synthetic records tell right and new; -1 without a match.

    A nominal one counts if some match has the patient's value and (1 - p) > sqrt(p (1 - p)), p its share in R:
    that is p < 1/2. A number counts if p |difference| < 1.48 MAD for the nearest match.

    Args:
        target: [n] patients.
        group: [n] their groups.
        source: [m] synthetic records.
        others: [m] their groups.
        numbers: which numbers of S are near enough, with the reach 1.48 MAD / p.
        active: [n], whom to ask about; the rest get -1.
    """
    size = int(max(group.max(initial=-1), others.max(initial=-1))) + 1
    offered, wanted = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    offered[others] = True
    matched = active & offered[group]
    wanted[group[matched]] = True
    useful = wanted[others]
    place = np.cumsum(wanted) - 1  # number of each group that has an active patient and a synthetic record
    count = np.where(matched, 0, -1)
    width = int(max(target.columns.max(initial=-1), source.columns.max(initial=-1))) + 1
    revealed = np.zeros((int(wanted.sum()), width), dtype=bool)
    facts = useful[source.rows]
    revealed[place[others[source.rows[facts]]], source.columns[facts]] = True
    asked = matched[target.rows]
    rows = target.rows[asked]
    right = revealed[place[group[rows]], target.columns[asked]]
    count += np.bincount(rows[right], minlength=len(group))
    theirs, ours = place[others[useful]], place[group[matched]]
    for i, distinct in enumerate(numbers.sizes):
        seen = numbers.ranks[useful, i]
        held = np.sort((theirs * distinct + seen)[seen >= 0])
        first, stop = (
            np.searchsorted(held, ours * distinct + ends[matched, i]) for ends in (numbers.first, numbers.stop)
        )
        count[matched] += stop > first
    return count


def _compact(keys: list[NDArray[np.int64]]) -> tuple[list[NDArray[np.int64]], int]:
    values, number = np.unique(np.concatenate(keys), return_inverse=True)
    return np.split(number, np.cumsum([len(key) for key in keys])[:-1]), len(values)


def _slope(start: float, stop: float, k: int) -> float:
    """Return the slope between two points of the function whose second derivative is (1 - x)^k."""
    ends = [(1 - x) ** (k + 2) / ((k + 1) * (k + 2)) for x in (start, stop)]
    return (ends[1] - ends[0]) / (stop - start)


@dataclass(frozen=True)
class Frame:
    """People among whom an adversary looks for the patient.

    Attributes:
        known: their quasi-identifiers, as in ``People``.
        complete: whether every patient is among them, so that a group that lacks its own patients was
            counted too small.
    """

    known: Sequence[Sequence[Codes]]
    complete: bool = False


def worst_cases(
    nodes: NDArray[np.int64],
    target: People,
    source: People,
    numbers: Ranks,
    frames: Sequence[Frame],
    needed: Sequence[float],
) -> NDArray[np.float64]:
    """Return I R / size, the largest over the nodes, for each frame, each threshold and each patient.

    From fine to coarse: once a patient is disclosed in a small group, larger groups need not be looked at.

    Args:
        nodes: [nodes, k], from ``lattice``.
        target: [n] patients.
        source: [m] records of S.
        numbers: which numbers of S are near enough to those of the patients.
        frames: who is counted for the size of a group; a patient without a group in a frame gets 0.
        needed: thresholds, how many attributes make it something new.

    Returns:
        [frames, thresholds, n] in [0, 1].
    """
    n = len(target)
    most = np.bincount(target.rows, minlength=n) + (numbers.stop > numbers.first).sum(1)
    best = np.zeros((len(frames), len(needed), n))
    limits = np.asarray(needed)[:, None]
    for node in nodes[np.argsort(nodes.sum(1), kind="stable")]:
        (own, others, *keys), size = groups(node, [target.known, source.known, *(frame.known for frame in frames)])
        weights = np.zeros((len(frames), n))
        least = np.bincount(own, minlength=size)[own]
        for weight, frame, key in zip(weights, frames, keys, strict=True):
            count = np.bincount(key, minlength=size)[own]
            if frame.complete:
                count = np.maximum(count, least)
            np.divide(1, count, out=weight, where=count > 0)
        better = (weights[:, None] > best) & (most >= limits)
        active = better.any((0, 1))
        if active.any():
            facts = learned(target, own, source, others, numbers, active)
            best = np.where(better & (facts >= limits), weights[:, None], best)
    return best


MOST = 16  # clusters of one number
SAMPLE = 1000  # values that choose how many; the silhouette needs all pairs


def centres(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the sorted centres of 2 to 16 k-means clusters of [n] values, those with the largest mean silhouette.

    With fewer than three distinct values each is a cluster. The centres are those of at most a thousand values.
    """
    drawn = rng.permutation(values)[:SAMPLE, None]
    distinct = np.unique(drawn)
    if len(distinct) < 3:
        return distinct
    best, found = -1.0, distinct[:0]
    for k in range(2, min(MOST, len(distinct) - 1) + 1):
        fitted = KMeans(k, n_init=1, random_state=int(rng.integers(2**31))).fit(drawn)
        score = float(silhouette_score(drawn, fitted.labels_))
        if score > best:
            best, found = score, np.sort(fitted.cluster_centers_[:, 0])
    return found


def cluster(values: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the nearest of the sorted ``centres`` for each of [n] values."""
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, values)
