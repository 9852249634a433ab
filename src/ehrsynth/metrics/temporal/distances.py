"""How far records of visits are from one another: visit by visit, or as bags of codes."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.metrics.temporal.content import patient_of_code
from ehrsynth.visits import Integers, Visits

Distances = NDArray[np.int64]
BLOCK = 4_000_000  # distances held at a time


def hamming_nearest(visits: Visits, others: Visits, width: int) -> Distances:
    """Return the set-Hamming distance of each record [n] to the nearest of others (Theodorou et al. 2023, HALO).

    d = [the numbers of visits differ] + sum over t of |V_t minus V'_t| + |V'_t minus V_t|, visits aligned by their
    number; those beyond the shorter record count in full.
    """
    sides = [(table, table.number[table.visit_of_code] * width + table.codes) for table in (visits, others)]
    return _nearest(sides, differ=True)


def bag_nearest(visits: Visits, others: Visits) -> Distances:
    """Return sum over codes of |times in x - times in y| of each record [n] to the nearest of others."""
    return _nearest([(table, _times_before(table)) for table in (visits, others)], differ=False)


def _times_before(visits: Visits) -> Integers:
    """Return a key of each code and how often its patient had it before: the overlap of two bags is that of keys."""
    patient, codes = patient_of_code(visits), visits.codes.astype(np.int64)
    order = np.lexsort((codes, patient))  # stable
    grouped = np.stack([patient[order], codes[order]])
    begins = np.ones(len(codes), dtype=bool)
    begins[1:] = (np.diff(grouped, axis=1) != 0).any(0)
    start = np.maximum.accumulate(np.where(begins, np.arange(len(codes)), 0))
    times = np.empty(len(codes), np.int64)
    times[order] = np.arange(len(codes)) - start
    return codes + (times << 32)


def _nearest(sides: list[tuple[Visits, Integers]], differ: bool) -> Distances:
    """Return the least |x| + |y| - 2 |x and y| (+ 1 if their visits differ in number) for each patient of the first."""
    keys, place = np.unique(np.concatenate([keys for _, keys in sides]), return_inverse=True)
    places = np.split(place, [len(sides[0][1])])
    (x, left), (y, right) = (
        (
            sparse.csr_matrix(
                (np.ones(len(own), np.int32), (patient_of_code(table), own)), shape=(len(table), len(keys))
            ),
            table,
        )
        for (table, _), own in zip(sides, places, strict=True)
    )
    size_x, size_y = (np.asarray(side.sum(axis=1)).ravel() for side in (x, y))
    found, columns = np.empty(len(left), np.int64), sparse.csc_matrix(y.T)
    rows = max(BLOCK // max(len(right), 1), 1)
    for start in range(0, len(left), rows):
        part = slice(start, start + rows)
        distance = size_x[part, None] + size_y[None] - 2 * sparse.csr_matrix(x[part] @ columns).toarray()
        if differ:
            distance += left.per_patient[part, None] != right.per_patient[None]
        found[part] = distance.min(1)
    return found
