"""Models that draw records visit by visit, all patients of a batch at the same time."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from ehrsynth.models.visits.base import VisitModel
from ehrsynth.models.visits.calendar import Told
from ehrsynth.visit_batch import VisitBatch, batch_of
from ehrsynth.visits import UNKNOWN, Integers, Visits


@dataclass(frozen=True, eq=False)
class Step:
    """A visit of each of k patients.

    Attributes:
        gaps: float [k], days since the start of the visit before; zero at first visits.
        kinds: int64 [k].
        stays: float [k], days; NaN if nobody wrote down the end.
        codes: bool [k, codes].
        values: float [k, measurements], NaN where not measured.
    """

    gaps: Tensor = field(repr=False)
    kinds: Tensor = field(repr=False)
    stays: Tensor = field(repr=False)
    codes: Tensor = field(repr=False)
    values: Tensor = field(repr=False)

    def of(self, rows: Tensor) -> "Step":
        """Return the visits of some of the patients."""
        return Step(*(getattr(self, each.name)[rows] for each in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence["Step"]) -> "Step":
        """Return the visits of the patients of several, one after the other."""
        return cls(*(torch.cat([getattr(part, each.name) for part in parts]) for each in fields(cls)))


State = TypeVar("State")


class Stepwise(VisitModel, Generic[State]):
    """A model that says, of what has been so far, whether a visit follows, and which."""

    continues = True

    @abstractmethod
    def begun(self, static: Tensor, firsts: Tensor) -> State:
        """Return what is known of k patients before their first visits.

        Args:
            static: [k, s].
            firsts: float64 [k], days since 1970 of the first visits.
        """

    @abstractmethod
    def step(self, state: State, generator: torch.Generator) -> Step:
        """Draw the next visit of each of the patients."""

    @abstractmethod
    def after(self, state: State, visit: Step) -> State:
        """Return what is known after a visit of each."""

    @abstractmethod
    def going_on(self, state: State, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw, after a visit, whether another follows, bool [k], and days from that one to death, NaN if unknown."""

    @abstractmethod
    def of_some(self, state: State, rows: Tensor) -> State:
        """Return what is known of some of the patients."""

    @override
    def sample(self, n: int, generator: torch.Generator, static: Tensor | None = None) -> tuple[Tensor, Visits]:
        if static is None:
            static = self.static_rows(n, generator)
        firsts = self.calendar.firsts(n, generator)
        empty = torch.rand(n, generator=generator, device=self.device) < self.calendar.empty
        rows = (~empty).nonzero().flatten()
        told = _Recording(n, self.visit_schema.measurements)
        self._roll(told, rows, self.begun(static[rows], firsts[rows]), generator, 0)
        since = self.calendar.moments(firsts)
        visits = self.calendar.dated(told.told(), since, np.full(n, UNKNOWN))
        lasts, some = since.copy(), visits.per_patient > 0
        lasts[some] = visits.starts[visits.offsets[1:][some] - 1]
        return static, replace(visits, born=self.calendar.births(static, since, lasts, generator))

    @override
    @torch.no_grad()
    def continue_from(self, prefix: Visits, static: Tensor, generator: torch.Generator) -> Visits:
        measurements = self.visit_schema.measurements
        told, static = _Recording(len(prefix), measurements), static.to(self.device)
        drawn = self.calendar.firsts(len(prefix), generator)
        since = self.calendar.moments(drawn)
        left = np.where(prefix.per_patient > 0, prefix.left, since)
        for length in np.unique(prefix.per_patient).tolist():  # those that have as many visits go on together
            rows = np.flatnonzero(prefix.per_patient == length)
            batch = batch_of(prefix, static.cpu(), len(measurements), rows).to(self.device)
            at = torch.from_numpy(rows).to(self.device)
            state = self.begun(batch.static, batch.first if length else drawn[at])
            for visit in steps_of(batch, len(self.visit_schema.codes)):
                state = self.after(state, visit)
            if length:
                since[rows] = prefix.starts[prefix.offsets[1:][rows] - 1]
            self._roll(told, at, state, generator, length)
        return prefix.followed_by(self.calendar.dated(told.told(), since, prefix.born, left))

    def _redrawn(self, visits: Visits, static: Tensor, draw: Callable[[State, Step], Step], measured: bool) -> Visits:
        """Return records whose visits have what ``draw`` makes of each, given what is known before it.

        Args:
            visits: of n patients; each visit is drawn given those before it as they stand here.
            static: their encoded rows [n, s].
            draw: from what is known before visits, and these, to others; dates and kinds are not looked at.
            measured: whether stays and measurements are taken from it, or codes alone.
        """
        measurements = self.visit_schema.measurements
        recording = _Recording(len(visits), measurements)
        some = visits.per_patient > 0
        for length in np.unique(visits.per_patient[some]).tolist():
            rows = np.flatnonzero(visits.per_patient == length)
            batch = batch_of(visits, static.cpu(), len(measurements), rows).to(self.device)
            state = self.begun(batch.static, batch.first)
            for visit in steps_of(batch, len(self.visit_schema.codes)):
                recording.add(torch.from_numpy(rows), draw(state, visit))
                state = self.after(state, visit)
        told = recording.told()
        found = replace(visits, code_offsets=told.code_offsets, codes=told.codes)
        if not measured:
            return found
        firsts = np.zeros(len(visits), np.int64)
        firsts[some] = visits.starts[visits.offsets[:-1][some]]
        dated = self.calendar.dated(told, firsts, visits.born)
        ends = np.where(dated.ends == UNKNOWN, UNKNOWN, visits.starts + dated.ends - dated.starts)
        return replace(found, ends=ends, value_offsets=told.value_offsets, measured=told.measured, values=told.values)

    def _roll(self, told: "_Recording", rows: Tensor, state: State, generator: torch.Generator, before: int) -> None:
        """Draw visits until each record has ended, or has as many more as records ever have.

        Args:
            told: where they are noted.
            rows: which patients these are.
            state: what is known of them.
            generator: of the draws.
            before: visits that they have already.
        """
        for number in range(int(self.calendar.most)):
            if number + before:
                going, dies = self.going_on(state, generator)
                told.end(rows[~going], dies[~going])
                state, rows = self.of_some(state, going.nonzero().flatten()), rows[going]
            if not len(rows):
                return
            visit = self.step(state, generator)
            told.add(rows, visit)
            state = self.after(state, visit)


