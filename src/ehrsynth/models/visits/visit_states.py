"""Visits as rows of codes and of one level of each number and kind, which networks can say without a density."""

import numpy as np
import torch
from torch import Tensor

from ehrsynth.layout import Layout
from ehrsynth.models.heads import logits_of
from ehrsynth.models.truncation import Truncation
from ehrsynth.models.visits.calendar import FIRST, GAP, MEASURED, STAY
from ehrsynth.models.visits.numbers import Numbers
from ehrsynth.models.visits.stepwise import Step
from ehrsynth.schema import Column, Schema
from ehrsynth.visit_batch import VisitBatch, batch_of
from ehrsynth.visits import Visits, VisitSchema

CLOCK = 4  # numbers that tell when a visit is
LONG = 8.0  # that logs of days, and numbers of visits, are told against
LOOKED_AT = 2000  # patients, whose visits tell what is usual
CLOSED = -1e4  # added to the logits of levels that a number does not have


class VisitStates:
    """Which column of a row says what: codes first, then the levels of kind, gap, stay and measurements.

    A number has a level for each of its ranges, see ``Numbers``; stay and measurements have a last one for nothing
    written down. First visits have no level of a gap.

    Args:
        visit_schema: of the visits.
        ranges: about how many a number has; there are levels for twice as many, the most that come of them.
    """

    def __init__(self, visit_schema: VisitSchema, ranges: int) -> None:
        self.codes, self.measurements = len(visit_schema.codes), len(visit_schema.measurements)
        self.most = 2 * ranges
        levels = tuple(map(str, range(self.most)))
        columns = [Column(f"code {i}", "binary", domain=code.domain) for i, code in enumerate(visit_schema.codes)]
        columns.append(Column("kind", "categorical", tuple(map(str, range(len(visit_schema.kinds))))))
        columns.append(Column("gap", "categorical", levels))
        names = ["stay", *(f"value {i}" for i in range(self.measurements))]
        columns += [Column(name, "categorical", (*levels, "none")) for name in names]
        self.layout = Layout.of(Schema(tuple(columns)))
        self.kind, self.gap, *self.maybe = self.layout.groups.values()
        self.numbers = [STAY, *range(MEASURED, MEASURED + self.measurements)]  # those of ``maybe``

    def closed(self, numbers: Numbers) -> Tensor:
        """Return what is to be added to logits [B], so that no number has a range that it does not have."""
        found = torch.zeros(self.layout.width, device=numbers.edges.device)
        for part, number in [(self.gap, GAP), *zip(self.maybe, self.numbers, strict=True)]:
            found[part.start + numbers.sizes[number] : part.start + self.most] = CLOSED
        return found

    def rows(self, visit: Step, first: Tensor, numbers: Numbers) -> Tensor:
        """Return visits of k patients as rows [k, B]; ``first``, bool [k], have no gap."""
        found = torch.zeros(len(first), self.layout.width, device=first.device)
        each = torch.arange(len(first), device=first.device)
        found[:, : self.codes] = visit.codes.float()
        found[each, self.kind.start + visit.kinds] = 1.0
        found[each, self.gap.start + numbers.range_of(GAP, visit.gaps)] = (~first).float()
        told = [visit.stays, *visit.values.unbind(1)]
        for part, number, values in zip(self.maybe, self.numbers, told, strict=True):
            level = numbers.range_of(number, values).where(values.isfinite(), self.most)
            found[each, part.start + level] = 1.0
        return found

    def of_batch(self, batch: VisitBatch, numbers: Numbers) -> Tensor:
        """Return the visits of a batch as rows [b, t, B]; what stands for no visit means nothing."""
        b, t = len(batch), batch.longest
        flat = Step(
            batch.gaps.flatten(),
            batch.kinds.flatten(),
            batch.stays.flatten(),
            batch.multi_hot(self.codes).flatten(0, 1).bool(),
            batch.values.flatten(0, 1),
        )
        first = torch.arange(t, device=batch.gaps.device).repeat(b) == 0
        return self.rows(flat, first, numbers).view(b, t, self.layout.width)

    def usual(self, visits: Visits, static: Tensor, numbers: Numbers) -> Tensor:
        """Return logits [B] whose chances are the shares of some training visits."""
        some = np.arange(min(len(visits), LOOKED_AT))
        batch = batch_of(visits, static, self.measurements, some)
        rows = self.of_batch(batch, numbers)[batch.real]
        shares = (rows.sum(0) + 0.5) / (len(rows) + 1)
        return logits_of(self.layout, shares)

    def visit(self, rows: Tensor, first: Tensor, numbers: Numbers, generator: torch.Generator) -> Step:
        """Return the visits that rows [k, B] tell, numbers drawn within their ranges."""

        def number(part: slice, which: int) -> Tensor:
            level = rows[:, part].argmax(1)
            drawn = numbers.drawn(which, level.clamp(max=numbers.sizes[which] - 1), generator)
            return drawn.where(level < self.most, torch.nan)

        stays, *values = (number(part, which) for part, which in zip(self.maybe, self.numbers, strict=True))
        return Step(
            gaps=number(self.gap, GAP).where(~first, 0.0),
            kinds=rows[:, self.kind].argmax(1),
            stays=stays,
            codes=rows[:, : self.codes] > 0.5,
            values=torch.stack(values, dim=1) if values else rows.new_zeros(len(rows), 0),
        )

    def as_drawn(self, logits: Tensor, truncation: Truncation) -> Tensor:
        """Return the logits [k, B] by which rows are drawn."""
        parts = [truncation.bits(logits[:, : self.codes])]
        parts += [truncation.levels(logits[:, part]) for part in self.layout.groups.values()]
        return torch.cat(parts, dim=1).clamp(min=CLOSED)


def clock(number: Tensor, gaps: Tensor, elapsed: Tensor, firsts: Tensor, numbers: Numbers) -> Tensor:
    """Return when visits are, [..., CLOCK], each number about from 0 to 1.

    Args:
        number: [...], visits before it.
        gaps: [...], days since the one before.
        elapsed: [...], days since the first.
        firsts: [...], days since 1970 of the first.
        numbers: that know when first visits are.
    """
    place = numbers.place_of(FIRST, firsts)
    told = [number / (number + LONG), gaps.log1p() / LONG, elapsed.log1p() / LONG, place]
    return torch.stack([one.float() for one in told], dim=-1)
