"""Ranges of numbers, and pairs of which one is never the larger."""

import numpy as np
from numpy.typing import NDArray

from ehrsynth.constraints import AtMost, Range
from ehrsynth.data.wide import Wide
from ehrsynth.schema import Schema

LARGE = 100  # records with both numbers, before one is said to be the smaller
LEAST_EXPECTED = 20.0  # records of the other order, by chance
MOST = 5
SAMPLE = 5_000  # records that rule most pairs out


def plausible_ranges(schema: Schema, train: Wide) -> list[Range]:
    """Return the believable range of every number whose feature names one."""
    ranges = {column.name: train.specs[column.name].plausible for column in schema.columns if column.numeric}
    return [Range(name, float(range_[0]), float(range_[1])) for name, range_ in ranges.items() if range_ is not None]


def orders(schema: Schema, train: Wide) -> list[AtMost]:
    """Return pairs of numbers of one domain of which one is never above the other, where chance would turn them round.

    A pair counts if ``LARGE`` or more records have both numbers, always in that order, while ``LEAST_EXPECTED`` or more
    would have the other if the two were independent: of height and weight, say, the ranges alone tell the order. At
    most ``MOST`` pairs, those with most evidence first.
    """
    numeric = [column for column in schema.columns if column.numeric]
    cells = {column.name: train.cells[column.name].to_numpy(float, na_value=np.nan) for column in numeric}
    found = []
    for column in numeric:
        for other in numeric:
            if column.name != other.name and column.domain == other.domain:
                small, large = cells[column.name], cells[other.name]
                if (small[:SAMPLE] > large[:SAMPLE]).any() or (small > large).any():
                    continue
                both = int((~np.isnan(small) & ~np.isnan(large)).sum())
                expected = both * _chance_above(small, large) if both >= LARGE else 0.0
                if expected >= LEAST_EXPECTED:
                    found.append((-expected, column.name, other.name))
    return [AtMost(small, large) for _, small, large in sorted(found)[:MOST]]


def _chance_above(small: NDArray[np.float64], large: NDArray[np.float64]) -> float:
    """Return how often a value of ``small`` is above one of ``large``, each drawn alone."""
    ordered = np.sort(large[~np.isnan(large)])
    below = np.searchsorted(ordered, small[~np.isnan(small)], side="left")
    return float(below.mean() / len(ordered))
