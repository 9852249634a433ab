"""Numbers as diffusion likes them: standard normal, every column, however skewed, tied or often missing it is."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from ehrsynth.layout import Layout, Records
from ehrsynth.models.shared_quantiles import GRID, shared_quantiles

EDGE = 1e-4  # ranks nearer to 0 or 1 are moved here: scores lie within 3.7 of zero


class NormalScores(nn.Module):
    """Values and their missing indicators to normal scores [n, C] and back.

    A score is the normal quantile of a value's rank among the training values. What many rows share (a count, zero)
    covers as many ranks as it has rows, and a row draws one of them; that a value is missing covers the ranks above all
    values. So the scores of every column are normal, whatever the column is, and every score is a value or missing:
    neither ties nor gaps need a likelihood of their own.

    Args:
        layout: of the records.
    """

    quantiles: Tensor  # [C, GRID], ascending
    gaps: Tensor  # [C], share of rows where the value is missing

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        columns = layout.width - layout.values.start
        self.values, self.pairs = layout.values, layout.missing_bits()
        self.register_buffer("quantiles", torch.linspace(0, 1, GRID).repeat(columns, 1))
        self.register_buffer("gaps", torch.zeros(columns))

    def observe(self, train: Records) -> None:
        """Take quantiles of the observed values, as many as may leave the patients, and shares of missing ones."""
        for i, column in enumerate(train.with_gaps().values.T.numpy()):
            observed = column[~np.isnan(column)]
            self.gaps[i] = 1 - len(observed) / len(column)
            if len(observed):
                self.quantiles[i] = torch.from_numpy(shared_quantiles(observed))

    def of(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return scores of records [n, p]; of shared values drawn, or without a generator those in their middle."""
        values = rows[:, self.values].T.contiguous()
        first = torch.searchsorted(self.quantiles, values)  # of the quantiles at or above
        after = torch.searchsorted(self.quantiles, values, right=True)  # of those above
        below, above = (first - 1).clamp(min=0), first.clamp(max=GRID - 1)
        low, high = self.quantiles.gather(1, below), self.quantiles.gather(1, above)
        between = below + ((values - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
        share = torch.full_like(values, 0.5)
        if generator is not None:
            share = torch.rand(values.shape, generator=generator, device=values.device)
        place = torch.where(after > first, first + share * (after - 1 - first), between)
        rank = place.T / (GRID - 1) * (1 - self.gaps)
        rank = rank.lerp(1 - self.gaps * share.T, self._missing(rows))
        return math.sqrt(2) * torch.erfinv(2 * rank.clamp(EDGE, 1 - EDGE) - 1)

    def back(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return values [n, C] in [0, 1], differentiable, and bool [n, C]: which of them are missing."""
        rank = 0.5 * (1 + torch.erf(scores / math.sqrt(2)))
        place = (rank / (1 - self.gaps).clamp(min=EDGE)).clamp(0, 1) * (GRID - 1)
        below = place.detach().long().clamp(0, GRID - 2).T
        low, high = self.quantiles.gather(1, below).T, self.quantiles.gather(1, below + 1).T
        return torch.lerp(low, high, place - below.T), rank > 1 - self.gaps

    def written(self, rows: Tensor, scores: Tensor, where: Tensor) -> Tensor:
        """Return records [n, p] with the numbers that scores [n, C] stand for, or that these are missing, ``where``."""
        values, missing = self.back(scores)
        rows = torch.cat([rows[:, : self.values.start], values.where(where, rows[:, self.values])], dim=1)
        for bit, value in self.pairs:
            rows[:, bit] = torch.where(where[:, value], missing[:, value].to(rows.dtype), rows[:, bit])
        return rows

    def _missing(self, rows: Tensor) -> Tensor:
        missing = rows.new_zeros(len(rows), len(self.gaps))
        for bit, value in self.pairs:
            missing[:, value] = rows[:, bit]
        return missing
