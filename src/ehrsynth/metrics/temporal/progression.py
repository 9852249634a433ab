"""How a record grows: codes by visit number, and how many of them the visits before have had already."""

import numpy as np
from numpy.typing import NDArray

from ehrsynth.metrics.temporal.content import first_seen, has_next, repeated
from ehrsynth.visits import Visits

POSITIONS = ("first visit", "second visit", "third visit", "fourth visit and later", "last visit")
SHARES = ("already_there", "kept", "new")


def codes_by_position(visits: Visits) -> NDArray[np.int64]:
    """Return codes and visits [2, 5] at each of ``POSITIONS``, of patients with two visits or more.

    A last visit counts at its number and as the last one.
    """
    several = visits.per_patient[visits.patient] > 1
    place = np.minimum(visits.number, 3)[several]
    codes = visits.codes_per_visit[several]
    last = (~has_next(visits))[several]
    counted = np.bincount(place, minlength=4), np.bincount(place, codes, minlength=4)
    return np.array([[*counted[1], codes[last].sum()], [*counted[0], last.sum()]], dtype=np.int64)


def shares(visits: Visits, width: int) -> NDArray[np.int64]:
    """Return codes counted, and out of how many [2, 3], for each of ``SHARES``.

    ``already_there``: codes of a later visit that the visit before has too; ``kept``: codes of a visit with a
    successor that the successor has too; ``new``: codes of a later visit that no earlier visit of the patient has.
    """
    again = int(repeated(visits, width).sum())
    later = (visits.number > 0)[visits.visit_of_code]
    new = int((first_seen(visits, width) & later).sum())
    later_codes, earlier_codes = int(later.sum()), int(visits.codes_per_visit[has_next(visits)].sum())
    return np.array([[again, again, new], [later_codes, earlier_codes, later_codes]], dtype=np.int64)


def persistence(visits: Visits, width: int) -> NDArray[np.int64]:
    """Return of each code [2, width] how many visits with a successor have it, and in how many that has it too."""
    follows = has_next(visits)[visits.visit_of_code]
    there = np.bincount(visits.codes[follows], minlength=width)
    return np.stack([there, np.bincount(visits.codes[repeated(visits, width)], minlength=width)])


def weighted_r2(real: NDArray[np.float64], synthetic: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return 1 - sum w (r - s)^2 / sum w (r - weighted mean of r)^2; 0 where r does not vary and s differs."""
    middle = np.average(real, weights=weights)
    residual = float((weights * (real - synthetic) ** 2).sum())
    total = float((weights * (real - middle) ** 2).sum())
    if total == 0:
        return 1.0 if residual == 0 else 0.0
    return 1 - residual / total
