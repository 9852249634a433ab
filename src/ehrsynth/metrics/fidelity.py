"""Distances between the columns, and the pairs of columns, of two tables."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from torch import Tensor


def prevalence(bits: Tensor) -> Tensor:
    """Return the mean [B] of uint8 ``bits`` [n, B] in float64, exactly."""
    return bits.sum(0, dtype=torch.int64).to(torch.float64) / len(bits)


def absolute_prevalence_difference(real: Tensor, synthetic: Tensor) -> float:
    """Return the mean over columns of abs(prevalence_S - prevalence_R), in [0, 1]; both [B]."""
    return float((real - synthetic).abs().mean())


def nonzero_columns(real: Tensor, synthetic: Tensor) -> float:
    """Return the share of the columns that are non-zero in R and also in S; prevalences [B]."""
    return float((synthetic[real > 0] > 0).double().mean())


def wasserstein(real: Tensor, synthetic: Tensor) -> NDArray[np.float64]:
    """Return the 1-d Wasserstein distance of each column [C] between observed values only.

    Args:
        real: [n, C], NaN where missing.
        synthetic: [m, C] on the same scale.

    Returns:
        [C]; NaN for a column without any observed value on one side.
    """
    distances = np.full(real.shape[1], np.nan)
    for i, (u, v) in enumerate(zip(real.double().T.numpy(), synthetic.double().T.numpy(), strict=True)):
        u, v = u[~np.isnan(u)], v[~np.isnan(v)]
        if len(u) and len(v):
            distances[i] = wasserstein_distance(u, v)
    return distances


def correlation_distance(real: Tensor, synthetic: Tensor) -> float:
    """Return the mean over column pairs of abs(r_S - r_R), in [0, 2]; both [p, p], p at least 2."""
    rows, columns = torch.triu_indices(len(real), len(real), offset=1)
    return float((real - synthetic)[rows, columns].abs().mean())


def correlation_frobenius(real: Tensor, synthetic: Tensor) -> float:
    """Return ||corr_R - corr_S||_F / p^2 * 10^6, the form of the public benchmark code; both [p, p]."""
    return float(torch.linalg.matrix_norm(real - synthetic)) / len(real) ** 2 * 1e6


def concept_abundance(real: Tensor, synthetic: Tensor, bins: int = 20) -> float:
    """Return half the L1 distance of two codes-per-record histograms, in [0, 1].

    Args:
        real: [n] codes per record of R, at least two different numbers; its range makes the bins.
        synthetic: [m] of S; records outside the range count in the end bins.
        bins: number of equal bins.
    """
    low, high = int(real.min()), int(real.max())
    edges = np.linspace(low, high, bins + 1)
    shares = [np.histogram(counts.clamp(low, high).numpy(), edges)[0] / len(counts) for counts in (real, synthetic)]
    return float(0.5 * np.abs(shares[0] - shares[1]).sum())
