"""A noisy mean of random features: what a patient changes, how much noise there is, what a generator makes of it."""

import pytest
import torch
from torch import Tensor

from ehrsynth.accounting import Gaussian, epsilon_of, gaussian_within
from ehrsynth.errors import OptionError, TrainingError
from ehrsynth.layout import Layout, Records
from ehrsynth.ledger import Ledger
from ehrsynth.models.dp_merf import DPMERF
from ehrsynth.models.independent import IndependentMarginals
from ehrsynth.schema import Column, Schema
from tests.training import fit

KINDS = 10  # of codes that come together, of as many that do not
SCHEMA = Schema(
    (
        *(Column(f"code{i}", "binary", domain="diagnosis") for i in range(2 * KINDS)),
        Column("sex", "categorical", ("F", "M")),
        Column("visits", "count", bounds=(0, 4)),
        Column("bmi", "continuous", bounds=(10, 60), missing=True),
        Column("constant", "continuous", bounds=(3, 3)),
    )
)
N = 4_000
SMALL = {"features": 400, "hidden": [64], "noise_width": 8, "generated": 200, "learning_rate": 5e-3}
STEPS = 400
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated", "ignore:.*does not have many workers")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def patients(n: int = N, seed: int = 0) -> Records:
    """Two kinds of patients: of one come most of the first codes, women, and many visits."""
    layout, u = Layout.of(SCHEMA), torch.rand(n, 2 * KINDS + 6, generator=rng(seed))
    kind = (u[:, -1] < 0.4).float()[:, None]
    x = torch.zeros(n, layout.width)
    x[:, :KINDS] = (u[:, :KINDS] < 0.05 + 0.5 * kind).float()
    x[:, KINDS : 2 * KINDS] = (u[:, KINDS : 2 * KINDS] < 0.1).float()
    women = (u[:, -2] < 0.3 + 0.5 * kind[:, 0]).float()
    x[:, layout.names.index("sex=F")], x[:, layout.names.index("sex=M")] = women, 1 - women
    x[:, layout.names.index("bmi:missing")] = (u[:, -3] < 0.2).float()
    x[:, layout.values.start] = ((kind[:, 0] + 3 * u[:, -4]).round() / 4).clamp(0, 1)
    x[:, layout.values.start + 1] = u[:, -5].square()
    found = Records.of_dense(layout, x)
    return Records(layout, found.bits, found.values.nan_to_num(0.5))


def told(epsilon: float = 1e6, records: Records | None = None, seed: int = 0) -> DPMERF:
    model = DPMERF(schema=SCHEMA, seed=seed, epsilon=epsilon, **SMALL)  # type: ignore[arg-type]
    model.noise = rng(1)
    model.observe(patients() if records is None else records)
    return model


def learned(
    epsilon: float = 1e6, records: Records | None = None, batches: Tensor | None = None, steps: int = STEPS
) -> DPMERF:
    model = told(epsilon, records)
    fit(model, [torch.zeros(1, model.layout.width) if batches is None else batches] * steps, 1)
    model.eval()
    return model


@torch.no_grad()
def drawn(model: DPMERF, n: int = N) -> Tensor:
    return model.sample(n, rng(2)).nan_to_num(0.5)


def apart(rows: Tensor, real: Tensor) -> float:
    """Return the mean difference of correlations of codes."""
    found, wanted = (torch.corrcoef(table[:, : 2 * KINDS].T) for table in (rows, real))
    return float((found.nan_to_num(0.0) - wanted).fill_diagonal_(0).abs().sum() / (2 * KINDS * (2 * KINDS - 1)))


def prevalence(rows: Tensor, real: Tensor) -> float:
    return float((rows - real).mean(0)[: 2 * KINDS].abs().mean())


def test_no_patient_has_features_longer_than_one() -> None:
    model, layout = told(), Layout.of(SCHEMA)
    extreme = torch.stack([torch.zeros(layout.width), torch.ones(layout.width)])
    both = Records.joined([patients(300), Records.of_dense(layout, extreme)])
    for records in (both, both.packed()):
        lengths = model.features_of(records).norm(dim=1)
        assert lengths.max() <= 1 + 1e-12
        assert lengths.min() >= (1 - model.linear) ** 0.5 - 1e-12
    wide = Schema(tuple(Column(f"c{i}", "binary") for i in range(200)))
    every = Records.of_dense(Layout.of(wide), torch.ones(3, 200))
    assert DPMERF(schema=wide, features=50).features_of(every).norm(dim=1).max() <= 1 + 1e-12, "more codes than count"


def test_a_patient_more_changes_the_sum_by_one_at_most_and_a_column_less_than_all() -> None:
    model, records = told(), patients(40)
    whole = model.features_of(records).sum(0)
    for i in range(40):
        less = Records.joined([records[:i], records[i + 1 :]])
        assert 0.5 < (whole - model.features_of(less).sum(0)).norm() <= 1 + 1e-12