def steps_of(batch: VisitBatch, codes: int) -> Iterator[Step]:
    """Yield the visits of a batch, all first ones, then all second ones, and so on, padding included."""
    hot = batch.multi_hot(codes).bool()
    for t in range(batch.longest):
        yield Step(batch.gaps[:, t], batch.kinds[:, t], batch.stays[:, t], hot[:, t], batch.values[:, t])


_WHOLE = ("patient", "kinds", "code_counts", "value_counts")


class _Recording:
    """The visits of n patients as they are drawn; codes and values are kept ragged."""

    def __init__(self, n: int, measurements: tuple[Any, ...]) -> None:
        self.dies = np.full(n, np.nan)
        self.measurements = measurements
        self.parts: list[dict[str, Any]] = []

    def end(self, rows: Tensor, dies: Tensor) -> None:
        """Note when patients die of whom no visit follows."""
        self.dies[rows.cpu().numpy()] = dies.double().cpu().numpy()

    def add(self, rows: Tensor, visit: Step) -> None:
        """Note a visit of each of the patients ``rows``; numbers are rounded as they are told."""
        whose, codes = visit.codes.nonzero(as_tuple=True)
        of, measured = visit.values.isfinite().nonzero(as_tuple=True)
        values = visit.values[of, measured].double().cpu().numpy()
        for place, measurement in enumerate(self.measurements):
            mine = measured.cpu().numpy() == place
            values[mine] = values[mine].round(measurement.decimals).clip(*measurement.bounds)
        self.parts.append(
            {
                "patient": rows.cpu().numpy(),
                "gaps": visit.gaps.double().cpu().numpy(),
                "kinds": visit.kinds.cpu().numpy(),
                "stays": visit.stays.double().cpu().numpy(),
                "code_counts": torch.bincount(whose, minlength=len(rows)).cpu().numpy(),
                "codes": codes.to(torch.int32).cpu().numpy(),
                "value_counts": torch.bincount(of, minlength=len(rows)).cpu().numpy(),
                "measured": measured.to(torch.int32).cpu().numpy(),
                "values": values.astype(np.float32),
            }
        )

    def told(self) -> Told:
        """Return all visits, in the order of patients and time."""
        nothing: dict[str, Any] = {name: np.zeros(0, np.int64) for name in _WHOLE}
        nothing |= {"codes": np.zeros(0, np.int32), "measured": np.zeros(0, np.int32)}
        nothing |= {"gaps": np.zeros(0), "stays": np.zeros(0), "values": np.zeros(0, np.float32)}
        every = {name: np.concatenate([empty, *(part[name] for part in self.parts)]) for name, empty in nothing.items()}
        order = np.argsort(every["patient"], kind="stable")
        codes, code_offsets = _moved(every["code_counts"], order)
        values, value_offsets = _moved(every["value_counts"], order)
        return Told(
            patient=every["patient"][order],
            gaps=every["gaps"][order],
            stays=every["stays"][order],
            kinds=every["kinds"][order],
            code_offsets=code_offsets,
            codes=every["codes"][codes],
            value_offsets=value_offsets,
            measured=every["measured"][values],
            values=every["values"][values],
            dies=self.dies,
        )


def _moved(counts: Integers, order: Integers) -> tuple[Integers, Integers]:
    """Return where the entries of runs are that are put in another order, and the offsets of the runs then."""
    starts = (counts.cumsum() - counts)[order]
    offsets = np.concatenate([np.zeros(1, np.int64), counts[order].cumsum()])
    return np.repeat(starts - offsets[:-1], counts[order]) + np.arange(offsets[-1]), offsets
