"""Records that equal one another exactly."""

import numpy as np
from numpy.typing import NDArray

from ehrsynth.metrics.neighbours import Points


def fingerprints(points: Points) -> NDArray[np.void]:
    """Return one opaque item per record [n]; two are equal if and only if all their cells are."""
    bits = np.packbits(points.bits.numpy(), axis=1)
    values = (points.values.numpy() + np.float32(0)).view(np.uint8)  # adding 0 makes -0.0 and 0.0 one
    rows = np.ascontiguousarray(np.hstack([bits, values.reshape(len(points), -1)]))
    return rows.view(np.dtype((np.void, rows.shape[1]))).ravel()


def copied(points: Points, originals: Points) -> int:
    """Return how many of ``points`` equal some record of ``originals``."""
    return int(np.isin(fingerprints(points), fingerprints(originals)).sum())
