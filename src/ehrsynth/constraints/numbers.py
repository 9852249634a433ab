"""Rules over numbers, in the columns' own units.

Records hold numbers scaled by the bounds of their schema, so a rule needs these bounds to judge records: ``fitted``
gives it those of a schema. A number that is missing breaks no rule.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from ehrsynth.constraints.base import TOLERANCE, Constraint, Say, number
from ehrsynth.layout import Layout
from ehrsynth.schema import Schema

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Range(Constraint):
    """``column`` lies between ``low`` and ``high``, both included.

    Attributes:
        column: name of a continuous or count column.
        low, high: in the column's own units; None leaves that side open.
        bounds: what 0 and 1 stand for in records.
    """

    rule: ClassVar[str] = "range"
    column: str
    low: float | None = None
    high: float | None = None
    bounds: Bounds | None = None

    @property
    def numbers(self) -> tuple[str, ...]:
        """Return ``column``."""
        return (self.column,)

    def fitted(self, schema: Schema) -> Self:
        """Return the rule with the bounds of ``schema``."""
        return replace(self, bounds=schema.by_name[self.column].bounds)

    def violation(self, x: Tensor, layout: Layout) -> Tensor:
        """Return how far the scaled number lies outside."""
        start, width = _scale(self.bounds)
        scaled, there = number(x, layout, self.column)
        low, high = (None if end is None else (end - start) / width for end in (self.low, self.high))
        outside = scaled * 0
        if low is not None:
            outside = outside + (low - scaled - _slack(low)).clamp(min=0)
        if high is not None:
            outside = outside + (scaled - high - _slack(high)).clamp(min=0)
        return there * outside

    def concerns(self, x: Tensor, layout: Layout) -> Tensor:
        """Return which records have the number."""
        return number(x, layout, self.column)[1] > 0

    def describe(self, say: Say = str) -> str:
        """Return the rule in plain words."""
        if self.low is not None and self.high is not None:
            return f"{say(self.column)} from {self.low:g} to {self.high:g}"
        side = f"at least {self.low:g}" if self.low is not None else f"at most {self.high:g}"
        return f"{say(self.column)} {side}"


@dataclass(frozen=True)
class AtMost(Constraint):
    """``column`` is no larger than ``than`` (the diastolic blood pressure than the systolic one).

    Attributes:
        column: name of a continuous or count column.
        than: name of another one, in the same units.
        bounds, than_bounds: what 0 and 1 stand for in records.
    """

    rule: ClassVar[str] = "at_most"
    column: str
    than: str
    bounds: Bounds | None = None
    than_bounds: Bounds | None = None

    @property
    def numbers(self) -> tuple[str, ...]:
        """Return ``column`` and ``than``."""
        return self.column, self.than

    def fitted(self, schema: Schema) -> Self:
        """Return the rule with the bounds of ``schema``."""
        of = schema.by_name
        return replace(self, bounds=of[self.column].bounds, than_bounds=of[self.than].bounds)

    def violation(self, x: Tensor, layout: Layout) -> Tensor:
        """Return how much larger it is, where both are there, in units of its range."""
        (start, width), (than_start, than_width) = _scale(self.bounds), _scale(self.than_bounds)
        scaled, there = number(x, layout, self.column)
        than, than_there = number(x, layout, self.than)
        shift = (start - than_start) / width
        slack = TOLERANCE * (1 + than_width / width + abs(shift))
        return there * than_there * (scaled - than * (than_width / width) + shift - slack).clamp(min=0)

    def concerns(self, x: Tensor, layout: Layout) -> Tensor:
        """Return which records have both numbers."""
        return (number(x, layout, self.column)[1] > 0) & (number(x, layout, self.than)[1] > 0)

    def describe(self, say: Say = str) -> str:
        """Return the rule in plain words."""
        return f"{say(self.column)} at most {say(self.than)}"


def _scale(bounds: Bounds | None) -> tuple[float, float]:
    """Return what 0 stands for, and the width of the range; the width of a constant one is 1, as in records."""
    assert bounds is not None, "fitted() gives a rule its bounds"
    return bounds[0], bounds[1] - bounds[0] or 1.0


def _slack(end: float) -> float:
    return TOLERANCE * max(1.0, abs(end))
