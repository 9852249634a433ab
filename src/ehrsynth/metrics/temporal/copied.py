"""Visits that repeat those of other patients: longest copied prefix, and runs that a single patient has."""

import numpy as np
from numpy.typing import NDArray

from ehrsynth.visits import Integers, Visits

Hashes = NDArray[np.uint64]
_ODD = np.uint64(0x9E3779B97F4A7C15)


def visit_hashes(visits: Visits) -> Hashes:
    """Return a number for the set of codes of each visit [V]: equal sets have equal ones, others with odds of 2^-64."""
    upto = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_mixed(visits.codes.astype(np.uint64) + np.uint64(1)))])
    return _mixed(upto[visits.code_offsets[1:]] - upto[visits.code_offsets[:-1]])


def prefix_hashes(visits: Visits) -> Hashes:
    """Return a number for the codes of each visit and of all visits before it, in their order [V]."""
    found = visit_hashes(visits)
    order = np.argsort(visits.number, kind="stable")
    edges = np.searchsorted(visits.number[order], np.arange(1, visits.per_patient.max(initial=0) + 1))
    for places in np.split(order, edges)[1:]:
        found[places] = _mixed(found[places - 1] * _ODD + found[places])
    return found


def longest_prefixes(visits: Visits, others: Visits) -> Integers:
    """Return how many visits each patient [n] shares with one patient of others, from the first on.

    Visits are the same if their sets of codes are; those without a code do not count.
    """
    copied = np.isin(prefix_hashes(visits), prefix_hashes(others)) & (visits.codes_per_visit > 0)
    return np.bincount(visits.patient[copied], minlength=len(visits))


def runs(visits: Visits, length: int) -> tuple[Hashes, Integers]:
    """Return a number for every run of ``length`` consecutive visits that all hold codes, and its patient, [K] each."""
    ends = np.flatnonzero(visits.number >= length - 1)
    hashes, filled = visit_hashes(visits), visits.codes_per_visit > 0
    found, whole = np.zeros(len(ends), np.uint64), np.ones(len(ends), dtype=bool)
    for back in reversed(range(length)):
        found = _mixed(found * _ODD + hashes[ends - back])
        whole &= filled[ends - back]
    return found[whole], visits.patient[ends[whole]]


def lone_runs(visits: Visits, length: int) -> Hashes:
    """Return the runs of visits that exactly one patient has; see ``runs``."""
    found, patients = runs(visits, length)
    once = np.unique(np.stack([found, patients.astype(np.uint64)], axis=1), axis=0)[:, 0] if len(found) else found
    keys, holders = np.unique(once, return_counts=True)
    return np.asarray(keys[holders == 1])


def _mixed(x: Hashes) -> Hashes:
    """Return the splitmix64 finaliser of each number (Steele, Lea and Flood, OOPSLA 2014); overflow is meant."""
    x = (x + _ODD).astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
