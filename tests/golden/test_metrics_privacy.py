"""Distances and attacks against brute force and other implementations."""

import tracemalloc

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.metrics import f1_score
from sklearn.neighbors import NearestNeighbors

from ehrsynth.metrics import attributes, membership
from ehrsynth.metrics.copies import copied
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points, nearest
from tests.evaluation_toy import toy_records


def points(n: int, seed: int) -> Points:
    table = toy_records(n, seed)
    return Points.of(table, observed_means(table.values))


def dense(table: Points) -> np.ndarray:
    return np.hstack([table.bits.numpy(), table.values.double().numpy()])


def test_nearest_equals_sklearn_in_both_directions() -> None:
    left, right = points(157, 1), points(203, 2)
    found = nearest(left, right, block=50)
    for distances, queries, references in ((found[0], left, right), (found[1], right, left)):
        expected, _ = (
            NearestNeighbors(n_neighbors=1, algorithm="brute").fit(dense(references)).kneighbors(dense(queries))
        )
        np.testing.assert_allclose(distances.numpy(), expected[:, 0] ** 2, atol=1e-5)


def test_equal_records_are_at_distance_zero_exactly() -> None:
    table = points(300, 3)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    assert not nearest(table, table[order], block=64)[0].any()


def test_copies_are_equal_in_every_cell() -> None:
    bits = torch.tensor([[1, 0], [0, 1], [0, 1]], dtype=torch.uint8)
    values = torch.tensor([[0.5], [0.0], [0.25]])
    originals = Points(bits, values)
    assert copied(Points(bits[:2], torch.tensor([[0.5], [-0.0]])), originals) == 2
    assert copied(Points(bits[:2], torch.tensor([[0.5], [0.1]])), originals) == 1
    assert copied(Points(1 - bits[:1], values[:1]), originals) == 0


def test_copies_equal_those_of_a_set_of_rows() -> None:
    originals, table = (Points(part.bits[:, :6], part.values[:, :0]) for part in (points(40, 1), points(200, 2)))
    known = {tuple(row) for row in originals.bits.tolist()}
    expected = sum(tuple(row) in known for row in table.bits.tolist())
    assert 0 < expected < 200
    assert copied(table, originals) == expected


def test_membership_by_hand() -> None:
    members, others = torch.tensor([0.0, 1.0, 5.0, 9.0]), torch.tensor([1.0, 6.0])
    value, (low, high) = membership.membership_f1(members, others, 5.0)
    assert value == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))  # three found, one wrongly accused, one not found
    assert low < value < high
    wins = [1, 1, 0.5, 1, 0, 1, 0, 0]  # of each member against each other: nearer, or a tie
    assert membership.membership_auc(members, others)[0] == pytest.approx(sum(wins) / 8)


def test_membership_f1_interval_holds_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    members, others = (torch.from_numpy(rng.integers(0, 12, n).astype(np.float32)) for n in (300, 100))
    value, (low, high) = membership.membership_f1(members, others, 5.0)
    draws = [
        membership.membership_f1(
            members[torch.from_numpy(rng.integers(0, 300, 300))],
            others[torch.from_numpy(rng.integers(0, 100, 100))],
            5.0,
        )[0]
        for _ in range(500)
    ]
    assert (high - low) / 2 == pytest.approx(1.96 * np.std(draws), rel=0.15)
    assert low < value < high


def test_closer_share_counts_ties_one_half() -> None:
    share, _ = membership.closer_share(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([1.0, 1.0, 1.0, 5.0]))
    assert share == pytest.approx((1 + 0.5 + 0 + 1) / 4)


