"""One pass of distances for all distance scores."""

import pytest
import torch

from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.privacy.nearness import nearness, thinned
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points, nearest
from tests.evaluation_toy import toy_real, toy_records


@pytest.mark.parametrize(("train", "holdout", "rows"), [(250, 100, 170), (90, 200, 60), (80, 80, 1)])
def test_all_distances_are_those_of_whole_tables(train: int, holdout: int, rows: int) -> None:
    real, synthetic = toy_real(train, holdout), toy_records(rows, 7)
    means = observed_means(real.train.values)
    s = Points.of(synthetic, means)
    found = nearness(real, synthetic)
    assert len(found.sample) == min(train, holdout, rows)
    for side, table in ((found.train, real.train), (found.holdout, real.holdout)):
        points = Points.of(table, means)
        to_synthetic, from_all = nearest(points, s)
        torch.testing.assert_close(side.to_synthetic, to_synthetic)
        torch.testing.assert_close(side.from_all, from_all)
        assert side.from_parts.shape == (len(table) // min(train, holdout), rows)
        assert (side.from_parts >= from_all).all()
        here, there = nearest(points[side.sample], s[found.sample])
        torch.testing.assert_close(side.sample_to_groups.amin(1), here)
        torch.testing.assert_close(side.sample_from_groups.amin(1), there)
    torch.testing.assert_close(found.members, found.train.to_synthetic)
    torch.testing.assert_close(found.others, found.holdout.to_synthetic)


def test_parts_are_disjoint_and_of_one_size() -> None:
    real = toy_real(200, 100)
    found = nearness(real, real.train)
    # A record of R is at 0 from its own part; from the other one only if a duplicate lies there.
    own = (found.train.from_parts == 0).any(0)
    assert own.all()
    assert (found.train.from_parts == 0).sum(1).min() >= 100


def test_a_table_is_measured_once() -> None:
    real, synthetic = toy_real(60, 60), toy_records(50, 1)
    assert nearness(real, synthetic) is nearness(thinned(real, 100, 3), synthetic)
    few = thinned(real, 20, 1)
    assert nearness(few, synthetic) is nearness(few, synthetic)
    assert nearness(few, synthetic) is not nearness(thinned(real, 20, 2), synthetic)


def test_only_the_real_side_is_thinned_out() -> None:
    real = toy_real(60, 40)
    assert thinned(real, 60, 0) is real
    few = thinned(real, 50, 0)
    assert isinstance(few, RealData)
    assert (len(few.train), len(few.holdout)) == (50, 40)
    assert len(nearness(thinned(real, 10, 0), toy_records(70, 1)).train.from_all) == 70
