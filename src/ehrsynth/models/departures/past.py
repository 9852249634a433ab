"""What was before records."""

from typing import NamedTuple

import torch
from torch import Tensor


class Past(NamedTuple):
    """What was before each of n records, beside their own variables.

    Attributes:
        sums: [n, width], added to what the network reads.
        odds: [n, V], added to the log odds that variables depart.
        companions: int64 [V], the place of a code that is drawn before, and tells of the one here.
        beside: [n, 2, V], added to the log odds where that code is absent, and where it is present.
    """

    sums: Tensor
    odds: Tensor
    companions: Tensor
    beside: Tensor

    def of(self, rows: Tensor) -> "Past":
        """Return what was before some of the records."""
        return Past(self.sums[rows], self.odds[rows], self.companions, self.beside[rows])

    def told_by(self, x: Tensor, places: slice = slice(None)) -> Tensor:
        """Return what the codes of records x [n, V] add to the log odds [n, b] of those whose companions they are."""
        beside = self.beside[:, :, places]
        return torch.where(x[:, self.companions[places]] == 1, beside[:, 1], beside[:, 0])