@pytest.mark.parametrize("epsilon", [0.5, 3.0])
def test_the_noise_is_what_the_accountant_asks_for_and_the_ledger_says_so(epsilon: float) -> None:
    records = patients(1000)
    model = told(epsilon, records)
    (look,) = model.looks
    assert look.mechanism == Gaussian(pytest.approx(gaussian_within(epsilon, 1e-3), rel=1e-5), 1, 1.0)  # type: ignore[arg-type]
    ledger = Ledger(1e-3, model.looks)
    assert ledger.spent.rdp == pytest.approx(epsilon, rel=1e-3)
    assert ledger.total.value <= ledger.spent.rdp <= epsilon
    assert epsilon_of([look.mechanism], 1e-3).value == ledger.total.value  # type: ignore[list-item]
    exact = model.features_of(records).sum(0)
    fourier = slice(len(model.frequencies), None)  # the columns alone are no share below 0 any more
    noise = 1000 * model.embedding.double()[fourier] - exact[fourier]
    assert noise.std() == pytest.approx(look.mechanism.noise_multiplier, rel=0.1)  # type: ignore[union-attr]
    assert abs(float(noise.mean())) < 0.3 * look.mechanism.noise_multiplier  # type: ignore[union-attr]


def test_the_noise_is_secret_whatever_the_seed() -> None:
    models = [DPMERF(schema=SCHEMA, epsilon=1.0, **SMALL) for _ in range(2)]  # type: ignore[arg-type]
    assert models[0].frequencies.equal(models[1].frequencies)
    for model in models:
        model.observe(patients(500))
    assert not models[0].embedding.equal(models[1].embedding)
    assert not DPMERF(schema=SCHEMA, seed=1, **SMALL).frequencies.equal(models[0].frequencies)  # type: ignore[arg-type]


@torch.no_grad()
def test_features_by_chances_are_those_of_records_drawn_by_them() -> None:
    model = told()
    chances = model._chances(torch.randn(1, len(model.frequencies), generator=rng(3)) - 1)
    codes = torch.bernoulli(chances[:, : model.codes].expand(40_000, -1), generator=rng(4)).long()
    others = [
        torch.multinomial(chances[0, group], 40_000, True, generator=rng(5 + i)) for i, group in enumerate(model.groups)
    ]
    drawn = model._seen(torch.cat([codes, torch.stack(others, 1)], 1))
    phase = drawn @ model.frequencies
    counted = model._weighed(drawn, phase.cos(), phase.sin()).mean(0)
    assert (model.expected(chances)[0] - counted).norm() < 0.02 * counted.norm()
    sure = model._seen(model.states.of(patients(5)))
    torch.testing.assert_close(model.expected(sure).double(), model.features_of(patients(5)), rtol=0, atol=1e-5)


def test_what_goes_together_is_learned_better_than_columns_alone() -> None:
    real = patients().dense().nan_to_num(0.5)
    model, alone = learned(), IndependentMarginals(schema=SCHEMA)
    alone.observe(patients())
    rows, independent = drawn(model), alone.sample(N, rng(2))
    assert prevalence(rows, real) < 0.02
    assert apart(rows, real) < 0.5 * apart(independent, real)
    values = model.layout.values.start
    assert (rows[:, values + 2] == 0).all(), "of a constant"
    gap = model.layout.names.index("bmi:missing")
    for table in (rows, real):
        table[table[:, gap] > 0, values + 1] = 0.5  # whatever stands under a gap
    torch.testing.assert_close(rows[:, KINDS:].mean(0), real[:, KINDS:].mean(0), rtol=0, atol=0.04)


def test_with_noise_it_still_learns_and_with_too_much_nothing() -> None:
    real, others = patients().dense().nan_to_num(0.5), patients()
    assert apart(drawn(learned(3.0)), real) < 0.06
    absent = Records.of_dense(others.layout, 1 - others.dense())  # who has the codes that the patients have not
    absent = Records(absent.layout, absent.bits, absent.values.nan_to_num(0.5))
    found, without = (drawn(learned(1e-5, records, steps=40)) for records in (others, absent))
    assert prevalence(found, real) > 0.5 * prevalence(without, real), "no better than without their data"
    assert prevalence(found, real) > 0.15


def test_batches_are_steps_and_nothing_else() -> None:
    shapes = (torch.zeros(1, 4), torch.full((7, 3), torch.nan), patients(20).dense())
    first, *others = (learned(3.0, batches=batch, steps=5).state_dict() for batch in shapes)
    before = told(3.0).state_dict()
    assert not first["generator.0.weight"].equal(before["generator.0.weight"])
    for other in others:
        assert all(weights.equal(other[name]) for name, weights in first.items())
    assert first["embedding"].equal(before["embedding"]), "told once"


def test_a_training_that_diverges_ends_in_one_line() -> None:
    model = told()
    model.embedding.fill_(torch.nan)
    with pytest.raises(TrainingError, match="loss/distance is nan in epoch 0, batch 0"):
        fit(model, [torch.zeros(1, 1)] * 2, 1)
    assert all(weights.isfinite().all() for weights in model.parameters())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("epsilon", 0), ("features", 3), ("bandwidths", []), ("bandwidths", [0.0]), ("linear", 1.0), ("linear", 0.0)),
        *(("bins", 1), ("noise_width", 0), ("hidden", []), ("generated", 5), ("learning_rate", -1)),
    ],
)
def test_options_are_checked(option: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"model.{option}="):
        DPMERF(schema=SCHEMA, **{option: value})  # type: ignore[arg-type]
