"""Batches: complete, seeded by epoch, shared evenly by ranks, and accepted by Lightning."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from ehrsynth.data.datamodule import EhrDataModule, IndexBatches
from ehrsynth.data.matrix import Matrix
from ehrsynth.errors import OptionError
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import Column, Schema
from tests.matrices import make


def numbered(n: int) -> Records:
    layout = Layout.of(Schema((Column("code", "binary"), Column("row", "count", bounds=(0, 1)))))
    return Records(layout, torch.ones(n, 1, dtype=torch.uint8), torch.arange(n, dtype=torch.float32)[:, None])


def rows_of(batches: IndexBatches) -> list[list[int]]:
    return [batch[:, 1].int().tolist() for batch in batches]


def batches(
    n: int, size: int, *, epoch: int = 0, drop_last: bool = True, rank: int = 0, world: int = 1
) -> IndexBatches:
    return IndexBatches(
        numbered(n), batch_size=size, seed=3, epoch=lambda: epoch, drop_last=drop_last, rank=rank, world=world
    )


@pytest.mark.parametrize(
    ("n", "size", "drop_last", "sizes"),
    [(10, 4, True, [4, 4]), (10, 4, False, [4, 4, 2]), (8, 4, True, [4, 4]), (5, 8, True, [5]), (5, 8, False, [5])],
)
def test_sizes(n: int, size: int, drop_last: bool, sizes: list[int]) -> None:
    served = batches(n, size, drop_last=drop_last)
    rows = rows_of(served)
    assert [len(batch) for batch in rows] == sizes
    assert len(served) == len(sizes)
    flat = [row for batch in rows for row in batch]
    assert len(set(flat)) == len(flat)


def test_the_order_depends_on_the_epoch_only() -> None:
    assert rows_of(batches(50, 5, epoch=1)) == rows_of(batches(50, 5, epoch=1))
    assert rows_of(batches(50, 5, epoch=1)) != rows_of(batches(50, 5, epoch=2))


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("n", [20, 23, 3])
def test_ranks_share_the_batches_of_one_process(n: int, drop_last: bool) -> None:
    one = rows_of(batches(n, 8, drop_last=drop_last))
    two = [rows_of(batches(n, 8, drop_last=drop_last, rank=rank, world=2)) for rank in (0, 1)]
    assert [len(batch) for batch in two[0]] == [len(batch) for batch in two[1]]
    for whole, left, right in zip(one, *two, strict=True):
        assert len(whole) - len(left) - len(right) in (0, 1)  # an odd row is left out at the end of the epoch
        assert {*left, *right} <= set(whole)


@pytest.mark.parametrize(("n", "size", "world"), [(20, 8, 1), (23, 8, 2), (9, 8, 2), (7, 6, 3)])
def test_every_row_is_served_once_to_one_of_the_ranks_where_that_is_asked_for(n: int, size: int, world: int) -> None:
    ranks = [
        IndexBatches(
            numbered(n),
            batch_size=size,
            seed=3,
            epoch=lambda: 0,
            drop_last=True,
            every_row=True,
            rank=rank,
            world=world,
        )
        for rank in range(world)
    ]
    assert len({len(rank) for rank in ranks}) == 1
    assert all(len(rank) == len(rows_of(rank)) for rank in ranks)
    assert sorted(row for rank in ranks for batch in rows_of(rank) for row in batch) == list(range(n))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    out = tmp_path_factory.mktemp("matrices") / "demo"
    return make(out, "source.n=300")


class Toy(pl.LightningModule):
    """Remembers the batches it is given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(width, 1)
        self.seen: list[Tensor] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.seen.append(batch)
        return self.linear(batch).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_lightning_trains_on_it(demo: Matrix, tmp_path: Path) -> None:
    data = EhrDataModule(matrix=demo, batch_size=64, seed=0)
    data.setup("fit")
    model = Toy(data.records["train"].layout.width)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model, data)
    assert len(model.seen) == 2 * (len(demo.train) // 64)
    expected = [
        batch
        for epoch in (0, 1)
        for batch in IndexBatches(data.filled, batch_size=64, seed=0, epoch=lambda e=epoch: e, drop_last=True)
    ]
    assert all(torch.equal(one, other) for one, other in zip(model.seen, expected, strict=True))
    assert model.seen[0].dtype == torch.float32
    assert not any(batch.isnan().any() for batch in model.seen)


def test_missing_values_are_kept_for_the_evaluators_and_filled_for_the_model(demo: Matrix) -> None:
    data = EhrDataModule(matrix=demo, batch_size=64, seed=0)
    data.setup()
    train = data.records["train"]
    assert train.values.isnan().any()
    assert set(data.records) == {"train", "validation", "holdout"}
    filled = torch.cat(list(data.train_dataloader()))
    assert len(filled) == len(demo.train) // 64 * 64
    assert not filled.isnan().any()
    again = EhrDataModule(matrix=demo, batch_size=64, seed=0)
    again.setup()
    assert torch.equal(torch.cat(list(again.train_dataloader())), filled)


@pytest.mark.parametrize("size", [0, -1])
def test_an_impossible_batch(demo: Matrix, size: int) -> None:
    with pytest.raises(OptionError, match=r"data\.batch_size"):
        EhrDataModule(matrix=demo, batch_size=size, seed=0)


def test_a_batch_that_the_processes_cannot_share(demo: Matrix) -> None:
    class TwoProcesses:
        world_size = 2

    data = EhrDataModule(matrix=demo, batch_size=65, seed=0)
    data.setup()
    data.trainer = TwoProcesses()  # type: ignore[assignment]
    with pytest.raises(OptionError, match="multiple of the 2 processes"):
        data.train_dataloader()
