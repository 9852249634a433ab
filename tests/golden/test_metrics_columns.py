"""Column, pair and whole-record fidelity against hand computation and other implementations."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from ehrsynth.metrics import fidelity, latent
from ehrsynth.metrics.knowledge import one_sex_codes, violation_share
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.moments import Moments, correlation, moments
from tests.evaluation_toy import bits_only, code_schema, toy_records


def test_prevalence_scores_by_hand() -> None:
    schema = code_schema(3)
    real = fidelity.prevalence(bits_only([[1, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]], schema).bits)
    synthetic = fidelity.prevalence(bits_only([[1, 1, 0], [1, 0, 0]], schema).bits)
    assert real.tolist() == [0.5, 0.0, 0.25]
    assert fidelity.absolute_prevalence_difference(real, synthetic) == pytest.approx((0.5 + 0.5 + 0.25) / 3)
    assert fidelity.nonzero_columns(real, synthetic) == 0.5  # of c0 and c2 only c0 is used


def test_wasserstein_looks_at_observed_values_only() -> None:
    real, synthetic = toy_records(200, 1).values, toy_records(150, 2).values
    found = fidelity.wasserstein(real, synthetic)
    for column in range(2):
        u, v = real[:, column].double().numpy(), synthetic[:, column].double().numpy()
        assert found[column] == pytest.approx(wasserstein_distance(u[~np.isnan(u)], v[~np.isnan(v)]), abs=1e-12)
    nothing = torch.full((3, 2), torch.nan)
    assert np.isnan(fidelity.wasserstein(real, nothing)).all()


def test_correlations_equal_numpy_and_constant_columns_count_as_zero() -> None:
    table = toy_records(500, 3)
    table.bits[:, 5] = 1
    means = observed_means(table.values)
    found = correlation(*moments(table, means=means, block=64)).numpy()
    dense = table.dense().double().numpy()
    dense = np.where(np.isnan(dense), np.nanmean(dense, axis=0), dense)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.nan_to_num(np.corrcoef(dense.T))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert not found[5].any()


def test_correlation_distances_by_hand() -> None:
    real = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 1.0]])
    synthetic = torch.eye(3)
    assert fidelity.correlation_distance(real, synthetic) == pytest.approx(0.7 / 3)
    assert fidelity.correlation_frobenius(real, synthetic) == pytest.approx(math.sqrt(2 * 0.29) / 9 * 1e6)


def test_moments_add_up_over_batches_and_ranks() -> None:
    x = torch.rand(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole, left, right = Moments(3), Moments(3), Moments(3)
    whole.update(x)
    left.update(x[:13])
    right.update(x[13:])
    for name in ("count", "total", "gram"):
        setattr(left, name, getattr(left, name) + getattr(right, name))
    for found, expected in zip(left.compute(), whole.compute(), strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(whole.compute()[1], torch.cov(x.T, correction=0))


def test_concept_abundance_by_hand() -> None:
    real = torch.tensor([0, 0, 10, 20])
    assert fidelity.concept_abundance(real, torch.tensor([0, 10, 20, 20])) == pytest.approx(0.25)
    assert fidelity.concept_abundance(real, torch.tensor([0, 0, 10, 99])) == 0  # beyond the range: the last bin
    assert fidelity.concept_abundance(torch.tensor([5, 5, 10, 25]), torch.tensor([1, 1, 10, 25])) == 0  # the first bin


def test_cluster_deviation_by_hand() -> None:
    real, synthetic = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1])
    assert latent.cluster_deviation(real, synthetic, 2) == pytest.approx(math.log2(0.25**2))
    assert latent.cluster_deviation(np.zeros(4, int), np.ones(4, int), 2) == -2  # apart: the worst
    assert latent.cluster_deviation(real, real, 2) == pytest.approx(math.log2(0.25 / 64))  # the floor
    doubled = np.repeat(synthetic, 2)  # unequal sizes do not count as a deviation
    assert latent.cluster_deviation(real, doubled, 2) == pytest.approx(math.log2(0.25**2))


def test_principal_axes_keep_just_enough_variance() -> None:
    covariance = torch.diag(torch.tensor([5.0, 3.0, 1.0, 1.0], dtype=torch.float64))
    assert latent.principal_axes(covariance).shape == (4, 2)  # 8 of 10 is 80 %
    assert latent.principal_axes(covariance, 0.85).shape == (4, 3)
    assert latent.principal_axes(covariance)[:, 0].abs().argmax() == 0


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


def test_violation_share_is_the_mean_over_codes_that_occur() -> None:
    sex = torch.tensor([True, True, False, False])
    codes = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]], dtype=torch.uint8)
    assert violation_share(codes, sex, ~sex) == pytest.approx((0.5 + 0.0) / 2)
    assert violation_share(codes[:, 2:], sex, ~sex) is None
