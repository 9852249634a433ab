"""What is recorded at visits as cells: of each domain of codes, of the kinds of visits and of each measurement.

The cells of all of them lie side by side in one vector, as those of columns do in ``ehrsynth.metrics.distributions``.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ehrsynth.metrics.distributions import BINS
from ehrsynth.visits import Visits, VisitSchema

KIND = "kind of visit"


@dataclass(frozen=True)
class VisitCells:
    """The cells of visits.

    Kinds of visits have a cell each. A domain of codes has one for each code, which counts the visits that have it, and
    one for the visits that have none of the domain. A measurement has 20 equal bins of R's range, and two more for
    visits at which it was not measured and for values outside the range.

    Attributes:
        schema: of the visits.
        low, high: float64 [m], the range of each measurement in R; infinite the wrong way round if R never has it.
    """

    schema: VisitSchema
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, real: Visits, schema: VisitSchema) -> "VisitCells":
        """Take the ranges of R."""
        low, high = np.full((2, len(schema.measurements)), [[np.inf], [-np.inf]])
        np.minimum.at(low, real.measured, real.values)
        np.maximum.at(high, real.measured, real.values)
        return cls(schema, low, high)

    @cached_property
    def names(self) -> list[str]:
        """What has cells, in their order: kinds of visits, domains of codes, measurements."""
        return [KIND, *self.schema.domains, *(measurement.name for measurement in self.schema.measurements)]

    @cached_property
    def domains(self) -> dict[str, list[int]]:
        """Which of the names belong to each domain."""
        found = {name: [i] for i, name in enumerate(self.names[: 1 + len(self.schema.domains)])}
        for i, measurement in enumerate(self.schema.measurements, start=1 + len(self.schema.domains)):
            found.setdefault(measurement.domain, []).append(i)
        return found

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """Where the cells of each begin."""
        widths = [len(self.schema.kinds), *(part.stop - part.start + 1 for part in self.schema.domains.values())]
        return np.cumsum([0, *widths, *[BINS + 2] * len(self.low)])[:-1]

    def count(self, visits: Visits) -> NDArray[np.int64]:
        """Return how many visits fall into each cell."""
        codes = np.bincount(visits.codes, minlength=len(self.schema.codes))
        found = [np.bincount(visits.kinds, minlength=len(self.schema.kinds))]
        for part in self.schema.domains.values():
            mine = (visits.codes >= part.start) & (visits.codes < part.stop)
            found.append(np.append(codes[part], visits.count - len(np.unique(visits.visit_of_code[mine]))))
        return np.concatenate([*found, self._values(visits)])

    def _values(self, visits: Visits) -> NDArray[np.int64]:
        low, high, size = self.low[visits.measured], self.high[visits.measured], BINS + 2
        inside = (visits.values >= low) & (visits.values <= high)
        width = np.where(high > low, high - low, 1.0)
        share = np.where(inside, (visits.values - np.where(inside, low, 0.0)) / width, 0.0)
        bins = np.where(inside, np.minimum((share * BINS).astype(np.int64), BINS - 1), BINS + 1)
        found = np.bincount(visits.measured * size + bins, minlength=size * len(self.low)).reshape(-1, size)
        found[:, BINS] = visits.count - found.sum(1)
        return found.ravel()
