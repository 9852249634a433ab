"""Fidelity of all columns in one number: codes by their prevalence, measurements by the Wasserstein distance."""

import math
from collections.abc import Mapping

import numpy as np

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, Parts, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.groups import grouped, needs_two_rows, positives, replicated, replicated_parts, sizes
from ehrsynth.evaluation.score import Score
from ehrsynth.layout import Records
from ehrsynth.metrics import dimension_wise_distance as published
from ehrsynth.metrics.distributions import Distances, ecdf_distances
from ehrsynth.metrics.intervals import Z, normal
from ehrsynth.metrics.prevalence import prevalence

CARDS = Cards.beside(__file__)
DISTANCE, WASSERSTEIN = CARDS["fidelity/dimension_wise_distance"], CARDS["fidelity/wasserstein"]
PUBLISHED = CARDS["fidelity/dimension_wise_distance_published"]
SOURCES = ("fidelity/apd", WASSERSTEIN.name)  # of the published form, from the parts of a report
DIVIDE_BY = 10.0  # as in the JMIR tutorial's code


class DimensionWiseDistance(Evaluator):
    """How far each column is from its real distribution, codes and measurements alike."""

    cards = (DISTANCE,)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Count the codes of R."""
        expected = prevalence(real.train.bits).numpy()

        @needs_two_rows(self)
        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            numbers = number_distances(real, synthetic)
            if isinstance(numbers, Undefined):
                return {DISTANCE.name: numbers}
            found = positives(real, synthetic) / sizes(real, synthetic)[:, None]
            total = np.abs(found - expected).sum(1) + sum(column.wasserstein for column in numbers)
            return {DISTANCE.name: replicated(DISTANCE, total / real.layout.width)}

        return score


class Wasserstein(Evaluator):
    """How far each measurement is from its real distribution."""

    cards = (WASSERSTEIN,)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Check that there is a continuous column."""
        if not real.train.values.shape[1]:
            raise NotApplicableError("the data have no continuous column")

        @needs_two_rows(self)
        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            numbers = number_distances(real, synthetic)
            if isinstance(numbers, Undefined):
                return {WASSERSTEIN.name: numbers}
            found = np.stack([column.wasserstein for column in numbers], axis=1)
            parts = replicated_parts(WASSERSTEIN, "column", real.layout.names[real.layout.values], found)
            return {WASSERSTEIN.name: replicated(WASSERSTEIN, found.mean(1), parts)}

        return score


def number_distances(real: RealData, synthetic: Records) -> list[Distances] | Undefined:
    """Return the distances of every continuous column, or which of them has no observed value to compare."""

    def compute() -> list[Distances | None]:
        groups = [group.values.numpy() for group in grouped(real, synthetic)]
        known = real.train.values.numpy()
        return [ecdf_distances(known[:, i], [x[:, i] for x in groups]) for i in range(known.shape[1])]

    found = real.shared.once(synthetic, "distances of numbers", compute)
    names = real.layout.names[real.layout.values]
    lacking = [name for name, column in zip(names, found, strict=True) if column is None]
    if lacking:
        return Undefined(f"column {lacking[0]!r} has no observed value to compare")
    return [column for column in found if column is not None]


def published_distances(runs: Mapping[str, Mapping[str, Parts]]) -> dict[str, Score]:
    """Score every run by the published form, which scales by all compared runs; nothing if they have no common scale.

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
    p = len(bits) + len(values)
    if not bits or p < 2:
        return {}
    sums = [sum(prevalence[run][name].value for name in bits) for run in runs]
    table = np.array([[distance[run][name].value for name in values] for run in runs]).reshape(len(runs), len(values))
    found = published.dimension_wise_distance(sums, table, p, DIVIDE_BY)
    span = np.ptp(table, axis=0)
    scores = {}
    for run, value in zip(runs, found.tolist(), strict=True):
        errors = [_error(prevalence[run][name]) for name in bits]
        errors += [_error(distance[run][name]) / s / DIVIDE_BY for name, s in zip(values, span, strict=True) if s > 0]
        ci = normal(value, math.hypot(*errors) / (p - 1) * 1000, 0.0, math.inf)[1]
        known = not math.isnan(sum(errors))
        scores[run] = Score(PUBLISHED, value, ci if known else None)
    return scores


def _columns(parts: Parts) -> dict[str, Value]:
    return {name: part for (kind, name), part in parts.items() if kind == "column" and isinstance(part, Value)}


def _error(part: Value) -> float:
    return math.nan if part.ci is None else (part.ci[1] - part.ci[0]) / 2 / Z
