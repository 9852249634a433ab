"""Weights by exponential tilting, and samples drawn by them, against other ways to the same."""

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize, root

from ehrsynth.sampling.tilting import effective_share, inclusion, taken, tilt

MANY = 10**9  # training rows: shares are known as well as exactly


def weights(features: np.ndarray, shares: object, rows: int = MANY, limit: float | None = None) -> np.ndarray:
    theta = tilt(sparse.csr_array(features.astype(float)), np.asarray(shares, float), rows, limit)
    found = np.exp(features @ theta)
    return np.asarray(found / found.mean())


def test_one_feature_by_hand() -> None:
    """Half of the pool has it, and three quarters should: odds of 3 to 1."""
    features = np.array([[1], [1], [0], [0]])
    np.testing.assert_allclose(weights(features, [0.75]), [1.5, 1.5, 0.5, 0.5], rtol=1e-4)
    assert tilt(sparse.csr_array(features.astype(float)), np.array([0.75]), MANY) == pytest.approx(np.log(3), rel=1e-4)
    assert effective_share(np.log([1.5, 1.5, 0.5, 0.5])) == pytest.approx(1 / 1.25)  # 1 + the variance of the weights


def test_a_table_has_the_weights_of_iterative_proportional_fitting() -> None:
    """2 x 2 x 2 cells, of which the three margins of two variables each are wanted; Deming and Stephan, 1940."""
    rng = np.random.default_rng(0)
    pool, wanted = rng.integers(2, 9, (2, 2, 2)), rng.dirichlet(np.full(8, 4.0)).reshape(2, 2, 2)
    fitted = pool / pool.sum()
    for _ in range(2_000):
        for axis in range(3):
            fitted *= wanted.sum(axis, keepdims=True) / fitted.sum(axis, keepdims=True)
    rows = np.repeat(np.argwhere(np.ones((2, 2, 2))), pool.ravel(), axis=0)
    pairs = [(0, 1), (0, 2), (1, 2)]
    features = np.column_stack([rows, *(rows[:, a] * rows[:, b] for a, b in pairs)])
    margins = [wanted.take(1, axis).sum() for axis in range(3)]
    margins += [wanted.take(1, b).take(1, a).sum() for a, b in pairs]
    expected = (fitted / pool * pool.sum())[tuple(rows.T)]
    np.testing.assert_allclose(weights(features, margins), expected, rtol=2e-3)


def test_a_root_finder_agrees_and_the_prior_explains_what_is_left() -> None:
    rng = np.random.default_rng(1)
    features, rows = (rng.random((300, 6)) < [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), 400
    shares = np.array([0.15, 0.15, 0.35, 0.45, 0.4, 0.6])

    def left(theta: np.ndarray) -> np.ndarray:
        own = np.exp(features @ theta)
        return np.asarray(shares - features.T @ own / own.sum() - theta * shares * (1 - shares) / rows)

    found = tilt(sparse.csr_array(features.astype(float)), shares, rows)
    np.testing.assert_allclose(found, root(left, np.zeros(6), tol=1e-12).x, atol=0.01)
    error = np.sqrt(shares * (1 - shares) / rows)
    assert (np.abs(left(found)) < 0.06 * error).all()  # the descent's own tolerance


def test_limited_weights_are_those_of_the_largest_entropy_that_a_sample_can_have() -> None:
    """Against a general solver: maximise the entropy of the chances under the same shares, none above 1."""
    rng = np.random.default_rng(2)
    pool, n = (rng.random((24, 2)) < (0.4, 0.5)).astype(float), 16
    shares = np.array([(pool[:, 0].sum() - 0.5) / n, (pool[:, 1].sum() - 2) / n])  # nearly all that have one are needed
    theta = tilt(sparse.csr_array(pool), shares, MANY, len(pool) / n)
    chances = inclusion(pool @ theta, n)
    told = minimize(
        lambda p: (p * np.log(np.maximum(p, 1e-12)) - p).sum(),
        np.full(24, n / 24),
        bounds=[(0, 1)] * 24,
        constraints=[
            {"type": "eq", "fun": lambda p: pool.T @ p - n * shares},
            {"type": "eq", "fun": lambda p: p.sum() - n},
        ],
        options={"maxiter": 500, "ftol": 1e-12},
    )
    np.testing.assert_allclose(chances, told.x, atol=2e-3)
    assert (chances > 1 - 1e-9).any()
    np.testing.assert_allclose(pool.T @ chances / n, shares, atol=1e-3)
    unlimited = tilt(sparse.csr_array(pool), shares, MANY)
    assert abs(pool.T @ inclusion(pool @ unlimited, n) / n - shares).max() > 0.01  # which cutting off afterwards misses


def test_what_no_record_has_or_everybody_moves_nothing() -> None:
    features = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0]])
    theta = tilt(sparse.csr_array(features.astype(float)), np.array([0.5, 0.5, 0.5]), MANY)
    assert theta[:2].tolist() == [0, 0]
    assert theta[2] == pytest.approx(np.log(3), rel=1e-4)
    assert tilt(sparse.csr_array((4, 0)), np.zeros(0), MANY).shape == (0,)


def test_a_share_that_the_pool_cannot_have_does_not_keep_the_others_from_theirs() -> None:
    rng = np.random.default_rng(3)
    features = np.column_stack([np.arange(900) == 0, rng.random(900) < 0.5]).astype(float)
    theta = tilt(sparse.csr_array(features), np.array([0.2, 0.6]), 1_000, 1.5)
    chances = inclusion(features @ theta, 600)
    assert chances[0] == 1
    assert chances @ features[:, 1] / 600 == pytest.approx(0.6, abs=1e-3)


def test_chances_by_hand() -> None:
    np.testing.assert_allclose(inclusion(np.log([4.0, 1, 1, 1, 1]), 3), [1, 0.5, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(inclusion(np.log([1.0, 2, 3]), 1), [1 / 6, 1 / 3, 1 / 2])
    np.testing.assert_allclose(inclusion(np.zeros(8), 6), np.full(8, 0.75))
    assert inclusion(np.log([1.0, 5, 2]), 3).tolist() == [1, 1, 1]


@pytest.mark.parametrize("scale", [0.1, 1, 100, 1e5])
@pytest.mark.parametrize("n", [1, 7, 299, 300])
def test_exactly_n_are_taken_none_twice(scale: float, n: int) -> None:
    rng = np.random.default_rng(4)
    chances = inclusion(scale * rng.normal(size=300), n)
    assert chances.sum() == pytest.approx(n)
    assert ((chances >= 0) & (chances <= 1)).all()
    for _ in range(20):
        rows = taken(chances, rng)
        assert len(rows) == len(set(rows.tolist())) == n
        assert (np.diff(rows) > 0).all()
        assert set(np.flatnonzero(chances >= 1)) <= set(rows.tolist())


def test_each_is_taken_with_its_chance() -> None:
    rng = np.random.default_rng(5)
    chances = inclusion(rng.normal(size=40), 15)
    often = sum(np.bincount(taken(chances, rng), minlength=40) for _ in range(4_000)) / 4_000
    np.testing.assert_allclose(often, chances, atol=0.035)
