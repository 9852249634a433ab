"""The visits of a batch, and what was before each of them, all in one table."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ehrsynth.models.visits.history import History
from ehrsynth.models.visits.numbers import Numbers
from ehrsynth.models.visits.stepwise import Step, steps_of
from ehrsynth.models.visits.visit_rows import VisitRows
from ehrsynth.visit_batch import VisitBatch


@dataclass(frozen=True, eq=False)
class Visited:
    """The visits of a batch.

    Attributes:
        rows: [m, p], the visits as rows, patient by patient.
        days: float64 [m], of each since 1970.
        values: [m, measurements], NaN where not measured.
        past: what was before each.
        owner: int64 [m], whose they are, ascending.
        ended: what was before nothing came any more, of those who have visits.
        ender: int64 [e], who these are.
    """

    rows: Tensor = field(repr=False)
    days: Tensor = field(repr=False)
    values: Tensor = field(repr=False)
    past: History = field(repr=False)
    owner: Tensor = field(repr=False)
    ended: History = field(repr=False)
    ender: Tensor = field(repr=False)

    @classmethod
    def of(cls, batch: VisitBatch, past: History, as_rows: VisitRows, numbers: Numbers) -> "Visited":
        """Go through the visits, all first ones, then all second ones, and so on.

        Args:
            batch: of patients.
            past: theirs before their first visits.
            as_rows: how visits become rows.
            numbers: the laws of what is measured.
        """
        befores, visits, owners, ended, enders = [], [], [], [], []
        for visit in [*steps_of(batch, as_rows.codes), None]:
            over = ((batch.lengths == past.number) & (past.number > 0)).nonzero().flatten()
            enders.append(over)
            ended.append(past.of(over))
            if visit is not None:
                here = (batch.lengths > past.number).nonzero().flatten()
                owners.append(here)
                befores.append(past.of(here))
                visits.append(visit.of(here))
                past = past.after(visit)
        # dropout wants visits of a patient together
        order = torch.cat([batch.lengths[:0], *owners]).argsort(stable=True)
        before = History.joined([past.of(order[:0]), *befores]).of(order)
        rows, days, values = as_rows.of_past(before, numbers), before.firsts + before.elapsed, before.values
        if visits:
            joined = Step.joined(visits).of(order)
            rows = as_rows.filled(rows, joined, numbers, before.number == 0)
            days, values = days + joined.gaps, joined.values
        owner = torch.cat([batch.lengths[:0], *owners])[order]
        return cls(rows, days, values, before, owner, History.joined(ended), torch.cat(enders))
