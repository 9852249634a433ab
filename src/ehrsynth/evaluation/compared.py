"""Scores that exist only among several runs, because the published form scales by all compared tables."""

import math
from collections.abc import Mapping

import numpy as np

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Undefined, Value
from ehrsynth.evaluation.score import Score
from ehrsynth.metrics.intervals import Z, normal
from ehrsynth.metrics.published import dimension_wise_distance

Parts = Mapping[tuple[str, str], Value | Undefined]

DIVIDE_BY = 10.0  # as in the JMIR tutorial's code
SOURCES = ("fidelity/apd", "fidelity/wasserstein")

PUBLISHED_DISTANCE = Card(
    name="fidelity/dimension_wise_distance_published",
    direction="lower",
    low=0,
    high=math.inf,
    definition="1000 / (p - 1) times the sum of the absolute prevalence differences of the 0/1 columns and of the"
    " Wasserstein distances of the continuous columns, each min-max scaled over the compared runs and divided by 10;"
    " normal interval from those of the columns, taken as independent and at a fixed scale.",
    reading="Only for repeating a published ranking: it is relative, so adding or removing a run changes the score of"
    " every other, and a column on which all runs agree counts nothing. Read dimension_wise_distance instead.",
    paper="Yan et al., JMIR AI 2024 (DWD, in the form of the code)",
)


def published_distances(runs: Mapping[str, Mapping[str, Parts]]) -> dict[str, Score]:
    """Score every run by the published dimension-wise distance; nothing if the runs cannot be scaled together.

    Args:
        runs: run -> metric -> parts, as ``report.parquet`` holds them; of the parts those of kind ``column`` of
            ``fidelity/apd`` and, where there are continuous columns, of ``fidelity/wasserstein`` are used.
    """
    prevalence, distance = (
        {run: _columns(metrics.get(metric, {})) for run, metrics in runs.items()} for metric in SOURCES
    )
    names = {(frozenset(prevalence[run]), frozenset(distance[run])) for run in runs}
    if len(runs) < 2 or len(names) != 1:
        return {}
    bits, values = (sorted(group) for group in next(iter(names)))
    if not bits or len(bits) + len(values) < 2:
        return {}
    sums = [sum(prevalence[run][name].value for name in bits) for run in runs]
    table = np.array([[distance[run][name].value for name in values] for run in runs]).reshape(len(runs), len(values))
    p = len(bits) + len(values)
    found = dimension_wise_distance(sums, table, p, DIVIDE_BY)
    span = np.ptp(table, axis=0)
    scores = {}
    for run, value in zip(runs, found.tolist(), strict=True):
        errors = [_error(prevalence[run][name]) for name in bits]
        errors += [_error(distance[run][name]) / s / DIVIDE_BY for name, s in zip(values, span, strict=True) if s > 0]
        ci = normal(value, math.hypot(*errors) / (p - 1) * 1000, 0.0, math.inf)[1]
        known = not math.isnan(sum(errors))
        scores[run] = Score(PUBLISHED_DISTANCE, value, ci if known else None)
    return scores


def _columns(parts: Parts) -> dict[str, Value]:
    return {name: part for (kind, name), part in parts.items() if kind == "column" and isinstance(part, Value)}


def _error(part: Value) -> float:
    return math.nan if part.ci is None else (part.ci[1] - part.ci[0]) / 2 / Z
