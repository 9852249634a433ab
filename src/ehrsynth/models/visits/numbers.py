"""Numbers of visits, such as gaps in days, as ranges of equal share, and drawn within a range by their law there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ehrsynth.disclosure import shared_bounds
from ehrsynth.kinds import scaled
from ehrsynth.layout import Layout, Records
from ehrsynth.models.law import KNOTS, law_of
from ehrsynth.models.quantiles import places_of, values_at
from ehrsynth.models.states import edges_of
from ehrsynth.schema import Column, Schema
from ehrsynth.visits import Integers


@dataclass(frozen=True, eq=False)
class Observed:
    """A number as training visits have it.

    Attributes:
        values: [k], all that were observed.
        patients: [k], whose they are.
        decimals: digits after the point.
        bounds: the smallest and largest that may be told; by default those that ten patients share.
    """

    values: NDArray[np.floating[Any]] = field(repr=False)
    patients: Integers = field(repr=False)
    decimals: int
    bounds: tuple[float, float] | None = None


class Numbers(nn.Module):
    """The ranges of some numbers, see ``law`` and ``states``.

    Every value of a patient counts once, so what is told of values are those of ten patients or more; how often each
    range is drawn is for a model to learn.

    Args:
        count: of numbers.
        ranges: about how many each has.
    """

    law: Tensor  # [2, KNOTS, count]
    edges: Tensor  # [count, 2 * ranges + 1]
    low: Tensor  # [count], the number that zero stands for
    span: Tensor  # [count], how far from it one is

    def __init__(self, count: int, ranges: int) -> None:
        super().__init__()
        self.most = ranges
        law = torch.zeros(2, KNOTS, count)
        law[0, 1:] = 1
        edges = torch.ones(count, 2 * ranges + 1)
        edges[:, :2] = torch.tensor([0.0, 0.5])
        for name, value in (("law", law), ("edges", edges)):
            self.register_buffer(name, value)
        self.register_buffer("low", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("span", torch.ones(count, dtype=torch.float64))

    def learn(self, observed: Sequence[Observed]) -> None:
        """Take the law of each number, in their order; one that was never observed is zero."""
        for number, one in enumerate(observed):
            if not len(one.values):
                continue
            distinct = pd.DataFrame({"patient": one.patients, "value": one.values.astype(float)}).drop_duplicates()
            counts = distinct["value"].value_counts().sort_index()
            column = Column("number", "continuous", bounds=one.bounds or shared_bounds(counts), decimals=one.decimals)
            schema = Schema((column,))
            values = torch.from_numpy(scaled(column, distinct["value"].to_numpy()).clip(0, 1)).float()[:, None]
            records = Records(Layout.of(schema), torch.zeros(len(values), 0, dtype=torch.uint8), values)
            law = law_of(records, schema)
            self.law[:, :, number] = law[:, :, 0].to(self.law.device)
            self.edges[number] = edges_of(records, law, self.most)[0].to(self.edges.device)
            assert column.bounds is not None
            self.low[number] = column.bounds[0]
            self.span[number] = column.bounds[1] - column.bounds[0] or 1.0

    @property
    def sizes(self) -> list[int]:
        """How many ranges each number has."""
        return (self.edges < 1).sum(1).tolist()

    def place_of(self, number: int, values: Tensor) -> Tensor:
        """Return how much of a number's law lies below each value [...], from 0 to 1; NaN stays NaN.

        Of a value that many patients share it is the middle of what lies below it and what lies below or at it.
        """
        within = ((values.double() - self.low[number]) / self.span[number]).clamp(0, 1).float()
        flat, law = within.nan_to_num(0.0).reshape(-1, 1), self.law[:, :, number : number + 1]
        places = (places_of(flat, law, False) + places_of(flat, law, True)) / 2
        return places.view(values.shape).where(values.isfinite(), torch.nan)

    def value_at(self, number: int, places: Tensor) -> Tensor:
        """Return the values float64 [k] at places [k] of a number's law; NaN stays NaN."""
        found = values_at(places.nan_to_num(0.0)[:, None], self.law[:, :, number : number + 1])[:, 0]
        return (self.low[number] + self.span[number] * found.double()).where(places.isfinite(), torch.nan)

    def range_of(self, number: int, values: Tensor) -> Tensor:
        """Return the range int64 [...] of each value; NaN counts as the least."""
        places = self.place_of(number, values).nan_to_num(0.0).contiguous()
        return (torch.searchsorted(self.edges[number], places, right=True) - 1).clamp(max=self.sizes[number] - 1)

    def drawn(self, number: int, ranges: Tensor, generator: torch.Generator) -> Tensor:
        """Return a value float64 [k] within each of the ranges [k]."""
        edges = self.edges[number]
        within = torch.rand(len(ranges), generator=generator, device=edges.device)
        return self.value_at(number, torch.lerp(edges[ranges], edges[ranges + 1], within))
