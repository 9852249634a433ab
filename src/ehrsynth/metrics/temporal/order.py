"""Orders of events that cannot be."""

import numpy as np
from numpy.typing import NDArray

from ehrsynth.metrics.temporal.content import later_visits
from ehrsynth.visits import DAY, UNKNOWN, Visits

FAULTS = ("visit after death", "discharge before admission", "visit before birth", "overlapping stays")


def order_faults(visits: Visits) -> NDArray[np.bool_]:
    """Return which of ``FAULTS`` each patient has, [n, 4].

    A visit that starts within a day of death is none, since many sources write down the day alone. A stay overlaps if
    it starts before an earlier one of the patient has ended.
    """
    born, died = visits.born[visits.patient], visits.died[visits.patient]
    ended = np.where(visits.ends == UNKNOWN, visits.starts, visits.ends)
    overlaps = np.zeros(visits.count, dtype=bool)
    later = later_visits(visits)
    overlaps[later] = visits.starts[later] < ended[later - 1]  # the next visit does, if any later one does
    found = np.stack(
        [
            (died != UNKNOWN) & (visits.starts - DAY >= np.where(died == UNKNOWN, 0, died)),
            ended < visits.starts,
            (born != UNKNOWN) & (visits.starts < born),
            overlaps,
        ],
        axis=1,
    )
    faults = np.zeros((len(visits), len(FAULTS)), dtype=bool)
    np.logical_or.at(faults, visits.patient, found)
    return faults
