"""Diffusion in discrete steps against sums over all states, torch.distributions and numbers worked out by hand."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal, kl_divergence

from ehrsynth.layout import Layout
from ehrsynth.models.diffusion.categories import Categories
from ehrsynth.models.diffusion.discrete_time import CosineSchedule, GaussianDiffusion, MultinomialDiffusion
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("code", "binary"),
        Column("ward", "categorical", ("a", "b", "c")),
        Column("age", "continuous", bounds=(0, 1)),
        Column("other", "binary"),
        Column("sex", "categorical", ("F", "M")),
        Column("race", "categorical", ("x", "y", "z")),
    )
)  # encoded: code, other, ward=a, b, c, sex=F, M, race=x, y, z, age
LAYOUT = Layout.of(SCHEMA)
STEPS = 4
ROWS = torch.tensor([[1.0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0.3], [0.0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0.8]])


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def multinomial(steps: int = STEPS) -> MultinomialDiffusion:
    return MultinomialDiffusion(CosineSchedule(steps), Categories(LAYOUT))


def test_every_variable_has_its_states_side_by_side_and_rows_come_back() -> None:
    states = Categories(LAYOUT)
    assert states.variables == 5
    assert states.shapes == [(3, 2), (2, 3)]  # two bits and sex, then ward and race
    found = states.of(ROWS)
    torch.testing.assert_close(found[0], torch.tensor([1.0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 1]))
    torch.testing.assert_close(states.rows(found), ROWS[:, LAYOUT.binary])
    torch.testing.assert_close(states.log_uniform.exp(), torch.tensor([0.5] * 6 + [1 / 3] * 6))


def test_a_bits_two_states_are_a_sigmoid_and_a_group_is_a_softmax() -> None:
    states, output = Categories(LAYOUT), torch.randn(3, LAYOUT.width, generator=rng())
    p = states.rows(states.log_softmax(states.logits_of(output)).exp())
    torch.testing.assert_close(p, LAYOUT.activate(output)[:, LAYOUT.binary])


def test_draws_are_one_state_of_each_variable_as_often_as_its_probability() -> None:
    states = Categories(LAYOUT)
    log_p = states.log_softmax(torch.randn(1, 12, generator=rng())).expand(40_000, -1)
    drawn = states.draw(log_p, rng())
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert (drawn[:, :6].view(-1, 3, 2).sum(2) == 1).all()
    assert (drawn[:, 6:].view(-1, 2, 3).sum(2) == 1).all()
    assert (drawn.mean(0) - log_p[0].exp()).abs().max() < 0.01
    certain = states.draw(states.of(ROWS).log(), rng())
    assert torch.equal(certain, states.of(ROWS))


@pytest.mark.parametrize("columns", [SCHEMA.columns[2:3], SCHEMA.columns[:1], SCHEMA.columns[1:2]])
def test_states_of_tables_of_one_column(columns: tuple[Column, ...]) -> None:
    layout = Layout.of(Schema(columns))
    states, rows = Categories(layout), torch.eye(layout.width)
    assert torch.equal(states.rows(states.of(rows)), rows[:, layout.binary])
    drawn = states.draw(states.log_softmax(states.logits_of(rows)), rng())
    assert drawn.shape == states.of(rows).shape


def test_two_thousand_bits_are_one_block() -> None:
    states = Categories(Layout.of(Schema(tuple(Column(f"c{i}", "binary") for i in range(2000)))))
    assert states.shapes == [(2000, 2)]


def test_cosine_schedule_at_points_worked_out_by_hand() -> None:
    schedule = CosineSchedule(2)
    f = [math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2 for t in (0, 0.5, 1)]
    assert schedule.alpha_bar[0] == 1
    assert schedule.alpha_bar[1].item() == pytest.approx(f[1] / f[0])
    assert schedule.beta[2].item() == pytest.approx(0.999)  # f(1) = 0 would lose everything
    assert schedule.alpha_bar[2].item() == pytest.approx(f[1] / f[0] * 0.001)
    torch.testing.assert_close(schedule.alpha_bar + schedule.beta_bar, torch.ones(3))


def transitions(schedule: CosineSchedule, t: int, levels: int) -> Tensor:
    """q(x_t = j | x_{t-1} = i) as a matrix."""
    alpha = schedule.alpha[t]
    return alpha * torch.eye(levels) + (1 - alpha) / levels


@pytest.mark.parametrize("t", range(1, STEPS + 1))
def test_noised_is_what_single_steps_add_up_to(t: int) -> None:
    diffusion = multinomial()
    kernel = torch.eye(3)
    for step in range(1, t + 1):
        kernel = kernel @ transitions(diffusion.schedule, step, 3)
    found = diffusion.noised(diffusion.categories.of(ROWS).log(), torch.tensor([[t], [t]])).exp()
    torch.testing.assert_close(found[0, 6:9], kernel[1])  # ward is b
    torch.testing.assert_close(found[1, 9:12], kernel[1])  # race is y


@pytest.mark.parametrize("t", range(1, STEPS + 1))
def test_the_posterior_is_bayes_over_all_states(t: int) -> None:
    diffusion = multinomial()
    before = torch.eye(3)
    for step in range(1, t):
        before = before @ transitions(diffusion.schedule, step, 3)
    step = transitions(diffusion.schedule, t, 3)
    for start, now in product(range(3), range(3)):
        joint = before[start] * step[:, now]  # over x_{t-1}
        rows = torch.zeros(2, 1, LAYOUT.width)
        rows[0, 0, 2 + start] = rows[1, 0, 2 + now] = 1
        log_start, log_now = (diffusion.categories.of(part).log() for part in rows)
        found = diffusion.posterior(log_now, log_start, torch.tensor([[t]])).exp()
        torch.testing.assert_close(found[0, 6:9], joint / joint.sum())


@pytest.mark.parametrize("t", range(2, STEPS + 1))
def test_the_divergence_is_that_of_torch_summed_over_variables(t: int) -> None:
    diffusion, at = multinomial(), torch.tensor([[t], [t]])
    log_start = diffusion.categories.of(ROWS).log()
    log_now = diffusion.categories.draw(diffusion.noised(log_start, at), rng()).log()
    estimate = diffusion.categories.log_softmax(torch.randn(2, 12, generator=rng()))
    q, p = (diffusion.posterior(log_now, log, at).exp() for log in (log_start, estimate))
    wanted = torch.zeros(2)
    for shape, part in (((-1, 3, 2), slice(0, 6)), ((-1, 2, 3), slice(6, 12))):
        wanted += kl_divergence(Categorical(q[:, part].reshape(shape)), Categorical(p[:, part].reshape(shape))).sum(1)
    torch.testing.assert_close(diffusion.divergence(log_now, log_start, estimate, at), wanted, rtol=1e-4, atol=1e-6)


def test_at_the_first_step_the_divergence_is_the_likelihood_of_the_record_and_trains() -> None:
    diffusion, at = multinomial(), torch.ones(2, 1, dtype=torch.long)
    log_start = diffusion.categories.of(ROWS).log()
    logits = torch.randn(2, 12, generator=rng()).requires_grad_()
    estimate = diffusion.categories.log_softmax(logits)
    found = diffusion.divergence(log_start, log_start, estimate, at)
    posterior = diffusion.posterior(log_start, estimate, at)
    wanted = -posterior[diffusion.categories.of(ROWS) == 1].view(2, -1).sum(1)
    torch.testing.assert_close(found, wanted)
    (slope,) = torch.autograd.grad(found.sum(), logits)
    assert slope.isfinite().all()
    assert slope.abs().max() > 0


def test_the_gaussian_posterior_is_bayes_on_a_grid() -> None:
    schedule = CosineSchedule(STEPS)
    diffusion, t = GaussianDiffusion(schedule), torch.tensor([[3]])
    start, now = torch.tensor([[0.7]]), torch.tensor([[-0.4]])
    grid = torch.linspace(-6, 6, 20_001)
    prior = Normal(schedule.alpha_bar[2].sqrt() * start, schedule.beta_bar[2].sqrt()).log_prob(grid)
    density = (prior + Normal(schedule.alpha[3].sqrt() * grid, schedule.beta[3].sqrt()).log_prob(now)).exp()
    wanted = (density * grid).sum() / density.sum()
    torch.testing.assert_close(diffusion.posterior_mean(now, start, t)[0, 0], wanted, rtol=1e-4, atol=1e-5)


def test_denoised_undoes_noised() -> None:
    diffusion, t = GaussianDiffusion(CosineSchedule(STEPS)), torch.tensor([[1], [3]])
    x, noise = torch.randn(2, 2, 5, generator=rng())
    torch.testing.assert_close(diffusion.denoised(diffusion.noised(x, noise, t), noise, t), x)
    last = torch.ones(2, 1, dtype=torch.long)
    torch.testing.assert_close(diffusion.posterior_mean(x, noise, last), noise)  # step 0 is the data itself
