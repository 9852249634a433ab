"""Scores of several runs side by side, ready to be ranked."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ehrsynth.evaluation.score import Score
from ehrsynth.metrics.intervals import Z


class ScoreTable(NamedTuple):
    """Scores of several runs side by side.

    Attributes:
        values: runs x metrics; NaN where a run has no such score, and infinitely bad where it failed.
        directions: metric -> ``lower`` or ``higher``.
        errors: standard errors, runs x metrics, from the 95 % intervals; NaN where there is none.
    """

    values: pd.DataFrame
    directions: dict[str, str]
    errors: pd.DataFrame


def tabulate(runs: Mapping[str, Sequence[Score]]) -> ScoreTable:
    """Lay the scores of several runs side by side; a failed score becomes infinitely bad, a skipped one NaN."""
    directions: dict[str, str] = {score.metric: score.direction for scores in runs.values() for score in scores}
    values: dict[str, dict[str, float]] = {}
    errors: dict[str, dict[str, float]] = {}
    for run, scores in runs.items():
        values[run] = {s.metric: v for s in scores if (v := _number(s)) is not None}
        errors[run] = {s.metric: (s.ci[1] - s.ci[0]) / 2 / Z for s in scores if s.ci}
    index, columns = list(runs), list(directions)
    return ScoreTable(
        pd.DataFrame.from_dict(values, orient="index").reindex(index=index, columns=columns).astype(float),
        directions,
        pd.DataFrame.from_dict(errors, orient="index").reindex(index=index, columns=columns).astype(float),
    )


def signed(values: pd.DataFrame, directions: Mapping[str, str]) -> pd.DataFrame:
    """Return the values with their sign turned where higher is better, so that lower always is."""
    return values * [1.0 if directions[str(metric)] == "lower" else -1.0 for metric in values.columns]


def worst(direction: str) -> float:
    """Return what a failed score counts as."""
    return np.inf if direction == "lower" else -np.inf


def _number(score: Score) -> float | None:
    return worst(score.direction) if score.status == "failed" else score.value
