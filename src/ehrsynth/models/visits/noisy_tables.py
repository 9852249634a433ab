"""Tables of counts that patients add to, and chances from them when they have noise.

What noise explains is left to what is usual: James and Stein, Estimation with quadratic loss, 1961.
"""

from dataclasses import dataclass, field
from math import log
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.models.noisy_looks import norm_sub
from ehrsynth.models.visits.counted import SOME, Counted
from ehrsynth.visits import Integers

PLAIN = 2  # deviations of the noise, that a count must exceed to be more than that


@dataclass(frozen=True, eq=False)
class Added:
    """What patients add to the counts of a table: each patient and cell once.

    Attributes:
        patients: int64 [k].
        cells: int64 [k].
        counts: int64 [k].
        shape: of the table.
        lengths: of what each patient adds [n].
    """

    patients: Integers = field(repr=False)
    cells: Integers = field(repr=False)
    counts: Integers = field(repr=False)
    shape: tuple[int, int]
    lengths: NDArray[np.float64] = field(repr=False)

    @classmethod
    def of(cls, table: Counted, n: int) -> Self:
        """Return it of a table of n patients."""
        size = table.shape[0] * table.shape[1]
        found, counts = np.unique(table.patients * size + table.cells, return_counts=True)
        patients, cells = np.divmod(found, max(size, 1))
        lengths = np.sqrt(np.bincount(patients, counts.astype(float) ** 2, minlength=n))
        return cls(patients, cells, counts, table.shape, lengths)

    def sums(self, weights: NDArray[np.float64]) -> Tensor:
        """Return the counts [I * J] of patients by their weights [n]."""
        size = self.shape[0] * self.shape[1]
        return torch.from_numpy(np.bincount(self.cells, self.counts * weights[self.patients], minlength=size)).double()


def without_tail(counts: Tensor, deviation: float) -> Tensor:
    """Return counts that are not negative, up to where noise explains all that is left."""
    left = counts.flip(0).cumsum(0).flip(0)
    told = left > PLAIN * deviation * torch.arange(len(counts), 0, -1).sqrt()
    told[0] = True
    found: Tensor = counts.clamp(min=0) * told.cumprod(0)
    return found


def shrunk(counts: Tensor, usual: Tensor, deviation: float) -> Tensor:
    """Return counts [I, J], of each row as far from the usual ones as noise does not explain."""
    beyond = counts - usual
    explained = counts.shape[1] * deviation**2
    found: Tensor = usual + beyond * (1 - explained / beyond.square().sum(1, keepdim=True).clamp(min=1e-9)).clamp(min=0)
    return found


def row_shares(counts: Tensor, deviation: float, usual: Tensor) -> Tensor:
    """Return the share of each column [I, J] in each row, near the usual ones [J] or [I, J] where noise is large."""
    totals = counts.sum(1, keepdim=True).clamp(min=0)
    near = shrunk(counts, totals * usual, deviation)
    kept = [norm_sub(row, float(total)) for row, total in zip(near, totals, strict=True)]
    found = (torch.stack(kept) if kept else near) + SOME * counts.shape[1] * usual
    shares: Tensor = found / found.sum(1, keepdim=True)
    return shares


def shares(counts: Tensor, deviation: float, usual: Tensor) -> Tensor:
    """Return the share of each column [I, J] in each row, near that in all rows, and that near the usual one [J]."""
    every = row_shares(counts.sum(0, keepdim=True), len(counts) ** 0.5 * deviation, usual)
    return row_shares(counts, deviation, every)


def plain(counts: Tensor, deviation: float) -> Tensor:
    """Return counts of codes [V] of about the same sum, in which those that noise hides are alike.

    Rare codes are many, so one is told only as far as the noise of none of them reaches: Donoho and Johnstone, 1994.
    """
    hidden = 2 * log(max(len(counts), 2)) * deviation**2
    kept = (1 - hidden / counts.clamp(min=1e-9).square()).clamp(min=0)
    total = counts.sum()
    total = total * (1 - len(counts) * deviation**2 / total.square().clamp(min=1e-9)).clamp(min=0)
    left = (total - (kept * counts).sum()).clamp(min=0)
    return kept * counts + (1 - kept) * left / (1 - kept).sum().clamp(min=1e-9)
