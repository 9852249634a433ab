"""Batches of visits against lists, and the promises that batches of rows keep too."""

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from ehrsynth.data.datamodule import Served
from ehrsynth.data.trajectory_module import TrajectoryDataModule, VisitBatches
from ehrsynth.errors import OptionError, TableError
from ehrsynth.visit_batch import VisitBatch, batch_of, in_blocks
from ehrsynth.visits import DAY, UNKNOWN, Visits
from tests.visits import simulated, visit_schema

CODES, MEASUREMENTS = 12, 2


def some(n: int = 40, seed: int = 0) -> tuple[torch.Tensor, Visits]:
    return simulated(n, seed, CODES, MEASUREMENTS)


def batches(n: int = 60, size: int = 20, epoch: int = 0, rank: int = 0, world: int = 1) -> VisitBatches:
    static, visits = numbered(n)
    served = Served(lambda: epoch, rank, world, torch.device("cpu"))
    return VisitBatches(visits, static, MEASUREMENTS, batch_size=size, seed=3, served=served)


def numbered(n: int) -> tuple[torch.Tensor, Visits]:
    """Return patients who can be told by the first value of their row."""
    static, visits = some(n)
    static[:, 0] = torch.arange(n)
    return static, visits


def patients_of(found: VisitBatches) -> list[list[int]]:
    return [batch.static[:, 0].int().tolist() for batch in found]


def test_a_batch_is_what_the_lists_say() -> None:
    static, visits = some()
    rows = np.array([7, 3, 20])
    batch = batch_of(visits, static, MEASUREMENTS, rows)
    assert torch.equal(batch.static, static[rows])
    hot = batch.multi_hot(CODES)
    assert hot.shape == (3, batch.longest, CODES)
    for i, patient in enumerate(rows):
        mine = range(visits.offsets[patient], visits.offsets[patient + 1])
        assert int(batch.lengths[i]) == len(mine)
        assert batch.real[i].tolist() == [t < len(mine) for t in range(batch.longest)]
        assert float(batch.first[i]) == visits.starts[mine[0]] / DAY
        last, died = visits.starts[mine[-1]], visits.died[patient]
        assert batch.dies[i].isnan() if died == UNKNOWN else batch.dies[i] == (died - last) / DAY
        for t, v in enumerate(mine):
            assert (
                hot[i, t].nonzero().flatten().tolist()
                == visits.codes[visits.code_offsets[v] :][: visits.codes_per_visit[v]].tolist()
            )
            gap = 0.0 if t == 0 else (visits.starts[v] - visits.starts[v - 1]) / DAY
            assert float(batch.gaps[i, t]) == gap
            assert float(batch.log_gaps[i, t]) == pytest.approx(np.log1p(gap))
            assert int(batch.kinds[i, t]) == visits.kinds[v]
            stay = batch.stays[i, t]
            assert stay.isnan() if visits.ends[v] == UNKNOWN else stay == (visits.ends[v] - visits.starts[v]) / DAY
            here = slice(visits.value_offsets[v], visits.value_offsets[v + 1])
            told = dict(zip(visits.measured[here].tolist(), visits.values[here].tolist(), strict=True))
            values = batch.values[i, t].tolist()
            assert {m: value for m, value in enumerate(values) if value == value} == told
    assert hot[~batch.real].sum() == 0


def test_patients_without_a_visit() -> None:
    static, visits = some(5)
    none = visits.of_patients(np.arange(0)).followed_by(visits.of_patients(np.arange(0)))
    assert batch_of(none, static[:0], MEASUREMENTS).longest == 0
    empty = Visits.joined([visits, _nobody_came(2)])
    batch = batch_of(empty, torch.cat([static, static[:2]]), MEASUREMENTS)
    assert batch.lengths[-2:].tolist() == [0, 0]
    assert batch.first[-2:].tolist() == [0.0, 0.0]
    assert batch.dies[-2:].isnan().all()
    assert batch_of(_nobody_came(2), static[:2], MEASUREMENTS).real.shape == (2, 0)


def _nobody_came(n: int) -> Visits:
    _, visits = some(5)
    chosen = visits.of_patients(np.zeros(0, np.int64))
    parts = {name: getattr(chosen, name) for name in Visits.__dataclass_fields__}
    return Visits(**parts | {"offsets": np.zeros(n + 1, np.int64), "born": np.full(n, 0), "died": np.full(n, 5)})


