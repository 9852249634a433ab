"""Fidelity of pairs of columns: how they go together."""

from collections import defaultdict

import numpy as np

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.groups import needs_two_rows, real_bands, replicated, synthetic_bands
from ehrsynth.layout import Records
from ehrsynth.metrics.bands import pair_memory
from ehrsynth.metrics.correlation import Differences, related

CARDS = Cards.beside(__file__)


class Correlation(Evaluator):
    """How columns go together in pairs."""

    cards = tuple(
        CARDS[f"fidelity/correlation_{name}"] for name in ("distance", "rmse", "distance_relevant", "frobenius")
    )

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Check that there is a pair of columns."""
        if real.layout.width < 2:
            raise NotApplicableError("the data have a single column, so no pair")
        n, p = len(real.train), real.layout.width

        @needs_two_rows(self)
        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            differences: dict[int, Differences] = defaultdict(Differences)  # of all records, then without each group
            for known, found in zip(real_bands(real), synthetic_bands(real, synthetic), strict=True):
                expected = next(known.correlations())
                pairs = related(expected, known.gram[0], n, known.binary, known.squares[0])
                for i, correlations in enumerate(found.correlations()):
                    differences[i].add(expected, correlations, pairs)
            summaries = np.array([each.summaries(p) for each in differences.values()])
            scores: dict[str, Value | Undefined] = {
                card.name: replicated(card, column) for card, column in zip(self.cards, summaries.T, strict=True)
            }
            if not differences[0].chosen:
                reason = "no two columns of the training rows are related beyond chance"
                scores["fidelity/correlation_distance_relevant"] = Undefined(reason)
            return scores

        return score

    def peak_memory(self, real: RealData, rows: int) -> int:
        """The products of all pairs of columns, or a band of them."""
        return pair_memory(real.layout.width)
