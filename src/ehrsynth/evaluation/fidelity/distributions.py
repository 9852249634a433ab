"""Fidelity of the distribution of each schema column, by column, by domain and overall."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.card import Card, Cards
from ehrsynth.evaluation.evaluator import Evaluator, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.fidelity.dimension_wise_distance import number_distances
from ehrsynth.evaluation.groups import grouped, needs_two_rows, replicated, replicated_parts
from ehrsynth.layout import Records
from ehrsynth.metrics.distributions import ColumnCells, js_divergence, kl_divergence, shares, total_variation
from ehrsynth.metrics.replicates import replicates
from ehrsynth.schema import Schema

CARDS = Cards.beside(__file__)
JS, KS, KL = (CARDS[f"fidelity/{name}"] for name in ("js_divergence", "ks", "kl_divergence"))


class ColumnDistributions(Evaluator):
    """How each column is distributed."""

    cards = (JS, KS, KL)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Count the cells of R."""
        cells = ColumnCells.of(real.train)
        starts, names = cells.starts, cells.names
        known = cells.count(real.train).astype(np.float64)
        numeric = len(cells.low)
        domains = _domains(real.schema, names)

        @needs_two_rows(self)
        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            found = replicates([cells.count(group) for group in grouped(real, synthetic)])
            real_shares, synthetic_shares = shares(known, starts), shares(found, starts)
            scores: dict[str, Value | Undefined] = {
                JS.name: _summary(JS, names, domains, js_divergence(real_shares, synthetic_shares, starts)),
                KL.name: _summary(KL, names, domains, kl_divergence(known, found, starts)),
            }
            numbers = number_distances(real, synthetic)
            if isinstance(numbers, Undefined):
                return {**scores, KS.name: numbers}
            gaps = total_variation(real_shares, synthetic_shares, starts)
            for i, column in enumerate(numbers, start=len(names) - numeric):
                gaps[:, i] = column.ks
            return {**scores, KS.name: _summary(KS, names, domains, gaps)}

        return score


def _domains(schema: Schema, names: Sequence[str]) -> dict[str, list[int]]:
    """Return which columns belong to each domain, the largest domain first."""
    found: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        found.setdefault(schema.by_name[name].domain, []).append(i)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _summary(card: Card, names: Sequence[str], domains: dict[str, list[int]], values: NDArray[np.float64]) -> Value:
    means = np.stack([values[:, members].mean(1) for members in domains.values()], axis=1)
    parts = {
        **replicated_parts(card, "domain", list(domains), means),
        **replicated_parts(card, "column", names, values),
    }
    return replicated(card, values.mean(1), parts)
