"""What of a column of numbers may travel with a model: quantiles that no few patients can be told from."""

import numpy as np
from numpy.typing import NDArray

from ehrsynth.disclosure import LEAST

GRID = 1_001  # quantiles kept of every value column, in steps of 0.1 %


def shared_quantiles(observed: NDArray[np.float32]) -> NDArray[np.floating]:
    """Return quantiles [GRID] of scaled values, without those that fewer than ``LEAST`` rows reach.

    Rows beyond lie evenly from there to the schema's bound.
    """
    places = np.linspace(0, 1, GRID)
    edge = min((LEAST - 1) / max(len(observed) - 1, 1), 0.5)
    found, (low, high) = np.quantile(observed, places), np.quantile(observed, (edge, 1 - edge))
    if observed.min() < low:
        found = np.where(places < edge, low * places / edge, found)
    if observed.max() > high:
        found = np.where(places > 1 - edge, 1 - (1 - high) * (1 - places) / edge, found)
    return found
