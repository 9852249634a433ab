"""Gaps between subgroups against brute force, and their intervals against the bootstrap."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ehrsynth.metrics.classification import auroc
from ehrsynth.metrics.fairness import (
    Paired,
    excess_gap,
    gap,
    model_gap,
    paired_auroc,
    paired_rate,
    share_distance,
)


def drawn(n: int = 500, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and the rounded (so tied) scores of two models that are right and wrong together."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.3
    common = labels + rng.normal(0, 1, n)
    return labels, np.round(common + rng.normal(0, 0.7, n), 1), np.round(common + rng.normal(0, 0.7, n), 1)


def test_paired_auroc_is_that_of_each_model_with_its_delong_error() -> None:
    labels, *scores = drawn()
    found = paired_auroc(labels, *scores)
    for model, one in enumerate(scores):
        assert found.values[model] == pytest.approx(roc_auc_score(labels, one), abs=1e-12)
        assert found.covariance[model, model] == pytest.approx(auroc(labels, one)[1] ** 2, rel=1e-9)


def test_the_covariance_of_paired_aurocs_is_that_of_the_bootstrap() -> None:
    labels, *scores = drawn()
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, len(labels), len(labels)) for _ in range(400)]
    draws = [[auroc(labels[i], one[i])[0] for one in scores] for i in rows]
    np.testing.assert_allclose(paired_auroc(labels, *scores).covariance, np.cov(np.transpose(draws)), rtol=0.25)


def test_paired_rates_by_hand() -> None:
    first = np.array([1, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
    second = np.array([1, 1, 0, 1, 1, 0, 0, 0], dtype=bool)
    found = paired_rate(first, second)  # cells 3, 2, 1, 2, each with a half more, of 10
    assert found.values.tolist() == [3 / 8, 4 / 8]
    np.testing.assert_allclose(found.covariance, np.array([[0.24, 0.25 - 0.2], [0.05, 0.25]]) / 10)


def test_a_rate_of_nothing_in_a_small_subgroup_is_not_certain() -> None:
    none = np.zeros(10, dtype=bool)
    value, (low, high) = paired_rate(none, none).estimate(0)
    assert (value, low) == (0, 0)
    assert 0.1 < high < 0.3


def test_gaps_are_those_of_brute_force_over_the_subgroups() -> None:
    """As fairlearn defines them: the largest minus the smallest of the rates per group."""
    rng = np.random.default_rng(0)
    truth, group = rng.random(600) < 0.4, rng.integers(0, 4, 600)
    calls = [rng.random(600) < 0.2 + 0.1 * group, rng.random(600) < 0.4 - 0.05 * group]
    for rows in (np.ones(600, dtype=bool), truth):  # demographic parity, equal opportunity
        pairs = [paired_rate(*(c[rows & (group == g)] for c in calls)) for g in range(4)]
        gaps = []
        for model, called in enumerate(calls):
            rates = [sum(called[i] for i in np.flatnonzero(rows & (group == g))) for g in range(4)]
            shares = [rate / int((rows & (group == g)).sum()) for g, rate in enumerate(rates)]
            gaps.append(max(shares) - min(shares))
            assert model_gap(pairs, model)[0] == pytest.approx(gaps[-1], abs=1e-12)
        value, (low, high) = excess_gap(pairs)
        assert value == pytest.approx(gaps[0] - gaps[1], abs=1e-12)
        assert low < value < high
        assert excess_gap(pairs[::-1])[0] == pytest.approx(value, abs=1e-12)


def test_a_gap_by_hand() -> None:
    value, (low, high) = gap([0.7, 0.9, 0.8], [0.0009, 0.0016, 9.0])
    assert value == pytest.approx(0.2)
    assert (low, high) == (pytest.approx(0.2 - 1.96 * 0.05, abs=1e-4), pytest.approx(0.2 + 1.96 * 0.05, abs=1e-4))
    assert gap([0.5, 0.5], [0.01, 0.01])[0] == 0


def test_two_models_that_are_one_have_no_excess_and_no_doubt_of_it() -> None:
    labels, scores, _ = drawn()
    halves = [paired_auroc(labels[part], scores[part], scores[part]) for part in (slice(250), slice(250, 500))]
    assert excess_gap(halves) == (0.0, (pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6)))


def test_the_interval_of_an_excess_covers_the_truth_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(200):
        pairs = []
        for own, other in ((0.7, 0.6), (0.3, 0.5)):  # gaps 0.4 and 0.1
            shared = rng.random(200)
            pairs.append(paired_rate(shared < own, np.where(rng.random(200) < 0.5, shared, rng.random(200)) < other))
        _, (low, high) = excess_gap(pairs)
        covered += low <= 0.3 <= high
    assert 180 <= covered <= 199


def test_share_distance_is_half_the_sum_of_the_differences() -> None:
    synthetic, real = [50, 30, 20], [400, 400, 200]
    value, (low, high) = share_distance(synthetic, real, 100, 1000)
    assert value == pytest.approx(0.5 * sum(abs(s / 100 - r / 1000) for s, r in zip(synthetic, real, strict=True)))
    assert 0 <= low < value < high <= 1
    assert share_distance(synthetic[::-1], real[::-1], 100, 1000)[0] == pytest.approx(value)
    assert share_distance([4, 40], [1, 10], 44, 11)[0] == 0
    assert share_distance([10, 0], [0, 10], 10, 10)[0] == 1


def test_an_estimate_stays_in_its_range() -> None:
    pair = Paired(np.array([0.99, 0.5]), np.array([[0.01, 0.0], [0.0, 0.01]]))
    assert pair.estimate(0)[1][1] == 1.0
