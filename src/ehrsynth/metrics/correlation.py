"""How columns go together in pairs."""

import math

import torch
from torch import Tensor

SUPPORT = 20  # records with both of two codes
ROUNDING = 1e-12  # of a float64 correlation; and the share of the mean square below which a variance is rounding


def correlation(mean: Tensor, covariance: Tensor) -> Tensor:
    """Return Pearson correlations [p, p]; all those of a constant column are 0, its own included."""
    scale = scales(mean, covariance.diagonal())
    return (covariance * torch.outer(scale, scale)).clamp(-1, 1)


def scales(mean: Tensor, variance: Tensor) -> Tensor:
    """Return one over the standard deviation of each column [p], 0 if it is constant."""
    varies = variance > ROUNDING * (variance + mean.square())
    return torch.where(varies, variance.clamp_min(0).rsqrt(), 0.0)


def related(correlations: Tensor, together: Tensor, n: int, binary: int, counts: Tensor | None = None) -> Tensor:
    """Return which pairs of columns of R are related beyond chance and often enough to tell, bool [b, p].

    A pair is related if abs(r_R) > 4 / sqrt(n). Two 0/1 columns also need at least 20
    records with both, seen or expected of independent columns.

    Args:
        correlations: [b, p] of R: the first b of p columns with all of them, usually b = p.
        together: [b, p] Gram matrix of R; of 0/1 columns, how many records have both.
        n: number of records.
        binary: how many leading columns are 0/1.
        counts: [p], how many records have each 0/1 column; needed if b is less than p.
    """
    counts = (together.diagonal() if counts is None else counts)[:binary]
    enough = torch.ones_like(correlations, dtype=torch.bool)
    expected = torch.outer(counts[: len(together)], counts) / n
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
    found = Differences()
    found.add(real, synthetic, pairs)
    return found.summaries(len(real))


class Differences:
    """What ``correlation_differences`` summarises, added up over bands of the matrices.

    Attributes:
        chosen: how many pairs were chosen, each of them counted in both orders.
    """

    def __init__(self) -> None:
        self.chosen = 0
        self._total = self._squares = self._of_chosen = 0.0
        self._norms: list[float] = []

    def add(self, real: Tensor, synthetic: Tensor, pairs: Tensor) -> None:
        """Add a band [b, w]: b columns with themselves, and with the w - b that follow, which count twice."""
        gap = (synthetic - real).abs_()
        gap[gap < ROUNDING] = 0  # the same rows, added up in another order
        b = len(gap)
        sides = [(gap[:, :b], pairs[:, :b], 1)] + [(gap[:, b:], pairs[:, b:], 2)] * (gap.shape[1] > b)
        for part, _, times in sides:
            self._norms += [float(torch.linalg.matrix_norm(part))] * times
        gap.fill_diagonal_(0)
        for part, some, times in sides:
            self.chosen += times * int(some.sum())
            self._of_chosen += times * float(part[some].sum())
            self._total += times * float(part.sum())
            self._squares += times * float(part.square().sum())

    def summaries(self, p: int) -> tuple[float, float, float, float]:
        """Return the four of ``correlation_differences`` for p columns."""
        count = p * (p - 1)
        frobenius = math.hypot(*self._norms) / p**2 * 1e6
        return self._total / count, (self._squares / count) ** 0.5, self._of_chosen / max(self.chosen, 1), frobenius
