"""Numbers made normal: a column's values by their ranks among training rows, and back."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.special import ndtr, ndtri

from ehrsynth.layout import Records
from ehrsynth.models.shared_quantiles import GRID, shared_quantiles

TAIL = 1e-4  # ranks nearer to an end than this are moved there, to 3.7 standard deviations


class NormalQuantiles(nn.Module):
    """Maps values to standard normal ones by a column's quantile function, and back; tied values to their middle rank.

    Values under a missing indicator do not count.

    Args:
        columns: number of value columns, C.
    """

    limit = float(ndtri(torch.tensor(1 - TAIL, dtype=torch.float64)))
    knots: Tensor  # [C, GRID], at even ranks from 0 to 1

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("knots", torch.linspace(0, 1, GRID).repeat(columns, 1))

    def observe(self, train: Records) -> None:
        """Take the quantiles of all training rows."""
        for column, values in enumerate(train.with_gaps().values.T.numpy()):
            seen = values[~np.isnan(values)]
            if len(seen):
                self.knots[column] = torch.from_numpy(shared_quantiles(seen))

    def forward(self, values: Tensor) -> Tensor:
        """Return normal values [n, C] of records' values [n, C]."""
        x, knots, last = values.T.contiguous(), self.knots, GRID - 1
        above = torch.searchsorted(knots, x, right=True).clamp(1, last)  # between the knot before it and it
        below = torch.searchsorted(knots, x).clamp(1, last)
        high = above - 1 + _fraction(x, knots.gather(1, above - 1), knots.gather(1, above))
        low = below - 1 + _fraction(x, knots.gather(1, below - 1), knots.gather(1, below))
        high = torch.where(x >= knots[:, -1:], float(last), high)
        low = torch.where(x <= knots[:, :1], 0.0, low)
        return ndtri(((low + high) / (2 * last)).clamp(TAIL, 1 - TAIL)).T

    def inverse(self, normal: Tensor) -> Tensor:
        """Return values [n, C] in [0, 1]; gradients pass."""
        at = ndtr(normal.T) * (GRID - 1)
        before = at.detach().floor().clamp(0, GRID - 2).nan_to_num(0).long()
        return torch.lerp(self.knots.gather(1, before), self.knots.gather(1, before + 1), at - before).T


class Centred(nn.Module):
    """Maps values from [0, 1] to [-1, 1], and back; it learns nothing."""

    limit = 1.0

    def observe(self, train: Records) -> None:
        """Look at nothing."""

    def forward(self, values: Tensor) -> Tensor:
        """Return values in [-1, 1]."""
        return 2 * values - 1

    def inverse(self, centred: Tensor) -> Tensor:
        """Return values in [0, 1] of those in [-1, 1]."""
        return (centred + 1) / 2


def _fraction(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return where x lies from low, 0, to high, 1; between equal ones, 0."""
    return (x - low) / (high - low).clamp_min(torch.finfo(x.dtype).tiny)
