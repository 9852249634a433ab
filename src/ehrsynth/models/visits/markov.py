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
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, one_hot
from typing_extensions import override

from ehrsynth.disclosure import LEAST
from ehrsynth.models.visits.base import LooksOnce
from ehrsynth.models.visits.calendar import DIES, GAP, LEAST_CHANCE, MEASURED, STAY
from ehrsynth.models.visits.counted import SOME, STAYED, WENT, Counted, codes_in_time, ends_of
from ehrsynth.models.visits.stepwise import Step, Stepwise, steps_of
from ehrsynth.schema import Schema
from ehrsynth.visit_batch import VisitBatch, batch_of, days_between, days_to_death, in_blocks
from ehrsynth.visits import Visits, VisitSchema

NEVER = 1e-6  # the least chance of a code
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
    dies: Tensor  # [kinds, ranges], days from its end to death
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
        tables = self.tables(visits)
        self.kinds, self.gaps, self.stays = (tables[name].chances() for name in ("kinds", "gaps", "stays"))
        self._observe_values(visits, tables["values"])
        self.ends = ends_of(np.bincount(visits.per_patient[visits.per_patient > 0], minlength=2)[1:], LEAST)
        kinds, size = len(self.visit_schema.kinds), self.calendar.numbers.sizes[DIES]
        self.died, self.dies = torch.zeros(kinds), torch.ones(kinds, size) / size
        if self.calendar.died:
            self.died, self.dies = tables["fates"].chances()[:, 1], tables["dies"].chances()
        self._observe_codes(visits, tables["codes"])

    def tables(self, visits: Visits) -> dict[str, Counted]:
        """Return what is counted of visits: in which rows and columns, for ranges as the calendar tells them.

        The columns of ``codes`` are codes, its rows those of first visits, those that come new, stay, and go.
        """
        kinds, numbers = len(self.visit_schema.kinds), self.calendar.numbers
        own, whose = visits.kinds.astype(np.int64), visits.patient
        later, before = visits.number > 0, np.roll(own, 1)
        gaps = numbers.range_of(GAP, torch.from_numpy(visits.gaps[later])).numpy()
        days = days_between(visits.starts, visits.ends)
        stays = numbers.range_of(STAY, torch.from_numpy(days)).numpy()
        stays[np.isnan(days)] = numbers.sizes[STAY]
        patients = np.flatnonzero(visits.per_patient > 0)
        last = visits.offsets[1:][patients] - 1
        until = days_to_death(visits)[patients]
        known = np.isfinite(until)
        dies = numbers.range_of(DIES, torch.from_numpy(until[known])).numpy()
        measured, ranges = visits.measured.astype(np.int64), np.zeros(len(visits.values), np.int64)
        for place in range(len(self.visit_schema.measurements)):
            mine = measured == place
            ranges[mine] = numbers.range_of(MEASURED + place, torch.from_numpy(visits.values[mine])).numpy()
        widest = len(self.visit_schema.measurements), max(numbers.sizes)
        return {
            "kinds": Counted(np.where(later, before, kinds), own, (kinds + 1, kinds), whose),
            "gaps": Counted(before[later], gaps, (kinds, numbers.sizes[GAP]), whose[later]),
            "stays": Counted(own, stays, (kinds, numbers.sizes[STAY] + 1), whose),
            "values": Counted(measured, ranges, widest, whose[visits.visit_of_value]),
            "fates": Counted(own[last], known.astype(np.int64), (kinds, 2), patients),
            "dies": Counted(own[last][known], dies, (kinds, numbers.sizes[DIES]), patients[known]),
            "codes": codes_in_time(visits, len(self.visit_schema.codes)),
        }

    def _observe_values(self, visits: Visits, values: Counted) -> None:
        kinds, count = len(self.visit_schema.kinds), len(self.visit_schema.measurements)
        self.measured = torch.zeros(kinds, count)
        for place in range(count):
            has = np.zeros(visits.count, np.int64)
            has[visits.visit_of_value[visits.measured == place]] = 1
            own = visits.kinds.astype(np.int64)
            self.measured[:, place] = Counted(own, has, (kinds, 2), visits.patient).chances()[:, 1]
        counts = (torch.from_numpy(values.visits_or_patients()) + SOME) * self.ranges_of_values
        self.values = (counts / counts.sum(1, keepdim=True)).float()

    @property
    def ranges_of_values(self) -> Tensor:
        """Which ranges each measurement has, bool [measurements, ranges]."""
        sizes = self.calendar.numbers.sizes
        return torch.arange(max(sizes)) < torch.tensor(sizes[MEASURED:], dtype=torch.int64)[:, None]

    def _observe_codes(self, visits: Visits, table: Counted) -> None:
        """Count how often each code comes at first visits, comes new, and stays."""
        codes = table.shape[1]
        records = int((visits.per_patient > 0).sum())
        had = np.bincount(table.columns[table.rows >= STAYED], minlength=codes)
        shares, counts = [], table.visits_or_patients()[:WENT]
        among_of = np.full(codes, records), visits.count - records - had, had
        for count, among in zip(counts, among_of, strict=True):
            pooled = max(count.sum(), SOME) / max(among.sum(), 1)
            own = (count + SOME) / (among + 2 * SOME)
            shares.append(np.where(count >= LEAST, own, np.minimum(pooled, LEAST / np.maximum(among, LEAST) / 2)))
        few = had < LEAST  # of a code that hardly anybody had before a further visit, what is kept of all codes
        shares[2] = np.where(few, (had * shares[2]).sum() / max(had.sum(), 1), shares[2])
        self.codes = torch.from_numpy(np.stack(shares)).float().clamp(NEVER, 1 - NEVER)

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
