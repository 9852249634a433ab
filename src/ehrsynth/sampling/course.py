"""What patients through time are calibrated to: their rows, and beside these what the course of their visits says.

A row as ``RowView`` makes it says how many visits there are, which codes any of them has, and the latest values. Here
it also says which kinds of visits there are, which codes the next visit has again, how many codes a visit has, how many
days lie between visits, and whether a death is known.
"""

from collections.abc import Iterable, Iterator
from itertools import tee

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from ehrsynth.data.row_view import RowView
from ehrsynth.layout import Records
from ehrsynth.metrics.temporal.content import later_visits, repeated
from ehrsynth.sampling.calibrated import Calibration
from ehrsynth.sampling.patients import Patients
from ehrsynth.schema import Column, Schema
from ehrsynth.visits import UNKNOWN, Visits, VisitSchema

LONGEST = 36_525.0  # days between visits that are told apart
DIES, CODES, DAYS = "a death is known", "codes of a visit", "days between visits"


class CourseView(RowView):
    """How rows are made in which features of patients through time are looked for; see ``RowView``."""

    def __init__(self, static: Schema, visit_schema: VisitSchema, most: float) -> None:
        self._kinds = [f"a visit of the kind {kind}" for kind in visit_schema.kinds]
        self._again = [f"{code.name} at the next visit too" for code in visit_schema.codes]
        codes = float(max(len(visit_schema.codes), 1))
        super().__init__(
            static,
            visit_schema,
            most,
            (
                *(Column(name, "binary", domain="course") for name in (*self._kinds, *self._again, DIES)),
                Column(CODES, "continuous", bounds=(0.0, codes), missing=True, domain="course", decimals=2),
                Column(DAYS, "continuous", bounds=(0.0, LONGEST), missing=True, domain="course", decimals=0),
            ),
        )

    @override
    def _cells(self, static: Records, visits: Visits) -> Tensor:
        x, places = super()._cells(static, visits), self.layout.places
        kinds = np.array([places[name][0] for name in self._kinds])
        x[visits.patient, kinds[visits.kinds]] = 1
        again = np.array([places[name][0] for name in self._again], np.int64)
        stays = repeated(visits, len(again))
        x[visits.patient[visits.visit_of_code[stays]], again[visits.codes[stays]]] = 1
        x[torch.from_numpy(visits.died != UNKNOWN), places[DIES][0]] = 1
        later = later_visits(visits)
        n, per_patient = len(visits), visits.per_patient
        coded = np.bincount(visits.patient, visits.codes_per_visit, n)
        days = np.bincount(visits.patient[later], visits.gaps[later], n)
        with np.errstate(invalid="ignore"):
            self._put(x, CODES, coded / np.where(per_patient > 0, per_patient, np.nan))
            self._put(x, DAYS, days / np.where(per_patient > 1, per_patient - 1, np.nan))
        return x


def calibrated_patients(
    batches: Iterable[Patients], calibration: Calibration, view: CourseView, n: int, seed: int
) -> Iterator[Patients]:
    """Yield ``n`` of ``calibration.drawn(n)`` patients: those that together have the shares of the training patients.

    Args:
        batches: patients as the model draws them.
        calibration: to targets of ``view``; see ``Calibration.kept``.
        view: in which they are looked at.
        n: to keep.
        seed: of who is kept.
    """
    pools, looked_at = tee(Patients.pooled(batches, calibration.pools(n)))
    rows = calibration.chosen((view.rows(*pool) for pool in looked_at), n, seed)
    for kept, pool in zip(rows, pools, strict=False):
        yield pool.of(kept)
