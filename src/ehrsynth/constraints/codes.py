"""Rules over codes, 0/1 columns all of them."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ehrsynth.constraints.base import Constraint, Say, column
from ehrsynth.layout import Layout


@dataclass(frozen=True)
class OnlyIf(Constraint):
    """``column`` may be one only where the indicator ``given`` is one (a prostate code only in men).

    Attributes:
        column: encoded name of a 0/1 column.
        given: encoded name of another one, for example ``sex=M``.
    """

    rule: ClassVar[str] = "only_if"
    column: str
    given: str

    @property
    def indicators(self) -> tuple[str, ...]:
        """Return ``column`` and ``given``."""
        return self.column, self.given

    def violation(self, x: Tensor, layout: Layout) -> Tensor:
        """Return ``x[column] * (1 - x[given])``."""
        return column(x, layout, self.column) * (1 - column(x, layout, self.given))

    def concerns(self, x: Tensor, layout: Layout) -> Tensor:
        """Return which records have ``column``."""
        return column(x, layout, self.column) > 0

    def describe(self, say: Say = str) -> str:
        """Return the rule in plain words."""
        return f"{say(self.column)} only if {say(self.given)}"


@dataclass(frozen=True)
class Implies(Constraint):
    """Who has ``column`` has ``then`` too (a child code and its parent).

    Attributes:
        column: encoded name of a 0/1 column.
        then: encoded name of another one.
    """

    rule: ClassVar[str] = "implies"
    column: str
    then: str

    @property
    def indicators(self) -> tuple[str, ...]:
        """Return ``column`` and ``then``."""
        return self.column, self.then

    def violation(self, x: Tensor, layout: Layout) -> Tensor:
        """Return ``x[column] * (1 - x[then])``."""
        return column(x, layout, self.column) * (1 - column(x, layout, self.then))

    def concerns(self, x: Tensor, layout: Layout) -> Tensor:
        """Return which records have ``column``."""
        return column(x, layout, self.column) > 0

    def describe(self, say: Say = str) -> str:
        """Return the rule in plain words."""
        return f"{say(self.column)} implies {say(self.then)}"


@dataclass(frozen=True)
class Exclusive(Constraint):
    """At most one of ``columns`` is one.

    Attributes:
        columns: encoded names of two or more 0/1 columns.
    """

    rule: ClassVar[str] = "exclusive"
    columns: tuple[str, ...]

    @property
    def indicators(self) -> tuple[str, ...]:
        """Return ``columns``."""
        return self.columns

    def violation(self, x: Tensor, layout: Layout) -> Tensor:
        """Return the number of pairs of columns that are both one, or that number expected of probabilities."""
        chosen = torch.stack([column(x, layout, name) for name in self.columns])
        return ((chosen.sum(0) ** 2 - (chosen**2).sum(0)) / 2).clamp(min=0)

    def concerns(self, x: Tensor, layout: Layout) -> Tensor:
        """Return which records have any of the columns."""
        return torch.stack([column(x, layout, name) > 0 for name in self.columns]).any(0)

    def describe(self, say: Say = str) -> str:
        """Return the rule in plain words."""
        return f"at most one of {', '.join(map(say, self.columns))}"
