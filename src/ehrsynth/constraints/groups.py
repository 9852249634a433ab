"""The rule that a category has one level."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ehrsynth.constraints.base import Constraint, Say
from ehrsynth.layout import Layout


@dataclass(frozen=True)
class OneHot(Constraint):
    """Exactly one of the indicators of a categorical column is one.

    Records that a model of this package draws always keep it; a table from elsewhere breaks it where a cell is empty,
    or holds a level that the schema does not have.

    Attributes:
        group: name of a categorical column.
    """

    rule: ClassVar[str] = "one_hot"
    group: str

    @property
    def groups(self) -> tuple[str, ...]:
        """Return ``group``."""
        return (self.group,)

    def violation(self, x: Tensor, layout: Layout) -> Tensor:
        """Return how far the sum of the indicators is from one."""
        return (x[:, layout.groups[self.group]].sum(1) - 1).abs()

    def concerns(self, x: Tensor, layout: Layout) -> Tensor:
        """Return every record."""
        return torch.ones(len(x), dtype=torch.bool, device=x.device)

    def describe(self, say: Say = str) -> str:
        """Return the rule in plain words."""
        return f"exactly one level of {say(self.group)}"
