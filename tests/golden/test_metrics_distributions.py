"""Distributions of columns, rare codes, jackknife and published forms against other implementations and hand counts."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, ks_2samp, wasserstein_distance

from ehrsynth.layout import Layout, Records
from ehrsynth.metrics.dimension_wise_distance import dimension_wise_distance
from ehrsynth.metrics.dimension_wise_prediction import agreement
from ehrsynth.metrics.distributions import (
    BINS,
    ColumnCells,
    ecdf_distances,
    js_divergence,
    kl_divergence,
    shares,
    total_variation,
)
from ehrsynth.metrics.rare_codes import log_lift, rare_pairs, relative_error
from ehrsynth.metrics.replicates import half_width, jackknife, replicates
from ehrsynth.schema import Column, Schema
from tests.evaluation_toy import toy_records


def observed(x: np.ndarray) -> np.ndarray:
    return x[~np.isnan(x)].astype(float)


@pytest.mark.parametrize("column", [0, 1])
def test_distances_of_numbers_equal_scipy_for_all_records_and_without_each_group(column: int) -> None:
    real = toy_records(200, 1).values[:, column].numpy()
    synthetic = toy_records(150, 2).values[:, column].numpy()
    groups = np.array_split(synthetic, 4)
    found = ecdf_distances(real, groups)
    assert found is not None
    for i, kept in enumerate([synthetic, *(np.concatenate(groups[:g] + groups[g + 1 :]) for g in range(4))]):
        u, v = observed(real), observed(kept)
        assert found.wasserstein[i] == pytest.approx(wasserstein_distance(u, v), abs=1e-12)
        assert found.ks[i] == pytest.approx(ks_2samp(u, v).statistic, abs=1e-12)


def test_distances_need_an_observed_value_on_both_sides() -> None:
    nothing, one = np.full(3, np.nan), np.array([0.5])
    assert ecdf_distances(nothing, [one]) is None
    assert ecdf_distances(one, [nothing, nothing]) is None
    found = ecdf_distances(np.array([0.0, 1.0]), [one, nothing])  # the only value cannot be left out
    assert found is not None
    assert found.wasserstein.tolist() == [0.5, 0.5, 0.5]


def test_divergences_equal_scipy() -> None:
    rng = np.random.default_rng(0)
    starts = np.array([0, 2, 7])
    left, right = (rng.integers(0, 9, 29).astype(float) + (np.arange(29) % 3 == 0) for _ in range(2))
    p, q = shares(left, starts), shares(right, starts)
    for i, part in enumerate((slice(0, 2), slice(2, 7), slice(7, 29))):
        assert js_divergence(p, q, starts)[i] == pytest.approx(jensenshannon(p[part], q[part], base=2) ** 2)
        assert kl_divergence(left, right, starts)[i] == pytest.approx(entropy(left[part] + 0.5, right[part] + 0.5))
        assert total_variation(p, q, starts)[i] == pytest.approx(np.abs(p[part] - q[part]).sum() / 2)
    several = np.stack([right, left])
    assert js_divergence(p, shares(several, starts), starts).shape == (2, 3)
    assert js_divergence(p, p, starts).tolist() == kl_divergence(left, left, starts).tolist() == [0, 0, 0]


def test_a_bit_differs_by_its_prevalence_and_disjoint_columns_differ_by_one() -> None:
    starts = np.array([0])
    assert total_variation(np.array([0.3, 0.7]), np.array([0.8, 0.2]), starts)[0] == pytest.approx(0.5)
    apart = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert js_divergence(*apart, starts)[0] == total_variation(*apart, starts)[0] == 1


def test_cells_by_hand() -> None:
    schema = Schema(
        (
            Column("code", "binary", domain="diagnosis"),
            Column("sex", "categorical", levels=("F", "M"), missing=True),
            Column("lab", "continuous", bounds=(0.0, 10.0), missing=True),
        )
    )
    # code, lab:missing, sex=F, sex=M, sex:missing | lab
    bits = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 1], [0, 0, 0, 1, 0], [1, 0, 0, 0, 0]], dtype=torch.uint8)
    real = Records(Layout.of(schema), bits, torch.tensor([[0.0], [torch.nan], [1.0], [0.5]]))
    cells = ColumnCells.of(real)
    assert cells.names == ["code", "sex", "lab"]
    assert cells.starts.tolist() == [0, 2, 6]
    found = cells.count(real)
    assert found[:2].tolist() == [2, 2]
    assert found[2:6].tolist() == [1, 1, 1, 1]  # the last record has no level at all
    numbers = found[6:]
    assert numbers.nonzero()[0].tolist() == [0, BINS // 2, BINS - 1, BINS]
    outside = Records(real.layout, bits, torch.tensor([[-0.1], [1.1], [1.0], [torch.nan]]))
    assert cells.count(outside)[6:].nonzero()[0].tolist() == [BINS - 1, BINS, BINS + 1]
    assert cells.count(outside)[-1] == 2


def test_cells_of_a_constant_and_of_an_unobserved_number() -> None:
    schema = Schema(tuple(Column(name, "continuous", bounds=(0.0, 1.0), missing=True) for name in "ab"))
    bits = torch.zeros(3, 2, dtype=torch.uint8)
    real = Records(Layout.of(schema), bits, torch.tensor([[0.5, torch.nan]] * 3))
    cells = ColumnCells.of(real)
    assert cells.count(real).reshape(2, -1)[:, [0, BINS, BINS + 1]].tolist() == [[3, 0, 0], [0, 3, 0]]
    other = Records(real.layout, bits, torch.tensor([[0.6, 0.6]] * 3))
    assert cells.count(other).reshape(2, -1)[:, [0, BINS, BINS + 1]].tolist() == [[0, 0, 3], [0, 0, 3]]


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    x = np.random.default_rng(0).normal(size=20)
    means = replicates(x) / replicates(np.ones(20))
    value, (low, high) = jackknife(means)
    assert (high - low) / 2 == pytest.approx(float(half_width(means)))
    assert float(half_width(means)) == pytest.approx(2.093024 * x.std(ddof=1) / math.sqrt(20), rel=1e-6)
    assert half_width(np.stack([means, 2 * means], axis=1)).tolist() == pytest.approx(
        [float(half_width(means)), 2 * float(half_width(means))]
    )
    assert value == pytest.approx(x.mean())


def test_published_dimension_wise_distance_by_hand() -> None:
    found = dimension_wise_distance([0.2, 0.4, 0.3], [[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]], p=11)
    assert found.tolist() == pytest.approx([20.0, 50.0, 35.0])  # the second column, equal in all, adds nothing
    undivided = dimension_wise_distance([0.2, 0.4], [[1.0], [3.0]], p=11, divide_by=1)
    assert undivided.tolist() == pytest.approx([20.0, 140.0])
    assert dimension_wise_distance([0.2], np.zeros((1, 0)), p=11).tolist() == pytest.approx([20.0])


def test_rare_pairs_and_their_lift_by_hand() -> None:
    together = np.array([[900.0, 6, 4, 40], [6, 8, 5, 2], [4, 5, 7, 5], [40, 2, 5, 100]])
    pairs = rare_pairs(together, np.array([False, True, True, False]), least=5)
    assert pairs.T.tolist() == [[0, 1], [1, 2], [2, 3]]
    found = log_lift(together[tuple(pairs)], together.diagonal(), pairs, 1000.0)
    expected = [math.log(6.5 * 1001 / (900.5 * 8.5)), math.log(5.5 * 1001 / (8.5 * 7.5)), math.log(5.5 * 1001 / 753.75)]
    assert found.tolist() == pytest.approx(expected)
    assert relative_error(np.array([0.01, 0.02]), np.array([[0.0, 0.03]])).tolist() == [[1.0, pytest.approx(0.5)]]


def test_agreement_has_fishers_interval() -> None:
    rng = np.random.default_rng(0)
    real = rng.random(30)
    synthetic = real + rng.normal(0, 0.3, 30)
    r, (low, high) = agreement(real, synthetic)
    assert r == pytest.approx(np.corrcoef(real, synthetic)[0, 1])
    assert math.atanh(high) - math.atanh(r) == pytest.approx(1.959964 / math.sqrt(27))
    assert math.atanh(r) - math.atanh(low) == pytest.approx(1.959964 / math.sqrt(27))
    assert agreement(real, real)[1][1] == pytest.approx(1)
    assert agreement(real, np.zeros(30)) == (0, (-1, 1))
    assert agreement(real[:3], synthetic[:3])[1] == (-1, 1)  # too few codes for an interval
