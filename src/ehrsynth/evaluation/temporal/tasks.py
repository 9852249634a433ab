"""Clinical tasks: at which visits something is asked of a patient, and what came of it.

A task is data of a configuration. Codes and measurements are named by patterns with ``*``, such as ``*_E11*``; what a
vocabulary does not have is skipped with a remark.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from typing_extensions import override

from ehrsynth.errors import expect
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits
from ehrsynth.metrics.temporal.content import first_seen, has_next
from ehrsynth.metrics.temporal.outcomes import dies_within, ends_of, readmitted
from ehrsynth.metrics.temporal.progression import persistence
from ehrsynth.metrics.temporal.tasks import Flags, comes_within, has_any, so_far
from ehrsynth.visits import UNKNOWN, Integers, Visits, VisitSchema

LASTING = 0.5  # of a code: the share of visits with it after which the next one has it again


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A question asked at one visit of a patient.

    Attributes:
        window: days up to the visit whose measurements are looked at; None looks at none.
        history: whether the codes, kinds and gaps of all visits so far are looked at.
        called: its name; by default what it is about.
    """

    window: int | None = None
    history: bool = True
    called: str = ""

    def __post_init__(self) -> None:
        expect(self.history or self.window is not None, "history", self.history, "true where there is no window")

    @property
    def name(self) -> str:
        """What people read."""
        return self.called or self.about

    @property
    @abstractmethod
    def about(self) -> str:
        """What it is about, in words."""

    @abstractmethod
    def asked(self, visits: Visits, schema: VisitSchema) -> tuple[Flags, Flags]:
        """Return at which visits it can be asked, and whether it came true there, [V] each.

        Raises:
            NotApplicableError: the schema lacks what it is about.
        """

    def tasks(self, real: RealVisits) -> Sequence["Task"]:
        """Return what it stands for on real data: itself."""
        return [self]


@dataclass(frozen=True, kw_only=True)
class Readmission(Task):
    """Whether who leaves alive is back within so many days of the end of the visit."""

    days: int = 30

    @property
    @override
    def about(self) -> str:
        return f"readmission within {self.days} days"

    @override
    def asked(self, visits: Visits, schema: VisitSchema) -> tuple[Flags, Flags]:
        return ~dies_within(visits, 0, ends_of(visits)), readmitted(visits, self.days)


@dataclass(frozen=True, kw_only=True)
class DeathInHospital(Task):
    """Whether the patient is dead by the end of a stay, of those whose end is known."""

    @property
    @override
    def about(self) -> str:
        return "death in hospital"

    @override
    def asked(self, visits: Visits, schema: VisitSchema) -> tuple[Flags, Flags]:
        stays = ~np.isin(visits.kinds, [i for i, kind in enumerate(schema.kinds) if kind in schema.ambulatory])
        return stays & (visits.ends != UNKNOWN), dies_within(visits, 0, ends_of(visits))


@dataclass(frozen=True, kw_only=True)
class DeathAfter(Task):
    """Whether who leaves the last visit alive is dead so many days after its end."""

    days: int = 365

    @property
    @override
    def about(self) -> str:
        return f"death within {self.days} days of the last visit"

    @override
    def asked(self, visits: Visits, schema: VisitSchema) -> tuple[Flags, Flags]:
        ends = ends_of(visits)
        return ~has_next(visits) & ~dies_within(visits, 0, ends), dies_within(visits, self.days, ends)


@dataclass(frozen=True, kw_only=True)
class Onset(Task):
    """Whether who had none of some codes so far has one within so many days.

    With ``history: false`` and a ``window`` it is the form of an early warning: from measurements alone.

    Attributes:
        codes: patterns.
        among: patterns of codes, one of which the patient must have had.
        days: from the start of the visit.
    """

    codes: Sequence[str]
    among: Sequence[str] = ()
    days: int = 365

    @property
    @override
    def about(self) -> str:
        from_what = "" if self.history else ", from measurements"
        return f"{_told(self.codes)}{_among(self.among)} within {self.days} days{from_what}"

    @override
    def asked(self, visits: Visits, schema: VisitSchema) -> tuple[Flags, Flags]:
        event = has_any(visits, matching(schema, self.codes))
        return ~so_far(visits, event) & _had(visits, schema, self.among), comes_within(visits, event, self.days)


