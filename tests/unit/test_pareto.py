import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from ehrsynth.evaluation.card import card_of
from ehrsynth.evaluation.pareto import default_axes, plane, undominated

AXES = default_axes()
CARDS = {metric: card_of(metric) for metric in AXES}


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8))
def test_the_front_is_what_the_definition_says(points: list[tuple[int, int]]) -> None:
    expected = [
        not any(all(o <= v for o, v in zip(other, one, strict=True)) and other != one for other in points)
        for one in points
    ]
    assert undominated(np.array(points, dtype=float)).tolist() == expected


def test_groups_are_placed_by_the_mean_of_their_runs_and_chance_is_no_merit() -> None:
    values = pd.DataFrame({AXES[0]: [0.8, 0.6, 0.6, 0.5], AXES[1]: [0.6, 0.54, 0.5, 0.4]}, index=list("abcd"))
    groups = dict(zip("abcd", ["vae", "gan", "gan", "floor"], strict=True))
    found = plane(values, None, CARDS, groups, AXES)
    assert found is not None
    assert found.points.loc["gan"].round(9).tolist() == [0.6, 0.52]
    assert found.points.loc["floor", AXES[1]] == 0.5
    assert found.front == {"vae": True, "gan": True, "floor": True}
    values.loc["c", AXES[1]] = 0.4
    found = plane(values, None, CARDS, groups, AXES)
    assert found is not None
    assert found.front == {"vae": True, "gan": True, "floor": False}, "below one half is no better than one half"
    assert found.errors.isna().all(axis=None)


def test_without_both_metrics_in_every_run_there_is_no_plane() -> None:
    values = pd.DataFrame({AXES[0]: [0.8, np.nan], AXES[1]: [0.6, 0.5]}, index=list("ab"))
    groups = {"a": "a", "b": "b"}
    assert plane(values, None, CARDS, groups, AXES) is None
    assert plane(values[[AXES[1]]], None, CARDS, groups, AXES) is None
    assert plane(values.fillna(-np.inf), None, CARDS, groups, AXES) is None


def test_by_default_the_axes_are_what_the_model_card_tells_first_of_utility_and_privacy() -> None:
    assert default_axes() == ("utility/tstr_auroc", "privacy/membership_auc")
