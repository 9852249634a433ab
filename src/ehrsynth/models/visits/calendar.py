"""Dates: when a record begins, how long its visits last, when its patient was born and died; and days made to dates."""

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ehrsynth.disclosure import LEAST
from ehrsynth.kinds import span
from ehrsynth.layout import Layout
from ehrsynth.models.visits.numbers import Numbers, Observed
from ehrsynth.schema import Schema
from ehrsynth.visit_batch import days_between, days_to_death
from ehrsynth.visits import DAY, UNKNOWN, Integers, Visits, VisitSchema

FIRST, GAP, STAY, DIES, BIRTH, MEASURED = range(6)  # the numbers; measurements follow in their order
TICKS = (DAY, DAY // 24, DAY // 1440, DAY // 86_400, 1)  # days, hours, minutes, seconds, microseconds
YEAR = 365.25
SEASON = "winter", "spring"  # how far the day of the year is towards that
LEAST_CHANCE = 1e-6
SELDOM = 1e-3  # of the visits, that begin before the one before has ended: then that is a fault, and none does
TOGETHER = 2.0  # years, within which ages tell the date of birth: then a column is an age

Array = NDArray[Any]


class Calendar(nn.Module):
    """What the training visits say of dates, without which a record has days but no date.

    Nothing told here is of fewer than ten patients: laws see every value of a patient once, see ``Numbers``.

    Args:
        schema: of the patients' rows.
        visit_schema: of their visits.
        ranges: about how many a number has.

    Attributes:
        numbers: days since 1970 of first visits, gaps, stays, days from the end of the last visit to death, years of
            age at the first visit (beyond the row's age, if it has one; at the last, if the row's is that), and the
            measurements.
        empty: share of patients without a visit.
        most: visits of a record, at most: so many ten patients have.
    """

    empty: Tensor
    most: Tensor
    died: Tensor  # share of patients of whom a death is known
    ticks: Tensor  # microseconds between two times that starts, ends, births and deaths can have
    overlaps: Tensor  # whether stays do
    # Which value of a row is an age, of those at the first and then at the last visit; -1: none is; -2: no births
    age: Tensor

    def __init__(self, schema: Schema, visit_schema: VisitSchema, ranges: int) -> None:
        super().__init__()
        self.layout = Layout.of(schema)
        self.spans = [span(schema.by_name[encoded.column]) for encoded in self.layout.fields[self.layout.values]]
        self.measurements = visit_schema.measurements
        self.numbers = Numbers(MEASURED + len(self.measurements), ranges)
        self.register_buffer("empty", torch.tensor(0.0))
        self.register_buffer("most", torch.tensor(1))
        self.register_buffer("died", torch.tensor(0.0))
        self.register_buffer("ticks", torch.tensor([DAY] * 4))
        self.register_buffer("overlaps", torch.tensor(False))
        self.register_buffer("age", torch.tensor(-2))

    def learn(self, static: Tensor, visits: Visits) -> None:
        """Take laws and shares from the training patients."""
        some = visits.per_patient > 0
        first = np.full(len(visits), UNKNOWN)
        last = np.full(len(visits), UNKNOWN)
        first[some], last[some] = visits.starts[visits.offsets[:-1][some]], visits.starts[visits.offsets[1:][some] - 1]
        self.empty.fill_(_told_share(~some))
        self.most.fill_(int(np.sort(visits.per_patient)[::-1][: min(LEAST, len(visits))][-1]) or 1)
        self.ticks.copy_(torch.tensor([_tick(one) for one in (visits.starts, visits.ends, visits.born, visits.died)]))
        stays = days_between(visits.starts, visits.ends)
        later = np.flatnonzero(visits.number > 0)
        self.overlaps.fill_(bool((stays[later - 1] > visits.gaps[later]).sum() > SELDOM * max(len(later), 1)))
        known = some & (visits.died != UNKNOWN)
        self.died.fill_(_told_share(known) / max(float(some.mean()), 1e-9) if known.any() else 0.0)
        patients = np.arange(len(visits))
        starts, ends = (self.decimals_of(int(tick)) for tick in (self.ticks[0], self.ticks[1]))
        known_stay = np.isfinite(stays)
        observed = [
            Observed(first[some] / DAY, patients[some], starts),
            Observed(visits.gaps[later], visits.patient[later], starts),
            Observed(stays[known_stay], visits.patient[known_stay], max(starts, ends)),
            Observed(
                days_to_death(visits)[known], patients[known], max(starts, ends, self.decimals_of(int(self.ticks[3])))
            ),
            self._birth(static, visits, first, last),
        ]
        for place, measurement in enumerate(self.measurements):
            mine = visits.measured == place
            whose = visits.patient[visits.visit_of_value[mine]]
            observed.append(Observed(visits.values[mine], whose, measurement.decimals, measurement.bounds))
        self.numbers.learn(observed)

    def _birth(self, static: Tensor, visits: Visits, first: Integers, last: Integers) -> Observed:
        """Return years from birth to the first visit, or to the first or last beyond the row's age if a column is that.

        A cohort that is chosen by its patients' last stays has their ages then.
        """
        known = np.flatnonzero((first != UNKNOWN) & (visits.born != UNKNOWN))
        if len(known) < LEAST:
            return Observed(np.zeros(0), known[:0], 0)
        self.age.fill_(-1)
        least = TOGETHER
        ages = [self.years(visits.born[known], when[known]) for when in (first, last)]
        found = ages[0]
        for place, (years, column) in enumerate(product(ages, range(len(self.spans)))):
            beyond = years - self.age_in(static[known], column).cpu().numpy()
            if (apart := float(np.subtract(*np.quantile(beyond, [0.95, 0.05])))) < least:
                self.age.fill_(place)
                least, found = apart, beyond
        return Observed(found, known, 3)

    @staticmethod
    def years(born: Integers, when: Integers) -> Array:
        """Return years from births to other times, microseconds since 1970 [n]."""
        return (when - born) / DAY / YEAR

    def age_in(self, static: Tensor, column: int) -> Tensor:
        """Return what stands in a column of values of rows, float64 [n]."""
        low, wide = self.spans[column]
        return low + wide * static[:, self.layout.values.start + column].double()

    @staticmethod
    def decimals_of(tick: int) -> int:
        """Return the digits after the point of days between times of a tick."""
        return 0 if tick == DAY else 5

    def nats_of_number(self, lengths: Tensor) -> Tensor:
        """Return the log of the chance [b] that a record has no visit, or has one, of so many visits each."""
        chance = torch.where(lengths > 0, 1 - self.empty, self.empty)
        return chance.clamp(min=LEAST_CHANCE).log()

    def firsts(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw the days since 1970 [n], float64, of first visits."""
        return self._number(FIRST, n, generator)

    def deaths(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw days from the end of the last visit to death [n], float64; NaN of those not known to have died."""
        days = self._number(DIES, n, generator)
        return days.where(torch.rand(n, generator=generator, device=days.device) < self.died, torch.nan)

    def _number(self, number: int, n: int, generator: torch.Generator) -> Tensor:
        """Draw from the whole law of a number, of which every range is as likely as it is wide."""
        edges = self.numbers.edges[number]
        place = torch.rand(n, generator=generator, device=edges.device)
        ranges = (torch.searchsorted(edges, place, right=True) - 1).clamp(max=self.numbers.sizes[number] - 1)
        return self.numbers.drawn(number, ranges, generator)

    def births(self, static: Tensor, firsts: Integers, lasts: Integers, generator: torch.Generator) -> Integers:
        """Draw microseconds since 1970 [n] of births; ``UNKNOWN`` where nobody's is known.

        Args:
            static: rows [n, s] of the patients.
            firsts: microseconds since 1970 [n] of their first visits.
            lasts: likewise of their last visits.
            generator: of the draws.
        """
        n = len(static)
        if int(self.age) == -2:
            return np.full(n, UNKNOWN)
        years, when = self._number(BIRTH, n, generator), firsts
        if (place := int(self.age)) >= 0:
            at_last, column = divmod(place, len(self.spans))
            years, when = years + self.age_in(static, column), lasts if at_last else firsts
        tick = int(self.ticks[2])
        born = np.round((when - years.cpu().numpy() * (YEAR * DAY)) / tick).astype(np.int64)  # years have three digits
        return np.minimum(born, firsts // tick) * tick

    def moments(self, days: Tensor) -> Integers:
        """Return microseconds since 1970 [n] of days since then, as times of visits are told."""
        tick = int(self.ticks[0])
        return np.round(days.cpu().numpy() * (DAY / tick)).astype(np.int64) * tick

    def thresholds(self, count: int) -> Tensor:
        """Return what parts of the values of each measurement lie below, [measurements, count], of ascending parts."""
        parts = torch.arange(1, count + 1, device=self.empty.device) / (count + 1)
        found = [self.numbers.value_at(MEASURED + place, parts) for place in range(len(self.measurements))]
        return torch.stack(found) if found else torch.zeros(0, count)

    def deaths_after(self, comes: Integers, leaves: Integers, beyond: Integers) -> Integers:
        """Return when patients die [n], who came last at ``comes`` and left at ``leaves``, so many microseconds later.

        Where only the day of deaths is known, they die at the beginning of it, but not before they came.
        """
        tick = int(self.ticks[3])
        died: Integers = np.maximum((leaves + beyond) // tick * tick, comes)
        return died

    def dated(self, told: "Told", since: Integers, born: Integers, left: Integers | None = None) -> Visits:
        """Return visits with dates.

        Args:
            told: the visits in days.
            since: microseconds since 1970 [n], from which the first gap of each patient counts.
            born: likewise [n].
            left: likewise, when those without a visit here had left; ``since`` if not given.
        """
        n = len(since)
        per_patient = np.bincount(told.patient, minlength=n)
        offsets = np.concatenate([np.zeros(1, np.int64), per_patient.cumsum()])
        start, end, _, death = (int(tick) for tick in self.ticks)
        sums = np.concatenate(
            [np.zeros(1, np.int64), np.round(told.gaps * (DAY / start)).astype(np.int64).cumsum() * start]
        )
        starts = since[told.patient] + sums[1:] - sums[offsets[:-1]][told.patient]
        known = np.isfinite(told.stays)
        stay = np.round(np.where(known, told.stays, 0.0) * (DAY / end)).astype(np.int64) * end
        ends = np.maximum((starts + stay) // end * end, starts)  # where only the day is known, it ends on that
        if not bool(self.overlaps) and len(starts):
            before = np.flatnonzero(np.diff(told.patient) == 0)
            ends[before] = np.minimum(ends[before], starts[before + 1])
        died = np.full(n, UNKNOWN)
        some = np.isfinite(told.dies)
        comes, leaves, visited = since.copy(), (since if left is None else left).copy(), per_patient > 0
        last = offsets[1:][visited] - 1
        comes[visited], leaves[visited] = starts[last], np.where(known, ends, starts)[last]
        beyond = np.round(told.dies[some] * (DAY / death)).astype(np.int64) * death
        died[some] = self.deaths_after(comes[some], leaves[some], beyond)
        return Visits(
            offsets=offsets,
            starts=starts,
            ends=np.where(known, ends, UNKNOWN),
            kinds=told.kinds.astype(np.int16),
            code_offsets=told.code_offsets,
            codes=told.codes,
            value_offsets=told.value_offsets,
            measured=told.measured,
            values=told.values,
            born=born,
            died=died,
        )


@dataclass(frozen=True, eq=False)
class Told:
    """Visits in days, in the order of patients and time; see ``Visits`` and ``VisitBatch`` for what is what."""

    patient: Integers
    gaps: Array = field(repr=False)
    stays: Array = field(repr=False)
    kinds: Array = field(repr=False)
    code_offsets: Integers = field(repr=False)
    codes: Array = field(repr=False)
    value_offsets: Integers = field(repr=False)
    measured: Array = field(repr=False)
    values: Array = field(repr=False)
    dies: Array = field(repr=False)


def towards_season(days: Tensor) -> Tensor:
    """Return how far days since 1970, [k], are towards each of ``SEASON``, [k, 2], from -1 to 1."""
    angle = 2 * torch.pi * days / YEAR
    return torch.stack([angle.cos(), angle.sin()], dim=1).float()


def _told_share(which: Array) -> float:
    """Return the share of patients, zero if fewer than ten have it."""
    return float(which.mean()) if which.sum() >= LEAST else 0.0


def _tick(times: Integers) -> int:
    """Return the coarsest step between times that all of them keep, a day if none is known."""
    known = times[times != UNKNOWN]
    return next(tick for tick in TICKS if not (known % tick).any())
