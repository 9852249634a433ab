"""Fidelity of the distribution of each schema column, by column, by domain and overall."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.fidelity.dimension_wise import JACKKNIFE, number_distances
from ehrsynth.evaluation.groups import grouped, of_several, replicated, replicated_parts
from ehrsynth.layout import Records
from ehrsynth.metrics.cells import ColumnCells
from ehrsynth.metrics.divergence import js_divergence, kl_divergence, shares, total_variation
from ehrsynth.metrics.replicates import replicates
from ehrsynth.schema import Schema

CELLS = (
    " A one-hot group is one column. Cells: 0 and 1; the levels, missing and none; or 20 equal bins of R's range,"
    " missing and outside the range."
)
BLIND = " Each column is looked at alone: shuffled columns are nearly perfect here. Parts: per column and per domain."

JS = Card(
    name="fidelity/js_divergence",
    direction="lower",
    low=0,
    high=1,
    definition="Mean over schema columns of the Jensen-Shannon divergence of R and S in bits." + CELLS + JACKKNIFE,
    reading="Do values occur as often as in real patients, 0 for exactly as often and 1 for never the same? Most"
    " columns of a table of codes are rare and agree on 0, so the mean is small: read it between the anchors and look"
    " at the worst columns and domains." + BLIND,
    paper="Lin, IEEE Transactions on Information Theory 1991 (divergence, equation 3.8)",
)
KS = Card(
    name="fidelity/ks",
    direction="lower",
    low=0,
    high=1,
    definition="Mean over schema columns of the two-sample Kolmogorov-Smirnov statistic of observed values for numbers,"
    " total variation over levels, missing and none for categories, |difference| for 0/1 columns." + JACKKNIFE,
    reading="The largest gap between the real and the synthetic share of patients below any value. For numbers missing"
    " cells do not count. With many rare codes the mean is small whatever the generator does; look at the worst"
    " columns." + BLIND,
    paper="Kolmogorov 1933; Smirnov 1948",
)
KL = Card(
    name="fidelity/kl_divergence",
    direction="lower",
    low=0,
    high=math.inf,
    definition="Mean over schema columns of KL(R || S) in nats, with half a record added to every cell of both."
    + CELLS
    + JACKKNIFE,
    reading="How surprised someone who knows only the synthetic table would be by real values. What S never shows"
    " weighs heavily, and how heavily depends on the number of rows through the smoothing: compare equal numbers."
    + BLIND,
    paper="Kullback and Leibler 1951",
)


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

        return of_several(self.cards, score)


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
