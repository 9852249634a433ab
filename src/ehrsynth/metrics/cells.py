"""Every column of a schema as counts of cells: the two values of a bit, the levels of a category, bins of a number."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ehrsynth.bits import ones
from ehrsynth.layout import Layout, Records

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
