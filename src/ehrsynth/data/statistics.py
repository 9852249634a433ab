"""Counts over rows, all that preparation learns from: those of two tables, added, are those of both together."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from ehrsynth.data.wide import Wide


@dataclass(frozen=True, eq=False)
class Statistics:
    """What is counted.

    Attributes:
        rows: how many there are.
        values: of every column that is no sparse code, each value and how many rows have it, ascending; numbers as
            floats, words as text, gaps not at all.
        codes: how many rows have each sparse code.
        together: of columns that are to be filled together, how many rows have a value in just these of them.
    """

    rows: int
    values: Mapping[str, "pd.Series[int]"]
    codes: "pd.Series[int]"
    together: Counter[frozenset[str]]

    @classmethod
    def of(cls, rows: Wide, related: Iterable[str] = ()) -> Self:
        """Count rows; ``related`` are the columns to be counted together."""
        words = {name for name, spec in rows.specs.items() if spec.kind == "categorical"}
        values = {name: _histogram(rows.cells[name], name in words) for name in rows.dense_names}
        codes = pd.Series(rows.codes.sum(axis=0, dtype=np.int64), index=list(rows.code_names), dtype=np.int64)
        there = rows.cells[list(dict.fromkeys(related))].notna()
        patterns, counts = np.unique(there.to_numpy(bool), axis=0, return_counts=True)
        together = {frozenset(there.columns[one]): int(n) for one, n in zip(patterns, counts, strict=True)}
        return cls(len(rows), values, codes, Counter(together))

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(
            self.rows + other.rows,
            {name: _sum(counts, other.values[name]) for name, counts in self.values.items()},
            _sum(self.codes, other.codes),
            self.together + other.together,
        )

    def gaps(self, name: str) -> int:
        """Return how many rows have no value in the column."""
        return self.rows - int(self.values[name].sum()) if name in self.values else 0

    def ones(self, name: str) -> int:
        """Return how many rows have a code: a 1, or any number above zero where codes are counted."""
        if name not in self.values:
            return int(self.codes.get(name, 0))
        counts = self.values[name]
        return int(counts[counts.index > 0].sum())

    def joint(self, names: Iterable[str]) -> int:
        """Return how many rows have a value in each of some related columns."""
        return sum(count for present, count in self.together.items() if present.issuperset(names))


def _histogram(cells: pd.Series, words: bool) -> "pd.Series[int]":
    if words:
        return cells.dropna().astype(str).value_counts().sort_index()
    values, counts = np.unique(cells.dropna().to_numpy(float), return_counts=True)
    return pd.Series(counts, index=values)


def _sum(one: "pd.Series[int]", other: "pd.Series[int]") -> "pd.Series[int]":
    return one.add(other, fill_value=0).astype(np.int64)
