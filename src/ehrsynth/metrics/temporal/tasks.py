"""What is asked of a patient at a visit: what has been so far, what comes within days, how measurements went."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ehrsynth.visits import DAY, Integers, Visits

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

STATISTICS = ("last", "smallest", "largest", "slope", "measured")
SLOPE_RIDGE = 0.1  # window lengths squared: two values a day apart are no trend


class Scale(NamedTuple):
    """What is usual of each of k measurements.

    Attributes:
        centre: [k], mean; 0 of what is never measured.
        spread: [k], standard deviation; 1 where there is none.
    """

    centre: Numbers
    spread: Numbers

    @classmethod
    def of(cls, visits: Visits, measurements: int) -> "Scale":
        """Take it from the values of some visits."""
        n = np.bincount(visits.measured, minlength=measurements)
        centre = np.bincount(visits.measured, visits.values, measurements) / np.maximum(n, 1)
        squares = np.bincount(visits.measured, (visits.values - centre[visits.measured]) ** 2, measurements)
        spread = np.sqrt(squares / np.maximum(n, 1))
        return cls(centre, np.where(spread > 0, spread, 1.0))


def has_any(visits: Visits, codes: Integers) -> Flags:
    """Return whether each visit [V] has one of the codes."""
    found = np.zeros(visits.count, dtype=bool)
    found[visits.visit_of_code[np.isin(visits.codes, codes)]] = True
    return found


def so_far(visits: Visits, event: Flags) -> Flags:
    """Return whether this or an earlier visit of the patient is one of ``event``, all [V]."""
    counted = np.concatenate([[0], np.cumsum(event)])
    return np.asarray(counted[1:] > counted[visits.offsets[visits.patient]])


def comes_within(visits: Visits, event: Flags, days: float) -> Flags:
    """Return whether a later visit of the patient is one of ``event`` and starts within ``days`` of this one, [V]."""
    places = np.append(np.flatnonzero(event), visits.count)
    coming = places[np.searchsorted(places[:-1], np.arange(visits.count), side="right")]
    there = np.minimum(coming, max(visits.count - 1, 0))
    same = (coming < visits.count) & (visits.patient[there] == visits.patient)
    return np.asarray(same & (visits.starts[there] - visits.starts <= days * DAY))


def courses(visits: Visits, places: Integers, days: float, scale: Scale) -> Numbers:
    """Return what the measurements of the ``days`` up to each of some visits say, [m, 5 k].

    By ``STATISTICS``, each for the k measurements: the last, smallest and largest value in standard deviations from
    the mean, the slope of a line through them (deviations a window, with a ridge of ``SLOPE_RIDGE``), and whether there
    is any. Zero where there is none.

    Args:
        visits: all of them.
        places: [m], the visits that are asked about; their own values count.
        days: that the window is long.
        scale: of the k measurements.
    """
    k, m = len(scale.centre), len(places)
    row, visit = _windows(visits, places, days)
    counts = visits.values_per_visit[visit]
    held = np.repeat(np.arange(len(visit)), counts)
    value = (
        np.repeat(visits.value_offsets[visit], counts)
        + np.arange(len(held))
        - np.repeat(np.cumsum(counts) - counts, counts)
    )
    kind = visits.measured[value]
    cell = row[held] * k + kind
    z = (visits.values[value] - scale.centre[kind]) / scale.spread[kind]
    when = (visits.starts[visit] - visits.starts[places[row]])[held] / (days * DAY)
    n, t, total, tt, tz = (np.bincount(cell, w, m * k) for w in (np.ones(len(z)), when, z, when * when, when * z))
    last, smallest, largest = np.zeros(m * k), np.full(m * k, np.inf), np.full(m * k, -np.inf)
    last[cell] = z  # of several the latest, for they come in the order of time
    np.minimum.at(smallest, cell, z)
    np.maximum.at(largest, cell, z)
    some = np.maximum(n, 1)
    slope = (tz - t * total / some) / (tt - t * t / some + SLOPE_RIDGE)
    found = (last, np.where(n > 0, smallest, 0.0), np.where(n > 0, largest, 0.0), slope, np.minimum(n, 1.0))
    return np.concatenate([column.reshape(m, k) for column in found], axis=1)


def _windows(visits: Visits, places: Integers, days: float) -> tuple[Integers, Integers]:
    """Return the visits of the ``days`` up to each of ``places`` [m], and the row in 0 to m - 1 each is for."""
    first, begin = places.copy(), visits.offsets[visits.patient[places]]
    while True:
        before = np.maximum(first - 1, begin)
        further = (before < first) & (visits.starts[before] >= visits.starts[places] - days * DAY)
        if not further.any():
            break
        first[further] -= 1
    lengths = places - first + 1
    row = np.repeat(np.arange(len(places)), lengths)
    return row, np.repeat(first - np.cumsum(lengths) + lengths, lengths) + np.arange(len(row))
