"""What the figures of a report show, measured on the records of the three tables."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ehrsynth.bits import unpack
from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.subsets import code_columns
from ehrsynth.kinds import unscaled
from ehrsynth.layout import Records
from ehrsynth.metrics.correlation import correlation
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.moments import Moments
from ehrsynth.metrics.neighbours import Points, nearest
from ehrsynth.metrics.prevalence import prevalence
from ehrsynth.seeding import torch_rng

Array = NDArray[np.float64]
MOST_CORRELATED = 150  # columns of a heat map; more would be less than a pixel each
MOST_VALUES = 12  # panels of continuous columns
NEIGHBOUR_ROWS = 2000


@dataclass(frozen=True)
class Tables:
    """The same quantity in the three tables.

    Attributes:
        train, holdout, synthetic: arrays whose meaning the figure states.
    """

    train: Array
    holdout: Array
    synthetic: Array

    @classmethod
    def of(cls, real: RealData, synthetic: Records, measure: Callable[[Records], Array]) -> "Tables":
        """Measure R, H and S."""
        return cls(measure(real.train), measure(real.holdout), measure(synthetic))


def prevalences(real: RealData, synthetic: Records) -> Tables:
    """Return the prevalence of every 0/1 column in the three tables."""
    return Tables.of(real, synthetic, lambda records: prevalence(records.bits).numpy())


def correlations(real: RealData, synthetic: Records) -> list[Array]:
    """Return Pearson correlations of some encoded columns in R and S, streamed in blocks of rows."""
    frequent = prevalence(real.train.bits).argsort(descending=True)
    values = torch.arange(real.layout.values.start, real.layout.width)[:MOST_CORRELATED]
    columns = torch.cat([values, frequent[: MOST_CORRELATED - len(values)]])
    means = observed_means(real.train.values)
    found = []
    for records in (real.train, synthetic):
        moments = Moments(len(columns))
        for part in records.blocks(8192):
            points = Points.of(part, means)
            moments.update(torch.cat([unpack(points.bits).float(), points.values], dim=1)[:, columns])
        found.append(correlation(*moments.compute()).numpy())
    return found


def code_counts(real: RealData, synthetic: Records) -> Tables:
    """Return how many codes each record has."""
    codes = code_columns(real.schema, real.layout)
    return Tables.of(real, synthetic, lambda records: records.bits[:, codes].sum(1).double().numpy())


def own_units(real: RealData, synthetic: Records) -> tuple[dict[str, Tables], int]:
    """Return the first continuous and count columns in their own units, by label, and how many there are."""
    fields = real.layout.fields[real.layout.values]
    decoded: dict[str, Tables] = {}
    for place, field in enumerate(fields[:MOST_VALUES]):
        column = real.schema.by_name[field.column]
        label = column.label or column.name
        title = label if label not in decoded else f"{label} ({column.name})"
        decoded[title] = Tables(*(unscaled(column, t.values[:, place]) for t in (real.train, real.holdout, synthetic)))
    return decoded, len(fields)


def distances(real: RealData, synthetic: Records, seed: int) -> tuple[Array, Array, Array, int]:
    """Return squared distances to the nearest record: S to R, S to H, H to R; and how many rows of each were taken."""
    means = observed_means(real.train.values)
    # Chances of being near depend on how many rows there are to be near to, so R and H must be equally many.
    rows = min(NEIGHBOUR_ROWS, len(real.train), len(real.holdout))
    tables = {"train": real.train, "holdout": real.holdout, "synthetic": synthetic}
    train, holdout, drawn = (
        Points.of(records[torch.randperm(len(records), generator=torch_rng(seed, "figures", name))[:rows]], means)
        for name, records in tables.items()
    )
    pairs = ((drawn, train), (drawn, holdout), (holdout, train))
    to_train, to_holdout, baseline = (nearest(one, other)[0].double().numpy() for one, other in pairs)
    return to_train, to_holdout, baseline, rows
