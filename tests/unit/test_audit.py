"""The one-run audit: reference values, and releases that leak everything, something and nothing."""

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from ehrsynth.bits import unpack
from ehrsynth.layout import Layout, Records
from ehrsynth.metrics.audit import audit_of_release, audit_of_scores, canaries_of, least_epsilon, p_value
from ehrsynth.models.dp_tree import DPTree
from ehrsynth.schema import Column, Schema

DELTA = 1e-5
CODES = 80
SCHEMA = Schema(
    (*(Column(f"c{i}", "binary", domain="diagnosis") for i in range(CODES)), Column("sex", "categorical", ("F", "M")))
)


@pytest.mark.parametrize(
    ("canaries", "guesses", "accuracy", "epsilon"),
    [
        (1000, 1000, 0.6, 0.30),
        (1000, 1000, 0.7, 0.73),
        (1000, 1000, 0.8, 1.25),
        (1000, 1000, 0.9, 2.02),
        (1000, 1000, 0.95, 2.70),
        (1000, 1000, 1.0, 5.78),
        (5000, 100, 0.9, 1.61),
        (5000, 100, 1.0, 3.35),
        (500, 500, 0.9, 1.95),
    ],
)
def test_bounds_are_those_of_the_reference(canaries: int, guesses: int, accuracy: float, epsilon: float) -> None:
    assert least_epsilon(canaries, guesses, round(accuracy * guesses), DELTA) == pytest.approx(epsilon, abs=0.011)


def test_without_delta_it_is_a_binomial_test() -> None:
    assert p_value(0.0, 100, 100, 60, 0.0) == pytest.approx(float(binom.sf(59, 100, 0.5)))
    assert p_value(1.0, 10, 3, 3, 0.0) == pytest.approx((np.e / (1 + np.e)) ** 3)
    with_delta = p_value(1.0, 10, 3, 3, 1e-3)
    q = np.e / (1 + np.e)
    tail = [1.0, 1 - (1 - q) ** 3, q**3 + 3 * q**2 * (1 - q), q**3]  # P[B >= 0], ...
    alpha = max((tail[3 - i] - tail[3]) / i for i in (1, 2, 3))
    assert with_delta == pytest.approx(q**3 + 2 * 10 * 1e-3 * alpha)
    assert least_epsilon(100, 100, 50, DELTA) == 0.0
    assert least_epsilon(100, 100, 0, DELTA) == 0.0


def test_the_sure_ones_are_guessed() -> None:
    planted = torch.tensor([True] * 40 + [False] * 60)
    scores = torch.arange(100.0).flip(0)
    found = audit_of_scores(scores, planted, DELTA, guesses=20)
    assert (found.guesses, found.correct) == (20, 20)
    assert found.epsilon == found.most == least_epsilon(100, 20, 20, DELTA)
    every = audit_of_scores(scores, planted, DELTA)
    assert (every.guesses, every.correct) == (100, 90)
    assert every.epsilon < every.most
    assert "90 of 100 guesses right" in str(every)


def patients(n: int, seed: int) -> Records:
    rng = np.random.default_rng(seed)
    bits = rng.random((n, CODES)) < np.geomspace(0.5, 0.01, CODES)
    sex = rng.random((n, 1)) < 0.5
    return Records.of_dense(Layout.of(SCHEMA), torch.from_numpy(np.hstack([bits, ~sex, sex]).astype(np.float32)))


def audited(release: object, kind: str = "all_rare") -> tuple[float, float]:
    generator = torch.Generator().manual_seed(0)
    found = audit_of_release(
        patients(600, 0),
        release,
        kind=kind,
        canaries=300,
        delta=DELTA,
        generator=generator,  # type: ignore[arg-type]
    )
    return found.epsilon, found.most


@pytest.mark.parametrize("kind", ["random", "rare_pair", "all_rare"])
def test_a_memoriser_is_found_with_every_kind(kind: str) -> None:
    epsilon, most = audited(lambda train: train, kind)
    assert epsilon > 0.6 * most > 2


def test_fresh_patients_show_nothing_and_a_private_tree_no_more_than_it_claims() -> None:
    assert audited(lambda train: patients(600, 5))[0] <= 0.3

    def private(train: Records) -> Records:
        model = DPTree(schema=SCHEMA, epsilon=1.0)
        model.observe(train)
        return Records.of_dense(train.layout, model.sample(600, torch.Generator().manual_seed(3)))

    assert audited(private)[0] <= 1.0


def test_canaries_have_the_codes_that_their_kind_says() -> None:
    train = patients(400, 0)
    numbers = unpack(train.bits)[:, :CODES].sum(1)

    def codes(kind: str) -> Tensor:
        made = canaries_of(train, kind, 200, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
        assert made.layout.harden(made.dense()).equal(made.dense())
        return unpack(made.bits)[:, :CODES].float()

    assert codes("random").sum(1).mean() == pytest.approx(float(numbers.float().mean()), rel=0.1)
    assert codes("random")[:, CODES // 2 :].sum() > 0.4 * codes("random").sum()
    assert codes("all_rare")[:, :30].sum() == 0
    assert codes("all_rare").sum(1).min() >= 3
    assert codes("rare_pair")[:, CODES // 2 :].sum(1).mean() > 1.8
