"""Patients through time for a private training: batches by coins, a patient with all visits as the unit."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from ehrsynth.data.datamodule import Served
from ehrsynth.data.trajectory_module import TrajectoryDataModule
from ehrsynth.visit_batch import VisitBatch, batch_of
from ehrsynth.visits import Visits


@dataclass(frozen=True, eq=False)
class PoissonVisits:
    """Batches into which every patient comes by a coin, with all visits; see ``PoissonBatches``.

    Attributes:
        visits: of the training patients.
        static: float32 [n, s], their encoded rows.
        measurements: how many there are in the schema of the visits.
        rate: chance of a patient to be in a batch.
        steps: batches of an epoch.
        generator: of the coins, on the CPU.
        device: of the batches.
    """

    visits: Visits = field(repr=False)
    static: Tensor = field(repr=False)
    measurements: int
    rate: float
    steps: int
    generator: torch.Generator
    device: torch.device

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[VisitBatch]:
        for _ in range(self.steps):
            coins = torch.rand(len(self.visits), generator=self.generator, dtype=torch.float64)
            rows = (coins < self.rate).nonzero().flatten().numpy()
            yield batch_of(self.visits, self.static, self.measurements, rows).to(self.device)


class PrivateTrajectoryDataModule(TrajectoryDataModule):
    """Patients through time for DP-SGD; ``batch_size`` counts patients, for how many visits they have is theirs.

    Args:
        coins: generator of the batches, secret.
        options: of ``TrajectoryDataModule``.
    """

    def __init__(self, *, coins: torch.Generator, **options: Any) -> None:
        super().__init__(**options)
        self.coins = coins

    @property
    def patients(self) -> int:
        """How many there are to train on."""
        return len(self.visits)

    @property
    def rate(self) -> float:
        """The chance of a patient to be in a batch."""
        return min(1.0, self.batch_size / self.patients)

    @override
    def train_dataloader(self) -> PoissonVisits:  # type: ignore[override]
        """Return the batches of an epoch: as many as show each patient about once."""
        served = Served.of(self.trainer, self.patients, "training patients")
        measurements, steps = len(self.visit_schema.measurements), max(1, round(1 / self.rate))
        return PoissonVisits(self.visits, self.static, measurements, self.rate, steps, self.coins, served.device)
