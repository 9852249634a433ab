"""Utility by other kinds of models, so that its verdict does not hang on boosted trees."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.evaluation.evaluator import Evaluator, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.subsets import capped
from ehrsynth.evaluation.utility.cards import model_card
from ehrsynth.evaluation.utility.outcomes import SEED, Problem, over_outcomes
from ehrsynth.layout import Records
from ehrsynth.metrics.classification import auroc
from ehrsynth.metrics.intervals import normal
from ehrsynth.metrics.linear import Scale, logistic_scores
from ehrsynth.metrics.missing import filled, observed_means
from ehrsynth.metrics.mlp import mlp_scores
from ehrsynth.seeding import derive

MODELS = {"logistic": "a logistic regression (L2 penalty 1)", "mlp": "a network of 32 hidden units, stopped early,"}
CARDS = {(arm, model): model_card(arm, model, MODELS[model]) for arm in ("trtr", "tstr") for model in MODELS}

Fit = Callable[[sparse.csr_matrix, NDArray[np.uint8]], NDArray[np.float64]]


class OtherModels(Evaluator):
    """Predict each outcome of H with a logistic regression and a small network trained on R, and on S.

    Args:
        max_rows: to train on, drawn at random; None takes all.
    """

    cards = tuple(CARDS.values())
    uses_holdout = True

    def __init__(self, *, max_rows: int | None = None) -> None:
        self.max_rows = max_rows

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Train on R and test on H."""
        problem = Problem(real)
        means = observed_means(real.train.values)

        def x(records: Records) -> sparse.csr_matrix:
            return problem.x(Records(records.layout, records.bits, filled(records.values, means)))

        scale, test = Scale.of(x(real.train)), x(real.holdout)
        kinds: dict[str, Fit] = {
            "logistic": lambda x, y: logistic_scores(x, y, test, scale),
            "mlp": lambda x, y: mlp_scores(x, y, test, scale, derive(SEED, "mlp")),
        }

        def predicted(records: Records) -> dict[str, NDArray[np.float64]]:
            drawn = capped(records, self.max_rows, SEED, "utility")
            features, answers = x(drawn), [task.of(drawn) for task in problem.tasks]
            return {kind: np.array([fit(features, y) for y in answers]) for kind, fit in kinds.items()}

        def judged(arm: str, scores: Mapping[str, NDArray[np.float64]]) -> dict[str, Value | Undefined]:
            truths = [task.of(real.holdout) for task in problem.tasks]
            found: dict[str, Value | Undefined] = {}
            for kind in MODELS:
                values = [Value(*normal(*auroc(y, s))) for y, s in zip(truths, scores[kind], strict=True)]
                found[CARDS[arm, kind].name] = over_outcomes(problem, values)
            return found

        key = {"work": "outcome models", "max_rows": self.max_rows}
        benchmark = judged("trtr", real.memory.recall(key, lambda: predicted(real.train)))

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            if constant := problem.constant(capped(synthetic, self.max_rows, SEED, "utility")):
                reason = Undefined(f"outcome {constant!r} is constant in the synthetic rows")
                return {card.name: reason for card in self.cards} | benchmark
            return {**benchmark, **judged("tstr", predicted(synthetic))}

        return score
