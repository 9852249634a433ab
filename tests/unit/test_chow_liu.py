"""The Chow-Liu tree on records: numbers by ranges, shared values, gaps, and conditions against counting."""

import pytest
import torch

from ehrsynth.layout import Layout, Records
from ehrsynth.models.chow_liu import ChowLiu
from ehrsynth.models.condition import Condition
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("code", "binary"),
        Column("never", "binary"),
        Column("sex", "categorical", ("F", "M", "X")),
        Column("age", "continuous", bounds=(0, 1)),
        Column("visits", "count", bounds=(0, 10), missing=True),
        Column("constant", "continuous", bounds=(3, 3)),
    )
)  # encoded: code, never, visits:missing, sex=F, sex=M, sex=X, age, visits, constant
DRAWS = 20_000


def patients(n: int = 4000) -> Records:
    rng = torch.Generator().manual_seed(0)
    layout = Layout.of(SCHEMA)
    age = torch.rand(n, generator=rng).square()
    sex = (torch.rand(n, generator=rng) < 0.3 + 0.4 * age).long() + (torch.rand(n, generator=rng) < 0.02)
    code = (torch.rand(n, generator=rng) < 0.05 + 0.6 * age).float()
    visits = (torch.rand(n, generator=rng) < 0.4).float() * (1 + code + (9 * age).floor().clamp(max=8)) / 10
    gap = (torch.rand(n, generator=rng) < 0.1 + 0.3 * (sex == 0)).float()
    x = torch.zeros(n, layout.width)
    x[:, 0], x[:, 2], x[:, 6], x[:, 7] = code, gap, age, visits
    x[torch.arange(n), 3 + sex] = 1
    return Records.of_dense(layout, x)


@pytest.fixture(scope="module")
def model() -> ChowLiu:
    made = ChowLiu(schema=SCHEMA).eval()
    made.observe(patients())
    return made


def draw(model: ChowLiu, n: int = DRAWS, condition: Condition | None = None, seed: int = 0) -> torch.Tensor:
    return model.sample(n, torch.Generator().manual_seed(seed), condition)


def asked(low: dict[int, float], high: dict[int, float] | None = None) -> Condition:
    layout = Layout.of(SCHEMA)
    parts = [torch.zeros(1, layout.width), torch.zeros(1, layout.width)]
    given = torch.zeros(1, layout.width, dtype=torch.bool)
    for place, value in low.items():
        parts[0][0, place], parts[1][0, place], given[0, place] = value, (high or {}).get(place, value), True
    return Condition(layout, *parts, given)


def test_every_column_has_its_training_marginal(model: ChowLiu) -> None:
    train, rows = patients(), draw(model)
    assert (rows[:, :6].mean(0) - train.dense()[:, :6].mean(0)).abs().max() < 0.015
    assert (rows[:, 6].sort().values - train.values[:, 0].repeat(5).sort().values).abs().max() < 0.03
    seen = rows[rows[:, 2] == 0, 7]
    real = train.values[:, 1][~train.values[:, 1].isnan()]
    for value in (0.0, 0.1, 0.2, 0.3):  # a value that many rows share is drawn as often, and by itself
        shares = [float(((x * 10).round() == round(value * 10)).float().mean()) for x in (seen, real)]
        assert shares[0] == pytest.approx(shares[1], abs=0.02)
    assert (rows[:, 8] == 0).all()


def test_a_shared_value_lies_in_one_range(model: ChowLiu) -> None:
    states = model.states
    zero = states.of(patients())[:, -2][patients().values[:, 1] == 0]
    assert len(zero.unique()) == 1
    assert max(states.ranges) <= 32
    counts = torch.bincount(states.of(patients())[:, -3])
    assert counts.min() >= 10


CONDITIONS = {
    "a code": asked({0: 1.0}),
    "a level and a code": asked({3: 0.0, 4: 1.0, 5: 0.0, 0: 0.0}),
    "a range": asked({6: 0.2}, {6: 0.45}),
    "a range up to its end and a level": asked({6: 0.5, 3: 1.0, 4: 0.0, 5: 0.0}, {6: 1.0}),
    "a shared value": asked({2: 0.0, 7: 0.0}),
    "a range of a number that may be missing": asked({2: 0.0, 7: 0.05}, {7: 0.35}),
    "missing": asked({2: 1.0}),
}


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
@pytest.mark.parametrize("each", [False, True])
def test_conditional_means_are_those_of_rejection(model: ChowLiu, condition: Condition, each: bool) -> None:
    free = draw(model, 100_000, seed=1)
    kept = free[condition.met_by(free)]
    if each:
        parts = (condition.low, condition.high, condition.given)
        condition = Condition(condition.layout, *(part.repeat(DRAWS, 1) for part in parts))
    rows = draw(model, condition=condition)
    assert condition.met_by(rows).all()
    error = (kept.var(0) / len(kept) + rows.var(0) / len(rows)).sqrt()
    means = [x[:, :7].mean(0) for x in (rows, kept)]
    assert ((means[0] - means[1]).abs() <= 4.5 * error[:7] + 1e-6).all()
    seen = [x[x[:, 2] == 0, 7] for x in (rows, kept)]
    if len(seen[0]):
        spread = sum(x.var() / len(x) for x in seen) ** 0.5
        assert abs(seen[0].mean() - seen[1].mean()) <= 4.5 * spread + 1e-6


def test_what_no_patient_has_can_still_be_asked_for(model: ChowLiu) -> None:
    rows = draw(model, 500, asked({1: 1.0, 6: 0.3}))
    assert (rows[:, 1] == 1).all()
    assert (rows[:, 6] == 0.3).all()
    assert 0 < rows[:, 0].mean() < 1


def test_likelihoods_of_what_a_record_can_be_sum_to_one_and_follow_bayes_rule(model: ChowLiu) -> None:
    layout = Layout.of(SCHEMA)
    drawn = draw(model, 60)
    drawn[:, :2] = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).repeat(15, 1)
    drawn[:, 3:6] = torch.eye(3).repeat_interleave(4, 0).repeat(5, 1)
    drawn[:, 2], drawn[:, 6:] = 1.0, drawn[:1, 6:]  # one age, and visits missing
    records = Records.of_dense(layout, drawn[:12])
    both = model.log_likelihood(records, ["age", "visits", "constant"]).exp()
    assert float(both.sum()) == pytest.approx(1.0, abs=1e-5)  # over sex and the two codes, given the rest
    of_sex = model.log_likelihood(records, ["age", "visits", "constant", "code", "never"]).exp()
    groups = torch.arange(12) % 4
    sums = torch.zeros(4, dtype=both.dtype).index_add(0, groups, both)
    torch.testing.assert_close(of_sex, both / sums[groups], rtol=1e-4, atol=1e-6)
