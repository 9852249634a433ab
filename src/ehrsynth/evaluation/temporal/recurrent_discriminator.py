"""Can a recurrent network, which reads visits in their order, tell synthetic records from real ones?"""

from dataclasses import dataclass

import numpy as np

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.fidelity.discriminator import LEAST, TRAINED
from ehrsynth.metrics.classification import auroc
from ehrsynth.metrics.intervals import normal
from ehrsynth.metrics.temporal.content import most_common
from ehrsynth.metrics.temporal.recurrent import RecurrentClassifier
from ehrsynth.metrics.temporal.tasks import Scale
from ehrsynth.seeding import numpy_rng, torch_rng
from ehrsynth.visits import Visits

RECURRENT = Cards.beside(__file__)["temporal/recurrent_discriminator_auc"]


@dataclass(kw_only=True)
class RecurrentDiscriminator(VisitEvaluator):
    """Whether a GRU over visits can tell synthetic records from real ones.

    Args:
        codes: how many are looked at, the most common of R.
        max_patients: of each side, drawn at random.
        steps: batches of 64 that it learns from; they bound the time it takes.
    """

    cards = (RECURRENT,)
    codes: int = 100
    max_patients: int = 2_000
    steps: int = 400

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Find the common codes; what is drawn of R depends on the number of synthetic patients."""
        codes = most_common(real.train, real.width, self.codes)
        scale = Scale.of(real.train, len(real.schema.measurements))

        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            visited = [np.flatnonzero(visits.per_patient > 0) for visits in (real.train, synthetic)]
            n = min(*map(len, visited), self.max_patients)
            if n < LEAST:
                return self.undefined(f"{n} patients of each side with a visit; at least {LEAST} are needed")
            trained, parts = round(TRAINED * n), []
            for visits, some, name in ((real.train, visited[0], "real"), (synthetic, visited[1], "synthetic")):
                drawn = numpy_rng(seed, "recurrent", name).permutation(some)[:n]
                parts.append([visits.of_patients(drawn[part]) for part in (slice(trained), slice(trained, None))])
            learned, unseen = (Visits.joined(pair) for pair in zip(*parts, strict=True))
            model = RecurrentClassifier(real.schema, codes, scale, torch_rng(seed, "recurrent", "weights"))
            model.learn(learned, np.repeat([0, 1], trained), self.steps, torch_rng(seed, "recurrent", "batches"))
            return {RECURRENT.name: Value(*normal(*auroc(np.repeat([0, 1], n - trained), model.log_odds(unseen))))}

        return score
