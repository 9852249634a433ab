"""What masked diffusion hides, what that costs and how it is drawn, against torch.distributions and sums by hand."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Categorical

from ehrsynth.layout import Layout
from ehrsynth.models.diffusion.masking import SOONEST, Masking, spread_times
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("a", "binary"),
        Column("b", "binary"),
        Column("bmi", "continuous", bounds=(0, 1), missing=True),
        Column("sex", "categorical", ("F", "M")),
        Column("race", "categorical", ("x", "y", "z")),
    )
)  # encoded: a, b, bmi:missing, sex=F, sex=M, race=x, race=y, race=z, bmi; variables: a, b, sex, race
LAYOUT = Layout.of(SCHEMA)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_group_is_one_variable_and_a_missing_indicator_none() -> None:
    masking = Masking(LAYOUT)
    assert masking.count == 4
    assert masking.first.tolist() == [0, 1, 3, 5]
    shown = masking.of_columns(torch.tensor([[True, False, False, True]]))
    assert shown.tolist() == [[True, False, False, False, False, True, True, True]]


def test_exponents_follow_entropy() -> None:
    masking = Masking(LAYOUT)
    shares = torch.tensor([0.5, 0.0, 0.3, 0.5, 0.5, 1 / 3, 1 / 3, 1 / 3])
    masking.observe(shares, spread=4.0)
    half = 1 + 3 * math.log(2) / math.log(3)
    torch.testing.assert_close(masking.exponents, torch.tensor([half, 1.0, half, 4.0]))


def test_a_variable_is_hidden_at_t_with_probability_t_to_its_exponent() -> None:
    masking = Masking(LAYOUT)
    masking.exponents.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    hidden = (masking.times(40_000, rng()) < 0.7).float().mean(0)
    torch.testing.assert_close(hidden, 0.7**masking.exponents, atol=0.01, rtol=0)


def test_likelihoods_are_those_of_torch_distributions() -> None:
    logits = 3 * torch.randn(5, 8, generator=rng())
    rows = LAYOUT.harden(torch.rand(5, 9, generator=rng(1)), rng(2))[:, :8]
    found = Masking(LAYOUT).negative_log_likelihood(rows, logits)
    wanted = [
        -Bernoulli(logits=logits[:, 0]).log_prob(rows[:, 0]),
        -Bernoulli(logits=logits[:, 1]).log_prob(rows[:, 1]),
        -Categorical(logits=logits[:, 3:5]).log_prob(rows[:, 3:5].argmax(1)),
        -Categorical(logits=logits[:, 5:8]).log_prob(rows[:, 5:8].argmax(1)),
    ]
    torch.testing.assert_close(found, torch.stack(wanted, dim=1))


def test_draws_follow_the_logits_and_groups_stay_one_hot() -> None:
    logits = torch.tensor([[0.5, -2.0, 0.0, 1.0, 0.0, 2.0, 0.0, -30.0]])
    drawn = Masking(LAYOUT).draw(logits.expand(40_000, -1), rng())
    assert (drawn[:, 3:5].sum(1) == 1).all()
    assert (drawn[:, 5:].sum(1) == 1).all()
    wanted = torch.cat([logits[0, :2].sigmoid(), torch.zeros(1), logits[0, 3:5].softmax(0), logits[0, 5:].softmax(0)])
    torch.testing.assert_close(drawn.mean(0), wanted, atol=0.01, rtol=0)


def test_levels_that_tie_give_one_of_them() -> None:
    drawn = Masking(LAYOUT).draw(torch.full((2, 8), torch.finfo(torch.float32).max), rng())  # noise is lost in rounding
    assert (drawn[:, 3:5].sum(1) == 1).all()
    assert (drawn[:, 5:].sum(1) == 1).all()


def test_the_bound_of_two_columns_by_hand() -> None:
    """Of a and b that are always equal, a network that knows this needs log 2: for whichever is revealed first."""
    layout = Layout.of(Schema((Column("a", "binary"), Column("b", "binary"))))
    masking, rows = Masking(layout), torch.tensor([[1.0, 1.0]]).repeat(100_000, 1)
    masking.exponents.copy_(torch.tensor([1.0, 3.0]))
    time = spread_times(len(rows), rng())
    hidden = masking.times(len(rows), rng(1)) < time
    other = hidden.flip(1)
    logits = torch.where(other, torch.zeros(()), torch.tensor(30.0))  # sure where the other one is seen
    bound = masking.bound(rows, logits, hidden, time)
    assert bound.mean().item() == pytest.approx(math.log(2), rel=0.02)
    both = hidden.all(1)
    assert bound[~both].abs().max() < 1e-6
    torch.testing.assert_close(bound[both], (1 + 3) / time[both, 0] * math.log(2))


def test_times_of_a_batch_are_spread_over_the_unit_interval() -> None:
    time = spread_times(100, rng()).flatten()
    assert time.min() >= SOONEST
    assert time.max() <= 1
    assert ((time - SOONEST) / (1 - SOONEST) * 100).floor().unique().numel() >= 99


def test_a_pass_reveals_a_share_of_entropy() -> None:
    layout = Layout.of(Schema(tuple(Column(f"c{i}", "binary") for i in range(50))))
    masking = Masking(layout)
    masking.observe(torch.tensor([0.5, 0.5, 0.5] + [0.002] * 47), spread=4.0)
    hidden = torch.ones(500, 50, dtype=torch.bool)
    hidden[:, 3] = False
    passes = masking.passes(hidden, 10, rng())
    assert passes.min() >= 0
    assert passes.max() <= 9
    assert (passes[:, :3].sort(1).values.diff(dim=1) > 0).all()  # what tells much has a pass of its own
    told = torch.zeros(500, 10).scatter_add(1, passes, (masking.entropy * hidden))
    assert told.max() < 0.3 + 2 * math.log(2)
    assert passes[:, :3].float().mean() < passes[:, 4:].float().mean()
    assert (masking.passes(hidden[:, :] & False, 10, rng()) < 10).all()
