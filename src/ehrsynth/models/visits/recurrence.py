"""How often each code begins, comes again at once, and returns later, of the visits at which it could."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logit
from torch import Tensor

from ehrsynth.disclosure import LEAST
from ehrsynth.models.told import may_tell
from ehrsynth.visits import Visits

SOME = 0.5  # visits added to each count

Places = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Recurrence:
    """Counts [6, codes] of visits.

    They are of first visits; of later ones, of a code that never was, was in the latest visit, or before only: these
    four are the states in which ``History.features`` has a code. Then of a code that never was, whether or not there
    was a visit; and of any.

    Attributes:
        events: visits that have the code.
        exposed: visits that could have had it.
        odds: log odds of it, as far as they may be told.
        told: bool, whether they are those of this code alone.
    """

    events: Tensor = field(repr=False)
    exposed: Tensor = field(repr=False)
    odds: Tensor = field(repr=False)
    told: Tensor = field(repr=False)

    @classmethod
    def of(cls, visits: Visits, codes: int) -> "Recurrence":
        """Count.

        That none of ten patients or more has a code again is told where five would have been expected. Of one to nine
        events no more is told than that there are few, if ten patients or more could have had them; else the odds are
        those of all codes together.
        """
        patient, number = visits.patient[visits.visit_of_code], visits.number[visits.visit_of_code]
        code = visits.codes.astype(np.int64)
        order = np.lexsort((number, code, patient))
        patient, number, code = patient[order], number[order], code[order]
        again = np.r_[(np.diff(patient) == 0) & (np.diff(code) == 0), False] if len(code) else np.zeros(0, bool)
        until = np.where(again, np.r_[number[1:], 0][: len(number)], visits.per_patient[patient])
        between = np.maximum(until - number - 2, 0) + (again & (until > number + 1))  # visits that only one before had
        followed = number + 1 < visits.per_patient[patient]
        new = ~np.r_[False, again[:-1]][: len(again)]
        records, long = int((visits.per_patient > 0).sum()), int((visits.per_patient > 1).sum())
        returned = again & (until > number + 1)

        def counted(which: Places, weights: Places | None = None) -> Places:
            return np.bincount(code[which], None if weights is None else weights[which], codes)

        def people(which: Places) -> Places:
            return np.bincount(np.unique(code[which] * len(visits) + patient[which]) // len(visits), minlength=codes)

        latest, before = counted(followed), counted(between > 0, between)
        never = visits.count - latest - before
        every, all_of_them, all_long = np.ones(len(code), bool), np.full(codes, len(visits)), np.full(codes, long)
        found = []
        for events, exposed, patients in (
            (new & (number == 0), np.full(codes, records), all_of_them),
            (new & (number > 0), never - records, all_long),
            (again & ~returned, latest, people(followed)),
            (returned, before, people(between > 0)),
            (new, never, all_of_them),
            (every, np.full(codes, visits.count), all_of_them),
        ):
            count, having = counted(events), people(events)
            pooled = (count.sum() + SOME) / (exposed.sum() + 2 * SOME)
            own = (count + SOME) / (exposed + 2 * SOME)
            enough, rest = patients >= LEAST, exposed - count
            told = enough & may_tell(having, pooled * exposed) & may_tell(rest, (1 - pooled) * exposed)
            few = LEAST / 2 / np.maximum(exposed, LEAST)  # all that is told of one to nine
            rare = np.where(having < LEAST, np.minimum(pooled, few), np.maximum(pooled, 1 - few))
            chances = np.where(told, own, np.where(enough, rare, pooled)).clip(1e-6, 1 - 1e-6)
            found.append((count, exposed, logit(chances), told))
        counts, could, odds, alone = (torch.from_numpy(np.stack(part)) for part in zip(*found, strict=True))
        return cls(counts.float(), could.float(), odds.float(), alone)
