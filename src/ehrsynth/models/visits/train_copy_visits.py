"""Train copy: the training patients and their visits themselves, what a memoriser would score."""

import torch
from torch import Tensor

from ehrsynth.models.visits.kept_visits import KeptVisits
from ehrsynth.schema import Schema
from ehrsynth.visits import Visits, VisitSchema


class TrainCopyVisits(KeptVisits):
    """The training patients, in a random order, repeated when more are asked for than there are.

    Given rows of patients, it copies the visits of a training patient whose row is nearest. Its checkpoint IS patients,
    and so is everything it generates: an anchor for the metrics, never to be handed to anyone who may not see the
    training data.

    Args:
        schema: of the patients' rows.
        visit_schema: of their visits.
        seed: kept with the checkpoint; learning draws nothing.
    """

    sample_batch = 1_000_000  # within one call no patient comes twice before each came once

    def __init__(self, *, schema: Schema, visit_schema: VisitSchema, seed: int = 0) -> None:
        super().__init__(schema=schema, visit_schema=visit_schema, seed=seed)
        self.save_hyperparameters(ignore=["schema", "visit_schema"])

    def sample(self, n: int, generator: torch.Generator, static: Tensor | None = None) -> tuple[Tensor, Visits]:
        """Return ``n`` training patients: each once before any comes twice."""
        if static is not None:
            return static, self.kept.of_patients(self.nearest(static, generator).cpu().numpy())
        patients = len(self.static)
        rounds = [torch.randperm(patients, generator=generator, device=self.device) for _ in range(-(-n // patients))]
        order = torch.cat(rounds)[:n]
        return self.static[order], self.kept.of_patients(order.cpu().numpy())
