"""Encoded records for training: index batches of tensors, in an order that depends on seed and epoch only."""

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass

import pytorch_lightning as pl
import torch
from torch import Tensor

from ehrsynth.data.encoding import fill_missing
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.training_rows import TrainingRows
from ehrsynth.errors import OptionError, expect
from ehrsynth.layout import Records
from ehrsynth.schema import Schema
from ehrsynth.seeding import torch_rng


@dataclass(eq=False, repr=False)
class IndexBatches:
    """Shuffled float32 batches [batch, p] of compact records.

    The order of an epoch depends on ``seed`` and ``epoch()`` only, so a resumed training sees what an uninterrupted
    one would have seen. Rank r of w takes every w-th row of each batch, so that the ranks' batches together are the
    batch of one process.

    Args:
        records: rows to serve, without missing values.
        batch_size: rows over all ranks; more than there are rows means all of them.
        seed: of the order.
        epoch: returns the number of the epoch that is about to start.
        drop_last: leave out a last, smaller batch.
        every_row: serve all rows whatever ``drop_last`` says; the last batch of a rank may then be smaller than that of
            another, or empty.
        rank, world: this process and the number of processes.
    """

    records: Records
    _: KW_ONLY
    batch_size: int
    seed: int
    epoch: Callable[[], int]
    drop_last: bool
    every_row: bool = False
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        even = len(self.records) // self.world * self.world  # every rank must take as many steps of as many rows
        self.batch_size = min(self.batch_size, even)
        self.rows = even // self.batch_size * self.batch_size if self.drop_last else even
        if self.every_row:
            self.rows = len(self.records)

    def __len__(self) -> int:
        return -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        order = shuffled(len(self.records), self.seed, self.epoch())
        order = order[: self.rows].to(self.records.values.device)
        for batch in order.split(self.batch_size):
            yield self.records.dense(batch[self.rank :: self.world])


def shuffled(n: int, seed: int, epoch: int) -> Tensor:
    """Return the order [n] in which an epoch serves what there is."""
    return torch.randperm(n, generator=torch_rng(seed, "shuffle", epoch))


@dataclass(frozen=True)
class Served:
    """Whom batches are served to.

    Attributes:
        epoch: returns the number of the epoch that is about to start; 0 without a trainer.
        rank, world: the process and the number of processes.
        device: where it wants the batches.
    """

    epoch: Callable[[], int]
    rank: int
    world: int
    device: torch.device

    @classmethod
    def of(cls, trainer: pl.Trainer | None, n: int, what: str) -> "Served":
        """Return the process of a trainer.

        Raises:
            OptionError: there are more processes than the ``n`` there are of ``what``.
        """
        if trainer is None:
            return cls(lambda: 0, 0, 1, torch.device("cpu"))
        if n < trainer.world_size:
            raise OptionError(f"trainer.devices: {trainer.world_size} processes for {n} {what}")
        rank, world = trainer.global_rank, trainer.world_size
        return cls(lambda: trainer.current_epoch, rank, world, trainer.strategy.root_device)


class EhrDataModule(pl.LightningDataModule):
    """The records of a matrix folder.

    Args:
        matrix: the folder.
        batch_size: rows of a training step, over all processes.
        seed: of the order of the rows and of the values that stand in for missing ones.
        drop_last: leave out a last, smaller batch of an epoch.
        rows: which of the training rows a model sees, and how often; all of them once by default.
        planted: canaries of an audit, without missing values: training rows for the model, and for nobody else.

    Attributes:
        schema: the columns.
        records: ``train``, ``validation`` and ``holdout``, as evaluators want them: NaN where missing.
        filled: the training rows as models want them, without missing values; planted ones come last.
        unseen: the validation rows likewise.
    """

    def __init__(
        self,
        *,
        matrix: Matrix,
        batch_size: int,
        seed: int,
        drop_last: bool = True,
        rows: TrainingRows = TrainingRows(),  # noqa: B008 (frozen)
        planted: Records | None = None,
    ) -> None:
        super().__init__()
        expect(batch_size >= 1, "data.batch_size", batch_size, "a whole number above zero")
        self.matrix = matrix
        self.schema: Schema = matrix.schema
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self.rows = rows
        self.planted = planted
        self.records: dict[str, Records] = {}

    def setup(self, stage: str | None = None) -> None:
        """Take the parts that are open encoded and fill the gaps of the training rows by marginal sampling."""
        if self.records:
            return
        self.records = {part: self.matrix.records(part) for part in self.matrix.parts}
        train = self.records["train"]
        filled = fill_missing(train, train, torch_rng(self.seed, "fill missing"))
        self._serve(filled)
        self.unseen = fill_missing(self.records["validation"], train, torch_rng(self.seed, "fill missing, unseen"))

    def _serve(self, filled: Records) -> None:
        seen = self.rows.chosen(filled, self.schema, self.seed)
        self.filled = seen if self.planted is None else Records.joined([seen, self.planted])

    @property
    def patients(self) -> int:
        """How many of the ``filled`` rows are of patients."""
        return len(self.filled) - (0 if self.planted is None else len(self.planted))

    def train_dataloader(self) -> IndexBatches:
        """Return the training batches, on the device of this process; without a trainer, those of epoch 0.

        No row is left out for a model whose ``needs_every_row`` says so.

        Raises:
            OptionError: the processes cannot share the batch evenly, or there are more of them than rows.
        """
        trainer = self.trainer
        world = trainer.world_size if trainer else 1
        if self.batch_size % world:
            raise OptionError(f"data.batch_size={self.batch_size}: a multiple of the {world} processes was expected")
        served = Served.of(trainer, len(self.filled), "training rows")
        return IndexBatches(
            self.filled.to(served.device),
            batch_size=self.batch_size,
            seed=self.seed,
            epoch=served.epoch,
            drop_last=self.drop_last,
            every_row=getattr(trainer and trainer.lightning_module, "needs_every_row", False),
            rank=served.rank,
            world=served.world,
        )
