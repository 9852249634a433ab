"""Visits as tensors: some patients padded to the longest of them, made from the ragged columns without a loop."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.visits import DAY, UNKNOWN, Integers, Visits


@dataclass(frozen=True, eq=False)
class VisitBatch:
    """The visits of b patients of at most t visits each; what lies behind a patient's last visit means nothing.

    Attributes:
        static: float32 [b, s], the encoded row of each patient.
        lengths: int64 [b], visits of each patient.
        first: float64 [b], days since 1970 of the first visit; zero for a patient without one.
        gaps: float32 [b, t], days since the start of the visit before; zero at first visits.
        kinds: int64 [b, t], places in ``VisitSchema.kinds``.
        stays: float32 [b, t], days from start to end; NaN where nobody wrote down the end.
        dies: float32 [b], see ``days_to_death``.
        places: int64 [k], where each code belongs, its patient times t plus its visit.
        codes: int64 [k], places in ``VisitSchema.codes``.
        values: float32 [b, t, m], NaN where not measured.
    """

    static: Tensor = field(repr=False)  # patients are not for printing
    lengths: Tensor = field(repr=False)
    first: Tensor = field(repr=False)
    gaps: Tensor = field(repr=False)
    kinds: Tensor = field(repr=False)
    stays: Tensor = field(repr=False)
    dies: Tensor = field(repr=False)
    places: Tensor = field(repr=False)
    codes: Tensor = field(repr=False)
    values: Tensor = field(repr=False)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def longest(self) -> int:
        """Visits that a patient has at most, t."""
        return self.gaps.shape[1]

    @property
    def real(self) -> Tensor:
        """Which of the places [b, t] hold a visit, bool: the padding mask."""
        return torch.arange(self.longest, device=self.lengths.device) < self.lengths[:, None]

    @property
    def log_gaps(self) -> Tensor:
        """The gaps [b, t] as log(1 + days)."""
        return self.gaps.log1p()

    def multi_hot(self, codes: int, most: int | None = None) -> Tensor:
        """Return float32 [b, t, codes], 1 for each code of each visit; of each patient's first ``most`` alone."""
        t = self.longest if most is None else min(most, self.longest)
        patient, number = self.places // max(self.longest, 1), self.places % max(self.longest, 1)
        seen = number < t
        found = torch.zeros(len(self) * t, codes, device=self.codes.device)
        found[(patient * t + number)[seen], self.codes[seen]] = 1.0
        return found.view(len(self), t, codes)

    def to(self, device: torch.device) -> "VisitBatch":
        """Return the same batch on a device."""
        return VisitBatch(*(getattr(self, each.name).to(device) for each in fields(self)))


def batch_of(visits: Visits, static: Tensor, measurements: int, rows: Integers | None = None) -> VisitBatch:
    """Return some patients as a batch.

    Args:
        visits: of all patients.
        static: float32 [n, s], their encoded rows, in the same order.
        measurements: how many there are in the schema of the visits.
        rows: which patients, all by default.
    """
    if rows is not None:
        visits, static = visits.of_patients(rows), static[torch.from_numpy(rows)]
    lengths = visits.per_patient
    t = int(lengths.max(initial=0))
    place = visits.patient * t + visits.number

    def padded(values: NDArray[np.generic], dtype: torch.dtype) -> Tensor:
        found = torch.zeros(len(visits) * t, dtype=dtype)
        found[torch.from_numpy(place)] = torch.from_numpy(values).to(dtype)
        return found.view(len(visits), t)

    values = torch.full((len(visits) * t, measurements), torch.nan)
    values[torch.from_numpy(place[visits.visit_of_value]), torch.from_numpy(visits.measured).long()] = torch.from_numpy(
        visits.values
    )
    some = lengths > 0
    firsts = np.zeros(len(visits))
    firsts[some] = visits.starts[visits.offsets[:-1][some]] / DAY
    return VisitBatch(
        static=static,
        lengths=torch.from_numpy(lengths),
        first=torch.from_numpy(firsts),
        gaps=padded(np.nan_to_num(visits.gaps), torch.float32),
        kinds=padded(visits.kinds, torch.int64),
        stays=padded(days_between(visits.starts, visits.ends), torch.float32),
        dies=torch.from_numpy(days_to_death(visits)).float(),
        places=torch.from_numpy(place[visits.visit_of_code]),
        codes=torch.from_numpy(visits.codes).long(),
        values=values.view(len(visits), t, measurements),
    )


def days_between(earlier: Integers, later: Integers) -> NDArray[np.float64]:
    """Return days from one time to another, none below zero; NaN where the later one is unknown."""
    known = later != UNKNOWN
    found = np.full(len(earlier), np.nan)
    found[known] = np.maximum(later[known] - earlier[known], 0) / DAY
    return found


def days_to_death(visits: Visits) -> NDArray[np.float64]:
    """Return days from the end of the last visit of patients to their death, [n]; NaN if unknown, or of no visit.

    Who dies in hospital dies when the visit ends, which is zero days; so it is, too, where only the day of death is
    known and lies at its beginning, before the end of the visit.
    """
    return np.where(visits.per_patient > 0, days_between(visits.left, visits.died).clip(min=0), np.nan)


def in_blocks(visits: Visits, patients: int, each: Callable[[Integers], Tensor]) -> Tensor:
    """Return what ``each`` finds of the patients [n], asked for so many of similar length at a time."""
    order = np.argsort(visits.per_patient, kind="stable")
    parts = [each(order[start : start + patients]) for start in range(0, len(order), patients)]
    found = torch.cat(parts) if parts else torch.zeros(0)
    return torch.empty_like(found).index_copy_(0, torch.from_numpy(order).to(found.device), found)
