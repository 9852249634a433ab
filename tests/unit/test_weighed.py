"""Records under a condition, weighed by what their model says of them without it."""

from collections.abc import Collection

import pytest
import torch
from torch import Tensor

from ehrsynth import chunks
from ehrsynth.layout import Layout, Records
from ehrsynth.models.base import SyntheticModel
from ehrsynth.models.condition import Condition
from ehrsynth.sampling import sample_records
from ehrsynth.sampling.wanted import conditions, wanted
from ehrsynth.sampling.weighed import Weighing
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(tuple(Column(name, "binary", domain="diagnosis") for name in "abc"))
JOINT = torch.tensor([0.30, 0.05, 0.10, 0.05, 0.05, 0.20, 0.05, 0.20])  # of (a, b, c) as a number in base two
TOLD = torch.tensor([0.40, 0.20, 0.20, 0.20])  # of (b, c) as it draws them when it is told a = 1
TRUE = JOINT[4:] / JOINT[4:].sum()


class Rough(SyntheticModel):
    """Draws by a table, and under a condition on ``a`` by another that is not its conditional."""

    weighs = True

    def __init__(self, *, schema: Schema = SCHEMA, seed: int = 0) -> None:
        super().__init__(schema=schema, seed=seed)

    @property
    def conditionable(self) -> Collection[str]:
        return ("a",)

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        assert condition is not None
        return bits(torch.multinomial(TOLD, n, replacement=True, generator=generator) + 4)

    def log_weights(self, records: Records, condition: Condition) -> Tensor:
        place = numbers(records.dense())
        return (JOINT[place] / TOLD[place - 4]).log()


def bits(number: Tensor) -> Tensor:
    return torch.stack([number // 4, number // 2 % 2, number % 2], 1).float()


def numbers(rows: Tensor) -> Tensor:
    return (rows @ torch.tensor([4.0, 2.0, 1.0])).long()


def asked() -> Condition:
    return conditions(SCHEMA, 1, wanted(SCHEMA, {"a": 1}))


def shares(records: Records) -> Tensor:
    return torch.bincount(numbers(records.dense()) - 4, minlength=4) / len(records)


@pytest.mark.parametrize("rows", [50_000, 700])
def test_what_is_kept_has_the_conditional_distribution(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "rows_of", lambda columns: rows)
    weighing = Weighing(Rough(), asked())
    found = sample_records(Rough(), 10_000, 0, condition=asked(), keeping=weighing)
    assert len(found) == 10_000
    assert (shares(found) - TRUE).abs().max() < 0.015
    told = sample_records(Rough(), 10_000, 0, condition=asked())
    assert (shares(told) - TOLD).abs().max() < 0.015
    worth = 1 / (TRUE**2 / TOLD).sum()  # (E w)^2 / E w^2
    assert weighing.effective == pytest.approx(float(worth), rel=0.03)
    assert weighing.enough
    assert str(weighing).startswith("4 records drawn for each; effective sample size 0.6")


def test_a_pool_that_is_too_small_says_what_would_do() -> None:
    weighing = Weighing(Rough(), asked(), pool=1.1)
    found = sample_records(Rough(), 5_000, 0, condition=asked(), keeping=weighing)
    assert not weighing.enough
    assert str(weighing).endswith("more by pool=2")
    assert 0.01 < (shares(found) - TRUE).abs().max() < (TOLD - TRUE).abs().max()


def test_a_seed_gives_the_same_records() -> None:
    first, again, other = (
        sample_records(Rough(), 300, seed, condition=asked(), keeping=Weighing(Rough(), asked())).dense()
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (300, Layout.of(SCHEMA).width)
