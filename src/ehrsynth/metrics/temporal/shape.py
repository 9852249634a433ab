"""How many visits, how many codes, and how long between visits."""

import numpy as np
from numpy.typing import NDArray

from ehrsynth.metrics.temporal.content import later_visits
from ehrsynth.visits import DAY, Integers, Visits

Numbers = NDArray[np.float64]
NUMBERS = ("visit 1 to 2", "visit 2 to 3", "visit 3 to 4 and later")


def codes_per_record(visits: Visits) -> Integers:
    """Return how many codes the visits of each patient have together, [n]."""
    return np.bincount(visits.patient, visits.codes_per_visit, minlength=len(visits)).astype(np.int64)


def log_gaps(visits: Visits) -> Numbers:
    """Return log(1 + days) between the starts of consecutive visits, one per later visit."""
    return np.log1p(visits.gaps[later_visits(visits)])


def gap_number(visits: Visits) -> Integers:
    """Return which gap of its patient each is: a place in ``NUMBERS``."""
    return np.minimum(visits.number[later_visits(visits)], len(NUMBERS)) - 1


def kind_before(visits: Visits) -> Integers:
    """Return the kind of the visit before each gap."""
    return visits.kinds[later_visits(visits) - 1].astype(np.int64)


def log_spans(visits: Visits) -> Numbers:
    """Return log(1 + days) from the first to the last start of each patient of two visits or more."""
    several = np.flatnonzero(visits.per_patient > 1)
    first, last = visits.offsets[several], visits.offsets[several + 1] - 1
    return np.log1p((visits.starts[last] - visits.starts[first]) / DAY)
