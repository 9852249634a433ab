"""The kinds of rules that ``constraints.json`` may hold."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf
from typing import ClassVar, Self

import torch
from torch import Tensor
from typing_extensions import override

from ehrsynth.constraints.base import Compiled, Constraint, Say
from ehrsynth.constraints.numbers import Limit, Order
from ehrsynth.constraints.propositions import Clause
from ehrsynth.kinds import span
from ehrsynth.layout import Layout
from ehrsynth.schema import Schema

Bounds = tuple[float, float]
TOLERANCE = 2.0**-22  # float32 keeps a scaled number to 2**-25, and no column has steps that small


class _Requires(Constraint):
    """Who has the first of two 0/1 columns has the second too: x[first] * (1 - x[second])."""

    over = "0/1"
    words: ClassVar[str]

    @override
    def compile(self, schema: Schema, layout: Layout) -> Compiled:
        first, second = map(layout.names.index, self.names)
        return Compiled(self, lambda x: x[:, first] * (1 - x[:, second]), lambda x: x[:, first] > 0)

    @override
    def clauses(self, layout: Layout) -> Iterable[Clause]:
        first, second = map(layout.names.index, self.names)
        return [((first, False), (second, True))]

    @override
    def describe(self, say: Say = str) -> str:
        first, second = self.names
        return f"{say(first)} {self.words} {say(second)}"


@dataclass(frozen=True)
class OnlyIf(_Requires):
    """``column`` may be one only where the indicator ``given`` is one (a prostate code only in men).

    Attributes:
        column: encoded name of a 0/1 column.
        given: encoded name of another one, for example ``sex=M``.
    """

    rule = "only_if"
    words = "only if"
    column: str
    given: str


@dataclass(frozen=True)
class Implies(_Requires):
    """Who has ``column`` has ``then`` too (a child code and its parent).

    Attributes:
        column: encoded name of a 0/1 column.
        then: encoded name of another one.
    """

    rule = "implies"
    words = "implies"
    column: str
    then: str


@dataclass(frozen=True)
class Exclusive(Constraint):
    """At most one of ``columns`` is one.

    The violation is the number of pairs of columns that are both one, or that number expected of probabilities.

    Attributes:
        columns: encoded names of two or more 0/1 columns.
    """

    rule = "exclusive"
    over = "0/1"
    columns: tuple[str, ...]

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return self.columns

    @override
    def compile(self, schema: Schema, layout: Layout) -> Compiled:
        places = [layout.names.index(name) for name in self.columns]

        def pairs(x: Tensor) -> Tensor:
            chosen = x[:, places]
            return ((chosen.sum(1) ** 2 - (chosen**2).sum(1)) / 2).clamp(min=0)

        return Compiled(self, pairs, lambda x: (x[:, places] > 0).any(1))

    @override
    def clauses(self, layout: Layout) -> Iterable[Clause]:
        places = [layout.names.index(name) for name in self.columns]
        return [((one, False), (other, False)) for one, other in combinations(places, 2)]

    @override
    def describe(self, say: Say = str) -> str:
        return f"at most one of {', '.join(map(say, self.columns))}"


@dataclass(frozen=True)
class OneHot(Constraint):
    """Exactly one of the indicators of a categorical column is one: how far their sum is from one.

    Records that a model of this package draws always keep it; a table from elsewhere breaks it where a cell is empty,
    or holds a level that the schema does not have.

    Attributes:
        group: name of a categorical column.
    """

    rule = "one_hot"
    over = "categorical"
    group: str

    @override
    def compile(self, schema: Schema, layout: Layout) -> Compiled:
        group = layout.groups[self.group]
        return Compiled(
            self, lambda x: (x[:, group].sum(1) - 1).abs(), lambda x: torch.ones(len(x), dtype=torch.bool).to(x.device)
        )

    @override
    def clauses(self, layout: Layout) -> Iterable[Clause]:
        return [tuple((place, True) for place in layout.places[self.group])]

    @override
    def describe(self, say: Say = str) -> str:
        return f"exactly one level of {say(self.group)}"


@dataclass(frozen=True)
class Range(Constraint):
    """``column`` lies between ``low`` and ``high``, both included; how far the scaled number lies outside.

    Attributes:
        column: name of a continuous or count column; where it is missing, it breaks nothing.
        low, high: in the column's own units; None leaves that side open.
        bounds: of the column in the schema that the rule was made for.
    """

    rule = "range"
    over = "number"
    column: str
    low: float | None = None
    high: float | None = None
    bounds: Bounds | None = None

    @override
    def bound_to(self, schema: Schema) -> Self:
        return replace(self, bounds=schema.by_name[self.column].bounds)

    @override
    def compile(self, schema: Schema, layout: Layout) -> Compiled:
        start, width = span(schema.by_name[self.column])
        low, high = (None if end is None else (end - start) / width for end in (self.low, self.high))
        number = _number(layout, self.column)

        def outside(x: Tensor) -> Tensor:
            scaled, there = number(x)
            below = scaled * 0 if low is None else (low - scaled - _slack(low)).clamp(min=0)
            above = scaled * 0 if high is None else (scaled - high - _slack(high)).clamp(min=0)
            return there * (below + above)

        return Compiled(self, outside, lambda x: number(x)[1] > 0)

    @override
    def limits(self) -> Iterable[Limit]:
        return [(self.column, -inf if self.low is None else self.low, inf if self.high is None else self.high)]

    @override
    def describe(self, say: Say = str) -> str:
        if self.low is not None and self.high is not None:
            return f"{say(self.column)} from {self.low:g} to {self.high:g}"
        side = f"at least {self.low:g}" if self.low is not None else f"at most {self.high:g}"
        return f"{say(self.column)} {side}"


@dataclass(frozen=True)
class AtMost(Constraint):
    """``column`` is no larger than ``than`` (the diastolic blood pressure than the systolic one).

    The violation is how much larger it is, where both are there, in units of its range.

    Attributes:
        column: name of a continuous or count column.
        than: name of another one, in the same units.
        bounds, than_bounds: of both in the schema that the rule was made for.
    """

    rule = "at_most"
    over = "number"
    column: str
    than: str
    bounds: Bounds | None = None
    than_bounds: Bounds | None = None

    @override
    def bound_to(self, schema: Schema) -> Self:
        of = schema.by_name
        return replace(self, bounds=of[self.column].bounds, than_bounds=of[self.than].bounds)

    @override
    def compile(self, schema: Schema, layout: Layout) -> Compiled:
        (start, width), (than_start, than_width) = (span(schema.by_name[name]) for name in self.names)
        one, other = (_number(layout, name) for name in self.names)
        shift = (start - than_start) / width
        slack = TOLERANCE * (1 + than_width / width + abs(shift))

        def excess(x: Tensor) -> Tensor:
            (scaled, there), (than, than_there) = one(x), other(x)
            return there * than_there * (scaled - than * (than_width / width) + shift - slack).clamp(min=0)

        return Compiled(self, excess, lambda x: (one(x)[1] > 0) & (other(x)[1] > 0))

    @override
    def orders(self) -> Iterable[Order]:
        return [(self.column, self.than)]

    @override
    def describe(self, say: Say = str) -> str:
        return f"{say(self.column)} at most {say(self.than)}"


def _number(layout: Layout, name: str) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return a reader of a number: scaled values [n], 0 where missing, and how far it is there [n], 1 or 0 if hard."""
    *gap, value = layout.places[name]

    def read(x: Tensor) -> tuple[Tensor, Tensor]:
        scaled = x[:, value]
        there = 1 - x[:, gap[0]] if gap else torch.ones_like(scaled)
        return scaled.nan_to_num(), there * ~scaled.isnan()

    return read


def _slack(end: float) -> float:
    return TOLERANCE * max(1.0, abs(end))
