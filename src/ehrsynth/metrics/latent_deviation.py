"""Latent deviation: do real and synthetic records fill the same regions of a common latent space?"""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from ehrsynth.layout import Records
from ehrsynth.metrics.latent_space import Moments, latent_space


def cluster_counts(
    real: Records, synthetic: Records, space: Moments | None, means: Tensor, k: int, seed: int
) -> NDArray[np.int64]:
    """Return how many records of R and of S fall into each of k clusters of a common latent space, [2, k].

    Pooled records, principal components up to 80 % of the variance by the p x p covariance,
    k-means with 10 seeded starts.

    Args:
        real: records of R.
        synthetic: records of S; as many as of R make the two sides equally certain.
        space: mean [p] and covariance [p, p] of both together, if they are known.
        means: [C], what to put for missing values.
        k: number of clusters, at most as many as records.
        seed: of the starts, below 2**32.
    """
    latent = latent_space((real, synthetic), means, space).project(real, synthetic).numpy()
    labels = _fitted(latent, k, starts=10, seed=seed).labels_
    sides = labels[: len(real)], labels[len(real) :]
    return np.stack([np.bincount(side, minlength=k).astype(np.int64) for side in sides])


def deviation(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return log2 of the mean over clusters of (share of real - 0.5)^2, at most -2.

    The two sides weigh the same whatever their sizes, so with equally many rows the share is the
    plain one. A perfect balance (the logarithm of 0) is floored at half a record off per cluster.

    Args:
        counts: [..., 2, k] records of R and of S in each cluster; empty clusters do not count.

    Returns:
        [...].
    """
    n = counts.sum(-1, keepdims=True)
    left, right = np.moveaxis(counts / n, -2, 0)
    both = left + right
    gap = np.divide(left, both, out=np.full_like(both, 0.5), where=both > 0) - 0.5
    mean = (gap**2).sum(-1) / (both > 0).sum(-1)
    return np.asarray(np.log2(np.maximum(mean, 0.25 / n.sum((-2, -1)) ** 2)))


def resampled(counts: NDArray[np.int64], draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return bootstrap counts [draws, 2, k]: records of each side drawn again, the clusters kept."""
    sides = [rng.multinomial(side.sum(), side / side.sum(), draws) for side in counts]
    return np.stack(sides, axis=1)


def elbow(real: Records, means: Tensor, most: int, seed: int) -> int:
    """Return the number of clusters at the elbow of R: where more of them stop to pay.

    The point of the curve of within-cluster sums of squares over 1 to ``most`` clusters that lies
    farthest below the straight line between its ends (Satopaa et al. 2011), in R's own latent space.

    Args:
        real: records of R, more than ``most``.
        means: [C], what to put for missing values.
        most: the largest number to try, at least 3.
        seed: of k-means, below 2**32.

    Returns:
        From 2 to ``most`` - 1.
    """
    latent = latent_space((real,), means).project(real).numpy()
    spread = np.array([_fitted(latent, k, starts=3, seed=seed).inertia_ for k in range(1, most + 1)])
    below = np.linspace(spread[0], spread[-1], most) - spread
    return int(below[1:-1].argmax()) + 2


def _fitted(latent: NDArray[np.float32], k: int, starts: int, seed: int) -> KMeans:
    with warnings.catch_warnings():  # fewer distinct records than clusters leave some clusters empty, which is fine
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        return KMeans(n_clusters=k, n_init=starts, random_state=seed).fit(latent)
