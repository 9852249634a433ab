"""The mixture against scikit-learn, Bayes' rule by hand and counting; what a pass keeps and what it pools."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.mixture import GaussianMixture
from torch.distributions import Categorical, Normal

from ehrsynth.layout import Layout, Records
from ehrsynth.models.condition import Condition
from ehrsynth.models.mixture import Mixture, _pooled, _spread
from ehrsynth.models.truncated import draw_within, log_chance
from ehrsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        *(Column(f"code{i}", "binary") for i in range(5)),
        Column("sex", "categorical", ("F", "M", "X")),
        Column("age", "continuous", bounds=(0, 1)),
        Column("bmi", "continuous", bounds=(0, 1), missing=True),
    )
)  # encoded: code0 ... code4, bmi:missing, sex=F, sex=M, sex=X, age, bmi
LAYOUT = Layout.of(SCHEMA)


def patients(n: int = 3000) -> Records:
    rng = torch.Generator().manual_seed(0)
    kind = torch.randint(0, 3, (n,), generator=rng)
    chances = torch.tensor(
        [[0.8, 0.1, 0.5, 0.02, 0.3], [0.1, 0.7, 0.5, 0.4, 0.3], [0.05, 0.1, 0.9, 0.1, 0.0]], dtype=torch.float32
    )
    gap, sex = torch.tensor([0.1, 0.6, 0.3]), torch.tensor([[0.8, 0.2, 0.0], [0.3, 0.65, 0.05], [0.5, 0.5, 0.0]])
    values = torch.tensor([[0.2, 0.7], [0.6, 0.4], [0.9, 0.1]])[kind] + 0.1 * torch.randn(n, 2, generator=rng)
    rows = torch.cat([chances[kind], gap[kind, None], sex[kind], values], dim=1)
    return Records.of_dense(LAYOUT, LAYOUT.harden(rows, rng))


def fitted(passes: int = 15, components: int = 6, **options: float) -> Mixture:
    model = Mixture(schema=SCHEMA, components=components, **options).eval()  # type: ignore[arg-type]
    model.observe(patients())
    for _ in range(passes):
        step(model)
    return model


@torch.no_grad()
def step(model: Mixture) -> float:
    """Return the log-likelihood before a pass."""
    model.log_losses = lambda *_, **__: None  # type: ignore[method-assign]
    found = model.statistics(patients().dense().nan_to_num(0.5))
    model.update(found)
    return -float(found["total"])


@torch.no_grad()
def test_likelihood_of_the_rest_given_some_is_that_of_all_less_that_of_these() -> None:
    columns = SCHEMA.columns[:5]
    model = Mixture(schema=Schema(columns), components=4)
    model.observe(Records(model.layout, patients().bits[:, :5], torch.zeros(len(patients()), 0)))
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=5)))
    records = Records.of_dense(model.layout, every)
    chances = model.log_likelihood(records).exp()
    assert float(chances.sum()) == pytest.approx(1.0, abs=1e-6)
    given = model.log_likelihood(records, [columns[0].name, columns[3].name]).exp()
    groups = (2 * every[:, 0] + every[:, 3]).long()
    of_group = torch.zeros(4, dtype=torch.float64).index_add(0, groups, chances)
    torch.testing.assert_close(given, chances / of_group[groups])


@torch.no_grad()
def test_likelihood_is_the_sum_over_components_of_products_over_columns() -> None:
    model = fitted(2)
    rows = patients()[:20].dense().nan_to_num(0.5)
    scores = model.scores_of(rows[:, 9:])
    for row, score, found in zip(rows, scores, model._joint(*model._features(rows)).logsumexp(1), strict=True):
        total = 0.0
        for k in range(len(model.shares)):
            p = float(model.shares[k])
            for j in range(6):
                p *= float(model.chances[k, j] if row[j] else 1 - model.chances[k, j])
            p *= float(Categorical(model.chances[k, 6:9]).log_prob(row[6:9].argmax()).exp())
            p *= float(Normal(model.means[k, 0], model.stds[k, 0]).log_prob(score[0]).exp())
            if not row[5]:
                p *= float(Normal(model.means[k, 1], model.stds[k, 1]).log_prob(score[1]).exp())
            total += p
        assert float(found) == pytest.approx(math.log(total), abs=1e-4)


def test_each_pass_makes_the_training_rows_likelier_where_nothing_is_pooled() -> None:
    model = fitted(0, components=2, prior_rows=0.0)
    likelihoods = [step(model) for _ in range(20)]
    assert (np.diff(likelihoods) > -1e-2).all()
    assert likelihoods[-1] > likelihoods[0] + 1000


@pytest.mark.parametrize("prior_rows", [0.0, 1.0, 50.0])
def test_after_a_pass_the_training_marginals_are_the_models(prior_rows: float) -> None:
    model, train = fitted(1, prior_rows=prior_rows), patients()
    for _ in range(3):
        shares = model.shares[:, None].double()
        expected = train.dense()[:, :9].double().mean(0)
        torch.testing.assert_close((shares * model.chances).sum(0).double(), expected, atol=1e-6, rtol=0)
        seen = shares * torch.cat([torch.ones_like(shares), 1 - model.chances[:, 5:6].double()], dim=1)
        for moment, of in ((1, model.means), (2, model.means.square() + model.stds.square())):
            found = (seen * of).sum(0) / seen.sum(0)
            scores = model.scores_of(train.values.nan_to_num(0.5)).where(~train.values.isnan(), torch.nan)
            torch.testing.assert_close(found, scores.pow(moment).nanmean(0), atol=1e-5, rtol=0)
        step(model)


def test_numbers_that_many_rows_share_come_back_as_often() -> None:
    schema = Schema((Column("visits", "count", bounds=(0, 4)), Column("code", "binary")))
    rng, n = torch.Generator().manual_seed(0), 4000
    visits = torch.multinomial(torch.tensor([0.7, 0.15, 0.1, 0.04, 0.01]), n, True, generator=rng)
    code = (visits > 0).float() * (torch.rand(n, generator=rng) < 0.8)
    train = Records.of_dense(Layout.of(schema), torch.stack([code, visits / 4], dim=1))
    model = Mixture(schema=schema, components=6).eval()
    model.observe(train)
    model.log_losses = lambda *_, **__: None  # type: ignore[method-assign]
    with torch.no_grad():
        for _ in range(10):
            model.update(model.statistics(train.dense()))
        rows = model.sample(20_000, rng)
    assert (rows[:, 1:] * 4).frac().count_nonzero() < 200, "as they were, but for steps between two of the law"
    shares = torch.bincount((rows[:, 1] * 4).round().long(), minlength=5) / len(rows)
    assert (shares - torch.bincount(visits, minlength=5) / n).abs().max() < 0.06
    assert rows[rows[:, 1] == 0, 0].mean() < 0.1 < 0.6 < rows[rows[:, 1] > 0, 0].mean()


def test_on_numbers_alone_it_is_the_gaussian_mixture_of_scikit_learn() -> None:
    schema = Schema(tuple(Column(name, "continuous", bounds=(0, 1)) for name in "abc"))
    rng = np.random.default_rng(0)
    x = np.clip(np.where(rng.random((2000, 1)) < 0.3, 0.3, 0.6) + 0.08 * rng.standard_normal((2000, 3)), 0, 1)
    records = Records(Layout.of(schema), torch.zeros(2000, 0, dtype=torch.uint8), torch.from_numpy(x).float())
    model = Mixture(schema=schema, components=2, prior_rows=0.0)
    model.observe(records)
    x = model.scores_of(records.values).numpy()
    starts = model.means.detach().numpy().copy(), model.stds.detach().numpy().copy()
    other = GaussianMixture(
        2,
        covariance_type="diag",
        reg_covar=0,
        tol=0,
        max_iter=12,
        weights_init=[0.5, 0.5],
        means_init=starts[0],
        precisions_init=starts[1] ** -2.0,
    )
    with pytest.warns(match="did not converge"):
        other.fit(x)
    model.log_losses = lambda *_, **__: None  # type: ignore[method-assign]
    with torch.no_grad():
        for _ in range(12):
            model.update(model.statistics(records.values))
        found = model._joint(*model._features(records.values)).logsumexp(1)
    np.testing.assert_allclose(model.shares.detach(), other.weights_, atol=1e-4)
    np.testing.assert_allclose(model.means.detach(), other.means_, atol=1e-4)
    np.testing.assert_allclose(model.stds.detach(), np.sqrt(other.covariances_), atol=1e-4)
    np.testing.assert_allclose(found, other.score_samples(x), atol=2e-3)


def test_components_of_less_than_ten_rows_are_pooled_and_nobody_is_lost() -> None:
    sums = torch.arange(10.0).reshape(5, 2)
    weights, found = _pooled(torch.tensor([30.0, 4.0, 0.0, 3.0, 12.0]), sums)
    assert weights.tolist() == [30, 0, 0, 0, 19]  # 4 + 3 are still too few, so the smallest other joins them
    torch.testing.assert_close(found.sum(0), sums.sum(0))
    assert (found[1:4] == 0).all()
    again, _ = _pooled(weights, found)
    assert again.tolist() == weights.tolist()
    few, _ = _pooled(torch.tensor([3.0, 2.0]), sums[:2])
    assert few.tolist() == [5, 0]


def test_of_patients_fewer_than_ten_nothing_is_a_components_own() -> None:
    model = fitted(6, components=400)
    weights = model.shares[model.shares > 0] * 3000
    assert weights.min() > 10
    train = patients()
    rare = Records(LAYOUT, train.bits.clone(), train.values.clone())
    rare.bits[8:, 5] = 1
    model.observe(rare.with_gaps())
    with torch.no_grad():
        model.update(model.statistics(rare.with_gaps().dense().nan_to_num(0.5)))
    assert len(model.means[:, 1].unique()) == 1, "eight patients have a bmi: all components have their mean"


def test_of_rows_fewer_than_ten_a_component_has_no_chance_of_its_own() -> None:
    weights = torch.tensor([[100.0], [50.0], [50.0], [0.0]])
    rows = torch.tensor([[30.0, 3, 40, 6, 9], [20.0, 5, 0, 0.2, 0], [20.0, 12, 0, 60, 0], [0.0, 0, 0, 0, 0]])
    found = _spread(rows, weights)
    torch.testing.assert_close(found.sum(0), rows.sum(0))
    assert found[:, 0].tolist() == rows[:, 0].tolist()
    assert found[:, 1].tolist() == [0, 0, 20, 0], "3 and 5 are too few together too, so the other component has them"
    assert found[:, 2].tolist() == rows[:, 2].tolist(), "that two components have none is known"
    assert found[1, 3] == pytest.approx(0.2 * 66.2 / 60.2), "nor is that one has hardly any"
    torch.testing.assert_close(found[:, 4], 9 * weights[:, 0] / 200)


def test_a_components_levels_add_up_and_codes_few_have_or_few_lack_are_pooled() -> None:
    model, train = fitted(6, components=60, prior_rows=0.0), patients()
    alive = model.shares > 0
    rows = (model.shares[alive, None] * 3000 * model.chances[alive]).double()
    torch.testing.assert_close(model.chances[alive][:, 6:9].sum(1), torch.ones(int(alive.sum())), atol=1e-3, rtol=0)
    for present in (rows[:, :6], model.shares[alive, None] * 3000 - rows[:, :6]):
        for code in present.T:
            chances = code / (model.shares[alive] * 3000)
            few = (code > 0.5) & (code < 9.9)
            for chance in chances[few].unique():
                assert code[(chances - chance).abs() < 1e-6].sum() > 9.9
    torch.testing.assert_close(rows.sum(0), train.dense()[:, :9].double().sum(0), atol=0.1, rtol=0)


def asked(low: dict[int, float], high: dict[int, float] | None = None) -> Condition:
    parts = [torch.zeros(1, LAYOUT.width), torch.zeros(1, LAYOUT.width)]
    given = torch.zeros(1, LAYOUT.width, dtype=torch.bool)
    for place, value in low.items():
        parts[0][0, place], parts[1][0, place], given[0, place] = value, (high or {}).get(place, value), True
    return Condition(LAYOUT, *parts, given)


CONDITIONS = {
    "codes": asked({0: 1.0, 1: 0.0}),
    "a level": asked({6: 0.0, 7: 1.0, 8: 0.0}),
    "a range": asked({9: 0.3}, {9: 0.55}),
    "a range up to its end and a code": asked({9: 0.8, 2: 1.0}, {9: 1.0}),
    "an end": asked({9: 1.0}),
    "a range of a number that may be missing": asked({5: 0.0, 10: 0.0}, {10: 0.3}),
    "missing": asked({5: 1.0}),
}


@pytest.fixture(scope="module")
def model() -> Mixture:
    return fitted()


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
@pytest.mark.parametrize("each", [False, True])
@torch.no_grad()
def test_conditional_means_are_those_of_rejection(model: Mixture, condition: Condition, each: bool) -> None:
    n = 20_000
    free = model.sample(100_000, torch.Generator().manual_seed(1))
    kept = free[condition.met_by(free)]
    if each:
        condition = Condition(LAYOUT, *(part.repeat(n, 1) for part in (condition.low, condition.high, condition.given)))
    rows = model.sample(n, torch.Generator().manual_seed(0), condition)
    assert condition.met_by(rows).all()
    error = (kept.var(0) / len(kept) + rows.var(0) / n).sqrt()
    assert ((rows.mean(0) - kept.mean(0)).abs() <= 4.5 * error + 1e-6).all()


@torch.no_grad()
def test_components_given_a_value_are_those_of_bayes(model: Mixture) -> None:
    condition = asked({3: 1.0, 9: 0.42})
    rows = model.sample(20_000, torch.Generator().manual_seed(0), condition)
    means, stds = model.means[:, 0].double().numpy(), model.stds[:, 0].double().numpy()
    weights = model.shares.double().numpy() * model.chances[:, 3].double().numpy()
    weights *= norm.pdf(float(model.scores_of(torch.tensor([[0.42, 0.5]]))[0, 0]), means, stds)
    expected = (weights[:, None] * model.chances.double().numpy()).sum(0) / weights.sum()
    assert (rows[:, 9] == torch.tensor(0.42)).all()
    np.testing.assert_allclose(rows[:, [0, 1, 2, 4, 5]].mean(0), expected[[0, 1, 2, 4, 5]], atol=0.015)


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.5), (0.0, 0.3), (0.7, 1.0), (0.0, 1.0), (0.999, 1.0), (0.4, 0.41)])
@pytest.mark.parametrize(("mean", "std"), [(0.4, 0.2), (0.9, 0.05), (0.05, 0.01)])
def test_a_range_of_a_gaussian(low: float, high: float, mean: float, std: float) -> None:
    start, end = -np.inf if low == 0 else low, np.inf if high == 1 else high
    parts = [torch.tensor([value]) for value in (start, end, mean, std)]
    law = norm(float(parts[2]), float(parts[3]))
    start, end = (float(parts[i]) if np.isfinite(x) else x for i, x in enumerate((start, end)))
    mass = law.cdf(end) - law.cdf(start) if start < mean else law.sf(start) - law.sf(end)
    if mass > 1e-300:
        assert float(log_chance(*parts)) == pytest.approx(math.log(mass), rel=1e-6, abs=1e-9)
    places = torch.linspace(0.0005, 0.9995, 1000)
    drawn = draw_within(*parts, places)
    assert ((drawn >= parts[0]) & (drawn <= parts[1])).all()
    inside = (places > 0) & (drawn != parts[0]) & (drawn != parts[1])
    if mass > 1e-10 and start < mean:
        back = (law.cdf(drawn[inside]) - law.cdf(start)) / mass
        upwards = back if back[0] < back[-1] else 1 - back  # beyond the mean the places count from above
        np.testing.assert_allclose(upwards, places[inside], atol=2e-3)


def test_a_range_beyond_all_numbers_is_met_at_its_nearer_end() -> None:
    parts = [torch.tensor([value]) for value in (0.9, 0.95, 0.05, 0.01)]
    assert float(log_chance(*parts)) == pytest.approx(norm.logsf(85), rel=1e-3)
    assert float(draw_within(*parts, torch.tensor([0.5]))) == pytest.approx(0.9, abs=1e-6)
    assert float(log_chance(*(torch.tensor([x]) for x in (0.3, 0.3, 0.4, 0.2)))) == pytest.approx(
        norm.logpdf(0.3, 0.4, 0.2), rel=1e-6
    )
