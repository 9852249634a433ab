"""Batches of the EHR matrix for Lightning, and its encoded splits for the evaluators."""

from collections.abc import Iterator

import pytorch_lightning as pl
import torch
from torch import Tensor

from ehrsynth.data.encoding import Encoder, fill_missing
from ehrsynth.data.matrix import Matrix
from ehrsynth.errors import OptionError
from ehrsynth.layout import Records
from ehrsynth.schema import Schema
from ehrsynth.seeding import torch_rng


class EhrDataModule(pl.LightningDataModule):
    """The matrix, encoded once, in compact form.

    Args:
        matrix: a prepared matrix folder.
        batch_size: records per optimisation step, over all processes together.
        seed: of the imputation of missing values and of the order of the batches.
        drop_last: leave out a last, smaller batch, as the reference implementations do.

    Attributes:
        records: ``train``, ``validation`` and ``holdout``, missing values as NaN; filled by ``setup``.
    """

    def __init__(self, *, matrix: Matrix, batch_size: int, seed: int, drop_last: bool = True) -> None:
        super().__init__()
        self.matrix = matrix
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self.records: dict[str, Records] = {}

    @property
    def schema(self) -> Schema:
        """The columns of the matrix."""
        return self.matrix.schema

    def setup(self, stage: str | None = None) -> None:
        """Encode the three splits; missing training values get draws from their column's observed ones."""
        if self.records:
            return
        encoder = Encoder(self.schema)
        frames = {
            "train": self.matrix.train,
            "validation": self.matrix.validation,
            "holdout": self.matrix.holdout,
        }
        self.records = {name: encoder.encode(frame) for name, frame in frames.items()}
        train = self.records["train"]
        self._filled = fill_missing(train, train, torch_rng(self.seed, "impute"))

    def train_dataloader(self) -> "EpochBatches":
        """Return the batches of one epoch after the other, in an order that depends on seed and epoch only."""
        world, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        if self.batch_size % world:
            raise OptionError(f"data.batch_size={self.batch_size}: must be divisible by the {world} processes")
        return EpochBatches(self, self._filled, rank, world)


class EpochBatches:
    """Dense batches [batch, p], chosen by index from compact records; nothing is done row by row.

    Under DDP every rank takes each ``world``-th record of a global batch. A global batch larger than
    the table is the whole table.
    """

    def __init__(self, data: EhrDataModule, records: Records, rank: int, world: int) -> None:
        self.data = data
        self.records = records
        self.rank = rank
        self.world = world
        self.size = min(data.batch_size, len(records) // world * world)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.records), self.size)
        return whole + (rest >= self.world and not self.data.drop_last)

    def __iter__(self) -> Iterator[Tensor]:
        epoch = self.data.trainer.current_epoch if self.data.trainer else 0
        order = torch.randperm(len(self.records), generator=torch_rng(self.data.seed, "shuffle", epoch))
        for start in range(0, len(self) * self.size, self.size):
            chosen = order[start : start + self.size]
            yield self.records.dense(chosen[self.rank : len(chosen) // self.world * self.world : self.world])
