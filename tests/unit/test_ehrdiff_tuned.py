"""The tuned EHRDiff: Bayes' rule by hand, calibrated draws, what leaves with the weights, what it learns."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from ehrsynth.layout import Layout, Records
from ehrsynth.models.calibration import correction, moved, shareable_prevalences
from ehrsynth.models.condition import Condition
from ehrsynth.models.ehrdiff_tuned import EHRDiffTuned
from ehrsynth.schema import Column, Schema
from tests.training import fit

SCHEMA = Schema(
    (
        Column("a", "binary"),
        Column("b", "binary"),
        Column("sex", "categorical", ("F", "M", "X")),
        Column("bmi", "continuous", bounds=(0, 1), missing=True),
    )
)  # encoded: a, b, bmi:missing, sex=F, sex=M, sex=X, bmi
TINY = {"width": 16, "depth": 1, "context": 8}
SMALL = {"width": 64, "depth": 2, "context": 32}


def records(rows: Tensor) -> Records:
    return Records.of_dense(Layout.of(SCHEMA), rows)


def drawn(chance: list[float], n: int = 3000) -> Tensor:
    layout = Layout.of(SCHEMA)
    return layout.harden(torch.tensor(chance).repeat(n, 1), torch.Generator().manual_seed(0))


def fitted(model: EHRDiffTuned, rows: Tensor, epochs: int) -> None:
    model.observe(records(rows))
    fit(model, rows.split(250), epochs)
    model.eval()


def test_before_training_the_denoiser_is_bayes_rule_of_independent_columns() -> None:
    chance = [0.2, 0.5, 0.1, 0.5, 0.3, 0.2, 0.4]
    model = EHRDiffTuned(schema=SCHEMA, **TINY)
    model.observe(records(drawn(chance)))
    columns, share = model.columns, model.columns.mean
    x, sigma = torch.tensor([[0.7, -0.1, 0.2, 0.4, 0.9, -0.2, 1.3]]), torch.tensor([[0.6]])
    output = columns.output(lambda rows, noise: model.network(rows, noise, rows[:, :0]), x, sigma)
    found = columns.estimate(output, x, sigma)[0]
    one, zero = Normal(1.0, 0.6).log_prob(x[0]).exp(), Normal(0.0, 0.6).log_prob(x[0]).exp()
    bits = share * one / (share * one + (1 - share) * zero)
    torch.testing.assert_close(found[:3], bits[:3])
    levels = share[3:6] * one[3:6] / zero[3:6]
    torch.testing.assert_close(found[3:6], levels / levels.sum())
    # A normal value of unit deviation around m: m + (x - m) / (1 + sigma^2), in its own unit.
    middle = columns.mean[6] / columns.deviation[6]
    torch.testing.assert_close(found[6], middle + (x[0, 6] - middle) / (1 + 0.36))


def test_the_loss_is_the_likelihood_of_the_clean_row_and_leaves_out_what_is_missing() -> None:
    model = EHRDiffTuned(schema=SCHEMA, **TINY)
    rows = drawn([0.2, 0.5, 0.5, 0.5, 0.3, 0.2, 0.4], 4)
    model.observe(records(rows))
    columns, clean, sigma = model.columns, rows / model.columns.unit, torch.full((4, 1), 0.8)
    x = clean + 0.8 * torch.randn(4, 7, generator=torch.Generator().manual_seed(2))
    output = torch.randn(4, 7, generator=torch.Generator().manual_seed(1))
    estimate = columns.estimate(output, x, sigma)
    errors = columns.errors(output, estimate, x, sigma, clean)
    hit = torch.where(clean[:, :3] == 1, estimate[:, :3], 1 - estimate[:, :3])
    torch.testing.assert_close(errors[:, :3], -hit.log())
    torch.testing.assert_close(errors[:, 3:6].sum(1), -(clean[:, 3:6] * estimate[:, 3:6]).sum(1).log())
    density = Normal(estimate[:, 6], (0.64 / 1.64) ** 0.5)
    constant = Normal(0.0, (0.64 / 1.64) ** 0.5).log_prob(torch.tensor(0.0))
    torch.testing.assert_close(errors[:, 6], constant - density.log_prob(clean[:, 6]))
    assert columns.observed(rows)[:, 6].tolist() == (1 - rows[:, 2]).tolist()


def test_a_correction_is_exact_for_many_records_and_small_for_few_cases() -> None:
    layout = Layout.of(SCHEMA)
    wanted = torch.tensor([0.003, 0.4, 0.7, 0.05, 0.15, 0.8])
    found = torch.tensor([[0.006, 0.5, 0.5, 0.1, 0.2, 0.7]])
    none = torch.zeros(6, dtype=torch.int8)
    step = correction(layout, found.expand(1_000_000, -1), wanted, none)
    torch.testing.assert_close(moved(layout, found, step)[0], wanted, rtol=1e-2, atol=0)
    step = correction(layout, found.expand(1000, -1), wanted, none)  # 6 cases where 3 were wanted: 16 to 13
    assert step[0].item() == pytest.approx(-0.208, abs=0.01)


def test_moving_chances_is_another_prior_in_bayes_rule() -> None:
    layout = Layout.of(SCHEMA)
    chances = torch.tensor([[0.25, 0.5, 1.0, 0.2, 0.3, 0.5]])
    found = moved(layout, chances, torch.tensor([3.0, 2.0, 2.0, 2.0, 1.0, 1.0]).log())
    assert found[0].tolist() == pytest.approx([0.5, 2 / 3, 1.0, 1 / 3, 0.25, 5 / 12], abs=1e-5)


def test_what_fewer_than_ten_rows_have_is_known_together_only() -> None:
    rows = torch.zeros(100, 7)
    rows[:4, 0], rows[:8, 1], rows[:95, 2] = 1, 1, 1
    rows[:, 3] = 1
    shares, pools = shareable_prevalences(records(rows))
    assert pools.tolist() == [1, 1, 2, 2, 1, 1]
    assert shares.tolist() == pytest.approx([0.03, 0.03, 0.975, 0.975, 0.03, 0.03])
    step = correction(Layout.of(SCHEMA), torch.rand(50, 6, generator=torch.Generator().manual_seed(0)), shares, pools)
    assert step[0] == step[1]


def test_calibrated_draws_have_the_training_prevalences_whatever_was_learned() -> None:
    chance = [0.2, 0.02, 0.1, 0.6, 0.3, 0.1, 0.4]
    model = EHRDiffTuned(schema=SCHEMA, steps=4, **TINY).eval()
    model.observe(records(drawn(chance)))
    with torch.no_grad():
        model.average.module.head.bias[:6] += torch.tensor([0.6, -0.2, 0.4, -0.4, 0.0, 0.3])  # type: ignore[index, union-attr, operator]
        rows = model.sample(4000, torch.Generator().manual_seed(1))
        calibrated = rows[:, :6].mean(0)
        model.decoding = "bernoulli"
        uncalibrated = model.sample(4000, torch.Generator().manual_seed(1))[:, :6].mean(0)
    assert (calibrated - model.columns.mean[:6]).abs().max() < 0.025
    assert (uncalibrated - model.columns.mean[:6]).abs().max() > 0.1


def test_the_shift_is_of_the_weights_that_it_is_kept_with() -> None:
    model = EHRDiffTuned(schema=SCHEMA, steps=3, **TINY)
    model.observe(records(drawn([0.2, 0.5, 0.1, 0.5, 0.3, 0.2, 0.4])))
    model.on_save_checkpoint({})
    first = model.shift.clone()
    with torch.no_grad():
        model.network.head.bias[:6] += 1.0  # type: ignore[index, union-attr, operator]
    model.average.update_parameters(model.network)
    model.calibrate()
    assert not torch.equal(model.shift, first)
    again = model.shift.clone()
    model.calibrate()
    assert torch.equal(model.shift, again)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
def test_it_learns_what_goes_together(loss: str) -> None:
    rng = torch.Generator().manual_seed(3)
    rows = drawn([0.3, 0.5, 0.1, 0.5, 0.3, 0.2, 0.4])
    rows[:, 1] = rows[:, 0]  # b is a, sex=M has it more often, values follow it
    rows[:, 3:6] = torch.nn.functional.one_hot(torch.where(rows[:, 0] == 1, 1, 0), 3).float()
    rows[:, 6] = (0.2 + 0.6 * rows[:, 0] + 0.05 * torch.randn(len(rows), generator=rng)).clamp(0, 1)
    model = EHRDiffTuned(schema=SCHEMA, loss=loss, steps=8, warmup_steps=10, learning_rate=2e-3, **SMALL)  # type: ignore[arg-type]
    fitted(model, rows, 10)
    with torch.no_grad():
        found = model.sample(2000, torch.Generator().manual_seed(0))
    a = found[:, 0] == 1
    assert a.float().mean().item() == pytest.approx(0.3, abs=0.04)
    assert (found[:, 0] == found[:, 1]).float().mean() > (0.97 if loss == "cross_entropy" else 0.88)
    assert (found[:, 4] == found[:, 0]).float().mean() > 0.88
    assert found[a, 6].mean().item() == pytest.approx(0.8, abs=0.08)
    assert found[~a, 6].mean().item() == pytest.approx(0.2, abs=0.08)


def test_what_it_is_told_is_what_it_draws() -> None:
    rows = drawn([0.3, 0.5, 0.1, 0.5, 0.5, 0.0, 0.4])
    rows[:, 0] = rows[:, 3] * (torch.rand(len(rows), generator=torch.Generator().manual_seed(2)) < 0.6)
    model = EHRDiffTuned(schema=SCHEMA, condition=["sex"], warmup_steps=10, learning_rate=2e-3, **SMALL)
    fitted(model, rows, 6)
    assert tuple(model.conditionable) == ("sex",)
    women = Condition.of(records(rows[rows[:, 3] == 1][:1]), ["sex"])
    with torch.no_grad():
        found = model.sample(1000, torch.Generator().manual_seed(0), women)
    assert (found[:, 3] == 1).all()
    assert found[:, 0].mean().item() == pytest.approx(0.6, abs=0.1)
