"""What generated records are asked to have."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ehrsynth.layout import Layout, Records


@dataclass(frozen=True, eq=False)
class Condition:
    """Encoded values, or ranges of numbers, that records must have.

    A schema column is given as a whole: all indicators of a category; of a number that may be missing, its indicator
    too, and the value unless that says missing. What is given of a bit or an indicator is a value; a number may lie
    anywhere between ``low`` and ``high``.

    Attributes:
        layout: of the records.
        low, high: float32 [1, p], the same for all records, or [n, p], a row for each; what is not given is zero.
        given: bool, of the same shape: which of the values are asked for.
    """

    layout: Layout
    low: Tensor = field(repr=False)
    high: Tensor = field(repr=False)
    given: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        shapes = {tuple(part.shape) for part in (self.low, self.high, self.given)}
        if len(shapes) > 1 or self.low.shape[1:] != (self.layout.width,):
            raise ValueError(f"condition: low, high and given of shapes {sorted(shapes)}: [n, p] was expected of each")

    @classmethod
    def of(cls, records: Records, columns: Iterable[str]) -> "Condition":
        """Ask for what ``records``, one or n, have in some of the schema's columns."""
        layout, values = records.layout, records.dense().nan_to_num(0.0)
        given = torch.zeros_like(values, dtype=torch.bool)
        for name in columns:
            given[:, layout.places[name]] = True
        for bit, value in layout.missing_bits():
            given[:, layout.values.start + value] &= values[:, bit] == 0
        values = values.where(given, 0.0)
        return cls(layout, values, values, given)

    @cached_property
    def fixed(self) -> Tensor:
        """Which places have one value given, bool of the shape of ``given``; those of a range have not."""
        return self.given & (self.low == self.high)

    @cached_property
    def columns(self) -> frozenset[str]:
        """The schema columns of which something is given."""
        return frozenset(self.layout.fields[place].column for place in self.given.any(0).nonzero().flatten().tolist())

    def __len__(self) -> int:
        return len(self.low)

    def on(self, columns: Collection[str]) -> "Condition":
        """Return what is asked of some of the schema's columns only."""
        kept = torch.tensor([encoded.column in columns for encoded in self.layout.fields], device=self.given.device)
        return Condition(self.layout, self.low.where(kept, 0.0), self.high.where(kept, 0.0), self.given & kept)

    def of_rows(self, rows: slice | Tensor) -> "Condition":
        """Return the condition of some of the records; one that is the same for all stays one row."""
        if len(self) == 1:
            return self
        return Condition(self.layout, self.low[rows], self.high[rows], self.given[rows])

    def to(self, device: torch.device) -> "Condition":
        """Return the same condition on a device."""
        return Condition(self.layout, self.low.to(device), self.high.to(device), self.given.to(device))

    def met_by(self, rows: Tensor) -> Tensor:
        """Return which hard records [n, p] meet it, bool [n]."""
        return (((self.low <= rows) & (rows <= self.high)) | ~self.given).all(1)

    def imposed_on(self, rows: Tensor) -> Tensor:
        """Return records [n, p] with the values given in place of their own; of a range the nearest end, if outside."""
        return torch.where(self.given, rows.clamp(self.low, self.high), rows)
