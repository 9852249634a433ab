"""How many visits patients have, and how many codes visits have."""

from collections.abc import Callable

import numpy as np

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.groups import needs_two_rows, replicated
from ehrsynth.evaluation.temporal.groups import distances, gap_of_shares, grouped, ratios, summed
from ehrsynth.metrics.temporal.shape import codes_per_record
from ehrsynth.visits import Integers, Visits

CARDS = Cards.beside(__file__)
SIZES: tuple[tuple[str, Callable[[Visits], Integers]], ...] = (
    ("visits", lambda visits: visits.per_patient),
    ("codes_per_visit", lambda visits: visits.codes_per_visit),
)
EMPTY = ("empty_visits", "empty_records")


class VisitCounts(VisitEvaluator):
    """How many visits patients have, and how many codes visits have."""

    cards = tuple(CARDS.values())

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Count the visits and codes of R."""
        sizes = [of(real.train).astype(np.float64) for _, of in SIZES]
        empty = ratios(_empty(real.train))

        @needs_two_rows(self)
        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            scores: dict[str, Value | Undefined] = {}
            for (name, of), known in zip(SIZES, sizes, strict=True):
                parts = [of(group).astype(np.float64) for group in grouped(real, synthetic)]
                found = distances(known, parts, "visit")
                for i, card in enumerate(CARDS[f"temporal/{name}_{form}"] for form in ("ks", "wasserstein")):
                    scores[card.name] = found if isinstance(found, Undefined) else replicated(card, found[i])
            shares = ratios(summed(real, synthetic, _empty))
            for i, name in enumerate(EMPTY):
                card = CARDS[f"temporal/{name}"]
                scores[card.name] = gap_of_shares(card, float(empty[i]), shares[:, i])
            return scores

        return score


def _empty(visits: Visits) -> np.ndarray:
    """Return visits without a code and visits, patients without any and patients, [2, 2]."""
    without = (visits.codes_per_visit == 0).sum(), (codes_per_record(visits) == 0).sum()
    return np.array([without, (visits.count, len(visits))], dtype=np.float64)