def test_in_blocks_keeps_the_order_of_patients() -> None:
    _, visits = some(30)
    found = in_blocks(visits, 4, lambda rows: torch.from_numpy(visits.per_patient[rows] * 100 + rows))
    assert found.tolist() == (visits.per_patient * 100 + np.arange(30)).tolist()


def test_an_epoch_serves_every_patient_once() -> None:
    found = patients_of(batches())
    assert sorted(patient for batch in found for patient in batch) == list(range(60))
    assert len(found) == len(batches()) > 5


def test_batches_have_similar_patients_and_about_as_many_visits() -> None:
    _, visits = some(400)
    static = torch.zeros(400, 5)
    served = Served(lambda: 0, 0, 1, torch.device("cpu"))
    found = list(VisitBatches(visits, static, MEASUREMENTS, batch_size=50, seed=0, served=served))
    whole = [batch for batch in found if batch.longest < 16]  # enough patients to cut evenly
    assert all(int(batch.lengths.max()) < 4 * max(int(batch.lengths.min()), 1) for batch in found)
    assert 40 < np.mean([int(batch.lengths.sum()) for batch in whole]) < 60


def test_the_order_depends_on_the_epoch_only() -> None:
    assert patients_of(batches(epoch=1)) == patients_of(batches(epoch=1))
    assert patients_of(batches(epoch=1)) != patients_of(batches(epoch=2))
    assert len(batches(epoch=1)) == len(patients_of(batches(epoch=2)))


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("n", [60, 7, 3])
def test_ranks_share_the_batches(n: int, world: int) -> None:
    ranks = [patients_of(batches(n, rank=rank, world=world)) for rank in range(world)]
    for parts in zip(*ranks, strict=True):
        assert len({len(part) for part in parts}) == 1
    served = [patient for rank in ranks for batch in rank for patient in batch]
    assert len(served) == len(set(served))
    buckets = len(batches(n).buckets)
    assert n - len(served) <= buckets * (world - 1)


def module(**more: object) -> TrajectoryDataModule:
    static, visits = some()
    given = {"static": static, "visits": visits, "batch_size": 16, "seed": 0, **more}
    return TrajectoryDataModule(visit_schema=visit_schema(CODES, MEASUREMENTS), **given)  # type: ignore[arg-type]


class Toy(pl.LightningModule):
    """Remembers the patients it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 1)
        self.seen: list[VisitBatch] = []

    def training_step(self, batch: VisitBatch, batch_idx: int) -> torch.Tensor:
        self.seen.append(batch)
        return self.linear(batch.static).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")
def test_lightning_trains_on_it_in_the_order_of_its_epochs() -> None:
    data, model = module(), Toy()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    expected = [static for epoch in (0, 1) for static in _statics(data, epoch)]
    assert len(model.seen) == len(expected)
    assert all(torch.equal(one.static, other) for one, other in zip(model.seen, expected, strict=True))


def _statics(data: TrajectoryDataModule, epoch: int) -> Iterator[torch.Tensor]:
    yield from (data.static[torch.from_numpy(patients)] for patients in module().train_dataloader().order(epoch))


def test_bad_input() -> None:
    static, visits = some()
    with pytest.raises(OptionError, match=r"data\.batch_size=0"):
        module(batch_size=0)
    with pytest.raises(TableError, match="40 patients have visits, 39 have a row"):
        module(static=static[:39])
    with pytest.raises(TableError, match="missing values"):
        module(static=torch.full_like(static, torch.nan))
    with pytest.raises(TableError, match="no patient has one"):
        module(static=static[:2], visits=_nobody_came(2))
    with pytest.raises(TableError, match="validation visits: 40 patients have visits, 1 have a row"):
        module(unseen=visits, unseen_static=static[:1])
    few = module(static=static[:2], visits=visits.of_patients(np.arange(2)))
    few.trainer = SimpleNamespace(world_size=3)  # type: ignore[assignment]
    with pytest.raises(OptionError, match=r"trainer\.devices: 3 processes for 2 training patients"):
        few.train_dataloader()
