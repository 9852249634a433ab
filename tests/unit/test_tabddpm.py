"""TabDDPM's quantiles, its loss and what it learns of planted structure, labels and rules."""

import math

import pytest
import torch
from torch import Tensor

from ehrsynth.constraints import Rules
from ehrsynth.constraints.rules import OnlyIf
from ehrsynth.layout import Layout, Records
from ehrsynth.models.condition import Condition
from ehrsynth.models.tabddpm import TabDDPM
from ehrsynth.schema import Column, Schema
from tests.planted import LAYOUT, SCHEMA, planted, rng
from tests.training import fit

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
SMALL = {"widths": [64, 64], "stem_width": 32, "timesteps": 20, "learning_rate": 3e-3}


def fitted(rows: Tensor, epochs: int = 30, rules: Rules | None = None, **options: object) -> TabDDPM:
    model = TabDDPM(schema=SCHEMA, **{**SMALL, **options})  # type: ignore[arg-type]
    model.observe(Records.of_dense(LAYOUT, rows))
    if rules is not None:
        model.rules, model.rules_weight = rules, 10.0
    fit(model, rows.split(256), epochs)
    return model.eval()


def drawn(model: TabDDPM, n: int = 2000, condition: Condition | None = None) -> Tensor:
    with torch.inference_mode():
        return model.sample(n, rng(7), condition)


@pytest.fixture(scope="module")
def told() -> TabDDPM:
    """A model of what is planted that is told the sex."""
    return fitted(planted(), condition=["sex"])


def test_it_learns_what_is_planted(told: TabDDPM) -> None:
    rows, found = planted(), drawn(told)
    assert (found[:, 0] == found[:, 1]).float().mean() > 0.9
    assert (found[:, :6].mean(0) - rows[:, :6].mean(0)).abs().max() < 0.08
    has = found[:, 0] == 1
    assert (found[has, 3].mean() - 0.8).abs() < 0.12
    assert (found[has, 6].median() - 0.8).abs() < 0.05
    assert (found[~has, 6].median() - 0.2).abs() < 0.05


def test_labels_are_met_and_change_what_goes_with_them_and_guidance_more_so(
    told: TabDDPM, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = torch.zeros(1, LAYOUT.width)
    asked[0, 3] = 1
    condition = Condition.of(Records.of_dense(LAYOUT, asked), ["sex"])
    free, women = drawn(told), drawn(told, condition=condition)
    assert (women[:, 3] == 1).all()
    share = 0.3 * 0.8 / (0.3 * 0.8 + 0.7 * 0.1)  # who has the code among them
    assert abs(women[:, 0].mean() - share) < 0.12
    assert abs(free[:, 0].mean() - 0.3) < 0.1
    monkeypatch.setattr(told, "guidance", 2.0)
    assert drawn(told, condition=condition)[:, 0].mean() > women[:, 0].mean()


def test_the_penalty_for_broken_rules_reaches_the_network() -> None:
    rows = planted(512)
    rows[:, 1] = (torch.rand(512, generator=rng()) < 0.5).float()
    rule = Rules((OnlyIf("other", "sex=F"),), SCHEMA)  # which half of the rows break
    shares = [rule.violation(drawn(fitted(rows, 12, rules))).mean() for rules in (None, rule)]
    assert shares[1] < 0.5 * shares[0]


def test_the_loss_of_an_untrained_network_is_that_of_uniform_states_and_unit_noise() -> None:
    model = TabDDPM(schema=SCHEMA, **SMALL)  # type: ignore[arg-type]
    with torch.no_grad():
        for weights in model.network.body[-1].parameters():
            weights.zero_()
    logged: dict[str, float] = {}
    model.log_losses = lambda _, **losses: logged.update({k: v.item() for k, v in losses.items()})  # type: ignore
    model.step_rng = lambda _: rng()  # type: ignore[method-assign]
    rows = planted(8192)
    rows[:, 2] = 0
    model.training_step(rows, 0)
    assert logged["gaussian"] == pytest.approx(1, abs=0.05)
    # All steps together bound what a uniform variable costs, log K nats; an estimate blind to x_t is near that bound.
    nats = (3 * math.log(2) + math.log(3)) / 4
    assert nats - 0.05 < logged["multinomial"] < 1.2 * nats


def test_filled_in_numbers_do_not_count() -> None:
    model = TabDDPM(schema=SCHEMA, **SMALL)  # type: ignore[arg-type]
    model.log_losses = lambda _, **losses: None  # type: ignore[method-assign]
    model.step_rng = lambda _: rng()  # type: ignore[method-assign]
    rows = planted(64)
    rows[:, 2] = 1
    model.training_step(rows, 0).backward()
    slope = model.network.body[-1].bias.grad
    assert slope is not None
    assert slope[7] == 0
    assert slope[6] != 0


@pytest.mark.parametrize(
    "columns", [SCHEMA.columns[:1], SCHEMA.columns[2:3], SCHEMA.columns[3:4], SCHEMA.columns[4:], SCHEMA.columns[:3]]
)
def test_tables_of_few_columns_and_of_one_kind(columns: tuple[Column, ...]) -> None:
    schema = Schema(columns)
    model = TabDDPM(schema=schema, **SMALL).eval()  # type: ignore[arg-type]
    model.log_losses = lambda _, **losses: None  # type: ignore[method-assign]
    model.step_rng = lambda _: rng()  # type: ignore[method-assign]
    with torch.no_grad():
        rows = model.sample(50, rng())
    model.training_step(rows, 0).backward()
    assert rows.shape == (50, Layout.of(schema).width)


def test_two_thousand_bits_have_a_finite_loss_of_a_normal_size() -> None:
    schema = Schema(tuple(Column(f"c{i}", "binary") for i in range(2000)))
    model = TabDDPM(schema=schema, **SMALL)  # type: ignore[arg-type]
    model.step_rng = lambda _: rng()  # type: ignore[method-assign]
    model.log_losses = lambda _, **losses: None  # type: ignore[method-assign]
    loss = model.training_step((torch.rand(32, 2000, generator=rng()) < 0.005).float(), 0)
    loss.backward()
    assert 0 < loss < 10
    assert all(weights.grad is None or weights.grad.isfinite().all() for weights in model.parameters())
