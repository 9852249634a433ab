"""Whether synthetic records vary as real ones do, or have collapsed to a few."""

import numpy as np

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.groups import needs_two_rows, replicated
from ehrsynth.evaluation.temporal.groups import grouped, summed
from ehrsynth.metrics.temporal.content import record_matrix
from ehrsynth.metrics.temporal.variety import code_sets, numbered, records, share_distinct
from ehrsynth.visits import Visits

CARDS = Cards.beside(__file__)
LEAST = 10  # patients of R that have a code, for it to be looked for


class Variety(VisitEvaluator):
    """How many codes synthetic records use, and how many visits and records are unlike all others."""

    cards = tuple(CARDS.values())

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Find the codes that enough patients of R have."""
        common = np.flatnonzero(_patients(real.train, real.width) >= LEAST)
        if not len(common):
            raise NotApplicableError(f"no code is of {LEAST} training patients or more")
        coverage, distinct, alike = self.cards

        @needs_two_rows(self)
        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            having = summed(real, synthetic, lambda visits: _patients(visits, real.width))[:, common]
            scores: dict[str, Value | Undefined] = {
                coverage.name: replicated(
                    coverage, (having > 0).mean(1), {("strength", "codes of R"): Value(float(len(common)))}
                )
            }
            groups = grouped(real, synthetic)
            for card, keys_of in ((distinct, records), (alike, code_sets)):
                keys = [keys_of(group) for group in groups]
                numbers = np.split(
                    numbered([key for group in keys for key in group]), np.cumsum([len(group) for group in keys])[:-1]
                )
                scores[card.name] = replicated(card, share_distinct(numbers))
            return scores

        return score


def _patients(visits: Visits, width: int) -> np.ndarray:
    """Return how many patients have each code at any visit, [width]."""
    return np.asarray(record_matrix(visits, width).sum(axis=0, dtype=np.int64)).ravel()
