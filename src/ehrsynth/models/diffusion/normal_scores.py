"""Numbers as diffusion likes them: standard normal, every column, however skewed, tied or often missing it is."""

import torch
from torch import Tensor, nn
from torch.special import ndtr, ndtri

from ehrsynth.layout import Layout, Records
from ehrsynth.models.quantiles import GRID, places_of, quantiles, values_at

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

    quantiles: Tensor  # [GRID, C], ascending
    gaps: Tensor  # [C], share of rows where the value is missing

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        columns = layout.width - layout.values.start
        self.values, self.pairs = layout.values, layout.missing_bits()
        self.register_buffer("quantiles", torch.linspace(0, 1, GRID)[:, None].repeat(1, columns))
        self.register_buffer("gaps", torch.zeros(columns))

    def observe(self, train: Records) -> None:
        """Take quantiles of the observed values, as many as may leave the patients, and shares of missing ones."""
        self.quantiles.copy_(quantiles(train))
        self.gaps.copy_(train.with_gaps().values.isnan().float().mean(0))

    def of(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return scores of records [n, p]; of shared values drawn, or without a generator those in their middle."""
        values = rows[:, self.values]
        share = torch.full_like(values, 0.5)
        if generator is not None:
            share = torch.rand(values.shape, generator=generator, device=values.device)
        first, last = (places_of(values, self.quantiles, right) for right in (False, True))
        rank = first.lerp(last, share).where(~values.isnan(), torch.nan) * (1 - self.gaps)
        rank = rank.lerp(1 - self.gaps * share, self._missing(rows))
        scores: Tensor = ndtri(rank.clamp(EDGE, 1 - EDGE))
        return scores

    def back(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return values [n, C] in [0, 1], differentiable, and bool [n, C]: which of them are missing."""
        rank = ndtr(scores.nan_to_num())
        places = (rank / (1 - self.gaps).clamp(min=EDGE)).clamp(0, 1)
        return values_at(places, self.quantiles), rank > 1 - self.gaps

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
