"""What visits record, by domain: diagnoses, drugs, measurements, kinds of visits."""

import numpy as np

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.groups import needs_two_rows, replicated, replicated_parts
from ehrsynth.evaluation.temporal.groups import summed
from ehrsynth.metrics.distributions import js_divergence, shares
from ehrsynth.metrics.temporal.cells import VisitCells
from ehrsynth.visits import Visits

CARDS = Cards.beside(__file__)
JS = CARDS["temporal/content_js"]


class Content(VisitEvaluator):
    """How often visits record what they record, domain by domain."""

    cards = (JS,)

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Count the cells of R."""
        if not real.train.count:
            raise NotApplicableError("no training patient has a visit")
        cells = VisitCells.of(real.train, real.schema)
        expected = shares(cells.count(real.train).astype(np.float64), cells.starts)

        @needs_two_rows(self)
        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            if not synthetic.count:
                return self.undefined("no synthetic patient has a visit")
            found = summed(real, synthetic, cells.count)
            found[~found.any(1)] = found[0]  # the one group with visits cannot be left out
            each = js_divergence(expected, shares(found, cells.starts), cells.starts)
            means = np.stack([each[:, members].mean(1) for members in cells.domains.values()], axis=1)
            measured = slice(1 + len(real.schema.domains), None)
            parts = {
                **replicated_parts(JS, "domain", list(cells.domains), means),
                **replicated_parts(JS, "measurement", cells.names[measured], each[:, measured]),
            }
            return {JS.name: replicated(JS, means.mean(1), parts)}

        return score
