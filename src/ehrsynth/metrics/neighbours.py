"""Squared distances between two tables in blocks; no n x n matrix is ever held.

On a CPU the 0/1 columns are packed into words (see ``packed``); on a GPU they go through a matrix
product, |x - y|^2 = |x|^2 + |y|^2 - 2 x.y, in which every term is a whole number that float32 holds
exactly. Either way the few value columns are subtracted one by one, so equal records have distance
0 and ties are ties.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ehrsynth.bits import Cells, unpack
from ehrsynth.layout import Records
from ehrsynth.metrics import packed
from ehrsynth.metrics.missing import filled


@dataclass(frozen=True)
class Points:
    """Records without missing values.

    Attributes:
        bits: uint8 [n, B], packed or not.
        values: float32 [n, C].
    """

    bits: Cells
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
    """Points prepared once for many distances.

    Args:
        points: [n].
        device: where to multiply matrices; by default the GPU, and without one words are compared on the CPU.
    """

    def __init__(self, points: Points, device: torch.device | None = None) -> None:
        if device is None and torch.cuda.is_available():
            device = torch.device("cuda")
        self._device = device
        if device is None:
            self._words = np.ascontiguousarray(packed.pack(points.bits).T)
            self._columns = np.ascontiguousarray(points.values.numpy().T)
        else:
            bits, norm, one = self._norms(points)
            self._bits = torch.cat([-2 * bits, one, norm], dim=1)
            self._values = points.values.to(device)

    def squared_distances(self, points: Points) -> Tensor:
        """Return float32 [m, n], on the device of the references: from each of ``points`` to each of these."""
        if self._device is None:
            values = np.ascontiguousarray(points.values.numpy())
            found = packed.squared_distances(packed.pack(points.bits), values, self._words, self._columns)
            return torch.from_numpy(found)
        distances = torch.cat(self._norms(points), dim=1) @ self._bits.T
        for left, right in zip(points.values.to(self._device).T, self._values.T, strict=True):
            distances += (left[:, None] - right).square()
        return distances

    def _norms(self, points: Points) -> tuple[Tensor, Tensor, Tensor]:
        bits = unpack(points.bits.to(self._device)).float()
        norm = bits.sum(1, keepdim=True)
        return bits, norm, torch.ones_like(norm)


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
            to_right[rows] = torch.minimum(to_right[rows], tile.amin(1).cpu())
            to_left[columns] = torch.minimum(to_left[columns], tile.amin(0).cpu())
    return to_right, to_left
