"""Noisy sums that private trainings start from: what they are without noise, and how little one record moves them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ehrsynth.layout import Layout, Records
from ehrsynth.models.noisy_looks import BINS, CODES, NoisyLooks, grid_of, norm_sub
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        *(Column(f"code{i}", "binary", domain="diagnosis") for i in range(5)),
        Column("sex", "categorical", ("F", "M")),
        Column("stays", "count", bounds=(0, 4)),
        Column("age", "count", bounds=(18, 90)),
        Column("bmi", "continuous", bounds=(10, 60), missing=True),
    )
)


def rows(n: int) -> Tensor:
    layout, rng = Layout.of(SCHEMA), torch.Generator().manual_seed(0)
    x = layout.harden(torch.rand(n, layout.width, generator=rng) * 0.8, rng).nan_to_num(0.5)
    stays, age, _ = range(*layout.values.indices(layout.width))
    x[:, stays], x[:, age] = (x[:, stays] * 4).round() / 4, (x[:, age] * 72).round() / 72
    return filled(x).dense()


def filled(x: Tensor, schema: Schema = SCHEMA) -> Records:
    records = Records.of_dense(Layout.of(schema), x)
    return Records(records.layout, records.bits, records.values.nan_to_num(0.5))


def looks(x: Tensor, noise: float = 0.0, schema: Schema = SCHEMA) -> NoisyLooks:
    return NoisyLooks(filled(x, schema), noise, 1, torch.Generator().manual_seed(1))


def test_means_are_means_and_one_record_moves_them_little() -> None:
    x = rows(4000)
    torch.testing.assert_close(looks(x).means(), x.mean(0), rtol=0, atol=1e-3)
    noisy = looks(x, 5.0)
    told = (noisy.means() - x.mean(0))[Layout.of(SCHEMA).bits]
    assert 0.2 < told.std() / (5 * (CODES + 1 + 4) ** 0.5 / 4000) < 2
    (look,) = noisy.looks
    assert look.to_dict()["sensitivity"] == pytest.approx((CODES + 1 + 4) ** 0.5)
    wide = Schema(tuple(Column(f"c{i}", "binary") for i in range(200)))
    whole, less = (looks(torch.ones(n, 200), schema=wide).means() for n in (1000, 999))
    assert (1000 * whole - 999 * less).norm() <= CODES**0.5 + 1e-2


def test_laws_are_those_of_the_rows() -> None:
    x = rows(6000)
    layout = Layout.of(SCHEMA)
    values, (bit, missing) = x[:, layout.values], layout.missing_bits()[0]
    grid = grid_of(looks(x).laws(SCHEMA))
    for number, column in enumerate(values.T):
        seen = column[x[:, bit] == 0] if number == missing else column
        apart = (grid[:, number] - seen.quantile(torch.linspace(0, 1, len(grid)))).abs().mean()
        assert apart < 1 / BINS, number
    assert set(grid[:, 0].mul(4).tolist()) == {0, 1, 2, 3, 4}, "a count of few values has no others"
    assert (looks(x, 30.0).laws(SCHEMA)[0].diff(dim=0) >= 0).all()


@pytest.mark.parametrize("look", ["laws", "histograms"])
def test_one_record_moves_no_sum_further_than_is_said(look: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, float]] = []
    told: Callable[..., Tensor] = NoisyLooks.told

    def spied(self: NoisyLooks, what: str, parts: object, total: Tensor, most: float) -> Tensor:
        found = told(self, what, parts, total, most)
        seen.append((found, most))
        return found

    monkeypatch.setattr(NoisyLooks, "told", spied)
    x = rows(50)
    for part in (x, x[1:]):
        noisy = looks(part)
        if look == "laws":
            noisy.laws(SCHEMA)
        else:
            noisy.histograms("codes", [part[:, :2].long() * 9], 4, 2)
    (whole, most), (less, _) = seen
    assert 0 < (whole - less).norm() <= most + 1e-9
    assert look == "laws" or whole.sum() == 100


def test_looks_share_a_budget_and_none_is_taken_beyond_it() -> None:
    noisy = NoisyLooks(filled(rows(100)), 3.0, 2, torch.Generator().manual_seed(0))
    noisy.means()
    noisy.laws(SCHEMA)
    assert [look.to_dict()["noise_multiplier"] for look in noisy.looks] == [pytest.approx(3 * 2**0.5)] * 2
    with pytest.raises(AssertionError, match="no look is left"):
        noisy.means()


def test_norm_sub_is_the_nearest_point_of_the_simplex() -> None:
    found = norm_sub(torch.tensor([5.0, -2.0, 1.0, 0.5]), 4.0)
    assert found.tolist() == [4.0, 0.0, 0.0, 0.0]
    assert norm_sub(torch.tensor([3.0, 2.0, -1.0]), 4.0).tolist() == [2.5, 1.5, 0.0]
