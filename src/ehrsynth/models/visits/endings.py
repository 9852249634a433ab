"""Whether a record goes on after a visit, ends, or its patient dies, and when: said of what is known by then."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ehrsynth.layout import refuse_nan
from ehrsynth.models.truncation import Truncation
from ehrsynth.models.visits.calendar import DIES
from ehrsynth.models.visits.numbers import Numbers
from ehrsynth.visit_batch import VisitBatch

GOES_ON, ENDS, DIED = range(3)


class Endings(nn.Module):
    """Logits of the three, and of the range of days from the end of the last visit to death.

    Args:
        width: of what is known.
        ranges: about how many a number has.
    """

    def __init__(self, width: int, ranges: int) -> None:
        super().__init__()
        self.fate, self.death = nn.Linear(width, 3), nn.Linear(width, 2 * ranges)

    def nats(self, known: Tensor, batch: VisitBatch, numbers: Numbers) -> Tensor:
        """Return the nats [b] of numbers of visits and deaths, given what is known after each, [b, t, width]."""
        last = torch.arange(batch.longest, device=known.device) == batch.lengths[:, None] - 1
        died = batch.dies.isfinite()
        fate = torch.where(last, torch.where(died, DIED, ENDS)[:, None], GOES_ON)
        found = cross_entropy(self.fate(known).flatten(0, 1), fate.flatten(), reduction="none").view(fate.shape)
        after = known[last]  # of each patient who has visits
        logits = self.death(after)[:, : numbers.sizes[DIES]]
        some = batch.lengths > 0
        days = cross_entropy(logits, numbers.range_of(DIES, batch.dies[some]), reduction="none")
        total = (found * batch.real).sum(1)
        return total.index_add(0, some.nonzero().flatten(), days * died[some])

    def drawn(
        self, known: Tensor, numbers: Numbers, truncation: Truncation, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw whether each record goes on, bool [k], and days to death, NaN of those who do not die."""
        fates, deaths = self.fate(known), self.death(known)[:, : numbers.sizes[DIES]]
        refuse_nan(fates)
        fate, when = (
            torch.multinomial(truncation.levels(logits).softmax(1), 1, generator=generator).squeeze(1)
            for logits in (fates, deaths)
        )
        return fate == GOES_ON, numbers.drawn(DIES, when, generator).where(fate == DIED, torch.nan)
