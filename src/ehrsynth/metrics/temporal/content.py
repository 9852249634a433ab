"""What visits hold, as sparse matrices and as pairs of neighbouring visits."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.visits import Integers, Visits


def code_matrix(visits: Visits, width: int) -> sparse.csr_matrix:
    """Return which codes each visit has, int32 [V, width] of zeros and ones."""
    ones = np.ones(len(visits.codes), np.int32)
    return sparse.csr_matrix((ones, visits.codes, visits.code_offsets), shape=(visits.count, width))


def record_matrix(visits: Visits, width: int) -> sparse.csr_matrix:
    """Return which codes each patient has in any visit, int32 [n, width] of zeros and ones."""
    keys = np.unique(patient_of_code(visits) * width + visits.codes)
    ones = np.ones(len(keys), np.int32)
    return sparse.csr_matrix((ones, (keys // width, keys % width)), shape=(len(visits), width))


def patient_of_code(visits: Visits) -> Integers:
    """Return the patient of each code, [C]."""
    return visits.patient[visits.visit_of_code]


def later_visits(visits: Visits) -> Integers:
    """Return the places of the visits that follow another one of their patient, which is the place before."""
    return np.flatnonzero(visits.number > 0)


def has_next(visits: Visits) -> NDArray[np.bool_]:
    """Return whether another visit of the same patient follows, [V]."""
    follows = np.zeros(visits.count, dtype=bool)
    follows[later_visits(visits) - 1] = True
    return follows


def repeated(visits: Visits, width: int) -> NDArray[np.bool_]:
    """Return for each code [C] whether the visit before of the same patient has it as well."""
    keys = visits.visit_of_code * width + visits.codes
    return np.isin(keys, keys + width) & (visits.number > 0)[visits.visit_of_code]


def first_seen(visits: Visits, width: int) -> NDArray[np.bool_]:
    """Return for each code [C] whether no earlier visit of the same patient has it."""
    _, first = np.unique(patient_of_code(visits) * width + visits.codes, return_index=True)
    found = np.zeros(len(visits.codes), dtype=bool)
    found[first] = True
    return found


def most_common(visits: Visits, width: int, most: int) -> Integers:
    """Return at most ``most`` codes by the number of visits that have them, rising; never one that no visit has."""
    counts = np.bincount(visits.codes, minlength=width)
    return np.sort(np.argsort(-counts, kind="stable")[: min(most, int((counts > 0).sum()))])
