"""Independent visits: records without any order, the floor that every model of time must beat."""

import numpy as np
import torch
from torch import Tensor

from ehrsynth.models.visits.kept_visits import KeptVisits
from ehrsynth.schema import Schema
from ehrsynth.visits import Integers, Visits, VisitSchema


class IndependentVisits(KeptVisits):
    """As many visits as a training patient has, each as that of any other, at gaps of any others.

    What belongs to a visit stays together (kind, codes, values, stay); nothing that one visit says of the next does,
    nor what a patient's row says of any. Its checkpoint IS patient visits: an anchor, never to be handed to anyone who
    may not see the training data, and neither is what it generates.

    Args:
        schema: of the patients' rows.
        visit_schema: of their visits.
        seed: kept with the checkpoint; learning draws nothing.
    """

    def __init__(self, *, schema: Schema, visit_schema: VisitSchema, seed: int = 0) -> None:
        super().__init__(schema=schema, visit_schema=visit_schema, seed=seed)
        self.save_hyperparameters(ignore=["schema", "visit_schema"])

    def sample(self, n: int, generator: torch.Generator, static: Tensor | None = None) -> tuple[Tensor, Visits]:
        """Draw rows [n, s], and visits that have nothing to do with them."""
        if static is None:
            static = self.static_rows(n, generator)
        kept = self.kept

        def some(among: int, count: int) -> Integers:
            places: Integers = torch.randint(among, (count,), generator=generator, device=self.device).cpu().numpy()
            return places

        like = some(len(kept), n)
        offsets = np.concatenate([np.zeros(1, np.int64), kept.per_patient[like].cumsum()])
        count = int(offsets[-1])
        gaps = np.diff(kept.starts, prepend=0)[kept.number > 0]
        drawn = gaps[some(len(gaps), count)] if len(gaps) else np.zeros(count, np.int64)
        return static, self.assembled(some(kept.count, count), offsets, drawn, like)
