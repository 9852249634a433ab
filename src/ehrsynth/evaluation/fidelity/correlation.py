"""Fidelity of pairs of columns: how they go together."""

import numpy as np

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.groups import needs_two_rows, real_moments, replicated, synthetic_moments
from ehrsynth.layout import Records
from ehrsynth.metrics.correlation import correlation, correlation_differences, related

CARDS = Cards.beside(__file__)


class Correlation(Evaluator):
    """How columns go together in pairs."""

    cards = tuple(
        CARDS[f"fidelity/correlation_{name}"] for name in ("distance", "rmse", "distance_relevant", "frobenius")
    )

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Correlate the columns of R and find the pairs that are related."""
        if real.layout.width < 2:
            raise NotApplicableError("the data have a single column, so no pair")
        known = real_moments(real)
        expected = correlation(*known.compute())
        pairs = related(expected, known.gram[0], len(real.train), real.layout.binary.stop)

        @needs_two_rows(self)
        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            found = np.array(
                [
                    correlation_differences(expected, correlation(*moments), pairs)
                    for moments in synthetic_moments(real, synthetic).replicates()
                ]
            )
            scores: dict[str, Value | Undefined] = {
                card.name: replicated(card, column) for card, column in zip(self.cards, found.T, strict=True)
            }
            if not pairs.any():
                reason = "no two columns of the training rows are related beyond chance"
                scores["fidelity/correlation_distance_relevant"] = Undefined(reason)
            return scores

        return score