def brute_force(targets: np.ndarray, synthetic: np.ndarray, hidden: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    """The attack, one target at a time."""
    bits, numbers = [], []
    for target in targets:
        distance = ((synthetic - target) ** 2).sum(1)
        voters = distance <= distance.min() + 1e-9
        bits.append(hidden[voters].mean(0) > 0.5)
        seen = [column[~np.isnan(column)] for column in values[voters].T]
        numbers.append([column.mean() if len(column) else np.nan for column in seen])
    return [np.array(bits), np.array(numbers)]


@pytest.mark.parametrize("with_age", [False, True])
def test_attribute_inference_equals_brute_force(with_age: bool) -> None:
    target, source = toy_records(60, 4), toy_records(80, 5)

    def cut(table: Points) -> Points:
        return Points(table.bits[:, [2, 3, 14, 15]], table.values[:, 1 : 1 + with_age])

    known = [cut(Points(table.bits, table.values)) for table in (target, source)]
    hidden = [
        attributes.Hidden(
            sparse.csr_array(table.bits[:, 4:12].numpy()).astype(np.float64), table.values[:, :1].double().numpy() * 10
        )
        for table in (target, source)
    ]
    guess = attributes.infer(known[0], known[1], hidden[1])
    bits, values = brute_force(dense(known[0]), dense(known[1]), hidden[1].bits.toarray(), hidden[1].values)
    np.testing.assert_array_equal(guess.bits.toarray() > 0, bits)
    np.testing.assert_allclose(guess.values, values)

    truth = hidden[0].bits.toarray() > 0
    counts = attributes.tally(guess, hidden[0])
    weights = attributes.entropies(hidden[0])
    asked = ~np.isnan(hidden[0].values[:, 0])
    near = np.abs(values[asked, 0] - hidden[0].values[asked, 0]) <= 0.1 * hidden[0].values[asked, 0]
    scores = [f1_score(truth[:, i], bits[:, i], zero_division=0.0) for i in range(8)] + [near.mean()]
    found = attributes.weighted_f1(counts, weights / weights.sum(), np.ones((1, 60)))[0]
    assert found == pytest.approx(np.average(scores, weights=weights), abs=1e-12)


def test_resampled_f1_is_that_of_the_resampled_records() -> None:
    rng = np.random.default_rng(0)
    truth, guess = ((rng.random((30, 4)) < 0.4).astype(float) for _ in range(2))
    nothing = np.zeros((30, 0))
    counts = attributes.tally(
        attributes.Hidden(sparse.csr_array(guess), nothing), attributes.Hidden(sparse.csr_array(truth), nothing)
    )
    times = rng.multinomial(30, np.full(30, 1 / 30))
    rows = np.repeat(np.arange(30), times)
    expected = np.mean([f1_score(truth[rows, i], guess[rows, i], zero_division=0.0) for i in range(4)])
    found = attributes.weighted_f1(counts, np.full(4, 0.25), times[None].astype(float))
    assert found[0] == pytest.approx(expected, abs=1e-12)


def test_the_bootstrap_holds_few_resamplings_at_a_time_and_is_that_of_all_at_once() -> None:
    n = 4_000
    rng = np.random.default_rng(0)
    truth, guess = (sparse.csr_array((rng.random((n, 3)) < 0.2).astype(float)) for _ in range(2))
    nothing = np.zeros((n, 0))
    counts = attributes.tally(attributes.Hidden(guess, nothing), attributes.Hidden(truth, nothing))
    weights = np.array([0.2, 0.3, 0.5])
    tracemalloc.start()
    found = attributes.bootstrap_f1(counts, weights, np.random.default_rng(1))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    times = np.random.default_rng(1).multinomial(n, np.full(n, 1 / n), 200)
    np.testing.assert_allclose(found, attributes.weighted_f1(counts, weights, times.astype(float)), atol=1e-12)
    assert most < 4 * 20 * n * 8  # bytes; all at once the draws alone are 200 * n * 8


def test_entropies_in_bits() -> None:
    hidden = attributes.Hidden(
        sparse.csr_array(np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])),
        np.array([[0.0], [1.0], [np.nan], [np.nan]]),
    )
    assert attributes.entropies(hidden).tolist() == pytest.approx([1.0, 0.0, 1.0])
