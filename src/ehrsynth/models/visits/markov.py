"""First-order Markov: a visit as the one before makes it likely, by counting.

    codes   x_v ~ Bernoulli(keep_v) if the visit before had v, else Bernoulli(new_v); prevalences at first visits
    kind    by that of the visit before; gap, stay and whether a number is measured by kind; numbers alone
    end     by how many visits there were; whether by death, and when that is, by the kind of the last

All of it are shares of training visits, so it is learned in one look. What a model with weights adds to it is what
lies further back, what codes have in common, and what belongs to a patient.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, one_hot
from typing_extensions import override

from ehrsynth.disclosure import LEAST
from ehrsynth.models.told import told
from ehrsynth.models.visits.base import LooksOnce
from ehrsynth.models.visits.calendar import DIES, GAP, LEAST_CHANCE, MEASURED, STAY
from ehrsynth.models.visits.stepwise import Step, Stepwise, steps_of
from ehrsynth.schema import Schema
from ehrsynth.visit_batch import VisitBatch, batch_of, days_between, in_blocks
from ehrsynth.visits import Integers, Visits, VisitSchema

SOME = 0.5  # visits added to each cell, so that nothing is impossible
PATIENTS = 256  # whose likelihood is computed at a time


@dataclass(frozen=True, eq=False)
class Latest:
    """What counts of k patients: how many visits they had, and kind and codes of the latest.

    Attributes:
        number: int64 [k].
        kinds: int64 [k]; at first visits the number of kinds, which stands for none.
        codes: bool [k, codes].
    """

    number: Tensor = field(repr=False)
    kinds: Tensor = field(repr=False)
    codes: Tensor = field(repr=False)


class Markov(Stepwise[Latest], LooksOnce):
    """Shares of training visits given the visit before; told only where ten patients stand behind them.

    Args:
        schema: of the patients' rows.
        visit_schema: of their visits.
        seed: kept with the checkpoint; learning draws nothing.
    """

    codes: Tensor  # [3, codes], chances at first visits, of what the visit before had not, and of what it had
    ends: Tensor  # [most visits], chance that a record ends after so many
    died: Tensor  # [kinds], chance that it ends for the patient has died, by kind of the last visit
    dies: Tensor  # [kinds, ranges], days from that one to death
    kinds: Tensor  # [kinds + 1, kinds], by kind of the visit before, last of none
    gaps: Tensor  # [kinds, ranges], by kind of the visit before
    stays: Tensor  # [kinds, ranges + 1], by own kind; the last is that nobody wrote it down
    measured: Tensor  # [kinds, measurements]
    values: Tensor  # [measurements, ranges]

    def __init__(self, *, schema: Schema, visit_schema: VisitSchema, seed: int = 0) -> None:
        super().__init__(schema=schema, visit_schema=visit_schema, seed=seed)
        self.save_hyperparameters(ignore=["schema", "visit_schema"])
        for name in ("codes", "ends", "died", "dies", "kinds", "gaps", "stays", "measured", "values"):
            self.register_buffer(name, torch.zeros(0))

    @override
    def observe(self, static: Tensor, visits: Visits) -> None:
        super().observe(static, visits)
        kinds, numbers = len(self.visit_schema.kinds), self.calendar.numbers
        own, later = visits.kinds.astype(np.int64), np.flatnonzero(visits.number > 0)
        before = np.where(visits.number > 0, np.roll(own, 1), kinds)
        self.kinds = _chances(before, own, (kinds + 1, kinds), visits.patient)
        gaps = numbers.range_of(GAP, torch.from_numpy(visits.gaps[later])).numpy()
        self.gaps = _chances(before[later], gaps, (kinds, numbers.sizes[GAP]), visits.patient[later])
        days = days_between(visits.starts, visits.ends)
        stays = numbers.range_of(STAY, torch.from_numpy(days)).numpy()
        stays[np.isnan(days)] = numbers.sizes[STAY]
        self.stays = _chances(own, stays, (kinds, numbers.sizes[STAY] + 1), visits.patient)
        self._observe_values(visits, own)
        self.ends = _ends(visits.per_patient)
        self._observe_deaths(visits, own)
        self._observe_codes(visits, later)

    def _observe_values(self, visits: Visits, own: Integers) -> None:
        numbers, count = self.calendar.numbers, len(self.visit_schema.measurements)
        kinds = len(self.visit_schema.kinds)
        self.measured = torch.zeros(kinds, count)
        self.values = torch.zeros(count, max(numbers.sizes))
        for place in range(count):
            here = np.flatnonzero(visits.measured == place)
            visit = visits.visit_of_value[here]
            has = np.zeros(visits.count, np.int64)
            has[visit] = 1
            self.measured[:, place] = _chances(own, has, (kinds, 2), visits.patient)[:, 1]
            ranges = numbers.range_of(MEASURED + place, torch.from_numpy(visits.values[here])).numpy()
            size = numbers.sizes[MEASURED + place]
            whose = visits.patient[visit]
            self.values[place, :size] = _chances(np.zeros_like(ranges), ranges, (1, size), whose)[0]

    def _observe_deaths(self, visits: Visits, own: Integers) -> None:
        kinds, numbers = len(self.visit_schema.kinds), self.calendar.numbers
        self.died, self.dies = torch.zeros(kinds), torch.ones(kinds, numbers.sizes[DIES]) / numbers.sizes[DIES]
        if not self.calendar.died:
            return
        patients = np.flatnonzero(visits.per_patient > 0)
        last = visits.offsets[1:][patients] - 1
        days = days_between(visits.starts[last], visits.died[patients])
        known = np.isfinite(days)
        self.died = _chances(own[last], known.astype(np.int64), (kinds, 2), patients)[:, 1]
        ranges = numbers.range_of(DIES, torch.from_numpy(days[known])).numpy()
        self.dies = _chances(own[last][known], ranges, (kinds, numbers.sizes[DIES]), patients[known])

    def _observe_codes(self, visits: Visits, later: Integers) -> None:
        """Count how often each code comes at first visits, comes new, and stays."""
        codes = len(self.visit_schema.codes)
        key = visits.visit_of_code * codes + visits.codes
        stayed = np.isin(key - codes, key) & (visits.number[visits.visit_of_code] > 0)
        first = visits.number[visits.visit_of_code] == 0
        ended = np.ones(visits.count, bool)
        ended[later - 1] = False
        followed = ~ended[visits.visit_of_code]
        had = np.bincount(visits.codes[followed], minlength=codes)
        records = int((visits.per_patient > 0).sum())
        whose = visits.patient[visits.visit_of_code]
        shares = []
        for which, among in ((first, np.full(codes, records)), (~first & ~stayed, len(later) - had), (stayed, had)):
            count = _counts(
                np.zeros_like(whose[which]), visits.codes[which].astype(np.int64), (1, codes), whose[which]
            )[0]
            pooled = max(count.sum(), SOME) / max(among.sum(), 1)
            own = (count + SOME) / (among + 2 * SOME)
            shares.append(np.where(count >= LEAST, own, np.minimum(pooled, LEAST / np.maximum(among, LEAST) / 2)))
        few = had < LEAST  # of a code that hardly anybody had before a further visit, what is kept of all codes
        shares[2] = np.where(few, (had * shares[2]).sum() / max(had.sum(), 1), shares[2])
        self.codes = torch.from_numpy(np.stack(shares)).float().clamp(1e-6, 1 - 1e-6)

    @override
    def begun(self, static: Tensor, firsts: Tensor) -> Latest:
        k, kinds = len(static), len(self.visit_schema.kinds)
        number = torch.zeros(k, dtype=torch.int64, device=self.device)
        codes = torch.zeros(k, len(self.visit_schema.codes), dtype=torch.bool, device=self.device)
        return Latest(number, number + kinds, codes)

    @override
    def of_some(self, state: Latest, rows: Tensor) -> Latest:
        return Latest(state.number[rows], state.kinds[rows], state.codes[rows])

    @override
    def after(self, state: Latest, visit: Step) -> Latest:
        return Latest(state.number + 1, visit.kinds, visit.codes)

    @override
    def going_on(self, state: Latest, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        chance = self.ends[(state.number - 1).clamp(max=len(self.ends) - 1)]
        going, dead = torch.rand(2, len(chance), generator=generator, device=self.device)
        when = torch.multinomial(self.dies[state.kinds], 1, generator=generator).squeeze(1)
        days = self.calendar.numbers.drawn(DIES, when, generator)
        return going >= chance, days.where(dead < self.died[state.kinds], torch.nan)

    def _of_codes(self, state: Latest) -> Tensor:
        """Return the chance [k, codes] of each code at the next visit."""
        later = torch.where(state.codes, self.codes[2], self.codes[1])
        return torch.where((state.number == 0)[:, None], self.codes[0], later)

    @override
    def step(self, state: Latest, generator: torch.Generator) -> Step:
        def one(chances: Tensor) -> Tensor:
            return torch.multinomial(chances, 1, generator=generator).squeeze(1)

        numbers, k = self.calendar.numbers, len(state.number)
        kinds = one(self.kinds[state.kinds])
        gaps = numbers.drawn(GAP, one(self.gaps[state.kinds.clamp(max=len(self.gaps) - 1)]), generator)
        stays = one(self.stays[kinds])
        days = numbers.drawn(STAY, stays.clamp(max=numbers.sizes[STAY] - 1), generator)
        values = torch.full((k, len(self.values)), torch.nan, dtype=torch.float64, device=self.device)
        has = torch.bernoulli(self.measured[kinds], generator=generator).bool()
        for place in range(len(self.values)):
            ranges = one(self.values[place].expand(k, -1))
            values[:, place] = numbers.drawn(MEASURED + place, ranges, generator).where(has[:, place], torch.nan)
        codes = torch.bernoulli(self._of_codes(state), generator=generator).bool()
        known = stays < numbers.sizes[STAY]
        return Step(gaps.where(state.number > 0, 0.0), kinds, days.where(known, torch.nan), codes, values)

    @override
    def log_likelihood(self, static: Tensor, visits: Visits) -> Tensor:
        measurements = len(self.visit_schema.measurements)
        return in_blocks(
            visits, PATIENTS, lambda rows: self._of_batch(batch_of(visits, static, measurements, rows).to(self.device))
        )

    def _of_batch(self, batch: VisitBatch) -> Tensor:
        numbers, real, t = self.calendar.numbers, batch.real, batch.longest
        if not t:
            return self.calendar.nats_of_number(batch.lengths)
        latest = self.begun(batch.static, batch.first)
        nats = torch.zeros(len(batch), t, device=self.device)
        for number, visit in enumerate(steps_of(batch, len(self.visit_schema.codes))):
            nats[:, number] = binary_cross_entropy(self._of_codes(latest), visit.codes.float(), reduction="none").sum(1)
            nats[:, number] -= self.kinds[latest.kinds, visit.kinds].log()
            if number:
                nats[:, number] -= self.gaps[latest.kinds, numbers.range_of(GAP, visit.gaps)].log()
            stay = numbers.range_of(STAY, visit.stays).where(visit.stays.isfinite(), numbers.sizes[STAY])
            nats[:, number] -= self.stays[visit.kinds, stay].log()
            has, shares = visit.values.isfinite(), self.measured[visit.kinds]
            nats[:, number] += binary_cross_entropy(shares, has.float(), reduction="none").sum(1)
            for place in range(visit.values.shape[1]):
                ranges = numbers.range_of(MEASURED + place, visit.values[:, place])
                nats[:, number] -= self.values[place, ranges].log().where(has[:, place], 0.0)
            latest = self.after(latest, visit)
        ended = one_hot((batch.lengths - 1).clamp(min=0), t).bool()
        ends = self.ends[torch.arange(t, device=self.device).clamp(max=len(self.ends) - 1)].clamp(1e-6, 1 - 1e-6)
        nats -= torch.where(ended, ends.log(), (1 - ends).log())
        last = batch.kinds.gather(1, (batch.lengths - 1).clamp(min=0)[:, None]).squeeze(1)
        died = self.died[last].clamp(LEAST_CHANCE, 1 - LEAST_CHANCE)
        days = self.dies[last, numbers.range_of(DIES, batch.dies.nan_to_num(0.0))]
        fate = torch.where(batch.dies.isfinite(), (died * days).log(), (1 - died).log()).where(batch.lengths > 0, 0.0)
        return self.calendar.nats_of_number(batch.lengths) + fate - (nats * real).sum(1)


def _counts(row: Integers, column: Integers, shape: tuple[int, int], patients: Integers) -> NDArray[np.float64]:
    """Return how many visits have each row and column, or how many patients where these are fewer than ten."""
    cell = row * shape[1] + column
    visits = np.bincount(cell, minlength=shape[0] * shape[1])
    among = int(patients.max(initial=0)) + 1
    people = np.bincount(np.unique(cell * among + patients) // among, minlength=len(visits))
    return np.where(people < LEAST, people, visits).reshape(shape).astype(float)


def _chances(row: Integers, column: Integers, shape: tuple[int, int], patients: Integers) -> Tensor:
    """Return the share of each column [I, J] in each row, as far as it may be told."""
    counts = told(torch.from_numpy(_counts(row, column, shape, patients))[None])[0] + SOME
    return (counts / counts.sum(1, keepdim=True)).float()


def _ends(per_patient: Integers) -> Tensor:
    """Return the chance that a record ends after 1, 2, ... visits; the last is that after any number beyond.

    A number counts alone if ten patients have it and ten have more.
    """
    exactly = np.bincount(per_patient[per_patient > 0], minlength=2)[1:]
    reached = exactly[::-1].cumsum()[::-1]
    alone = (exactly >= LEAST) & (reached - exactly >= LEAST)
    upto = len(alone) if alone.all() else int(np.argmin(alone))
    beyond = exactly[upto:].sum() / max((exactly[upto:] * np.arange(1, len(exactly) - upto + 1)).sum(), 1)
    return torch.tensor([*(exactly[:upto] / reached[:upto]), beyond or 1.0], dtype=torch.float32)
