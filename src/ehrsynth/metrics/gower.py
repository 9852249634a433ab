"""Gower's distance between records of mixed columns (Gower, Biometrics 1971): every column weighs the same.

A 0/1 or categorical column adds 1 where the two differ, a number |x - y| on the scale where its
range is 1. A number missing on one side only adds 1, on both sides nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.metrics.neighbours import Points, References

TILE = 2**23  # distances held at a time


@dataclass(frozen=True)
class Mixed:
    """Records by the weight of their columns.

    Attributes:
        bits: uint8 [n, b], 0/1 columns, among them an indicator of a missing cell for every number.
        levels: uint8 [n, l], one-hot groups of categorical columns, each with exactly one set.
        values: float32 [n, c], those of R in [0, 1], NaN where missing.
    """

    bits: Tensor
    levels: Tensor
    values: Tensor

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, rows: Tensor | slice) -> "Mixed":
        return Mixed(self.bits[rows], self.levels[rows], self.values[rows])


class Gower:
    """Records prepared once for many distances."""

    def __init__(self, records: Mixed) -> None:
        self._bits = References(_doubled(records))
        self._values = np.ascontiguousarray(records.values.numpy().T)

    def distances(self, records: Mixed) -> NDArray[np.float32]:
        """Return [m, n], from each of ``records`` to each of these."""
        found: NDArray[np.float32] = self._bits.squared_distances(_doubled(records)).cpu().numpy()
        _halve_and_add(found, records.values.numpy(), self._values)
        return found

    def blocks(self, records: Mixed) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield ``distances`` of as many of ``records`` at a time as memory should hold, with their places."""
        size = max(TILE // self._values.shape[1], 1)
        for start in range(0, len(records), size):
            rows = slice(start, start + size)
            yield rows, self.distances(records[rows])


def _doubled(records: Mixed) -> Points:
    """Return points whose squared distance is twice Gower's: two levels differ where one category does."""
    bits = torch.cat([records.bits, records.bits, records.levels], dim=1)
    return Points(bits, records.values[:, :0])


@numba.njit(nogil=True, cache=True)
def _halve_and_add(out: NDArray[np.float32], left: NDArray[np.float32], right: NDArray[np.float32]) -> None:
    for i in range(len(out)):
        row = out[i]
        for j in range(len(row)):
            row[j] *= np.float32(0.5)
        for k in range(left.shape[1]):
            value = left[i, k]
            if not np.isnan(value):
                for j in range(len(row)):
                    gap = abs(value - right[k, j])
                    row[j] += gap if gap == gap else np.float32(0)
