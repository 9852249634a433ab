"""Visits as HALO sees them: vectors of bits, numbers as bits of their ranges."""

from itertools import pairwise

import torch
from torch import Tensor

from ehrsynth.layout import Layout, Records
from ehrsynth.models.chow_liu import ChowLiu
from ehrsynth.models.visits.calendar import GAP, MEASURED, STAY
from ehrsynth.models.visits.numbers import Numbers
from ehrsynth.models.visits.stepwise import Step
from ehrsynth.schema import Schema
from ehrsynth.visit_batch import VisitBatch
from ehrsynth.visits import VisitSchema


class Vectors:
    """Which bit of a vector says what: gap, kind, codes, stay, measurements, end of the record; start, and the row.

    Args:
        schema: of the patients' rows.
        visit_schema: of their visits.
        statics: whose states rows are told by.
        ranges: about how many a number has; there are bits for twice as many, the most that come of them.
    """

    def __init__(self, schema: Schema, visit_schema: VisitSchema, statics: ChowLiu, ranges: int) -> None:
        layout, most = Layout.of(schema), 2 * ranges
        self.statics = statics
        sizes = [
            most,
            len(visit_schema.kinds),
            len(visit_schema.codes),
            most,
            *[most] * len(visit_schema.measurements),
            1,
            1,
        ]
        ends = torch.tensor([0, *sizes]).cumsum(0).tolist()
        parts = [slice(start, end) for start, end in pairwise(ends)]
        self.gap, self.kind, self.codes, self.stay, *self.values, end, start = parts
        self.end, self.start = end.start, start.start
        self.visit = slice(0, self.end + 1)  # bits that a visit can have
        numbers = layout.width - layout.values.start
        self.levels = [group.stop - group.start for group in layout.groups.values()] + [2 * statics.bins + 1] * numbers
        self.flags = sum(encoded.kind == "bit" for encoded in layout.fields)
        self.row = self.start + 1  # where the bits of the row begin
        self.width = self.row + self.flags + sum(self.levels)

    def starts(self, k: int, device: torch.device) -> Tensor:
        """Return the first vector [k, width] of any record."""
        found = torch.zeros(k, self.width, device=device)
        found[:, self.start] = 1.0
        return found

    def rows(self, static: Tensor) -> Tensor:
        """Return the second vector [k, width] of patients with these rows [k, s]."""
        states = self.statics.states.of(Records.of_dense(self.statics.layout, static))
        found = torch.zeros(len(static), self.width, device=static.device)
        found[:, self.row : self.row + self.flags] = states[:, : self.flags].float()
        places = torch.tensor([0, *self.levels[:-1]], device=static.device).cumsum(0) + self.row + self.flags
        return found.scatter(1, places[: len(self.levels)] + states[:, self.flags :], 1.0) if self.levels else found

    def visits(self, visit: Step, first: Tensor, numbers: Numbers, order: Tensor) -> Tensor:
        """Return the vectors [k, width] of visits, none of which ends a record.

        Args:
            visit: one of each of k patients.
            first: bool [k], which of them have no visit before.
            numbers: whose ranges are told.
            order: the code at each place.
        """
        found = torch.zeros(len(first), self.width, device=first.device)
        each = torch.arange(len(first), device=first.device)
        found[each, self.gap.start + numbers.range_of(GAP, visit.gaps)] = (~first).float()
        found[each, self.kind.start + visit.kinds] = 1.0
        found[:, self.codes] = visit.codes[:, order].float()
        told = [(self.stay, STAY, visit.stays)]
        told += [(part, MEASURED + i, visit.values[:, i]) for i, part in enumerate(self.values)]
        for part, number, values in told:
            found[each, part.start + numbers.range_of(number, values)] = values.isfinite().float()
        return found

    def of_batch(self, batch: VisitBatch, most: int, numbers: Numbers, order: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors [b, 2 + t, width] of records, and which of them but the start are real, bool [b, 1 + t].

        Args:
            batch: the records.
            most: visits that are seen of each, its first ones.
            numbers: whose ranges are told.
            order: the code at each place.
        """
        b, t, device = len(batch), min(batch.longest, most), batch.lengths.device
        flat = Step(
            batch.gaps[:, :t].flatten(),
            batch.kinds[:, :t].flatten(),
            batch.stays[:, :t].flatten(),
            batch.multi_hot(len(order), t).flatten(0, 1).bool(),
            batch.values[:, :t].flatten(0, 1),
        )
        number = torch.arange(t, device=device).repeat(b)
        visits = self.visits(flat, number == 0, numbers, order).view(b, t, self.width)
        ends = torch.arange(t, device=device) == batch.lengths[:, None] - 1
        visits[:, :, self.end] = ends.float()
        opening = torch.stack([self.starts(b, device), self.rows(batch.static)], dim=1)
        row = torch.ones(b, 1, dtype=torch.bool, device=device)
        return torch.cat([opening, visits], dim=1), torch.cat([row, batch.real[:, :t]], dim=1)

    def wanted(self, numbers: Numbers) -> list[slice]:
        """Return the bits of which a visit has one: its kind, and the range of its gap unless it is the first."""
        return [slice(self.gap.start, self.gap.start + numbers.sizes[GAP]), self.kind]

    def cleaned(self, bits: Tensor, numbers: Numbers) -> Tensor:
        """Return drawn bits [k, width] without a second range of a number, and without bits that no visit has.

        What stands at a place then depends on what was drawn up to it alone.
        """
        found = torch.zeros_like(bits)
        found[:, self.codes] = bits[:, self.codes]
        told = [(self.stay, STAY), *((part, MEASURED + i) for i, part in enumerate(self.values))]
        for part, number in told:
            here = slice(part.start, part.start + numbers.sizes[number])
            found[:, here] = bits[:, here] * (bits[:, here].cumsum(1) == 1)
        return found

    def told(self, bits: Tensor, numbers: Numbers, order: Tensor, generator: torch.Generator) -> Step:
        """Return what vectors [k, width] say, numbers drawn within their ranges."""

        def number(part: slice, which: int) -> Tensor:
            drawn = numbers.drawn(which, bits[:, part].argmax(1), generator)
            return drawn.where(bits[:, part].any(1), torch.nan)

        codes = torch.zeros(len(bits), len(order), dtype=torch.bool, device=bits.device)
        codes[:, order] = bits[:, self.codes] > 0
        values = [number(part, MEASURED + i) for i, part in enumerate(self.values)]
        return Step(
            gaps=number(self.gap, GAP).nan_to_num(0.0),
            kinds=bits[:, self.kind].argmax(1),
            stays=number(self.stay, STAY),
            codes=codes,
            values=torch.stack(values, dim=1) if values else bits.new_zeros(len(bits), 0),
        )
