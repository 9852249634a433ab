"""Numbers as diffusion likes them: standard normal, every column, however skewed, tied or often missing it is."""

import torch
from torch import Tensor, nn
from torch.special import ndtr, ndtri

from ehrsynth.layout import Layout, Records
from ehrsynth.models.heads import observed
from ehrsynth.models.quantiles import GRID, places_of, quantiles, values_at

EDGE = 1e-4  # ranks nearer to 0 or 1 are moved here: scores lie within 3.7 of zero


class NormalScores(nn.Module):
    """Values to normal scores [n, C] and back.

    A score is the normal quantile of a value's rank among the training values. What many rows share (a count, zero)
    covers as many ranks as it has rows, and a row takes the middle of them, or draws one: then the scores of every
    column are normal, whatever the column is. What stands under a missing indicator has no rank among the others.

    Args:
        columns: number of value columns, C.
    """

    limit = float(ndtri(torch.tensor(1 - EDGE, dtype=torch.float64)))
    quantiles: Tensor  # [GRID, C], ascending

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("quantiles", torch.linspace(0, 1, GRID)[:, None].repeat(1, columns))

    def observe(self, train: Records) -> None:
        """Take quantiles of the observed values, as many as may leave the patients."""
        self.quantiles.copy_(quantiles(train))

    def forward(self, values: Tensor) -> Tensor:
        """Return scores [n, C] of values [n, C]; of shared ones that in their middle."""
        return score(self.rank(values, torch.full_like(values, 0.5)))

    def inverse(self, scores: Tensor) -> Tensor:
        """Return values [n, C] in [0, 1]; gradients pass."""
        return self.value(ndtr(scores))

    def rank(self, values: Tensor, share: Tensor) -> Tensor:
        """Return the share of training values below each, and this ``share`` of those that are as large."""
        first, last = (places_of(values, self.quantiles, right) for right in (False, True))
        return first.lerp(last, share).where(~values.isnan(), torch.nan)

    def value(self, rank: Tensor) -> Tensor:
        """Return the value of each rank."""
        return values_at(rank.nan_to_num(), self.quantiles).where(~rank.isnan(), torch.nan)


class NormalRecords(NormalScores):
    """The numbers of records as normal scores, where missing is one more value: it covers the ranks above all others.

    So every score is a value or missing, and neither ties nor gaps need a likelihood of their own.

    Args:
        layout: of the records.
    """

    gaps: Tensor  # [C], share of rows where the value is missing

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout.width - layout.values.start)
        self.layout = layout
        self.register_buffer("gaps", torch.zeros(layout.width - layout.values.start))

    def observe(self, train: Records) -> None:
        """Take quantiles of the observed values, and shares of missing ones."""
        super().observe(train)
        self.gaps.copy_(train.with_gaps().values.isnan().float().mean(0))

    def of(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return scores of records [n, p]; of shared values drawn, or without a generator those in their middle."""
        values = rows[:, self.layout.values]
        share = torch.full_like(values, 0.5)
        if generator is not None:
            share = torch.rand(values.shape, generator=generator, device=values.device)
        rank = self.rank(values, share) * (1 - self.gaps)
        return score(rank.lerp(1 - self.gaps * share, 1 - observed(self.layout, rows)))

    def back(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return values [n, C] in [0, 1], differentiable, and bool [n, C]: which of them are missing."""
        rank = ndtr(scores)
        return self.value((rank / (1 - self.gaps).clamp(min=EDGE)).clamp(0, 1)), rank > 1 - self.gaps

    def written(self, rows: Tensor, scores: Tensor, where: Tensor) -> Tensor:
        """Return records [n, p] with the numbers that scores [n, C] stand for, or that these are missing, ``where``."""
        (values, missing), binary = self.back(scores), rows[:, self.layout.binary]
        rows = torch.cat([binary, values.where(where, rows[:, self.layout.values])], dim=1)
        for bit, value in self.layout.missing_bits():
            rows[:, bit] = torch.where(where[:, value], missing[:, value].to(rows.dtype), rows[:, bit])
        return rows


class Centred(nn.Module):
    """Maps values from [0, 1] to [-1, 1], and back, in place of ranks; it learns nothing."""

    limit = 1.0

    def observe(self, train: Records) -> None:
        """Look at nothing."""

    def forward(self, values: Tensor) -> Tensor:
        """Return values in [-1, 1]."""
        return 2 * values - 1

    def inverse(self, centred: Tensor) -> Tensor:
        """Return values in [0, 1] of those in [-1, 1]."""
        return (centred + 1) / 2


def score(rank: Tensor) -> Tensor:
    """Return the normal quantiles of ranks."""
    scores: Tensor = ndtri(rank.clamp(EDGE, 1 - EDGE))
    return scores
