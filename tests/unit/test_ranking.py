import numpy as np
import pandas as pd
import pytest
from scipy.stats import t, ttest_rel

from ehrsynth.errors import OptionError
from ehrsynth.evaluation.card import card_of
from ehrsynth.evaluation.ranking import Profile, choose_checkpoint, metric_ranks, rank_runs, ranks_by_use
from ehrsynth.evaluation.score_table import tabulate
from tests.scores import score_of

BOTH = Profile("both", "", {"fidelity/a": 3.0, "utility/b": 1.0}, "")
DIRECTIONS = {"fidelity/a": "lower", "utility/b": "higher"}
CARDS = {"fidelity/a": card_of("fidelity/a", "lower"), "utility/b": card_of("utility/b", "higher")}


def frame(a: list[float], b: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"fidelity/a": a, "utility/b": b}, index=[f"run{i}" for i in range(len(a))])


def test_ties_share_the_mean_rank_and_direction_decides_what_is_best() -> None:
    ranks = metric_ranks(frame([0.1, 0.1, 0.3], [0.7, 0.9, 0.8]), DIRECTIONS)
    assert ranks["fidelity/a"].tolist() == [1.5, 1.5, 3.0]
    assert ranks["utility/b"].tolist() == [3.0, 1.0, 2.0]


def test_weights_are_renormalised_and_a_metric_that_one_run_lacks_is_named() -> None:
    ranking = rank_runs(frame([0.3, 0.2, 0.1], [0.9, np.nan, 0.8]), CARDS, BOTH)
    assert ranking.weights == {"fidelity/a": 1.0}
    assert ranking.missing == {"utility/b": 1.0}
    assert ranking.table.index.tolist() == ["run2", "run1", "run0"]
    both = rank_runs(frame([0.3, 0.2, 0.1], [0.9, 0.5, 0.8]), CARDS, BOTH)
    assert both.weights == {"fidelity/a": 0.75, "utility/b": 0.25}
    assert both.table["weighted_rank"].to_dict() == {"run2": 1.25, "run1": 2.25, "run0": 2.5}


def test_a_failed_score_ranks_last_and_a_skipped_one_takes_the_metric_out() -> None:
    good = score_of("utility/b", 0.6, "higher", ci=(0.5, 0.7))
    failed = score_of("utility/b", None, "higher", status="failed", reason="one class only")
    skipped = score_of("fidelity/a", None, "lower", status="skipped", reason="no outcome")
    table = tabulate({"x": [good, skipped], "y": [failed, score_of("fidelity/a", 1.0, "lower")], "z": [failed]})
    ranking = rank_runs(table.values, table.cards, BOTH, errors=table.errors)
    assert ranking.ranks["utility/b"].to_dict() == {"x": 1.0, "y": 2.5, "z": 2.5}
    assert ranking.failed == [("y", "utility/b"), ("z", "utility/b")]
    assert list(ranking.missing) == ["fidelity/a"]
    assert table.errors.loc["x", "utility/b"] == pytest.approx(0.1 / 1.959964)


def test_no_common_metric_is_the_users_error() -> None:
    with pytest.raises(OptionError, match=r"profile=both.*fidelity/a, utility/b"):
        rank_runs(pd.DataFrame({"privacy/c": [1.0]}, index=["run"]), {"privacy/c": "lower"}, BOTH)