@dataclass(frozen=True, kw_only=True)
class CommonOnsets(Task):
    """The lasting diagnoses that most patients of R come by after their first visit, each an ``Onset``.

    Attributes:
        most: how many.
        days: from the start of the visit.
    """

    most: int = 3
    days: int = 365

    @property
    @override
    def about(self) -> str:
        return f"the {self.most} commonest new diagnoses that last"

    @override
    def asked(self, visits: Visits, schema: VisitSchema) -> tuple[Flags, Flags]:
        raise NotApplicableError("it stands for other tasks")

    @override
    def tasks(self, real: RealVisits) -> Sequence[Task]:
        there, kept = persistence(real.train, real.width)
        diagnoses = np.array([code.domain == "diagnosis" for code in real.schema.codes], dtype=bool)
        lasting = np.flatnonzero(diagnoses & (kept >= LASTING * there) & (there > 0))
        later = first_seen(real.train, real.width) & (real.train.number > 0)[real.train.visit_of_code]
        begun = np.bincount(real.train.codes[later], minlength=real.width)
        chosen = lasting[np.argsort(-begun[lasting], kind="stable")][: self.most]
        if not len(chosen):
            raise NotApplicableError("no diagnosis of R lasts from visit to visit")
        names = [real.schema.codes[code].name for code in chosen]
        return [Onset(codes=[name], days=self.days, window=self.window, history=self.history) for name in names]


@dataclass(frozen=True, kw_only=True)
class Stages(Task):
    """Whether who has come to one stage of a disease, but not to the last, comes to a higher one within so many days.

    Attributes:
        stages: patterns of the codes of each, the mildest first; two or more.
        days: from the start of the visit.
    """

    stages: Sequence[Sequence[str]]
    days: int = 365

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(len(self.stages) > 1, "stages", self.stages, "two stages or more, the mildest first,")

    @property
    @override
    def about(self) -> str:
        return f"{' to '.join(map(_told, self.stages))} within {self.days} days"

    @override
    def asked(self, visits: Visits, schema: VisitSchema) -> tuple[Flags, Flags]:
        has = [has_any(visits, matching(schema, codes)) for codes in self.stages]
        come = np.zeros(visits.count, dtype=bool)
        reached = np.full(visits.count, -1)
        for i, stage in enumerate(has):
            reached[so_far(visits, stage)] = i
        for i in range(len(has) - 1):
            higher = np.logical_or.reduce(has[i + 1 :])
            come |= (reached == i) & comes_within(visits, higher, self.days)
        return (reached >= 0) & (reached < len(has) - 1), come


@dataclass(frozen=True, kw_only=True)
class Crossing(Task):
    """Whether a measurement that was on the right side of a threshold so far is beyond it within so many days.

    Attributes:
        measurement: pattern of its name; of several the first counts.
        above: the threshold, where more is worse; else
        below: the threshold, where less is.
        unit: of the threshold; a measurement in another unit is not asked about. Empty takes any.
        among: patterns of codes, one of which the patient must have had.
        days: from the start of the visit.
    """

    measurement: str
    above: float | None = None
    below: float | None = None
    unit: str = ""
    among: Sequence[str] = ()
    days: int = 365

    def __post_init__(self) -> None:
        super().__post_init__()
        expect((self.above is None) != (self.below is None), "above", self.above, "a threshold, or below= one,")

    @property
    @override
    def about(self) -> str:
        side = f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"
        return f"{self.measurement.strip('*_')} {side}{_among(self.among)} within {self.days} days"

    @override
    def asked(self, visits: Visits, schema: VisitSchema) -> tuple[Flags, Flags]:
        places = [i for i, m in enumerate(schema.measurements) if fnmatchcase(m.name, self.measurement)]
        if not places:
            raise NotApplicableError(f"no measurement is like {self.measurement!r}")
        if self.unit and (found := schema.measurements[places[0]]).unit != self.unit:
            raise NotApplicableError(f"{found.name} is in {found.unit or 'no unit'}; the threshold is in {self.unit}")
        mine = visits.measured == places[0]
        worse = visits.values > self.above if self.above is not None else visits.values < (self.below or 0.0)
        measured, beyond = np.zeros(visits.count, dtype=bool), np.zeros(visits.count, dtype=bool)
        measured[visits.visit_of_value[mine]] = True
        beyond[visits.visit_of_value[mine & worse]] = True
        asked = so_far(visits, measured) & ~so_far(visits, beyond) & _had(visits, schema, self.among)
        return asked, comes_within(visits, beyond, self.days)


def matching(schema: VisitSchema, patterns: Sequence[str]) -> Integers:
    """Return the places of the codes whose names are like one of some patterns.

    Raises:
        NotApplicableError: there is none.
    """
    names = [code.name for code in schema.codes]
    found = [i for i, name in enumerate(names) if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if not found:
        raise NotApplicableError(f"no code is like {' or '.join(patterns)}")
    return np.array(found)


def _had(visits: Visits, schema: VisitSchema, among: Sequence[str]) -> Flags:
    if not among:
        return np.ones(visits.count, dtype=bool)
    return so_far(visits, has_any(visits, matching(schema, among)))


def _told(codes: Sequence[str]) -> str:
    return " or ".join(code.strip("*_") for code in codes)


def _among(codes: Sequence[str]) -> str:
    return f" among those with {_told(codes)}" if codes else ""
