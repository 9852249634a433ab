"""The two anchors generate what their names say."""

import pytest
import torch

from ehrsynth.bits import unpack
from ehrsynth.layout import Layout, Records
from ehrsynth.models.independent import IndependentMarginals
from ehrsynth.models.train_copy import TrainCopy
from ehrsynth.sampling import sample_records
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("a", "binary"),
        Column("b", "binary"),
        Column("sex", "categorical", ("F", "M")),
        Column("age", "continuous", bounds=(0, 1)),
        Column("bmi", "continuous", bounds=(0, 1), missing=True),
    )
)


@pytest.fixture
def train() -> Records:
    """a equals b; age lies on two points; bmi is missing for half of the rows and uniform otherwise."""
    rows = torch.zeros(1000, 7)
    rows[:300, :2] = 1
    rows[::2, 2] = 1  # bmi missing
    rows[:900, 3] = 1
    rows[900:, 4] = 1
    rows[500:, 5] = 1
    rows[:, 6] = torch.linspace(0, 1, 1000)
    return Records.of_dense(Layout.of(SCHEMA), rows)


def test_independent_keeps_marginals_and_loses_dependence(train: Records) -> None:
    model = IndependentMarginals(schema=SCHEMA)
    model.observe(train)
    drawn = sample_records(model, 20_000, seed=0)
    assert (unpack(drawn.bits).float().mean(0) - unpack(train.bits).float().mean(0)).abs().max() < 0.015
    a, b = drawn.bits[:, 0].float(), drawn.bits[:, 1].float()
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1].item()) < 0.03
    assert drawn.values[:, 0].mean().item() == pytest.approx(0.5, abs=0.02)
    bmi = drawn.values[:, 1]
    quartiles = torch.quantile(bmi[~bmi.isnan()], torch.tensor([0.25, 0.5, 0.75])).tolist()
    assert quartiles == pytest.approx([0.25, 0.5, 0.75], abs=0.02)


@pytest.mark.parametrize("n", [1, 15, 40, 3000])
def test_what_independent_keeps_of_numbers_is_shared_by_ten(n: int) -> None:
    """The extremes of one patient do not travel with a checkpoint; what ten patients share does."""
    values = torch.linspace(0.2, 0.7, n)
    rows = torch.zeros(n, 7)
    rows[:, 5] = values
    rows[:, 6] = 0.25
    model = IndependentMarginals(schema=SCHEMA)
    model.observe(Records.of_dense(Layout.of(SCHEMA), rows))
    kept, same = model.quantiles.T
    assert not torch.isin(kept, values[[*range(min(9, n // 2)), *range(max(n - 9, n // 2 + 1), n)]]).any()
    assert (kept.diff() >= 0).all()
    assert n < 20 or (kept[0], kept[-1]) == (0, 1)
    assert (same == 0.25).all()


def test_train_copy_gives_every_row_once_before_any_twice(train: Records) -> None:
    model = TrainCopy(schema=SCHEMA)
    model.observe(train)
    once = sample_records(model, 1000, seed=0)
    assert not torch.equal(unpack(once.bits), unpack(train.bits))  # another order

    def key(records: Records) -> list[list[float]]:
        return sorted(records.dense().nan_to_num(-1).tolist())

    assert key(once) == key(train)
    assert key(sample_records(model, 2000, seed=0)) == sorted(2 * key(train))