def test_seeds_of_one_group_give_a_student_interval() -> None:
    values = pd.DataFrame({"fidelity/a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}, index=list("abcdef"))
    groups = dict(zip("abcdef", ["vae"] * 3 + ["gan"] * 3, strict=True))
    table = rank_runs(values, CARDS, BOTH, groups=groups).table
    ranks = np.array([1.0, 2.0, 3.0])
    half = t.ppf(0.975, 2) * ranks.std(ddof=1) / np.sqrt(3)
    assert table.loc["vae", "weighted_rank"] == 2.0
    assert table.loc["vae", "high"] == pytest.approx(2 + half)
    assert table.loc["vae", "low"] == 1.0, "a weighted rank is never below one"
    assert table.loc["vae", "basis"] == "3 seeds"
    assert table["tied_with_next"].tolist() == [False, False]


def test_a_group_whose_runs_agree_exactly_gets_no_interval_of_no_width() -> None:
    values = pd.DataFrame({"fidelity/a": [1.0, 1.0, 2.0, 2.0]}, index=list("abcd"))
    errors = pd.DataFrame({"fidelity/a": [1.0, 1.0, 1.0, 1.0]}, index=list("abcd"))
    groups = dict(zip("abcd", ["vae", "vae", "gan", "gan"], strict=True))
    plain, known = (rank_runs(values, CARDS, BOTH, groups=groups, errors=e).table for e in (None, errors))
    assert plain["low"].isna().all()
    assert plain["basis"].tolist() == ["none", "none"]
    assert (known["low"] < known["high"]).all()
    assert known["basis"].str.startswith("bootstrap").all()


def test_pairs_that_are_not_distinguishable_are_named() -> None:
    values = pd.DataFrame({"fidelity/a": [0.0, 0.01, 9.0]}, index=["x", "y", "z"])
    errors = pd.DataFrame({"fidelity/a": [1.0, 1.0, 0.1]}, index=["x", "y", "z"])
    ranking = rank_runs(values, CARDS, BOTH, errors=errors)
    (warning,) = ranking.warnings
    assert warning.startswith("x and y are not distinguishable: weighted ranks differ by 1.00, p = ")
    assert [(pair.first, pair.second, pair.told_apart) for pair in ranking.pairs] == [
        ("x", "y", False),
        ("x", "z", True),
        ("y", "z", True),
    ]
    assert "nothing says how much is chance" in rank_runs(values, CARDS, BOTH).warnings[0]


def test_the_same_seeds_are_compared_seed_by_seed() -> None:
    values = pd.DataFrame({"fidelity/a": [1.0, 2.0, 5.0, 4.0, 3.0, 6.0], "utility/b": [3, 2, 1, 0.5, 0, -5.0]})
    values.index = pd.Index(list("abcdef"))
    groups = dict(zip("abcdef", ["vae"] * 3 + ["gan"] * 3, strict=True))
    seeds = dict(zip("abcdef", "012012", strict=True))
    ranking = rank_runs(values, CARDS, BOTH, groups=groups, seeds=seeds)
    scores = ranking.ranks["fidelity/a"] * 0.75 + ranking.ranks["utility/b"] * 0.25
    (pair,) = ranking.pairs
    assert pair.test == "paired t"
    assert pair.p == pytest.approx(ttest_rel(scores[list("abc")], scores[list("def")]).pvalue)
    assert rank_runs(values, CARDS, BOTH, groups=groups).pairs[0].test == "Welch t"


def test_the_front_is_in_the_table_if_every_run_has_both_metrics() -> None:
    values = frame([1, 2, 3], [0.9, 0.95, 0.5])
    table = rank_runs(values, CARDS, BOTH, axes=("utility/b", "fidelity/a")).table
    assert table["pareto"].to_dict() == {"run0": True, "run1": True, "run2": False}
    assert rank_runs(values, CARDS, BOTH).table["pareto"].isna().all()


def test_bootstrap_tells_far_runs_apart_and_near_ones_not() -> None:
    values = pd.DataFrame({"fidelity/a": [0.0, 0.01, 9.0]}, index=["x", "y", "z"])
    errors = pd.DataFrame({"fidelity/a": [1.0, 1.0, 0.1]}, index=["x", "y", "z"])
    table = rank_runs(values, CARDS, BOTH, errors=errors, seed=0).table
    assert table["tied_with_next"].tolist() == [True, False, False]
    assert table.loc["z", ["low", "high"]].tolist() == [3.0, 3.0]
    again = rank_runs(values, CARDS, BOTH, errors=errors, seed=0).table
    pd.testing.assert_frame_equal(table, again)


def test_without_any_interval_nothing_is_told_apart() -> None:
    table = rank_runs(frame([1, 2], [2, 1]), CARDS, BOTH).table
    assert table["low"].isna().all()
    assert table["basis"].tolist() == ["none", "none"]
    assert table["tied_with_next"].tolist() == [True, False]


def test_the_best_checkpoint_is_not_the_last_and_equals_go_to_the_earliest() -> None:
    rows = frame([0.3, 0.1, 0.2], [0.5, 0.7, 0.6]).set_axis([10, 20, 30])
    rows["checkpoint"] = ["a.ckpt", "b.ckpt", "c.ckpt"]
    assert choose_checkpoint(rows, DIRECTIONS, BOTH) == 20
    assert choose_checkpoint(rows.loc[[30, 20, 20]].set_axis([40, 8, 5]), DIRECTIONS, BOTH) == 5


def test_a_checkpoint_whose_score_failed_ranks_last_on_it() -> None:
    rows = frame([0.1, 0.2, 0.3], [np.nan, 0.7, 0.6]).set_axis([1, 2, 3])
    only_b = Profile("b", "", {"utility/b": 1.0}, "")
    assert choose_checkpoint(rows, DIRECTIONS, only_b) == 2
    with pytest.raises(OptionError, match="profile=b"):
        choose_checkpoint(rows.assign(**{"utility/b": np.nan}), DIRECTIONS, only_b)


def test_profile_refuses_weights_that_rank_nothing() -> None:
    with pytest.raises(OptionError, match="must be > 0"):
        Profile("none", "", {"fidelity/a": 0.0}, "")


def test_every_use_case_ranks_the_groups_by_its_own_metrics() -> None:
    values = frame([0.3, 0.2, 0.1], [0.9, 0.5, 0.8])
    a, b = (Profile(name, "", {metric: 1.0}, "") for name, metric in (("a", "fidelity/a"), ("b", "utility/b")))
    gone = Profile("gone", "", {"privacy/c": 1.0}, "")
    found = ranks_by_use(values, CARDS, [a, b, BOTH, gone], {"run0": "x", "run1": "y", "run2": "y"})
    assert found.to_dict() == {"a": {"x": 3.0, "y": 1.5}, "b": {"x": 1.0, "y": 2.5}, "both": {"x": 2.5, "y": 1.75}}
