"""Fidelity of the 0/1 columns: how often each is set."""

import numpy as np

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Value
from ehrsynth.evaluation.groups import needs_two_rows, positives, replicated, replicated_parts, sizes
from ehrsynth.layout import Records
from ehrsynth.metrics.prevalence import absolute_prevalence_difference, nonzero_columns, prevalence

CARDS = Cards.beside(__file__)
APD, NONZERO = CARDS["fidelity/apd"], CARDS["fidelity/nonzero_columns"]


class Prevalence(Evaluator):
    """How often each code occurs."""

    cards = (APD, NONZERO)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Count the codes of R."""
        if not real.layout.binary.stop:
            raise NotApplicableError("the data have no binary column")
        expected = prevalence(real.train.bits).numpy()
        names = real.layout.names[real.layout.binary]

        @needs_two_rows(self)
        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            found = positives(real, synthetic) / sizes(real, synthetic)[:, None]
            parts = replicated_parts(APD, "column", names, np.abs(found - expected))
            return {
                APD.name: replicated(APD, absolute_prevalence_difference(expected, found), parts),
                NONZERO.name: replicated(NONZERO, nonzero_columns(expected, found)),
            }

        return score
