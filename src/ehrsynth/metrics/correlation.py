"""How columns go together in pairs."""

import torch
from torch import Tensor

SUPPORT = 20  # records with both of two codes
ROUNDING = 1e-12  # of a float64 correlation; and the share of the mean square below which a variance is rounding


def correlation(mean: Tensor, covariance: Tensor) -> Tensor:
    """Return Pearson correlations [p, p]; all those of a constant column are 0, its own included."""
    variance = covariance.diagonal()
    varies = variance > ROUNDING * (variance + mean.square())
    scale = torch.where(varies, variance.clamp_min(0).rsqrt(), 0.0)
    return (covariance * torch.outer(scale, scale)).clamp(-1, 1)


def related(correlations: Tensor, together: Tensor, n: int, binary: int) -> Tensor:
    """Return which pairs of columns of R are related beyond chance and often enough to tell, bool [p, p].

    A pair is related if abs(r_R) > 4 / sqrt(n). Two 0/1 columns also need at least 20
    records with both, seen or expected of independent columns.

    Args:
        correlations: [p, p] of R.
        together: [p, p] Gram matrix of R; of 0/1 columns, how many records have both.
        n: number of records.
        binary: how many leading columns are 0/1.
    """
    counts = together.diagonal()[:binary]
    enough = torch.ones_like(correlations, dtype=torch.bool)
    expected = torch.outer(counts, counts) / n
    enough[:binary, :binary] = torch.maximum(together[:binary, :binary], expected) >= SUPPORT
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
