"""By how much the log odds that a code begins grow with the gap before a visit.

What begins between visits begins the surer the longer these are apart: at a steady hazard its odds grow as the gap
does, so its log odds by one for each unit of the log of the gap. What belongs to the visit itself does not care, and
where visits soon after others are the graver ones, that is no matter of waiting. Each code is told by the visits after
a short and after a long gap of those who never had it:

    growth  =  (logit p(c | long) - logit p(c | short)) / (mean log(1 + gap) of long - of short)

and growth log(1 + gap) is added to its log odds, less what keeps its odds over all gaps as they were.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ehrsynth.models.visits.companions import NONE, SOME, as_told
from ehrsynth.models.visits.history import NEVER

STEEPEST = 1.5  # growth
GAPS = 1000  # about as many are looked at, of all sizes, for what is usual


class Waits(NamedTuple):
    """How codes wait.

    Attributes:
        growth: [codes], of the log odds by the log of days and one.
        less: [codes], log of the mean of (days and one) to the power of ``growth``.
    """

    growth: Tensor
    less: Tensor


def waits_of(there: Tensor, states: Tensor, gaps: Tensor, beside: Tensor) -> Waits:
    """Return what visits of as many patients say; of fewer than ten it is what all codes say together.

    A code that comes with its companion waits as that does, so visits that have it do not count.

    Args:
        there: bool [k, codes], those of each visit.
        states: uint8 [k, codes], how each stands.
        gaps: [k], days since the visit before; what they are at first visits does not matter.
        beside: int64 [codes], the companion of the same visit of each, or ``NONE``.
    """
    codes, later = there.shape[1], (states == NEVER)
    some = gaps[later.any(1)]
    if not len(some):
        return Waits(torch.zeros(codes), torch.zeros(codes))
    alone = later & ~(there[:, beside.clamp(min=0)] & (beside != NONE))
    logs, long = gaps.log1p(), gaps >= some.median()
    apart = logs[long & later.any(1)].mean() - logs[~long & later.any(1)].mean()
    groups = [alone & group[:, None] for group in (~long, long)]
    exposed, events = (torch.stack([(group & which).sum(0) for group in groups]).double() for which in (alone, there))
    expected = exposed * events.sum(0) / exposed.sum(0).clamp(min=1)
    events, told = as_told(events, expected)

    def growth(events: Tensor, exposed: Tensor) -> Tensor:
        short, long = ((events + SOME) / (exposed - events + SOME)).log()
        grows: Tensor = (long - short) / apart
        return grows.nan_to_num(0.0).clamp(0.0, STEEPEST).float()

    together = growth(events.sum(1, keepdim=True), exposed.sum(1, keepdim=True))
    untold = together.where(beside == NONE, 0.0)
    grows = growth(events, exposed).where(told.all(0), untold)
    usual = some.log1p().sort().values[:: -(-len(some) // GAPS)]
    return Waits(grows, (grows[:, None] * usual).exp().mean(1).log())
