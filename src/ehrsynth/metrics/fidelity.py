"""Distances between the columns, and the pairs of columns, of two tables.

S may carry leading dimensions wherever an ellipsis stands: all its records, then without each group.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.bits import Cells, ones, unpack

Floats = NDArray[np.float64]

ROUNDING = 1e-12  # of a float64 correlation


def prevalence(bits: Cells) -> Tensor:
    """Return the mean [B] of uint8 ``bits`` [n, B] in float64, exactly."""
    return ones(bits).double() / len(bits)


def absolute_prevalence_difference(real: Floats, synthetic: Floats) -> Floats:
    """Return the mean over columns of abs(prevalence_S - prevalence_R), in [0, 1]; [B] and [..., B]."""
    return np.asarray(np.abs(synthetic - real).mean(-1))


def nonzero_columns(real: Floats, synthetic: Floats) -> Floats:
    """Return the share of the columns that are non-zero in R and also in S; prevalences [B] and [..., B]."""
    return np.asarray((synthetic[..., real > 0] > 0).mean(-1))


def related(correlations: Tensor, together: Tensor, n: int, binary: int, support: int = 20) -> Tensor:
    """Return which pairs of columns of R are related beyond chance and often enough to tell, bool [p, p].

    A pair is related if abs(r_R) > 4 / sqrt(n). Two 0/1 columns also need at least ``support``
    records with both, seen or expected of independent columns.

    Args:
        correlations: [p, p] of R.
        together: [p, p] Gram matrix of R; of 0/1 columns, how many records have both.
        n: number of records.
        binary: how many leading columns are 0/1.
        support: records that have both codes.
    """
    counts = together.diagonal()[:binary]
    enough = torch.ones_like(correlations, dtype=torch.bool)
    expected = torch.outer(counts, counts) / n
    enough[:binary, :binary] = torch.maximum(together[:binary, :binary], expected) >= support
    found: Tensor = enough & (correlations.abs() > 4 / n**0.5)
    found.fill_diagonal_(False)

    return found


def correlation_differences(real: Tensor, synthetic: Tensor, pairs: Tensor) -> tuple[float, float, float, float]:
    """Return four summaries of the difference of two correlation matrices, all [p, p], p at least 2.

    Returns:
        Mean over column pairs of abs(r_S - r_R), in [0, 2]; its root mean square; the mean over the
        chosen ``pairs`` (0 if there is none); and ||corr_R - corr_S||_F / p^2 * 10^6, the form of the
        public benchmark code, whose diagonal differs where a column is constant on one side.
    """
    p = len(real)
    gap = (synthetic - real).abs()
    gap[gap < ROUNDING] = 0  # the same rows, added up in another order
    frobenius = float(torch.linalg.matrix_norm(gap)) / p**2 * 1e6
    gap.fill_diagonal_(0)
    count = p * (p - 1)
    chosen = float(gap[pairs].sum()) / max(int(pairs.sum()), 1)
    return float(gap.sum()) / count, float(gap.square().sum() / count) ** 0.5, chosen, frobenius


def codes_per_record(bits: Cells, chosen: Tensor, block: int = 8192) -> Tensor:
    """Return how many of the chosen columns each record has, int64 [n]; ``chosen`` is float32 [B], 1 or 0."""
    parts = (unpack(bits[start : start + block]) for start in range(0, len(bits), block))
    return torch.cat([(part.float() @ chosen).long() for part in parts])


def abundance_edges(real: Tensor, bins: int = 20) -> Floats:
    """Return the edges [bins + 1] of equal bins of the range of codes per record [n] of R."""
    return np.linspace(int(real.min()), int(real.max()), bins + 1)


def abundance(counts: Tensor, edges: Floats) -> NDArray[np.int64]:
    """Return how many records fall into each bin [bins]; those outside the range count in the end bins."""
    return np.histogram(np.clip(counts.numpy(), edges[0], edges[-1]), edges)[0]


def abundance_as_published(counts: Tensor, edges: Floats) -> NDArray[np.int64]:
    """Return how many records of S the public code counts in each bin [bins].

    It takes floor(codes / width of a bin) as the bin and forgets that the first bin begins at the
    smallest number in R, so it is right only where that is 0. Beyond the last bin counts as the last.
    """
    bins = len(edges) - 1
    place = np.minimum(counts.numpy() / (edges[1] - edges[0]), bins - 1).astype(np.int64)
    return np.bincount(place, minlength=bins)


def half_l1(real: NDArray[Any], synthetic: NDArray[Any]) -> Floats:
    """Return half the L1 distance, in [0, 1], of two histograms of counts, [bins] and [..., bins]."""
    shares = synthetic / synthetic.sum(-1, keepdims=True)
    return np.asarray(np.abs(shares - real / real.sum()).sum(-1) / 2)
