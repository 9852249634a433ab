"""Can a classifier tell synthetic records of visits from real ones, and by what?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.fidelity.discriminator import LEARNING_RATE, LEAST, TRAINED
from ehrsynth.metrics.boosting import KEEN, fit_trees, risk
from ehrsynth.metrics.classification import auroc
from ehrsynth.metrics.intervals import normal
from ehrsynth.metrics.temporal.content import most_common
from ehrsynth.metrics.temporal.summaries import summaries
from ehrsynth.seeding import derive, numpy_rng
from ehrsynth.visits import Visits

DISCRIMINATOR = Cards.beside(__file__)["temporal/discriminator_auc"]
TOLD = 10  # features that are named


@dataclass(kw_only=True)
class SequenceDiscriminator(VisitEvaluator):
    """Whether trees can tell synthetic records of visits from real ones.

    Args:
        rounds: number of trees.
        codes: how many are looked at, the most common of R.
        max_patients: of each side, drawn at random.
    """

    cards = (DISCRIMINATOR,)
    rounds: int = 100
    codes: int = 100
    max_patients: int = 10_000

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Find the common codes; what is drawn of R depends on the number of synthetic patients."""
        codes = most_common(real.train, real.width, self.codes)

        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            n = min(len(real.train), len(synthetic), self.max_patients)
            if n < LEAST:
                return self.undefined(f"{n} patients of each side; at least {LEAST} are needed")
            sides: list[NDArray[np.float32]] = []
            for visits, name in ((real.train, "real"), (synthetic, "synthetic")):
                drawn = numpy_rng(seed, "discriminator", name).permutation(len(visits))[:n]
                names, rows = summaries(visits.of_patients(drawn), real.schema, codes)
                sides.append(rows)
            trained = round(TRAINED * n)
            x, unseen = (
                sparse.csr_matrix(np.vstack([side[part] for side in sides]))
                for part in (slice(trained), slice(trained, None))
            )
            labels = np.repeat([0, 1], trained), np.repeat([0, 1], n - trained)
            model = fit_trees(x, labels[0], self.rounds, derive(seed, "trees") % 2**31, LEARNING_RATE, KEEN)
            gain = np.asarray(model.feature_importance("gain"), np.float64)
            gain /= max(gain.sum(), 1e-12)
            most = np.argsort(-gain, kind="stable")[:TOLD]
            parts = {("feature", names[i]): Value(float(gain[i])) for i in most if gain[i] > 0}
            return {DISCRIMINATOR.name: Value(*normal(*auroc(labels[1], risk(model, unseen))), parts)}

        return score
