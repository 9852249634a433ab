"""How often codes occur, together in a visit and one visit after another, as HALO counts them.

Theodorou, Xiao and Sun, Nature Communications 2023 (HALO): probabilities of codes, of pairs of a visit and of ordered
pairs of consecutive visits, compared by R2. Counts of pairs are kept sparse, under the key ``a * width + b``.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.metrics.temporal.content import code_matrix, later_visits, record_matrix
from ehrsynth.visits import Integers, Visits

FORMS = (
    "visit_unigram",
    "record_unigram",
    "visit_bigram",
    "record_bigram",
    "sequential_bigram",
    "record_sequential_bigram",
)
Cells = NDArray[np.float64]
PAIRS = 4_000_000  # of codes of consecutive visits that are written out at a time


class Counts(NamedTuple):
    """How often some keys were counted; all others never.

    Attributes:
        keys: [K], rising.
        counts: [K], above 0.
    """

    keys: Integers
    counts: Integers

    def at(self, keys: Integers) -> Integers:
        """Return the counts of other keys."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.counts[place], 0)


def added(parts: Iterable[Counts]) -> Counts:
    """Return the sum of several counts."""
    parts = list(parts)
    keys, place = np.unique(np.concatenate([part.keys for part in parts]), return_inverse=True)
    counts = np.zeros(len(keys), np.int64)
    np.add.at(counts, place, np.concatenate([part.counts for part in parts]))
    return Counts(keys, counts)


def size_of(form: str, visits: Visits) -> int:
    """Return what the counts of a form are divided by: visits m, patients with a visit n, or m - n."""
    patients = int((visits.per_patient > 0).sum())
    if form.startswith("record"):
        return patients
    return visits.count - patients if form.startswith("sequential") else visits.count


def count(form: str, visits: Visits, width: int) -> Counts:
    """Count the n-grams of one of ``FORMS``.

    ``unigram``: visits, or patients (``record``), that have a code; ``bigram``: that have two codes in one visit (a
    visit) or in any two of their visits (a record); ``sequential``: consecutive visits of which the earlier has a and
    the later b, where a may be b, and the patients with any.

    Args:
        form: one of ``FORMS``.
        visits: to count in.
        width: number of codes of the schema.
    """
    if form == "record_sequential_bigram":
        return _patients_with_sequence(visits, width)
    if form == "sequential_bigram":
        x, later = code_matrix(visits, width), later_visits(visits)
        return _counts(x[later - 1].T @ x[later], width)
    x = record_matrix(visits, width) if form.startswith("record") else code_matrix(visits, width)
    if form.endswith("bigram"):
        return _counts(sparse.triu(x.T @ x, k=1), width)
    counts = np.asarray(x.sum(axis=0, dtype=np.int64)).ravel()
    there = np.flatnonzero(counts)
    return Counts(there, counts[there])


def _counts(products: Any, width: int) -> Counts:
    found = sparse.coo_matrix(products)
    keys = found.row.astype(np.int64) * width + found.col
    order = np.argsort(keys)
    return Counts(keys[order], found.data[order].astype(np.int64))


def _patients_with_sequence(visits: Visits, width: int) -> Counts:
    found = [Counts(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for later in _blocks(visits, later_visits(visits)):
        before, after = visits.codes_per_visit[later - 1], visits.codes_per_visit[later]
        sizes = before * after
        pair = np.repeat(np.arange(len(later)), sizes)
        place = np.arange(len(pair)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        a = visits.codes[visits.code_offsets[later - 1][pair] + place // after[pair]].astype(np.int64)
        b = visits.codes[visits.code_offsets[later][pair] + place % after[pair]]
        patient = visits.patient[later] - visits.patient[later[0]]  # small, so that the keys stay within 64 bits
        once = np.unique(patient[pair] * width**2 + a * width + b)
        found.append(Counts(*np.unique(once % width**2, return_counts=True)))
    return added(found)


def _blocks(visits: Visits, later: Integers) -> Iterator[Integers]:
    """Yield runs of ``later`` visits of whole patients, with some ``PAIRS`` pairs of codes each."""
    upto = np.cumsum(visits.codes_per_visit[later - 1] * visits.codes_per_visit[later])
    patient, start = visits.patient[later], 0
    while start < len(later):
        done = upto[start - 1] if start else 0
        stop = max(int(np.searchsorted(upto, done + PAIRS, side="right")), start + 1)
        stop = int(np.searchsorted(patient, patient[stop - 1], side="right"))
        yield later[start:stop]
        start = stop


def frequent_sequences(counts: Counts, width: int, least: int) -> Integers:
    """Return the pairs a < b [P, 2] that consecutive visits have ``least`` times, in either order."""
    a, b = counts.keys // width, counts.keys % width
    keys, place = np.unique(np.minimum(a, b) * width + np.maximum(a, b), return_inverse=True)
    total = np.bincount(place, counts.counts, minlength=len(keys))
    frequent = keys[(total >= least) & (keys // width != keys % width)]
    return np.column_stack([frequent // width, frequent % width])


def asymmetry(counts: Counts, width: int, pairs: Integers) -> Integers:
    """Return how many more consecutive visits have a then b than b then a, of each of [P, 2] pairs."""
    first, second = pairs.T
    return counts.at(first * width + second) - counts.at(second * width + first)


def aligned(real: Counts, groups: Sequence[Counts]) -> tuple[Integers, Iterator[Integers]]:
    """Return the counts of R over the union of all keys [K], and those of S, then of S without each group.

    One vector at a time, since there may be millions of keys.
    """
    keys = np.unique(np.concatenate([real.keys, *(group.keys for group in groups)]))
    places = [np.searchsorted(keys, group.keys) for group in groups]

    def synthetic() -> Iterator[Integers]:
        total = np.zeros(len(keys), np.int64)
        for place, group in zip(places, groups, strict=True):
            total[place] += group.counts
        yield total
        for place, group in zip(places, groups, strict=True):
            left = total.copy()
            left[place] -= group.counts
            yield left

    return real.at(keys), synthetic()


def r2(real: Cells, synthetic: Cells) -> float:
    """Return 1 - sum (r - s)^2 / sum (r - mean r)^2, at most 1; 0 where the real ones do not vary and s differs.

    It is no squared correlation: it is not symmetric, and far below 0 where s is farther off than a constant.
    """
    residual, total = float(((real - synthetic) ** 2).sum()), float(((real - real.mean()) ** 2).sum())
    if total == 0:
        return 1.0 if residual == 0 else 0.0
    return 1 - residual / total


def correlation(left: Cells, right: Cells) -> float:
    """Return Pearson's r, 0 where a side does not vary or has fewer than two values."""
    if len(left) < 2:
        return 0.0
    x, y = left - left.mean(), right - right.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float(np.clip((x * y).sum() / scale, -1, 1)) if scale > 0 else 0.0
