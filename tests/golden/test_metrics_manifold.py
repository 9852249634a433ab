"""Balls and supports against brute force over all pairs, and what they say of copies and noise."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from ehrsynth.metrics import manifold
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points
from tests.evaluation_toy import toy_records

REAL, OTHER = toy_records(180, 1), toy_records(130, 2)
MEANS = observed_means(REAL.values)
R, S = Points.of(REAL, MEANS), Points.of(OTHER, MEANS)


def pairwise(left: Points, right: Points) -> np.ndarray:
    x, y = (np.hstack([p.bits.numpy(), p.values.double().numpy()]).astype(float) for p in (left, right))
    return ((x[:, None] - y[None]) ** 2).sum(-1)


@pytest.fixture(params=[2**24, 500])
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifold, "TILE", request.param)


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("k", [1, 5])
def test_kth_nearest_equals_scikit_learn(k: int) -> None:
    x = np.hstack([R.bits.numpy(), R.values.double().numpy()])
    expected = NearestNeighbors(n_neighbors=k).fit(x).kneighbors()[0][:, -1] ** 2
    np.testing.assert_allclose(manifold.kth_nearest(R, k), expected, atol=1e-5)


def test_repeated_records_are_neighbours_at_distance_zero() -> None:
    twice = Points(torch.tensor([[1, 0], [1, 0], [0, 1]], dtype=torch.uint8), torch.zeros(3, 0))
    assert manifold.kth_nearest(twice, 1).tolist() == [0, 0, 2]


@pytest.mark.usefixtures("tile")
def test_balls_equal_brute_force() -> None:
    radii = manifold.kth_nearest(R, 5), manifold.kth_nearest(S, 5)
    distances = pairwise(R, S)
    in_real, in_synthetic = distances <= radii[0].numpy()[:, None] + 1e-5, distances <= radii[1].numpy() + 1e-5
    half = len(S) // 2
    found = manifold.balls(R, radii[0], S, radii[1], [slice(half), slice(half, None)])
    assert found.hits.tolist() == in_real.sum(0).tolist()
    for held, inside in ((found.covered, in_real), (found.recalled, in_synthetic)):
        first, second = inside[:, :half].any(1), inside[:, half:].any(1)
        assert held.tolist() == np.stack([first, second], axis=1).tolist()
        assert manifold.shares(held).tolist() == pytest.approx([inside.any(1).mean(), second.mean(), first.mean()])


@pytest.mark.usefixtures("tile")
def test_innermost_equals_brute_force() -> None:
    radii, depths = manifold.kth_nearest(R, 2), torch.rand(len(S), generator=torch.Generator().manual_seed(0))
    inside = pairwise(R, S) <= radii.numpy()[:, None] + 1e-5
    expected = np.where(inside, depths.numpy(), np.inf).min(1)
    assert manifold.innermost(R, radii, S, depths).tolist() == expected.tolist()


def test_integrated_curves_by_hand() -> None:
    depths = np.arange(1.0, 201.0)
    levels = manifold.within(depths, depths) / 200
    assert levels.tolist() == pytest.approx(
        (np.arange(1, 101) / 100).tolist(), abs=1 / 200 + 1e-9
    )  # a record more at most
    assert manifold.integrated(levels, levels) == 1
    collapsed = manifold.within(np.zeros(50), depths) / 50  # all in the centre
    assert manifold.integrated(collapsed, levels) == pytest.approx(1 - 2 * (1 - levels).mean())
    scattered = manifold.within(np.full(50, 999.0), depths) / 50
    assert manifold.integrated(scattered, levels) == 0  # 1 - 2 * 0.505, and never below 0
    tied = manifold.within(np.ones(9), np.ones(9)) / 9  # equally deep records are all inside at once
    assert tied.tolist() == [1.0] * 100
