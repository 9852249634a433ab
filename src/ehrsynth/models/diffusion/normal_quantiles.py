"""Numbers made normal: a column's values by their ranks among training rows, and back."""

import torch
from torch import Tensor, nn
from torch.special import ndtr, ndtri

from ehrsynth.layout import Records
from ehrsynth.models.quantiles import GRID, places_of, quantiles, values_at

TAIL = 1e-4  # ranks nearer to an end than this are moved there, to 3.7 standard deviations


class NormalQuantiles(nn.Module):
    """Maps values to standard normal ones by a column's quantile function, and back; tied values to their middle rank.

    Values under a missing indicator do not count among the quantiles.

    Args:
        columns: number of value columns, C.
    """

    limit = float(ndtri(torch.tensor(1 - TAIL, dtype=torch.float64)))
    grid: Tensor  # [GRID, C]

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("grid", torch.linspace(0, 1, GRID)[:, None].repeat(1, columns))

    def observe(self, train: Records) -> None:
        """Take the quantiles of all training rows."""
        self.grid.copy_(quantiles(train))

    def forward(self, values: Tensor) -> Tensor:
        """Return normal values [n, C] of records' values [n, C]."""
        middle = (places_of(values, self.grid, right=False) + places_of(values, self.grid, right=True)) / 2
        normal: Tensor = ndtri(middle.clamp(TAIL, 1 - TAIL))
        return normal.where(~values.isnan(), values)

    def inverse(self, normal: Tensor) -> Tensor:
        """Return values [n, C] in [0, 1]; gradients pass."""
        return values_at(ndtr(normal.nan_to_num()), self.grid).where(~normal.isnan(), normal)


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
