"""How much more often one code follows another than by chance, by the time in between."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.metrics.temporal.content import code_matrix
from ehrsynth.visits import DAY, Integers, Visits

WINDOWS = (30, 90, 365)  # days; the last window has no end
NAMES = ("within 30 days", "31 to 90 days", "91 to 365 days", "after a year")
FURTHEST = 10  # visits between the two of a pair at most, or a patient of 500 visits would weigh as much as 100,000


@dataclass(frozen=True)
class Following:
    """Pairs of visits of one patient by the time between them; every array adds up over patients.

    Attributes:
        visits: [4], pairs of visits in each window.
        earlier, later: [4, k], pairs whose earlier (later) visit has a code.
        both: [4, k, k], pairs whose earlier visit has the first code and whose later visit the second.
    """

    visits: NDArray[np.float64]
    earlier: NDArray[np.float64]
    later: NDArray[np.float64]
    both: NDArray[np.float64]

    def log_lift(self) -> NDArray[np.float64]:
        """Return log of observed over expected pairs [4, k, k], with half a pair added to each count."""
        expected = (self.earlier[:, :, None] + 0.5) * (self.later[:, None, :] + 0.5) / (self.visits[:, None, None] + 1)
        return np.asarray(np.log((self.both + 0.5) / (expected + 0.5)))


def following(visits: Visits, width: int, codes: Integers) -> Following:
    """Count the pairs of visits of each patient, up to ``FURTHEST`` visits apart, for k ``codes``."""
    x = sparse.csr_matrix(code_matrix(visits, width)[:, codes])
    k, windows = len(codes), len(NAMES)
    counted, both = np.zeros(windows), np.zeros((windows, k, k))
    earlier, later = np.zeros((windows, k)), np.zeros((windows, k))
    for lag in range(1, FURTHEST + 1):
        second = np.flatnonzero(visits.number >= lag)
        if not len(second):
            break
        days = (visits.starts[second] - visits.starts[second - lag]) / DAY
        window = np.searchsorted(WINDOWS, days)
        for w in np.unique(window):
            places = second[window == w]
            before, after = x[places - lag], x[places]
            counted[w] += len(places)
            earlier[w] += np.asarray(before.sum(axis=0)).ravel()
            later[w] += np.asarray(after.sum(axis=0)).ravel()
            both[w] += (before.T @ after).toarray()
    return Following(counted, earlier, later, both)
