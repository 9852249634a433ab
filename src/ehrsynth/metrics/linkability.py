"""Linkability: does a synthetic record join two halves of what is known about one patient?"""

import numpy as np
from numpy.typing import NDArray

from ehrsynth.metrics.gower import Gower, Mixed


def linked(targets: tuple[Mixed, Mixed], synthetic: tuple[Mixed, Mixed], neighbours: int = 1) -> NDArray[np.bool_]:
    """Return for each target [n] whether its nearest synthetic records on either side have one in common.

    Giomi et al., PoPETs 2023, section 5.2. Among records at the same distance the earlier ones in
    ``synthetic`` count as nearer, on both sides alike: shuffle them, and a target with the tied sets A
    and B is linked with the probability |A and B| / |A or B| (for one neighbour).

    Args:
        targets: the two sets of columns known about [n] patients.
        synthetic: the same columns of S [m].
        neighbours: k, how many on each side.
    """
    left, right = (_nearest(known, table, neighbours) for known, table in zip(targets, synthetic, strict=True))
    return np.asarray((left[:, :, None] == right[:, None, :]).any((1, 2)))


def _nearest(targets: Mixed, synthetic: Mixed, k: int) -> NDArray[np.intp]:
    k = min(k, len(synthetic))
    found = np.empty((len(targets), k), dtype=np.intp)
    for rows, distances in Gower(synthetic).blocks(targets):
        places = np.arange(len(distances))
        for rank in range(k):
            found[rows, rank] = distances.argmin(1)
            distances[places, found[rows, rank]] = np.inf
    return found
