"""Scores of several runs side by side, ready to be ranked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.score import Score
from ehrsynth.metrics.intervals import Z


class ScoreTable(NamedTuple):
    """Scores of several runs side by side.

    Attributes:
        values: runs x metrics; NaN where a run has no such score, and infinitely bad where it failed.
        cards: metric -> what is known of it.
        errors: standard errors, runs x metrics, from the 95 % intervals; NaN where there is none.
    """

    values: pd.DataFrame
    cards: dict[str, Card]
    errors: pd.DataFrame


def tabulate(runs: Mapping[str, Sequence[Score]]) -> ScoreTable:
    """Lay the scores of several runs side by side; a failed score becomes infinitely bad, a skipped one NaN."""
    cards = {score.metric: score.card for scores in runs.values() for score in scores}
    values: dict[str, dict[str, float]] = {}
    errors: dict[str, dict[str, float]] = {}
    for run, scores in runs.items():
        values[run] = {s.metric: v for s in scores if (v := _number(s)) is not None}
        errors[run] = {s.metric: (s.ci[1] - s.ci[0]) / 2 / Z for s in scores if s.ci}
    index, columns = list(runs), list(cards)
    return ScoreTable(
        pd.DataFrame.from_dict(values, orient="index").reindex(index=index, columns=columns).astype(float),
        cards,
        pd.DataFrame.from_dict(errors, orient="index").reindex(index=index, columns=columns).astype(float),
    )


def signed(values: pd.DataFrame, directions: Mapping[str, str]) -> pd.DataFrame:
    """Return the values with their sign turned where higher is better, so that lower always is."""
    return values * [1.0 if directions[str(metric)] == "lower" else -1.0 for metric in values.columns]


def worst_value(direction: str) -> float:
    """Return what a failed score counts as."""
    return np.inf if direction == "lower" else -np.inf


def mean_anchor(scores: Iterable[Score], anchor: str) -> float | None:
    """Return the mean of an anchor over the scores that have it, None if none does."""
    known = [value for score in scores if (value := score.anchors.get(anchor)) is not None]
    return float(np.mean(known)) if known else None


def _number(score: Score) -> float | None:
    return worst_value(score.direction) if score.status == "failed" else score.value
