"""Orders of events that cannot be."""

import numpy as np

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.metrics.intervals import share
from ehrsynth.metrics.temporal.order import FAULTS, order_faults
from ehrsynth.visits import Visits

ORDER = Cards.beside(__file__)["temporal/order_violation"]


class OrderValidity(VisitEvaluator):
    """How many patients have events in an order that cannot be."""

    cards = (ORDER,)

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Do nothing: what cannot be does not depend on R."""

        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            n = len(synthetic)
            if not n:
                return self.undefined("no synthetic patient")
            found = order_faults(synthetic)
            parts = {
                ("fault", name): Value(*share(int(count), n))
                for name, count in zip(FAULTS, np.sum(found, axis=0), strict=True)
            }
            return {ORDER.name: Value(*share(int(found.any(1).sum()), n), parts)}

        return score
