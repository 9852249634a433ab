"""Masked diffusion on tables whose distribution is known: what it learns, its bound, conditions against counting."""

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from ehrsynth.errors import OptionError
from ehrsynth.layout import Layout, Records
from ehrsynth.models.condition import Condition
from ehrsynth.models.masked_diffusion import MaskedDiffusion
from ehrsynth.schema import Column, Schema
from tests.training import fit

CODES = (
    Column("died", "binary"),
    Column("sepsis", "binary"),
    Column("fever", "binary"),
    Column("sex", "categorical", ("F", "M")),
)
NUMBERS = (Column("age", "continuous", bounds=(0, 1)), Column("lactate", "continuous", bounds=(0, 1), missing=True))
# Lightning's own use of a spelling that torch has since deprecated; and small tensors need no worker processes.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def patients(n: int) -> Tensor:
    """Return died, sepsis, fever, lactate:missing, sex=F, sex=M, age, lactate: the old have sepsis, and of it some die.

    Women die of it more often; lactate is mostly measured in sepsis, where it is higher.
    """
    age, *u = torch.rand(7, n, generator=rng()).unbind(0)
    sepsis = (u[0] < 0.1 + 0.6 * (age > 0.6)).float()
    fever = (u[1] < 0.1 + 0.7 * sepsis).float()
    female = (u[2] < 0.5).float()
    died = (u[3] < 0.05 + 0.6 * sepsis * female).float()
    missing = (u[4] < 0.7 - 0.6 * sepsis).float()
    lactate = (0.2 + 0.4 * sepsis + 0.4 * u[5]) * (1 - missing)
    return torch.stack([died, sepsis, fever, missing, female, 1 - female, age, lactate], dim=1)


def fitted(columns: tuple[Column, ...], rows: Tensor, epochs: int, **options: float) -> MaskedDiffusion:
    small = {"width": 48, "number_width": 48, "learning_rate": 3e-3, "warmup_steps": 20, "ema_decay": 0.98} | options
    model = MaskedDiffusion(schema=Schema(columns), **small)  # type: ignore[arg-type]
    model.observe(Records.of_dense(model.layout, rows))
    fit(model, rows.split(500), epochs)
    return model.eval()


@cache
def of_codes() -> MaskedDiffusion:
    return fitted(CODES, patients(10_000)[:, [0, 1, 2, 4, 5]], epochs=20, steps=8)


@cache
def of_everything() -> MaskedDiffusion:
    return fitted((*CODES, *NUMBERS), patients(10_000), epochs=25, steps=8, number_steps=10)


def drawn(model: MaskedDiffusion, n: int, condition: Condition | None = None) -> Tensor:
    with torch.inference_mode():
        rows = model.sample(n, rng(0 if condition is None else 1), condition)
    rows = rows.clone()  # an ordinary tensor
    for bit, value in model.layout.missing_bits():
        rows[rows[:, bit] > 0, model.layout.values.start + value] = 0.0
    return rows


def asked(model: MaskedDiffusion, **wanted: tuple[float, float]) -> Condition:
    """Ask for columns by name, from one number to another."""
    low, high = torch.zeros(2, 1, model.layout.width)
    given = torch.zeros(1, model.layout.width, dtype=torch.bool)
    for name, ends in wanted.items():
        place = model.layout.names.index(name.replace("__", ":").replace("_is_", "="))
        low[0, place], high[0, place], given[0, place] = *ends, True
    return Condition(model.layout, low, high, given)


def assert_as_counted(model: MaskedDiffusion, condition: Condition, n: int, slack: float) -> None:
    """The means of n draws are those of the free draws that meet the condition, within 99.9 % intervals."""
    given, free = drawn(model, n, condition), drawn(model, 2 * n)
    assert condition.met_by(given).all()
    counted = free[condition.met_by(free)]
    error = (given.var(0) / len(given) + counted.var(0) / len(counted)).sqrt()
    difference = (given.mean(0) - counted.mean(0)).abs()
    assert (difference <= slack + 3.3 * error).all(), (len(counted), difference, error)


@pytest.mark.parametrize(
    "wanted",
    [
        {"sepsis": (1, 1)},
        {"fever": (0, 0), "died": (1, 1)},
        {"sex_is_F": (1, 1), "sex_is_M": (0, 0), "sepsis": (1, 1)},
    ],
)
def test_given_codes_are_as_counted(wanted: dict[str, tuple[float, float]]) -> None:
    assert_as_counted(
        of_codes(), asked(of_codes(), **wanted), n=20_000, slack=0.02
    )  # what 400 steps leave to be learned


@pytest.mark.parametrize(
    "wanted",
    [
        {"age": (0.7, 0.9)},
        {"age": (0.3, 0.7), "lactate__missing": (0, 0), "lactate": (0.5, 1)},
    ],
)
def test_ranges_of_numbers_are_as_counted_whatever_was_learned(wanted: dict[str, tuple[float, float]]) -> None:
    assert_as_counted(of_everything(), asked(of_everything(), **wanted), n=4_000, slack=0.0)


def test_it_learns_numbers_given_codes_and_codes_given_numbers() -> None:
    model = of_everything()
    old, young = (drawn(model, 2_000, asked(model, age=(age, age)))[:, 1].mean() for age in (0.8, 0.2))
    assert old - young > 0.3  # 0.6 in the table; 500 steps are few
    ill, well = (drawn(model, 2_000, asked(model, sepsis=(code, code))).mean(0) for code in (1.0, 0.0))
    assert ill[6] - well[6] > 0.15  # age: 0.3
    assert well[3] - ill[3] > 0.25  # lactate is missing: 0.6


def test_the_bound_of_independent_codes_is_their_entropy() -> None:
    rows = (torch.rand(4_000, 2, generator=rng()) < torch.tensor([0.5, 0.1])).float()
    schema = Schema((Column("a", "binary"), Column("b", "binary")))
    model = MaskedDiffusion(schema=schema, width=8).eval()
    model.observe(Records.of_dense(model.layout, rows))  # untrained, it knows the prevalences and nothing else
    with torch.inference_mode():
        found = model.nelbo(rows, rng(), draws=16).mean().item()
    shares = rows.mean(0).double()
    entropy = -(torch.xlogy(shares, shares) + torch.xlogy(1 - shares, 1 - shares)).sum().item()
    assert found == pytest.approx(entropy, rel=0.02)
    assert entropy == pytest.approx(math.log(2) + 0.325, abs=0.02)


@pytest.mark.parametrize("columns", [CODES[:1], CODES[3:], NUMBERS, NUMBERS[:1]])
def test_tables_of_one_kind_train_and_sample(columns: tuple[Column, ...]) -> None:
    layout = Layout.of(Schema(columns))
    rows = layout.harden(torch.rand(64, layout.width, generator=rng()), rng(1))
    model = fitted(columns, rows, epochs=1)
    assert drawn(model, 10).shape == (10, layout.width)
    condition = Condition.of(Records.of_dense(layout, rows)[:1], model.conditionable)
    assert condition.met_by(drawn(model, 10, condition)).all()


def test_a_range_that_no_draw_meets_is_named() -> None:
    model = fitted(NUMBERS[:1], torch.full((64, 1), 0.5), epochs=1, number_steps=2)
    with pytest.raises(
        OptionError, match=r"condition age: none of 200 draws for a record lies in the ranges asked for"
    ):
        drawn(model, 10, asked(model, age=(0.9, 0.95)))
