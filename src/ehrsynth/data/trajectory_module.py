"""Visits for training: batches of patients with similarly many visits, in an order that seed and epoch alone decide."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from ehrsynth.data.datamodule import Served, shuffled
from ehrsynth.errors import TableError, expect
from ehrsynth.seeding import derive
from ehrsynth.visit_batch import VisitBatch, batch_of
from ehrsynth.visits import Integers, Visits, VisitSchema

WIDER = 4  # times as many visits in the longest record of a bucket as in its shortest, about


@dataclass(eq=False, repr=False)
class VisitBatches:
    """Shuffled batches of patients, of about as many visits each.

    Patients are kept in buckets by how many visits they have, 0 to 3, 4 to 15, 16 to 63 and so on, so that little of
    a batch is padding, though its records differ in length. An epoch shuffles the patients of each bucket and the order
    of all batches; how many batches there are never changes. Rank r of w takes every w-th patient of each batch, so the
    batches of the ranks together are those of one process; of a bucket that cannot be shared evenly, fewer than w
    patients are left out, others in each epoch.

    Args:
        visits: of the training patients.
        static: float32 [n, s], their encoded rows.
        measurements: how many there are in the schema of the visits.
        batch_size: visits of a step over all ranks, about; each rank has one patient at least.
        seed: of the order.
        served: to whom.
    """

    visits: Visits
    static: Tensor
    measurements: int
    _: KW_ONLY
    batch_size: int
    seed: int
    served: Served
    buckets: list[tuple[Integers, int]] = field(init=False)  # the patients of each, and how many batches they make

    def __post_init__(self) -> None:
        lengths, world = self.visits.per_patient, self.served.world
        bucket = np.floor(np.log(np.maximum(lengths, 1)) / np.log(WIDER)).astype(np.int64)
        self.buckets = []
        for number in np.unique(bucket):
            patients = np.flatnonzero(bucket == number)
            rounds = len(patients) // world  # a patient for each rank
            batches = min(rounds, max(1, round(int(lengths[patients].sum()) / self.batch_size)))
            self.buckets.append((patients, batches))

    def __len__(self) -> int:
        return sum(batches for _, batches in self.buckets)

    def __iter__(self) -> Iterator[VisitBatch]:
        for patients in self.order(self.served.epoch()):
            mine = patients[self.served.rank :: self.served.world]
            yield batch_of(self.visits, self.static, self.measurements, mine).to(self.served.device)

    def order(self, epoch: int) -> list[Integers]:
        """Return the patients of each batch of an epoch, over all ranks."""
        found: list[Integers] = []
        for number, (patients, batches) in enumerate(self.buckets):
            rounds = len(patients) // self.served.world
            mixed = patients[shuffled(len(patients), derive(self.seed, "bucket", number), epoch).numpy()]
            ends = np.arange(batches + 1) * rounds // max(batches, 1) * self.served.world
            found += [mixed[ends[i] : ends[i + 1]] for i in range(batches)]
        return [found[place] for place in shuffled(len(found), derive(self.seed, "batches"), epoch).tolist()]


class TrajectoryDataModule(pl.LightningDataModule):
    """Patients through time: their encoded rows, and their visits.

    Args:
        visit_schema: of the visits.
        static: float32 [n, s], the encoded row of each training patient, without missing values.
        visits: of the training patients, in the same order.
        unseen_static, unseen: the same of validation patients, if there are any.
        batch_size: visits of a training step, over all processes, about.
        seed: of the order of the patients.

    Raises:
        OptionError: the batch size is not a whole number above zero.
        TableError: the visits are not of the schema, or not of as many patients as have rows, or no patient has one.
    """

    def __init__(
        self,
        *,
        visit_schema: VisitSchema,
        static: Tensor,
        visits: Visits,
        unseen_static: Tensor | None = None,
        unseen: Visits | None = None,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__()
        expect(
            isinstance(batch_size, int) and batch_size >= 1, "data.batch_size", batch_size, "a whole number above zero"
        )
        require_patients(visit_schema, static, visits, "training visits")
        if not visits.count:
            raise TableError("training visits: no patient has one; there is nothing to learn")
        if unseen is not None and unseen_static is not None:
            require_patients(visit_schema, unseen_static, unseen, "validation visits")
        self.visit_schema, self.batch_size, self.seed = visit_schema, batch_size, seed
        self.static, self.visits = static, visits
        self.unseen_static, self.unseen = unseen_static, unseen

    def train_dataloader(self) -> VisitBatches:
        """Return the training batches, on the device of this process; without a trainer, those of epoch 0.

        Raises:
            OptionError: there are more processes than patients.
        """
        return VisitBatches(
            self.visits,
            self.static,
            len(self.visit_schema.measurements),
            batch_size=self.batch_size,
            seed=self.seed,
            served=Served.of(self.trainer, len(self.visits), "training patients"),
        )


def require_patients(schema: VisitSchema, static: Tensor, visits: Visits, place: str) -> None:
    """Raise a ``TableError`` unless the visits are of the schema, and there is a row without gaps for each patient."""
    visits.check(schema, place)
    if len(static) != len(visits):
        raise TableError(
            f"{place}: {len(visits)} patients have visits, {len(static)} have a row; as many were expected"
        )
    if not torch.isfinite(static).all():
        raise TableError(f"{place}: the rows of patients have missing values; fill them first (encoding.fill_missing)")
