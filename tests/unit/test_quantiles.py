"""The law of a number: places and values undo each other, shared values have a stretch of places, ranges are drawn."""

import pytest
import torch

from ehrsynth.layout import Layout, Records
from ehrsynth.models.condition import Condition
from ehrsynth.models.independent import IndependentMarginals
from ehrsynth.models.quantiles import places_of, places_within, quantiles, values_at
from ehrsynth.schema import Column, Schema

SCHEMA = Schema((Column("age", "continuous", bounds=(0, 1)), Column("visits", "count", bounds=(0, 1))))
LAYOUT = Layout.of(SCHEMA)


def patients(n: int = 5000) -> Records:
    rng = torch.Generator().manual_seed(0)
    visits = (torch.rand(n, generator=rng) * 4).floor().clamp(max=2) / 2  # 0, 0.5, and half of all 1
    return Records(LAYOUT, torch.zeros(n, 0, dtype=torch.uint8), torch.stack([torch.rand(n, generator=rng), visits], 1))


def asked(low: list[float], high: list[float], given: list[bool]) -> Condition:
    return Condition(LAYOUT, torch.tensor([low]), torch.tensor([high]), torch.tensor([given]))


def test_places_and_values_undo_each_other() -> None:
    law = quantiles(patients())
    places = torch.linspace(0, 1, 777)[:, None].expand(-1, 2)
    values = values_at(places, law)
    below, up_to = places_of(values, law, right=False), places_of(values, law, right=True)
    torch.testing.assert_close(below[:, 0], places[:, 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(up_to[:, 0], places[:, 0], atol=1e-4, rtol=0)
    assert ((below <= places + 1e-4) & (places <= up_to + 1e-4)).all()
    ends = torch.tensor([[0.0, 0.0], [1.0, 1.0], [-1.0, -1.0], [2.0, 2.0]])
    assert places_of(ends, law, right=True)[:, 1].tolist() == pytest.approx([0.25, 1, 0, 1], abs=0.02)
    assert places_of(ends, law, right=False)[:, 1].tolist() == pytest.approx([0, 0.5, 0, 1], abs=0.02)


def test_a_condition_is_a_stretch_of_places() -> None:
    law = quantiles(patients())
    low, high = places_within(asked([0.2, 0.5], [0.4, 0.5], [True, True]), law)
    assert low[0].tolist() == pytest.approx([0.2, 0.25], abs=0.02)
    assert high[0].tolist() == pytest.approx([0.4, 0.5], abs=0.02)
    low, high = places_within(asked([0.2, 0.0], [0.4, 0.0], [False, False]), law)
    assert (low.tolist(), high.tolist()) == ([[0, 0]], [[1, 1]])


def test_independent_columns_are_drawn_within_a_range_as_rejection_would() -> None:
    model, condition = IndependentMarginals(schema=SCHEMA), asked([0.2, 0.4], [0.45, 1.0], [True, True])
    model.observe(patients())
    free = model.sample(100_000, torch.Generator().manual_seed(1))
    kept = free[condition.met_by(free)]
    rows = model.sample(20_000, torch.Generator().manual_seed(0), condition)
    assert condition.met_by(rows).all()
    error = (kept.var(0) / len(kept) + rows.var(0) / len(rows)).sqrt()
    assert ((rows.mean(0) - kept.mean(0)).abs() < 4.5 * error).all()
    assert (rows[:, 0].sort().values.diff() < 0.01).all(), "spread over the range, not at its ends"
