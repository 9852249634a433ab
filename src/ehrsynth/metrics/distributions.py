"""How columns are distributed: cells and empirical distribution functions, and how far two of them are apart.

The cells of all columns lie side by side in one vector, and ``starts`` [columns] says where each column
begins. A divergence takes the cells of R [cells] and of S [..., cells] and gives one number per column
[..., columns]; the leading dimensions of S are all its records, then without each group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from ehrsynth.bits import ones
from ehrsynth.layout import Layout, Records
from ehrsynth.metrics.replicates import replicates

BINS = 20  # equal bins of R's range; two more hold what is missing and what lies outside the range


@dataclass(frozen=True)
class ColumnCells:
    """The cells of each schema column, side by side: bits, then categorical columns, then numbers.

    A bit has the cells 1 and 0; a categorical column its levels (the missing one included) and a cell for
    records with none of them; a number 20 bins of R's range, missing, outside. The missing indicator of a
    number is its missing cell, and no column of its own.

    Attributes:
        layout: of the records.
        low, high: float64 [C], the range of each number in R; NaN for one that R never observes.
    """

    layout: Layout
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, real: Records) -> "ColumnCells":
        """Take the ranges of R."""
        values = real.values.double().numpy()
        seen = ~np.isnan(values)
        low = np.where(seen, values, np.inf).min(0, initial=np.inf)
        high = np.where(seen, values, -np.inf).max(0, initial=-np.inf)
        empty = ~seen.any(0)
        return cls(real.layout, np.where(empty, np.nan, low), np.where(empty, np.nan, high))

    @cached_property
    def names(self) -> list[str]:
        """The schema columns in the order of their cells."""
        bits = [field.column for field in self.layout.fields if field.kind == "bit"]
        return [*bits, *self.layout.groups, *self.layout.names[self.layout.values]]

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """Where the cells of each column begin."""
        bits = sum(field.kind == "bit" for field in self.layout.fields)
        levels = [group.stop - group.start + 1 for group in self.layout.groups.values()]
        widths = [2] * bits + levels + [BINS + 2] * len(self.low)
        return np.cumsum([0, *widths[:-1]])

    def count(self, records: Records) -> NDArray[np.int64]:
        """Return how many records fall into each cell [cells]; every column adds up to all records."""
        n, counts = len(records), ones(records.bits).numpy()
        bits = counts[[i for i, field in enumerate(self.layout.fields) if field.kind == "bit"]]
        found = [np.column_stack([bits, n - bits]).ravel()]
        for group in self.layout.groups.values():
            found.append(np.append(counts[group], n - records.bits[:, group].numpy().any(1).sum()))
        return np.concatenate([*found, self._numbers(records.values.double().numpy())])

    def _numbers(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        width = np.where(self.high > self.low, self.high - self.low, 1.0)
        missing = np.isnan(values)
        outside = ~missing & ~((values >= self.low) & (values <= self.high))
        scaled = np.where(missing | outside, 0.0, (values - self.low) / width)
        bins = np.minimum((scaled * BINS).astype(np.int64), BINS - 1)
        bins[missing], bins[outside] = BINS, BINS + 1
        size = BINS + 2
        return np.bincount((bins + np.arange(len(self.low)) * size).ravel(), minlength=size * len(self.low))


Cells = NDArray[np.float64]
Starts = NDArray[np.intp]


def shares(counts: Cells, starts: Starts) -> Cells:
    """Return counts [..., cells] as shares of their column; a column must have counted something."""
    widths = np.diff(np.append(starts, counts.shape[-1]))
    return np.asarray(counts / np.repeat(np.add.reduceat(counts, starts, axis=-1), widths, axis=-1))


def js_divergence(real: Cells, synthetic: Cells, starts: Starts) -> Cells:
    """Return the Jensen-Shannon divergence of shares in bits, in [0, 1], per column (Lin 1991, equation 3.8)."""
    middle = (real + synthetic) / 2
    parts = (rel_entr(real, middle) + rel_entr(synthetic, middle)) / (2 * np.log(2))
    return np.clip(np.add.reduceat(parts, starts, axis=-1), 0.0, 1.0)  # rounding


def kl_divergence(real: Cells, synthetic: Cells, starts: Starts) -> Cells:
    """Return KL(R || S) of counts in nats per column, with half a record added to each cell of both; never negative."""
    parts = rel_entr(shares(real + 0.5, starts), shares(synthetic + 0.5, starts))
    return np.maximum(np.add.reduceat(parts, starts, axis=-1), 0.0)


def total_variation(real: Cells, synthetic: Cells, starts: Starts) -> Cells:
    """Return half the L1 distance of the shares, in [0, 1], per column; of two cells, the difference of one."""
    return np.asarray(np.add.reduceat(np.abs(real - synthetic), starts, axis=-1) / 2)


class Distances(NamedTuple):
    """Two distances for all records of S and without each group of them, each [1 + g]."""

    wasserstein: NDArray[np.float64]
    ks: NDArray[np.float64]


def ecdf_distances(real: NDArray[np.floating], groups: Sequence[NDArray[np.floating]]) -> Distances | None:
    """Return the 1-d Wasserstein distance and the Kolmogorov-Smirnov statistic.

    W = integral of |F_R - F_S| (Vallender 1974) and D = max |F_R - F_S|, both exact, from one sort.
    NaN is no observation and is left out.

    Args:
        real: [n] values of R.
        groups: the values of S in g groups, on the same scale.

    Returns:
        None if a side has no observed value. A group that holds all observed values of S cannot be
        left out; its place repeats the distance of all.
    """
    cells = [real, *groups]
    observed = [x[~np.isnan(x)].astype(np.float64) for x in cells]
    if not len(observed[0]) or not sum(map(len, observed[1:])):
        return None
    points, place = np.unique(np.concatenate(observed), return_inverse=True)
    owner = np.repeat(np.arange(len(cells)), [len(x) for x in observed])
    counts = np.bincount(owner * len(points) + place, minlength=len(cells) * len(points))
    below = counts.reshape(len(cells), -1).cumsum(1)
    synthetic = replicates(below[1:])
    size = synthetic[:, -1:]
    gap = np.abs(synthetic / np.maximum(size, 1) - below[0] / below[0, -1])
    gap[size[:, 0] == 0] = gap[0]
    return Distances(gap[:, :-1] @ np.diff(points), gap.max(1))
