"""Latent deviation: do real and synthetic records fill the same regions of a common latent space?"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor

from ehrsynth.layout import Records
from ehrsynth.metrics.missing import filled
from ehrsynth.metrics.moments import moments

EXPLAINED = 0.8  # share of the variance that the latent space keeps


def principal_axes(covariance: Tensor, explained: float = EXPLAINED) -> Tensor:
    """Return the fewest leading eigenvectors [p, d] that explain at least ``explained`` of the variance."""
    variances, axes = torch.linalg.eigh(covariance)
    variances, axes = variances.flip(0).clamp_min(0), axes.flip(1)
    reached = variances.cumsum(0) / variances.sum()
    kept: Tensor = axes[:, : int((reached < explained - 1e-12).sum()) + 1]
    return kept


def project(table: Records, mean: Tensor, axes: Tensor, means: Tensor, block: int = 8192) -> Tensor:
    """Return the latent coordinates [n, d] of the records in float32."""
    offset = (mean @ axes).float()
    parts = []
    for start in range(0, len(table), block):
        part = table[start : start + block]
        parts.append(torch.cat([part.bits.float(), filled(part.values, means)], 1) @ axes.float() - offset)
    return torch.cat(parts)


def cluster_deviation(real: NDArray[np.integer], synthetic: NDArray[np.integer], k: int) -> float:
    """Return log2 of the mean over clusters of (share of real - 0.5)^2.

    The two sides weigh the same whatever their sizes, so with equally many rows the share is the
    plain one. A perfect balance (the logarithm of 0) is floored at half a record off per cluster.

    Args:
        real: cluster of each record of R.
        synthetic: cluster of each record of S.
        k: number of clusters; empty ones do not count.
    """
    left = np.bincount(real, minlength=k) / len(real)
    right = np.bincount(synthetic, minlength=k) / len(synthetic)
    used = left + right > 0
    deviation = float(np.mean((left[used] / (left[used] + right[used]) - 0.5) ** 2))
    return math.log2(max(deviation, 0.25 / (len(real) + len(synthetic)) ** 2))


def latent_deviation(real: Records, synthetic: Records, means: Tensor, k: int, seed: int) -> float:
    """Return the latent deviation of two tables (at most -2; the floor falls with the number of records).

    Pooled records, principal components up to 80 % of the variance by the p x p covariance,
    k-means with 10 seeded starts.

    Args:
        real: records of R.
        synthetic: records of S; as many as of R make the two sides equally certain.
        means: [C], what to put for missing values.
        k: number of clusters.
        seed: of the starts, below 2**32.
    """
    mean, covariance = moments(real, synthetic, means=means)
    axes = principal_axes(covariance)
    latent = torch.cat([project(table, mean, axes, means) for table in (real, synthetic)]).numpy()
    labels = KMeans(n_clusters=k, n_init=10, random_state=seed).fit_predict(latent)
    return cluster_deviation(labels[: len(real)], labels[len(real) :], k)
