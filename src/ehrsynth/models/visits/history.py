"""What was before a visit: how long ago, of which kind, which codes how often and when."""

from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from ehrsynth.disclosure import LEAST
from ehrsynth.models.visits.calendar import towards_season
from ehrsynth.models.visits.stepwise import Step
from ehrsynth.visits import DAY, Visits

FEATURES = 7  # of each code
STATES = 4  # of these say where it stands, and are one for one of them
NEVER = 1  # the state of what never was, at later visits
YEAR = 365.0
SOME = 0.5  # visits added to each count
UNSEASONAL = 20.0  # visits, with which a code has no season


@dataclass(frozen=True, eq=False)
class History:
    """The past of k patients.

    Attributes:
        static: [k, s], their rows.
        firsts: float64 [k], days since 1970 of their first visits.
        number: int64 [k], visits so far.
        kinds: int64 [k], of the latest; the number of kinds stands for none.
        gaps: [k], of the latest, in days; NaN before the second.
        stays: [k], of the latest, in days; NaN before the first, or if nobody wrote down its end.
        elapsed: [k], days from the first visit to the latest.
        values: [k, measurements], each as it was last measured; NaN if it never was.
        means: [k, measurements], the mean of each so far; NaN if it never was measured.
        measured: [k, measurements], how many visits measured it.
        dated: [k, measurements], days from the first visit to the latest that measured it; -1 if none did.
        latest: bool [k, codes], the codes of the latest visit.
        times: [k, codes], how many visits had each code.
        begun: [k, codes], days from the first visit to the first that had it; -1 if none had.
        seen: [k, codes], days from the first visit to the latest that had it.
    """

    static: Tensor = field(repr=False)
    firsts: Tensor = field(repr=False)
    number: Tensor = field(repr=False)
    kinds: Tensor = field(repr=False)
    gaps: Tensor = field(repr=False)
    stays: Tensor = field(repr=False)
    elapsed: Tensor = field(repr=False)
    values: Tensor = field(repr=False)
    means: Tensor = field(repr=False)
    measured: Tensor = field(repr=False)
    dated: Tensor = field(repr=False)
    latest: Tensor = field(repr=False)
    times: Tensor = field(repr=False)
    begun: Tensor = field(repr=False)
    seen: Tensor = field(repr=False)

    @classmethod
    def none(cls, static: Tensor, firsts: Tensor, kinds: int, codes: int, measurements: int) -> "History":
        """Return the past of patients who had no visit."""
        k, device = len(static), static.device
        number, zeros = torch.zeros(k, dtype=torch.int64, device=device), torch.zeros(k, device=device)
        never, none = torch.zeros(k, measurements, device=device), torch.zeros(k, codes, device=device)
        nan, unknown = zeros + torch.nan, never + torch.nan
        return cls(
            static=static,
            firsts=firsts,
            number=number,
            kinds=number + kinds,
            gaps=nan,
            stays=nan,
            elapsed=zeros,
            values=unknown,
            means=unknown,
            measured=never,
            dated=never - 1,
            latest=none > 0,
            times=none,
            begun=none - 1,
            seen=none,
        )

    def of(self, rows: Tensor) -> "History":
        """Return the past of some of the patients."""
        return History(*(getattr(self, each.name)[rows] for each in fields(self)))

    @classmethod
    def joined(cls, parts: list["History"]) -> "History":
        """Return the past of the patients of several, one after the other."""
        return cls(*(torch.cat([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    def after(self, visit: Step) -> "History":
        """Return the past once a visit of each patient belongs to it."""
        later = self.number > 0
        elapsed = self.elapsed + visit.gaps.float().where(later, 0.0)
        values, here = visit.values.float(), visit.values.isfinite()
        measured, mean = self.measured + here, self.means.nan_to_num(0.0)
        return History(
            static=self.static,
            firsts=self.firsts,
            number=self.number + 1,
            kinds=visit.kinds,
            gaps=visit.gaps.float().where(later, torch.nan),
            stays=visit.stays.float(),
            elapsed=elapsed,
            values=torch.where(here, values, self.values),
            means=torch.where(here, mean + (values - mean) / measured, self.means),
            measured=measured,
            dated=torch.where(here, elapsed[:, None], self.dated),
            latest=visit.codes,
            times=self.times + visit.codes.float(),
            begun=torch.where(visit.codes & (self.times == 0), elapsed[:, None], self.begun),
            seen=torch.where(visit.codes, elapsed[:, None], self.seen),
        )

    @property
    def again(self) -> Tensor:
        """Which codes came before, bool [k, codes]."""
        return self.times > 0

    def valid(self, signs: Tensor, usual: Tensor) -> Tensor:
        """Return the values [k, measurements], but what is usual where they are older than what they are a sign of.

        Args:
            signs: int64 [measurements], the code that each is a sign of, or -1.
            usual: [measurements], of those who have it.
        """
        if not self.times.shape[1]:
            return self.values
        outdated = (self.begun[:, signs.clamp(min=0)] > self.dated) & (signs >= 0)
        return torch.where(outdated, usual.to(self.values.dtype), self.values)

    def until(self, days: Tensor) -> Tensor:
        """Return the gaps [k] from the latest visits until days [k] since 1970."""
        return (days - self.firsts - self.elapsed).float().clamp(min=0)

    def stands(self) -> Tensor:
        """Return which of the first ``STATES`` of its features each code has, uint8 [k, codes]."""
        return self.features()[:, :STATES].argmax(1).to(torch.uint8)

    def features(self) -> Tensor:
        """Return what may tell whether each code comes again, [k, FEATURES, codes].

        Whether there was no visit, it never was, was in the latest visit, or was before that only; then the log of how
        often, the log of years since, and the share of visits that had it.
        """
        ever = self.times > 0
        since = ((self.elapsed[:, None] - self.seen) / YEAR).clamp(min=0).log1p() * ever
        often = self.times.clamp(min=1).log()
        share = self.times / self.number.clamp(min=1)[:, None]
        began = (self.number > 0)[:, None].expand(ever.shape)
        states = [~began, began & ~ever, self.latest, ever & ~self.latest]
        parts = [*(state.float() for state in states), often, since, share]
        return torch.stack(parts, dim=1)


def usual_seasons(visits: Visits, codes: int) -> Tensor:
    """Return what the seasons add to the log odds of each code, [2, codes]; of fewer than ten patients nothing.

    Of a rare code with log odds o + a cos(angle) + b sin(angle) visits are a / 2 and b / 2 further towards the seasons
    than all visits are, where a and b are small; what they are where not is left to be learned.
    """
    towards = towards_season(torch.from_numpy(visits.starts / DAY)).numpy()
    count = np.bincount(visits.codes, minlength=codes)
    whose = np.unique(visits.codes.astype(np.int64) * len(visits) + visits.patient[visits.visit_of_code])
    told = np.bincount(whose // max(len(visits), 1), minlength=codes) >= LEAST
    found = []
    for one in towards.T:
        beyond = np.bincount(visits.codes, one[visits.visit_of_code], codes) / np.maximum(count, 1) - one.mean()
        found.append(np.where(told, 2 * beyond * count / (count + UNSEASONAL), 0.0))
    return torch.from_numpy(np.stack(found)).float()


def usual_fates(visits: Visits, died: float) -> Tensor:
    """Return the log shares [3] of visits that another follows, that are the last ones, and the last before a death.

    Args:
        visits: of all patients.
        died: share of those who have visits, of whom a death is known and may be told.
    """
    records = int((visits.per_patient > 0).sum())
    fates = torch.tensor([visits.count - records, records * (1 - died), records * died])
    return ((fates + SOME) / (fates + SOME).sum()).log()
