import numpy as np
import pytest
from scipy.stats import ttest_ind, ttest_rel

from ehrsynth.evaluation.pairs import TESTS, Repeats, compare, compare_all

A, B = np.array([1.0, 2.0, 4.0]), np.array([3.0, 3.5, 5.5])


def test_the_same_seeds_give_scipys_paired_test_in_whatever_order_they_stand() -> None:
    p, test = compare(Repeats(A, ["0", "1", "2"]), Repeats(B[[2, 0, 1]], ["2", "0", "1"]))
    assert test == "paired t"
    assert p == pytest.approx(ttest_rel(A, B).pvalue)


@pytest.mark.parametrize("seeds", [["0", "1", "7"], [None, None, None], ["0", "0", "1"]])
def test_other_or_unknown_seeds_give_scipys_welch_test(seeds: list[str | None]) -> None:
    p, test = compare(Repeats(A, seeds), Repeats(B, ["0", "1", "2"]))
    assert test == "Welch t"
    assert p == pytest.approx(ttest_ind(A, B, equal_var=False).pvalue)


def test_one_run_against_several_counts_as_one_more_draw() -> None:
    p, test = compare(Repeats(A, [None] * 3), Repeats(np.array([9.0]), [None]))
    assert test == "t against one run"
    assert p == pytest.approx(ttest_ind(A, [9.0]).pvalue), "with one run the pooled test is the same"


def test_runs_that_agree_exactly_do_not_make_certainty() -> None:
    same = Repeats(np.array([1.0, 1.0]), ["0", "1"])
    other = Repeats(np.array([2.0, 2.0]), ["0", "1"])
    assert compare(same, other) == (None, "none")
    far = np.linspace(0, 1, 99)
    p, test = compare(Repeats(same.scores, same.seeds, far), Repeats(other.scores, other.seeds, far + 5))
    assert test == "bootstrap"
    assert p == pytest.approx(2 / 100), "never less than the draws can tell"
    equal, _ = compare(Repeats(same.scores, same.seeds, far), Repeats(other.scores, other.seeds, far))
    assert equal == 1


def test_the_same_distance_under_every_seed_makes_no_certainty_either() -> None:
    a = Repeats(np.array([7.55, 9.27]), ["0", "1"])
    b = Repeats(a.scores + 1.2, ["0", "1"])
    assert np.ptp(a.scores - b.scores) > 0, "by what is left of a zero"
    assert compare(a, b) == (None, "none")


def test_every_two_groups_are_compared_in_order() -> None:
    pairs = compare_all({"x": Repeats(A, [None] * 3), "y": Repeats(B, [None] * 3), "z": Repeats(B + 90, [None] * 3)})
    assert [(pair.first, pair.second) for pair in pairs] == [("x", "y"), ("x", "z"), ("y", "z")]
    assert [pair.told_apart for pair in pairs] == [False, True, True]
    assert pairs[0].difference == pytest.approx(B.mean() - A.mean())
    assert {pair.test for pair in pairs} <= set(TESTS)
