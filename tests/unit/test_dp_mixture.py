"""A mixture of noisy sums: without noise it is that of exact ones, with noise it claims no more than it knows."""

import pytest
import torch
from torch import Tensor

from ehrsynth.accounting import Gaussian, epsilon_of, rho_within
from ehrsynth.errors import OptionError
from ehrsynth.layout import Layout, Records
from ehrsynth.models.condition import Condition
from ehrsynth.models.dp_mixture import FARTHEST, DPMixture
from ehrsynth.models.noisy_looks import CODES
from ehrsynth.schema import Column, Schema

KINDS = 12  # of codes that come together, of as many that do not
SCHEMA = Schema(
    (
        *(Column(f"code{i}", "binary", domain="diagnosis") for i in range(2 * KINDS)),
        Column("sex", "categorical", ("F", "M")),
        Column("age", "count", bounds=(0, 100)),
        Column("bmi", "continuous", bounds=(10, 60), missing=True),
    )
)
N = 20_000


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def patients(n: int = N) -> Records:
    """Two kinds of patients: of one come most of the first codes, women, and the old."""
    layout, u = Layout.of(SCHEMA), torch.rand(n, 2 * KINDS + 6, generator=rng())
    kind = (u[:, -1] < 0.4).float()[:, None]
    x = torch.zeros(n, layout.width)
    x[:, :KINDS] = (u[:, :KINDS] < 0.05 + 0.5 * kind).float()
    x[:, KINDS : 2 * KINDS] = (u[:, KINDS : 2 * KINDS] < 0.1).float()
    women = (u[:, -2] < 0.3 + 0.5 * kind[:, 0]).float()
    x[:, layout.names.index("sex=F")], x[:, layout.names.index("sex=M")] = women, 1 - women
    x[:, layout.names.index("bmi:missing")] = (u[:, -3] < 0.2).float()
    x[:, layout.values.start] = ((0.2 + 0.4 * kind[:, 0] + 0.3 * u[:, -4]) * 100).round() / 100
    x[:, layout.values.start + 1] = u[:, -5]
    found = Records.of_dense(layout, x)
    return Records(layout, found.bits, found.values.nan_to_num(0.5))


def learned(epsilon: float, **options: float) -> DPMixture:
    model = DPMixture(schema=SCHEMA, epsilon=epsilon, **options)  # type: ignore[arg-type]
    model.noise = rng(1)
    model.observe(patients())
    return model.eval()


@torch.no_grad()
def test_without_noise_a_pass_is_that_of_exact_sums() -> None:
    records, model = patients(), DPMixture(schema=SCHEMA, components=5, prior_rows=0.0)
    rows = records.dense()
    before = learned(1e7, components=5, passes=1)
    model._start_at(rows.mean(0))
    model.quantiles.copy_(before.quantiles)
    model._start_at(rows.mean(0))
    bits, numbers = model._features(rows)
    weights = model._joint(bits, numbers).softmax(1)
    exact = weights.T @ bits.double() / weights.sum(0)[:, None]
    model._learn(model._sums(rows, 1e9), N, 1e-6)
    torch.testing.assert_close(model.chances.double(), exact, rtol=0, atol=1e-4)
    torch.testing.assert_close(model.shares.double(), weights.sum(0) / N, rtol=0, atol=1e-5)
    observed, seen, _ = numbers.unflatten(1, (3, -1)).unbind(1)
    scores = seen.clamp(-FARTHEST, FARTHEST)
    torch.testing.assert_close(
        model.means.double(), weights.T @ scores / (weights.T @ observed.double()), rtol=0, atol=0.03
    )
    assert (before.chances - model.chances).abs().max() < 0.02, "prior rows and hardly any noise apart"


@torch.no_grad()
def test_what_goes_together_is_learned_with_noise() -> None:
    real = patients().dense()
    wanted = float(torch.corrcoef(real[:, :KINDS].T).fill_diagonal_(0).sum() / (KINDS * (KINDS - 1)))
    model = learned(3.0, components=6)
    rows = model.sample(N, rng(2))
    torch.testing.assert_close(rows.nan_to_num(0.5)[:, :-1].mean(0), real[:, :-1].mean(0), rtol=0, atol=0.03)
    found = float(torch.corrcoef(rows[:, :KINDS].T).fill_diagonal_(0).sum() / (KINDS * (KINDS - 1)))
    assert found == pytest.approx(wanted, rel=0.25)
    none = float(torch.corrcoef(rows[:, KINDS : 2 * KINDS].T).fill_diagonal_(0).abs().mean())
    assert none < 0.03
    given = torch.zeros(1, model.layout.width, dtype=torch.bool)
    low = torch.zeros(1, model.layout.width)
    given[0, :3], low[0, :3] = True, 1.0
    asked = Condition(model.layout, low, low, given)
    old = model.layout.values.start
    assert float(model.sample(2000, rng(3), asked)[:, old].mean()) > float(rows[:, old].mean()) + 0.1


def test_its_ledger_is_what_it_was_asked_for() -> None:
    for epsilon in (1.0, 3.0):
        model = learned(epsilon, components=3, passes=4)
        *alone, sums, numbers = model.looks
        assert len(alone) == 2
        assert isinstance(numbers.mechanism, Gaussian)
        assert (numbers.mechanism.times, numbers.mechanism.sensitivity) == (1, 1)
        assert numbers.mechanism.noise_multiplier**-2 / 2 == pytest.approx(0.05 * rho_within(epsilon, 1 / N), rel=1e-5)
        assert isinstance(sums.mechanism, Gaussian)
        assert sums.mechanism.times == 4
        assert sums.mechanism.sensitivity == pytest.approx((1 + CODES + 1 + 2 + 1) ** 0.5)
        spent = epsilon_of([look.mechanism for look in model.looks if not isinstance(look.mechanism, str)], 1 / N)
        assert spent.rdp == pytest.approx(epsilon, rel=1e-3)
        assert spent.rdp <= epsilon


@torch.no_grad()
def test_one_record_moves_the_sums_no_further_than_is_said() -> None:
    model = learned(3.0, components=3, passes=1)
    rows = torch.cat([patients(30).dense(), torch.ones(1, model.layout.width)])
    most = (1 + CODES + 1 + 2 + 1) ** 0.5
    whole = model._sums(rows, 3.0)
    for i in range(len(rows)):
        less: Tensor = model._sums(torch.cat([rows[:i], rows[i + 1 :]]), 3.0)
        assert 0 < (whole - less).norm() <= 3.0 + 1e-9
    assert most > 3


@torch.no_grad()
def test_too_much_noise_leaves_the_columns_alone() -> None:
    model = learned(0.002, components=4)
    assert (model.chances - model.chances[0]).abs().max() < 1e-4
    assert model.sample(50, rng()).nan_to_num(0.5).isfinite().all()


@torch.no_grad()
def test_what_is_not_counted_costs_nothing() -> None:
    model = learned(3.0, counted=0.0)
    assert "log_tilts" not in model.state_dict()
    assert len(model.looks) == 3
    spent = epsilon_of([look.mechanism for look in model.looks if not isinstance(look.mechanism, str)], 1 / N)
    assert spent.rdp == pytest.approx(3.0, rel=1e-3)
    for share in (1.0, -0.1):
        with pytest.raises(OptionError, match=r"model.counted"):
            DPMixture(schema=SCHEMA, counted=share)
