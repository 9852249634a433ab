"""Encoded records for a private training: batches by coins, and nothing of one patient in the row of another."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pyarrow import parquet
from torch import Tensor
from typing_extensions import override

from ehrsynth.data.datamodule import EhrDataModule, Served
from ehrsynth.data.matrix import Matrix
from ehrsynth.errors import OptionError
from ehrsynth.layout import Records
from ehrsynth.schema import SUBJECT

MIDDLE = 0.5  # of the bounds, in place of a missing number


@dataclass(frozen=True)
class PoissonBatches:
    """Batches into which every patient comes by a coin, whatever the others do: some are empty.

    The generator must be secret like that of the noise: sampling hides nobody from who knows the batches.

    Attributes:
        records: without missing values.
        rate: chance of a record to be in a batch.
        steps: batches of an epoch.
        generator: of the coins, on the CPU.
    """

    records: Records
    rate: float
    steps: int
    generator: torch.Generator

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Tensor]:
        for _ in range(self.steps):
            coins = torch.rand(len(self.records), generator=self.generator, dtype=torch.float64)
            yield self.records.dense((coins < self.rate).nonzero().flatten().to(self.records.values.device))


def require_row_a_patient(matrix: Matrix) -> None:
    """Raise an ``OptionError`` if a patient has several training rows."""
    file = matrix.folder / "train.parquet"
    subjects = parquet.read_table(file, columns=[SUBJECT])[SUBJECT]
    if len(subjects.unique()) < len(subjects):
        raise OptionError(
            f"privacy=dp: {file}: {len(subjects)} rows of {len(subjects.unique())} patients, and a guarantee is of"
            " a patient; prepare a matrix of one row for each"
        )


class PrivateDataModule(EhrDataModule):
    """The records of a matrix folder, a row a patient, for DP-SGD.

    Args:
        coins: generator of the batches, secret.
        options: of ``EhrDataModule``.
    """

    def __init__(self, *, coins: torch.Generator, **options: Any) -> None:
        super().__init__(**options)
        self.coins = coins

    @override
    def setup(self, stage: str | None = None) -> None:
        """Take the training rows; what is missing becomes the middle of its bounds, for others' values are theirs.

        Raises:
            OptionError: a patient has several rows.
        """
        if self.records:
            return
        require_row_a_patient(self.matrix)
        self.records = {part: self.matrix.records(part) for part in self.matrix.parts}
        train = self.records["train"]
        filled = Records(train.layout, train.bits, train.values.nan_to_num(MIDDLE))
        self._serve(filled)

    @property
    def rate(self) -> float:
        """The chance of a patient to be in a batch; how many canaries an audit has planted does not change it."""
        return min(1.0, self.batch_size / self.patients)

    @override
    def train_dataloader(self) -> PoissonBatches:  # type: ignore[override]
        """Return the batches of an epoch: as many as show each patient about once."""
        served = Served.of(self.trainer, len(self.filled), "training rows")
        return PoissonBatches(self.filled.to(served.device), self.rate, max(1, round(1 / self.rate)), self.coins)
