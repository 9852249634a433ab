"""Distances by groups of records, adversarial accuracy and isolated copies against brute force and by hand."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from ehrsynth.metrics import grouped
from ehrsynth.metrics.closeness import Pairing, accuracy_gain
from ehrsynth.metrics.copies import isolated
from ehrsynth.metrics.intervals import difference, share
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points, nearest
from tests.evaluation_toy import toy_records


def points(n: int, seed: int) -> Points:
    table = toy_records(n, seed)
    return Points.of(table, observed_means(table.values))


def dense(table: Points) -> np.ndarray:
    return np.hstack([table.bits.numpy(), table.values.double().numpy()])


def test_nearest_by_group_are_the_nearest() -> None:
    left, right = points(47, 1), points(47, 2)
    to_right, to_left = grouped.nearest_by_group(left, right)
    expected = nearest(left, right)
    torch.testing.assert_close(to_right.amin(1), expected[0])
    torch.testing.assert_close(to_left.amin(1), expected[1])
    part = grouped.groups_of(47)[3]
    torch.testing.assert_close(to_right[:, 3], nearest(left, right[part])[0])
    rest = torch.tensor([i for i in range(47) if i not in range(part.start, part.stop)])
    torch.testing.assert_close(grouped.smallest(to_right, 3), nearest(left[rest], right[rest])[0])


def test_nearest_other_equals_the_second_neighbour_of_sklearn(monkeypatch: pytest.MonkeyPatch) -> None:
    table = points(60, 3)
    table = Points(torch.cat([table.bits, table.bits[:5]]), torch.cat([table.values, table.values[:5]]))
    found, _ = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(dense(table)).kneighbors(dense(table))
    np.testing.assert_allclose(grouped.nearest_other_by_group(table).amin(1), found[:, 1] ** 2, atol=1e-5)
    monkeypatch.setattr(grouped, "BLOCK", 10)
    np.testing.assert_allclose(grouped.nearest_other(table), found[:, 1] ** 2, atol=1e-5)


def test_adversarial_accuracy_by_hand() -> None:
    """Real at 0 and 3, synthetic at 1 and 7 on a line: 0 goes to 1; 3 to 1; 1 to 0; 7 to 3 before 1."""
    far = torch.inf
    pairing = Pairing(
        across=torch.tensor([[1.0, 49.0], [4.0, 16.0]]),
        within=torch.tensor([[far, 9.0], [9.0, far]]),
        back=torch.tensor([[1.0, 4.0], [49.0, 16.0]]),
        among=torch.tensor([[far, 36.0], [36.0, far]]),
    )
    assert pairing.accuracy() == 0
    copy = torch.tensor([[0.0, 9.0], [9.0, 0.0]])
    other = torch.tensor([[far, 9.0], [9.0, far]])
    apart = torch.full((2, 2), 50.0)
    assert Pairing(copy, other, copy, other).accuracy() == 0
    assert Pairing(apart, other, apart, other).accuracy() == 1
    gain, (low, high) = accuracy_gain(Pairing(apart, other, apart, other), Pairing(copy, other, copy, other))
    assert gain == 1
    assert low <= gain <= high


def test_isolated_copies_by_hand() -> None:
    to_train = torch.tensor([[0.0, 3.0, 4.0, 9.0, 1.0], [9.0, 9.0, 9.0, 2.0, 9.0]])  # of two parts
    to_holdout = torch.tensor([[5.0, 5.0, 9.0, 9.0, 4.0]])
    found, train, holdout = isolated(to_train, to_holdout, within=3, gap=3)
    assert train == share(3, 10)  # the first and the last of part one, the fourth of part two
    assert holdout == share(0, 5)
    assert found == difference(train, holdout)
    mirrored = isolated(to_holdout, to_train, within=3, gap=3)
    assert mirrored[0][0] == -found[0]


def test_no_isolated_copy_where_both_tables_are_near() -> None:
    near = torch.zeros(1, 50)
    assert isolated(near, near, within=3, gap=3)[0][0] == 0
