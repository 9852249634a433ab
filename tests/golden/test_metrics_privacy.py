"""Distances and attacks against brute force and other implementations."""

import statistics
import tracemalloc

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.metrics import f1_score
from sklearn.neighbors import NearestNeighbors

from ehrsynth.metrics import attribute_inference as attributes
from ehrsynth.metrics import closeness, membership
from ehrsynth.metrics.copies import copied
from ehrsynth.metrics.intervals import wilson
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
    to_train, to_holdout = torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([1.0, 1.0, 1.0, 5.0])
    apart = torch.full((4, 4), 9.0)
    apart[:, 0], apart[:, 3] = to_train, 9.0
    others = torch.full((4, 4), 9.0)
    others[:, 1] = to_holdout
    share, (low, high) = closeness.closer_share(apart, others)
    assert share == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert 0 <= low < share < high <= 1


def test_membership_at_a_low_false_positive_rate_by_hand() -> None:
    members, others = torch.tensor([0.0] * 30 + [5.0] * 70), torch.arange(1.0, 1001.0)
    value, (low, high) = membership.membership_tpr(members, others, 0.01)
    assert value == 1.0  # the 11th of the others is at 11
    members[30:] = 2000.0
    value, (low, high) = membership.membership_tpr(members, others, 0.01)
    assert value == 0.3
    below, above = wilson(30, 100)
    assert (low, high) == pytest.approx((below, above))  # the curve is flat there, so the threshold does not matter


def test_membership_of_few_others_claims_nothing_at_a_rate_they_cannot_resolve() -> None:
    value, (low, high) = membership.membership_tpr(torch.zeros(50), torch.arange(1.0, 101.0), 0.001)
    assert (value, low, high) == (1.0, 0.0, 1.0)


def test_membership_interval_covers_the_rate_where_nothing_leaks() -> None:
    generator = torch.Generator().manual_seed(0)
    outside = 0
    for _ in range(300):
        members, others = (torch.rand(n, generator=generator) for n in (500, 800))
        _, (low, high) = membership.membership_tpr(members, others, 0.01)
        outside += not low <= 0.01 <= high
    assert outside <= 0.05 * 300 + 3 * np.sqrt(300 * 0.05 * 0.95)


def test_density_scores_order_records_as_the_ratio_of_distances() -> None:
    scores = membership.density_scores(torch.tensor([0.0, 0.0, 3.0, 9.0]), torch.tensor([8.0, 0.0, 11.0, 0.0]))
    assert scores.tolist() == pytest.approx(np.log([1 / 9, 1, 4 / 12, 10]).tolist())


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


def as_published(targets: np.ndarray, synthetic: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """The attack of the public code, one target at a time."""
    guesses = []
    for target in targets:
        difference = np.abs(synthetic - target)
        distance = (difference / np.maximum(difference.max(0), 1)).sum(1)
        voters = hidden[distance <= distance.min() + 1e-6]
        guesses.append([statistics.multimode(sorted(column[~np.isnan(column)]))[:1] or [np.nan] for column in voters.T])
    return np.array(guesses)[:, :, 0]


@pytest.mark.parametrize("values", [[], [1], [0, 1]])
def test_published_attribute_inference_equals_brute_force(values: list[int]) -> None:
    target, source = toy_records(60, 4), toy_records(80, 5)
    known = [
        Points(table.bits[:, [2, 3, 14, 15]], table.values[:, values].nan_to_num(0.3) * 40)
        for table in (target, source)
    ]
    numbers = source.values.double().numpy().round(1)
    hidden = attributes.Hidden(sparse.csr_array(source.bits[:, 4:12].numpy()).astype(np.float64), numbers)
    guess = attributes.infer_as_published(known[0], known[1], hidden)
    columns = np.hstack([source.bits[:, 4:12].numpy(), numbers])
    expected = as_published(dense(known[0]), dense(known[1]), columns)
    np.testing.assert_array_equal(guess.bits.toarray(), expected[:, :8])
    np.testing.assert_array_equal(guess.values, expected[:, 8:])


def test_entropies_as_published_have_bins_of_width_one() -> None:
    hidden = attributes.Hidden(sparse.csr_array((4, 0)), np.array([[20.0], [20.9], [21.0], [np.nan]]))
    shares = np.array([2 / 3, 1 / 3])
    assert attributes.entropies(hidden, unit_bins=True).tolist() == pytest.approx([-(shares * np.log2(shares)).sum()])


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
