"""Patients through time as rows, one a patient: so every question asked of rows can be asked of trajectories too.

A row holds what is said of the patient once, how many visits there are, which codes any of them has, and the latest
value of each measurement.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.bits import pack
from ehrsynth.kinds import scaled
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import Column, Schema
from ehrsynth.visits import Visits, VisitSchema

BLOCK = 4096  # patients made dense at a time
COUNT = "visits"


class RowView:
    """How the rows of patients are made from what is said of them once and from their visits.

    Args:
        static: the columns of what is said once.
        visit_schema: what visits are made of.
        most: visits of a patient, at the end of the scale of how many there are.
        more: further columns, of a view that can say more.
    """

    def __init__(self, static: Schema, visit_schema: VisitSchema, most: float, more: Sequence[Column] = ()) -> None:
        self.static, self.visit_schema = Layout.of(static), visit_schema
        taken = set(static.names)
        codes = [Column(code.name, "binary", domain=code.domain, label=code.label) for code in visit_schema.codes]
        numbers = [
            Column(
                measurement.name,
                "continuous",
                bounds=measurement.bounds,
                missing=True,
                domain=measurement.domain,
                label=measurement.label,
                decimals=measurement.decimals,
            )
            for measurement in visit_schema.measurements
        ]
        count = Column(
            COUNT, "count", bounds=(0.0, float(most)), domain="utilisation", label="Number of visits", decimals=0
        )
        counted = [] if COUNT in taken else [count]
        self.schema = Schema((*static.columns, *counted, *codes, *numbers, *more))
        self.layout = Layout.of(self.schema)

    def rows(self, static: Records, visits: Visits) -> Records:
        """Return the row of each patient.

        Args:
            static: [n], what is said of the patients once.
            visits: theirs.
        """
        parts = []
        for begin in range(0, len(visits), BLOCK):
            some = np.arange(begin, min(begin + BLOCK, len(visits)))
            x = self._cells(static[torch.from_numpy(some)], visits.of_patients(some))
            start = self.layout.values.start
            parts.append(Records(self.layout, pack(x[:, :start].to(torch.uint8)), x[:, start:].clone()))
        return Records.joined(parts)

    def _cells(self, static: Records, visits: Visits) -> Tensor:
        """Return all cells [n, p] of some patients."""
        n, places = len(visits), self.layout.places
        x = torch.zeros(n, self.layout.width)
        told = static.dense()
        for name, of in self.static.places.items():
            x[:, places[name]] = told[:, of]
        if COUNT not in self.static.places:
            self._put(x, COUNT, visits.per_patient.astype(np.float64))
        codes = torch.tensor([places[code.name][0] for code in self.visit_schema.codes])
        x[visits.patient[visits.visit_of_code], codes[torch.from_numpy(visits.codes.astype(np.int64))]] = 1
        latest = self._latest(visits)
        for place, measurement in enumerate(self.visit_schema.measurements):
            self._put(x, measurement.name, latest[:, place])
        return x

    def _put(self, x: Tensor, name: str, numbers: NDArray[np.float64]) -> None:
        """Write the cells of a number into rows [n, p], and where it may be missing whether it is."""
        *gap, value = self.layout.places[name]
        x[:, value] = torch.from_numpy(scaled(self.schema.by_name[name], numbers)).float()
        for place in gap:
            x[:, place] = torch.from_numpy(np.isnan(numbers)).float()

    def _latest(self, visits: Visits) -> NDArray[np.float64]:
        """Return the latest value [n, m] of each measurement, NaN where there is none."""
        found = np.full((len(visits), len(self.visit_schema.measurements)), np.nan)
        # Values come in the order of visits, and of several at one place the last one stays.
        found[visits.patient[visits.visit_of_value], visits.measured] = visits.values
        return found
