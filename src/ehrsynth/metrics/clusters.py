"""Clusters of one number, as many as the silhouette likes best."""

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

MOST = 16  # clusters
SAMPLE = 1000  # values that choose their number; the silhouette needs all pairs


def centres(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the sorted centres of 2 to 16 k-means clusters of [n] values, those with the largest mean silhouette.

    With fewer than three distinct values each is a cluster. The centres are those of at most a thousand values.
    """
    drawn = rng.permutation(values)[:SAMPLE, None]
    distinct = np.unique(drawn)
    if len(distinct) < 3:
        return distinct
    best, found = -1.0, distinct[:0]
    for k in range(2, min(MOST, len(distinct) - 1) + 1):
        fitted = KMeans(k, n_init=1, random_state=int(rng.integers(2**31))).fit(drawn)
        score = float(silhouette_score(drawn, fitted.labels_))
        if score > best:
            best, found = score, np.sort(fitted.cluster_centers_[:, 0])
    return found


def cluster(values: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the nearest of the sorted ``centres`` for each of [n] values."""
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, values)
