"""Patients through time: dated visits with their codes and measurements, in ragged columns.

``Visits`` holds what changes from visit to visit; what is said of a patient once is a row of a table with a ``Schema``,
as in a matrix, in the same order of patients. ``VisitSchema`` says what the numbers in the columns mean.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ehrsynth.errors import SchemaError, TableError

Integers = NDArray[np.int64]

UNKNOWN = np.iinfo(np.int64).min  # a time that nobody wrote down, as in numpy's NaT
DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class Code:
    """A concept of a visit, such as a diagnosis.

    Attributes:
        name: unique among the codes of all domains.
        domain: ``diagnosis``, ``procedure``, ``medication`` or ``code``.
        label: plain words for people.
    """

    name: str
    domain: str
    label: str = ""


@dataclass(frozen=True)
class Measurement:
    """A number that visits may have.

    Attributes:
        name: unique among the measurements.
        domain: ``lab`` or ``vital``.
        unit: of every value; empty if the source gives none.
        bounds: smallest and largest value that may be told.
        decimals: digits after the point in the training data.
        label: plain words for people.
    """

    name: str
    domain: str
    unit: str
    bounds: tuple[float, float]
    decimals: int
    label: str = ""


@dataclass(frozen=True)
class VisitSchema:
    """What visits are made of; the columns of ``Visits`` are places in these tuples.

    Attributes:
        kinds: of visits, such as ``EW EMER.``; at least one.
        codes: of all domains, those of a domain beside each other.
        measurements: in the order of their places.
        ambulatory: kinds of visits that are no stays in hospital.
    """

    kinds: tuple[str, ...]
    codes: tuple[Code, ...]
    measurements: tuple[Measurement, ...] = ()
    ambulatory: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.kinds:
            raise SchemaError("a visit schema without a kind of visit; at least one was expected")
        for what, names in (
            ("kind", self.kinds),
            ("code", tuple(code.name for code in self.codes)),
            ("measurement", tuple(measurement.name for measurement in self.measurements)),
        ):
            if len(set(names)) < len(names):
                raise SchemaError(f"a visit schema has a {what} twice; each must have a name of its own")
        if not set(self.ambulatory) <= set(self.kinds):
            raise SchemaError("a visit schema has an ambulatory kind that is none of its kinds")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON and for checkpoints."""
        return {"version": 1, **asdict(self)}

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Read what ``to_dict`` returns, also after JSON made lists of its tuples.

        Raises:
            SchemaError: it is something else.
        """
        try:
            if content["version"] != 1:
                raise ValueError
            return cls(
                tuple(map(str, content["kinds"])),
                tuple(Code(**code) for code in content["codes"]),
                tuple(
                    Measurement(**{**entry, "bounds": (float(entry["bounds"][0]), float(entry["bounds"][1]))})
                    for entry in content["measurements"]
                ),
                tuple(map(str, content["ambulatory"])),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise SchemaError(f"not a visit schema of this program ({type(error).__name__})") from None

    @cached_property
    def domains(self) -> dict[str, slice]:
        """The places of the codes of each domain, in their order."""
        names = [code.domain for code in self.codes]
        found = {domain: slice(names.index(domain), names.index(domain) + names.count(domain)) for domain in names}
        if any(set(names[places]) != {domain} for domain, places in found.items()):
            raise SchemaError("a visit schema mixes the codes of two domains; those of a domain lie beside each other")
        return found


@dataclass(frozen=True, eq=False)
class Visits:
    """The visits of n patients: V of them with C codes and M measured values, in the order of patients and time.

    Attributes:
        offsets: [n + 1]; the visits of patient i are ``offsets[i]`` to ``offsets[i + 1]``.
        starts: [V] microseconds since 1970, never unknown, not falling within a patient.
        ends: [V] microseconds since 1970, or ``UNKNOWN``.
        kinds: [V] places in ``VisitSchema.kinds``.
        code_offsets: [V + 1]; the codes of visit v are ``code_offsets[v]`` to ``code_offsets[v + 1]``.
        codes: [C] places in ``VisitSchema.codes``, rising within a visit: a visit has a code once.
        value_offsets: [V + 1]; the values of visit v are ``value_offsets[v]`` to ``value_offsets[v + 1]``.
        measured: [M] places in ``VisitSchema.measurements``, rising within a visit.
        values: [M] what was measured, in the unit of the schema.
        born, died: [n] microseconds since 1970, or ``UNKNOWN``.
    """

    offsets: Integers
    starts: Integers
    ends: Integers
    kinds: NDArray[np.int16]
    code_offsets: Integers
    codes: NDArray[np.int32]
    value_offsets: Integers
    measured: NDArray[np.int32]
    values: NDArray[np.float32]
    born: Integers
    died: Integers

    def __len__(self) -> int:
        """Return the number of patients."""
        return len(self.offsets) - 1

    @property
    def count(self) -> int:
        """The number of visits of all patients together."""
        return len(self.starts)

    @cached_property
    def per_patient(self) -> Integers:
        """The number of visits of each patient, [n]."""
        return np.diff(self.offsets)

    @cached_property
    def codes_per_visit(self) -> Integers:
        """The number of codes of each visit, [V]."""
        return np.diff(self.code_offsets)

    @cached_property
    def values_per_visit(self) -> Integers:
        """The number of values of each visit, [V]."""
        return np.diff(self.value_offsets)

    @cached_property
    def patient(self) -> Integers:
        """The patient of each visit, [V]."""
        return np.repeat(np.arange(len(self)), self.per_patient)

    @cached_property
    def visit_of_code(self) -> Integers:
        """The visit of each code, [C]."""
        return np.repeat(np.arange(self.count), self.codes_per_visit)

    @cached_property
    def visit_of_value(self) -> Integers:
        """The visit of each value, [M]."""
        return np.repeat(np.arange(self.count), self.values_per_visit)

    @cached_property
    def number(self) -> Integers:
        """Which visit of its patient each is, counted from 0, [V]."""
        return np.arange(self.count) - self.offsets[self.patient]

    @cached_property
    def left(self) -> Integers:
        """When the last visit of each patient ended, or began if nobody wrote that down, [n]; ``UNKNOWN`` of none."""
        found, some = np.full(len(self), UNKNOWN), self.per_patient > 0
        last = self.offsets[1:][some] - 1
        found[some] = np.where(self.ends[last] == UNKNOWN, self.starts[last], self.ends[last])
        return found

    @cached_property
    def gaps(self) -> NDArray[np.float64]:
        """Days from the start of the visit before to the start of each, [V]; NaN at first visits."""
        days = np.full(self.count, np.nan)
        days[1:] = np.diff(self.starts) / DAY
        days[self.number == 0] = np.nan
        return days

    def of_patients(self, rows: Integers) -> "Visits":
        """Return the visits of some patients, in the order of ``rows``; a patient may come several times."""
        offsets = _offsets(self.per_patient[rows])
        visits = _within(self.offsets[rows], offsets)
        return self.with_content(
            visits, offsets, self.starts[visits], self.ends[visits], self.born[rows], self.died[rows]
        )

    def with_visits_moved(self, order: Integers) -> "Visits":
        """Return the same dates with other content: visit v has kind, codes and values of visit ``order[v]``."""
        return self.with_content(order, self.offsets, self.starts, self.ends, self.born, self.died)

    def followed_by(self, later: "Visits") -> "Visits":
        """Return the visits of each patient, and then those that ``later`` has of the same one; births are kept."""
        both = Visits.joined([self, later])
        order = np.argsort(both.patient % max(len(self), 1), kind="stable")
        offsets = _offsets(self.per_patient + later.per_patient)
        return both.with_content(order, offsets, both.starts[order], both.ends[order], self.born, later.died)

    def with_content(
        self, visits: Integers, offsets: Integers, starts: Integers, ends: Integers, born: Integers, died: Integers
    ) -> "Visits":
        """Return other patients, whose visits have kind, codes and values of some visits of these, and dates as given.

        Args:
            visits: [W], the visit of these that each of theirs is like.
            offsets: as of ``Visits``, of the other patients.
            starts: [W], of their visits.
            ends: [W], likewise.
            born: of them.
            died: of them.
        """
        code_offsets = _offsets(self.codes_per_visit[visits])
        value_offsets = _offsets(self.values_per_visit[visits])
        codes = _within(self.code_offsets[visits], code_offsets)
        values = _within(self.value_offsets[visits], value_offsets)
        return Visits(
            offsets,
            starts,
            ends,
            self.kinds[visits],
            code_offsets,
            self.codes[codes],
            value_offsets,
            self.measured[values],
            self.values[values],
            born,
            died,
        )

    @classmethod
    def joined(cls, parts: Iterable["Visits"]) -> "Visits":
        """Return the patients of several, one after the other."""
        parts = list(parts)

        def all_of(name: str) -> Any:
            return np.concatenate([getattr(part, name) for part in parts])

        def offsets_of(name: str) -> Any:
            return _offsets(np.concatenate([np.diff(getattr(part, name)) for part in parts]))

        names = cls.__dataclass_fields__
        return cls(**{name: offsets_of(name) if name.endswith("offsets") else all_of(name) for name in names})

    def check(self, schema: VisitSchema, place: str) -> None:
        """Raise a ``TableError`` that names ``place`` and what does not fit, unless these are visits of ``schema``."""
        for name, total in (
            ("offsets", self.count),
            ("code_offsets", len(self.codes)),
            ("value_offsets", len(self.values)),
        ):
            offsets, rows = getattr(self, name), len(self) if name == "offsets" else self.count
            if len(offsets) != rows + 1 or offsets[0] != 0 or offsets[-1] != total or (np.diff(offsets) < 0).any():
                raise TableError(f"{place}: {name} must rise from 0 to {total}, one step for each of {rows}")
        same = ((self.count, ("ends", "kinds")), (len(self), ("born", "died")), (len(self.values), ("measured",)))
        for length, names in same:
            if wrong := [name for name in names if len(getattr(self, name)) != length]:
                raise TableError(
                    f"{place}: {wrong[0]} has {len(getattr(self, wrong[0]))} entries; {length} were expected"
                )
        for name, known in (
            ("kinds", len(schema.kinds)),
            ("codes", len(schema.codes)),
            ("measured", len(schema.measurements)),
        ):
            places = getattr(self, name)
            if len(places) and not (places.min() >= 0 and places.max() < known):
                raise TableError(f"{place}: {name} must be places among the {known} of the schema")
        if (self.starts == UNKNOWN).any():
            raise TableError(f"{place}: a visit without a start; one that nobody dated is no visit of a trajectory")
        later = self.number > 0
        if (np.diff(self.starts)[later[1:]] < 0).any():
            raise TableError(f"{place}: the visits of a patient are not in the order of time")
        for name, visit in (("codes", self.visit_of_code), ("measured", self.visit_of_value)):
            if (np.diff(getattr(self, name))[np.diff(visit) == 0] <= 0).any():
                raise TableError(f"{place}: {name} must rise within a visit, so that none is there twice")
        if not np.isfinite(self.values).all():
            raise TableError(f"{place}: a value is not finite")


def ragged(rows: Sequence[Sequence[int]]) -> tuple[Integers, NDArray[np.int32]]:
    """Return offsets and entries of some lists, such as the codes of visits."""
    offsets = _offsets(np.array([len(row) for row in rows], np.int64))
    return offsets, np.array([entry for row in rows for entry in row], np.int32)


def _offsets(lengths: Integers) -> Integers:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _within(starts: Integers, offsets: Integers) -> Integers:
    """Return the places of the entries of rows that begin at ``starts`` and are as long as ``offsets`` say."""
    lengths = np.diff(offsets)
    return np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
