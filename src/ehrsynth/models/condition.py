"""What generated records are asked to have."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ehrsynth.layout import Layout, Records


@dataclass(frozen=True, eq=False)
class Condition:
    """Encoded values that records must have.

    A schema column is given as a whole: all indicators of a category; of a number that may be missing, its indicator
    too, and the value unless that says missing.

    Attributes:
        layout: of the records.
        values: float32 [1, p], the same for all records, or [n, p], a row for each; what is not given is zero.
        given: bool, of the same shape: which of the values are asked for.
    """

    layout: Layout
    values: Tensor = field(repr=False)
    given: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        if self.values.shape != self.given.shape or self.values.shape[1:] != (self.layout.width,):
            raise ValueError(f"condition: values {self.values.shape}, given {self.given.shape}: [n, p] was expected")

    @classmethod
    def of(cls, records: Records, columns: Iterable[str]) -> "Condition":
        """Ask for what ``records``, one or n, have in some of the schema's columns."""
        layout, values = records.layout, records.dense().nan_to_num(0.0)
        given = torch.zeros_like(values, dtype=torch.bool)
        for name in columns:
            given[:, layout.places[name]] = True
        for bit, value in layout.missing_bits():
            given[:, layout.values.start + value] &= values[:, bit] == 0
        return cls(layout, values.where(given, 0.0), given)

    @property
    def columns(self) -> frozenset[str]:
        """The schema columns of which something is given."""
        return frozenset(self.layout.fields[place].column for place in self.given.any(0).nonzero().flatten().tolist())

    def __len__(self) -> int:
        return len(self.values)

    def of_rows(self, start: int, stop: int) -> "Condition":
        """Return the condition of records ``start`` to ``stop``; one that is the same for all stays one row."""
        if len(self) == 1:
            return self
        return Condition(self.layout, self.values[start:stop], self.given[start:stop])

    def to(self, device: torch.device) -> "Condition":
        """Return the same condition on a device."""
        return Condition(self.layout, self.values.to(device), self.given.to(device))

    def met_by(self, rows: Tensor) -> Tensor:
        """Return which hard records [n, p] meet it, bool [n]."""
        return ((rows == self.values) | ~self.given).all(1)

    def imposed_on(self, rows: Tensor) -> Tensor:
        """Return records [n, p] with the given values in place of their own."""
        return torch.where(self.given, self.values, rows)
