"""Squared distances between two tables in blocks of matrix products; no n x n matrix is ever held.

|x - y|^2 = |x|^2 + |y|^2 - 2 x.y. For the 0/1 columns every term is a whole number that float32
holds exactly, so equal records have distance 0 and ties are ties. The few value columns go through
float64 and are added.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ehrsynth.layout import Records
from ehrsynth.metrics.missing import filled

ROUNDING = 1e-10  # float64 rounding of a distance that is 0


@dataclass(frozen=True)
class Points:
    """Records without missing values.

    Attributes:
        bits: uint8 [n, B].
        values: float32 [n, C].
    """

    bits: Tensor
    values: Tensor

    @classmethod
    def of(cls, records: Records, means: Tensor) -> "Points":
        """Take the columns of ``records``, missing values filled with ``means`` [C]."""
        return cls(records.bits, filled(records.values, means))

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, rows: Tensor | slice) -> "Points":
        return Points(self.bits[rows], self.values[rows])

    def blocks(self, size: int) -> Iterator[tuple[slice, "Points"]]:
        """Yield consecutive blocks of rows with their places."""
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            yield rows, self[rows]


class References:
    """A block of points, prepared once for many products."""

    def __init__(self, points: Points) -> None:
        self._bits = _augmented(points.bits.float(), swap=True)
        self._values = _augmented(points.values.double(), swap=True)

    def squared_distances(self, points: Points) -> Tensor:
        """Return float32 [m, n]: from each of ``points`` to each of these."""
        distances = _augmented(points.bits.float()) @ self._bits.T
        if points.values.shape[1]:
            distances += (_augmented(points.values.double()) @ self._values.T).float()
        return distances


def _augmented(x: Tensor, swap: bool = False) -> Tensor:
    """Append norm and one (or one and norm, and -2 x) so that one product gives squared distances."""
    norm = x.square().sum(1, keepdim=True)
    one = torch.ones_like(norm)
    return torch.cat([-2 * x, one, norm] if swap else [x, norm, one], dim=1)


def nearest(left: Points, right: Points, block: int = 2048) -> tuple[Tensor, Tensor]:
    """Return the squared distance to the nearest record of the other table, for both tables, in one pass.

    Args:
        left: [n] points.
        right: [m] points of the same columns.
        block: rows of a square tile.

    Returns:
        float32 [n] and [m]; 0 exactly for equal records.
    """
    to_right = torch.full((len(left),), torch.inf)
    to_left = torch.full((len(right),), torch.inf)
    for columns, references in right.blocks(block):
        prepared = References(references)
        for rows, points in left.blocks(block):
            tile = prepared.squared_distances(points)
            to_right[rows] = torch.minimum(to_right[rows], tile.amin(1))
            to_left[columns] = torch.minimum(to_left[columns], tile.amin(0))
    for distances in (to_right, to_left):
        distances[distances < ROUNDING] = 0
    return to_right, to_left
