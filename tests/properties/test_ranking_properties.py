from random import Random

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrsynth.evaluation.card import Direction, card_of
from ehrsynth.evaluation.ranking import Profile, metric_ranks, rank_runs

METRICS = ["fidelity/a", "utility/b", "privacy/c"]
DIRECTIONS: dict[str, Direction] = dict(zip(METRICS, ("lower", "higher", "lower"), strict=True))
CARDS = {metric: card_of(metric, direction) for metric, direction in DIRECTIONS.items()}
TABLES = st.integers(2, 6).flatmap(
    lambda runs: st.lists(st.lists(st.integers(-5, 5).map(float), min_size=3, max_size=3), min_size=runs, max_size=runs)
)


def frame(rows: list[list[float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, index=[f"run{i}" for i in range(len(rows))], columns=METRICS)


@given(TABLES)
@settings(max_examples=50)
def test_ranks_of_a_metric_always_share_out_the_same_sum(rows: list[list[float]]) -> None:
    n = len(rows)
    np.testing.assert_allclose(metric_ranks(frame(rows), DIRECTIONS).sum(), n * (n + 1) / 2)


@given(TABLES, st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_neither_order_of_runs_nor_units_nor_scale_of_weights_matter(rows: list[list[float]], random: Random) -> None:
    values = frame(rows)
    weights = dict(zip(METRICS, [0.5, 0.3, 0.2], strict=True))
    expected = rank_runs(values, CARDS, Profile("p", "", weights, "")).table["weighted_rank"]
    shuffled = values.loc[random.sample(list(values.index), len(values))] * 1000 + 7
    scaled = Profile("p", "", {metric: 10 * weight for metric, weight in weights.items()}, "")
    found = rank_runs(shuffled, CARDS, scaled).table["weighted_rank"]
    pd.testing.assert_series_equal(found.sort_index(), expected.sort_index())
