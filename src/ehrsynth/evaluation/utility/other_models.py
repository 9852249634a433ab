"""Utility by other kinds of models, so that its verdict does not hang on boosted trees."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.utility.outcomes import Problem, over_outcomes
from ehrsynth.layout import Records
from ehrsynth.metrics.classification import auroc
from ehrsynth.metrics.intervals import normal
from ehrsynth.metrics.missing import filled, observed_means
from ehrsynth.metrics.other_models import Scale, logistic_scores, mlp_scores
from ehrsynth.seeding import derive

CARDS = Cards.beside(__file__)

Fit = Callable[[sparse.csr_matrix, NDArray[np.uint8]], NDArray[np.float64]]


@dataclass(kw_only=True)
class OtherModels(Evaluator):
    """Predict each outcome of H with a logistic regression and a small network trained on R, and on S.

    Args:
        max_rows: to train on, drawn at random; None takes all.
    """

    cards = tuple(CARDS.values())
    uses_holdout = True
    max_rows: int | None = None

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Train on R and test on H."""
        problem = Problem(real)
        means = observed_means(real.train.values)

        def x(records: Records) -> sparse.csr_matrix:
            return problem.x(Records(records.layout, records.bits, filled(records.values, means)))

        scale, test = Scale.of(x(real.train)), x(real.holdout)
        kinds: dict[str, Fit] = {
            "logistic": lambda x, y: logistic_scores(x, y, test, scale),
            "mlp": lambda x, y: mlp_scores(x, y, test, scale, derive(problem.seed, "mlp")),
        }

        def predicted(records: Records) -> dict[str, NDArray[np.float64]]:
            drawn = problem.drawn(records, self.max_rows)
            features, answers = x(drawn), [task.of(drawn) for task in problem.tasks]
            return {kind: np.array([fit(features, y) for y in answers]) for kind, fit in kinds.items()}

        def judged(arm: str, scores: Mapping[str, NDArray[np.float64]]) -> dict[str, Value | Undefined]:
            values = {
                kind: [Value(*normal(*auroc(y, s))) for y, s in zip(problem.truths, scores[kind], strict=True)]
                for kind in kinds
            }
            return {f"utility/{arm}_auroc_{kind}": over_outcomes(problem, found) for kind, found in values.items()}

        key = {"work": "outcome models", "max_rows": self.max_rows, "seed": problem.seed}
        benchmark = judged("trtr", real.memory.cached(key, lambda: predicted(real.train)))

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            if constant := problem.constant(problem.drawn(synthetic, self.max_rows)):
                return self.undefined(f"outcome {constant!r} is constant in the synthetic rows") | benchmark
            return {**benchmark, **judged("tstr", predicted(synthetic))}

        return score
