"""Column, pair and whole-record fidelity against hand computation and other implementations."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ehrsynth.layout import Records
from ehrsynth.metrics import concept_abundance, prevalence
from ehrsynth.metrics import latent_deviation as latent
from ehrsynth.metrics.correlation import correlation, correlation_differences, related
from ehrsynth.metrics.knowledge import one_sex_codes, violations
from ehrsynth.metrics.latent_space import principal_axes
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.moments import Moments, moments, pooled
from tests.evaluation_toy import bits_only, code_schema, toy_records


def test_prevalence_scores_by_hand() -> None:
    schema = code_schema(3)
    real = prevalence.prevalence(bits_only([[1, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]], schema).bits).numpy()
    synthetic = prevalence.prevalence(bits_only([[1, 1, 0], [1, 0, 0]], schema).bits).numpy()
    assert real.tolist() == [0.5, 0.0, 0.25]
    assert prevalence.absolute_prevalence_difference(real, synthetic) == pytest.approx((0.5 + 0.5 + 0.25) / 3)
    assert prevalence.nonzero_columns(real, synthetic) == 0.5  # of c0 and c2 only c0 is used


def test_correlations_equal_numpy_and_constant_columns_count_as_zero() -> None:
    table = toy_records(500, 3)
    table.bits[:, 5] = 1
    means = observed_means(table.values)
    found = correlation(*moments(table, means=means)).numpy()
    dense = table.dense().double().numpy()
    dense = np.where(np.isnan(dense), np.nanmean(dense, axis=0), dense)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.nan_to_num(np.corrcoef(dense.T))
    np.testing.assert_allclose(found, expected, atol=1e-7)  # records hold values in float32
    assert not found[5].any()


def test_correlation_differences_by_hand() -> None:
    real = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 1.0]])
    pairs = torch.zeros(3, 3, dtype=torch.bool)
    pairs[0, 1] = pairs[1, 0] = True
    distance, rmse, chosen, frobenius = correlation_differences(real, torch.eye(3), pairs)
    assert distance == pytest.approx(0.7 / 3)
    assert rmse == pytest.approx(math.sqrt(0.29 / 3))
    assert chosen == pytest.approx(0.5)
    assert frobenius == pytest.approx(math.sqrt(2 * 0.29) / 9 * 1e6)
    constant = torch.diag(torch.tensor([1.0, 1.0, 0.0]))  # the diagonal counts in the published form only
    assert correlation_differences(torch.eye(3), constant, pairs) == (0, 0, 0, pytest.approx(1 / 9 * 1e6))


def test_related_pairs_need_a_correlation_beyond_chance_and_enough_records() -> None:
    r = torch.tensor([[1.0, 0.5, 0.03, -0.2], [0.5, 1.0, 0.5, 0.0], [0.03, 0.5, 1.0, 0.5], [-0.2, 0.0, 0.5, 1.0]])
    together = torch.tensor([[2000.0, 40, 0, 0], [40, 400, 5, 0], [0, 5, 100, 0], [0, 0, 0, 500]])
    found = related(r, together, n=10_000, binary=3)  # chance reaches 0.04
    # 0-1 by count, 1-2 too few, 0-3 and 2-3 with a number; 0-2 is within chance
    assert found.nonzero().tolist() == [[0, 1], [0, 3], [1, 0], [2, 3], [3, 0], [3, 2]]
    rare = related(r, together / 100, n=10_000, binary=4)
    assert not rare.any()


def test_moments_add_up_over_batches_groups_and_ranks() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randint(0, 2, (60, 2), generator=generator), torch.rand(60, 2, generator=generator)], 1)
    whole, batches, groups = Moments(4), Moments(4, binary=2), Moments(4, binary=2, groups=3)
    whole.update(x)
    for start in range(0, 60, 7):
        batches.update(x[torch.randperm(60, generator=torch.Generator().manual_seed(1))][start : start + 7])
    for group in range(3):
        groups.update(x[20 * group : 20 * group + 20], group)
    for other in (batches, groups):
        for found, expected in zip(other.compute(), whole.compute(), strict=True):
            torch.testing.assert_close(found, expected)
    torch.testing.assert_close(whole.compute()[1], torch.cov(x.T.double(), correction=0))
    every, first, *_ = groups.replicates()
    torch.testing.assert_close(every[1], whole.compute()[1])
    for found, expected in zip(pooled(groups, whole), whole.compute(), strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(first[0], x[20:].double().mean(0))
    torch.testing.assert_close(first[1], torch.cov(x[20:].T.double(), correction=0))


def test_moments_reduce_over_two_ranks() -> None:
    x = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    whole, ranks = Moments(3, groups=2), (Moments(3, groups=2), Moments(3, groups=2))
    whole.update(x[:25])
    whole.update(x[25:], 1)
    ranks[0].update(x[:13])
    ranks[1].update(x[13:25])
    ranks[1].update(x[25:], 1)
    gathered = iter([[getattr(rank, name) for rank in ranks] for name in ("count", "total", "gram")])
    ranks[0].sync(dist_sync_fn=lambda state, group: next(gathered), distributed_available=lambda: True)
    for name in ("count", "total", "gram"):
        torch.testing.assert_close(getattr(ranks[0], name), getattr(whole, name))


def test_concept_abundance_by_hand() -> None:
    real = torch.tensor([0, 0, 10, 20])
    edges = concept_abundance.abundance_edges(real)

    def distance(counts: list[int]) -> float:
        return float(
            concept_abundance.half_l1(
                concept_abundance.abundance(real, edges), concept_abundance.abundance(torch.tensor(counts), edges)
            )
        )

    assert distance([0, 10, 20, 20]) == pytest.approx(0.25)
    assert distance([0, 0, 10, 99]) == 0  # beyond the range: the last bin
    real = torch.tensor([5, 5, 10, 25])
    edges = concept_abundance.abundance_edges(real)
    assert distance([1, 1, 10, 25]) == 0  # before the range: the first bin


def test_published_abundance_is_the_same_where_some_record_has_no_code_and_wrong_elsewhere() -> None:
    counts = torch.tensor([0, 3, 7, 20, 31])
    edges = concept_abundance.abundance_edges(torch.tensor([0, 20]))
    assert (
        concept_abundance.abundance_as_published(counts, edges).tolist()
        == concept_abundance.abundance(counts, edges).tolist()
    )
    shifted = concept_abundance.abundance_edges(torch.tensor([10, 30]))  # bins of width 1 from 10 on
    found = concept_abundance.abundance_as_published(torch.tensor([10, 12, 30]), shifted)
    assert found.nonzero()[0].tolist() == [10, 12, 19]


def test_codes_per_record_counts_the_chosen_columns() -> None:
    table = toy_records(50, 4)
    chosen = torch.zeros(table.bits.shape[1])
    chosen[[1, 4, 5]] = 1
    assert (
        concept_abundance.codes_per_record(table.bits, chosen, block=16).tolist()
        == table.bits[:, [1, 4, 5]].sum(1).tolist()
    )


def test_cluster_deviation_by_hand() -> None:
    assert float(latent.deviation(np.array([[3, 1], [1, 3]]))) == pytest.approx(math.log2(0.25**2))
    assert float(latent.deviation(np.array([[4, 0], [0, 4]]))) == -2  # apart: the worst
    assert float(latent.deviation(np.array([[3, 1], [3, 1]]))) == pytest.approx(math.log2(0.25 / 64))  # the floor
    assert float(latent.deviation(np.array([[3, 1], [2, 6]]))) == pytest.approx(math.log2(0.25**2))  # unequal sizes
    several = np.array([[[3, 1, 0], [1, 3, 0]], [[4, 0, 0], [0, 4, 0]]])  # an empty cluster does not count
    assert latent.deviation(several).tolist() == pytest.approx([math.log2(0.25**2), -2])


def test_clusters_of_separate_tables_are_separate_and_their_number_is_at_the_elbow() -> None:
    schema = code_schema(8)
    rng = np.random.default_rng(0)
    kinds = np.kron(np.eye(4, dtype=int), [1, 1])[rng.integers(0, 4, 400)] ^ (rng.random((400, 8)) < 0.03)
    real, other = bits_only(kinds.tolist(), schema), bits_only((1 - kinds).tolist(), schema)
    means = torch.zeros(0)

    def counted(synthetic: Records) -> NDArray[np.int64]:
        return latent.cluster_counts(real, synthetic, moments(real, synthetic, means=means), means, 4, 0)

    counts = counted(other)
    assert counts.sum(1).tolist() == [400, 400]
    assert float(latent.deviation(counted(real))) == pytest.approx(-21.3, abs=0.1)
    assert latent.elbow(real, means, most=10, seed=0) == 4
    draws = latent.resampled(counts, 50, np.random.default_rng(0))
    assert draws.shape == (50, 2, 4)
    assert (draws.sum(-1) == 400).all()


def test_equal_records_leave_clusters_empty_without_a_warning() -> None:
    same = bits_only([[1, 0, 1]] * 6, code_schema(3))
    means = torch.zeros(0)
    counts = latent.cluster_counts(same, same, moments(same, means=means), means, 4, 0)
    assert counts.sum() == 12
    assert np.isfinite(latent.deviation(counts))


def test_principal_axes_keep_just_enough_variance() -> None:
    covariance = torch.diag(torch.tensor([5.0, 3.0, 1.0, 1.0], dtype=torch.float64))
    assert principal_axes(covariance).shape == (4, 2)  # 8 of 10 is 80 %
    assert principal_axes(covariance, 0.85).shape == (4, 3)
    assert principal_axes(covariance)[:, 0].abs().argmax() == 0


def test_one_sex_codes_need_more_than_chance() -> None:
    sex = torch.tensor([True] * 40 + [False] * 40)
    codes = torch.zeros(80, 5, dtype=torch.uint8)
    codes[:20, 0] = 1  # 10 would be expected in the other sex
    codes[:30, 1] = 1  # 15
    codes[:8, 2] = 1  # 4: too few to be sure
    codes[35:45, 3] = 1  # in both
    assert one_sex_codes(codes, sex, ~sex) == [1, 0]
    assert one_sex_codes(codes, sex, ~sex, top=1) == [1]
    assert one_sex_codes(codes, ~sex, sex) == []


def test_violations_are_counted_per_code() -> None:
    sex = torch.tensor([True, True, False, False])
    codes = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]], dtype=torch.uint8)
    assert violations(codes, sex, ~sex) == [(2, 4), (0, 1), (0, 0)]
