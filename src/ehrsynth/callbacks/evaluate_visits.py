"""Judge a generator of patients through time while it trains: as rows, and as what happens to them."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from typing_extensions import override

from ehrsynth.callbacks.evaluate import ScoreCheckpoints
from ehrsynth.evaluation.score import Score
from ehrsynth.evaluation.suite import FittedSuite
from ehrsynth.layout import Records
from ehrsynth.models.visits.base import VisitModel
from ehrsynth.sampling.patients import Patients, drawn_patients
from ehrsynth.visits import Visits


class EvaluateVisits(ScoreCheckpoints):
    """Ask a generator of patients through time the quick suites of rows and of visits.

    Args:
        of_rows: fitted on training and validation patients as rows.
        of_visits: fitted on their visits.
        rows_of: makes rows of patients, scaled as those that ``of_rows`` was fitted on.
        options: of ``ScoreCheckpoints``.
    """

    def __init__(
        self,
        *,
        of_rows: FittedSuite,
        of_visits: FittedSuite,
        rows_of: Callable[[Records, Visits], Records],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.of_rows, self.of_visits, self.rows_of = of_rows, of_visits, rows_of

    @override
    def drawn(self, trainer: pl.Trainer, model: pl.LightningModule, epoch: int) -> Patients | None:
        assert isinstance(model, VisitModel)
        return Patients.joined(drawn_patients(model, self.rows, self.seed)) if trainer.is_global_zero else None

    @override
    def scores(self, drawn: Patients) -> list[Score]:
        return [*self.of_rows.score(self.rows_of(*drawn)), *self.of_visits.score(drawn[1])]
