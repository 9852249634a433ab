"""Utility: does a model trained on synthetic patients work on real ones?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.subgroups import ATTRIBUTES, MIN_ROWS
from ehrsynth.evaluation.utility.importance import Explained
from ehrsynth.evaluation.utility.outcome_subgroups import OutcomeSubgroups
from ehrsynth.evaluation.utility.outcomes import Problem, TrainedTrees, Trees, over_outcomes
from ehrsynth.layout import Records
from ehrsynth.metrics import boosting
from ehrsynth.metrics.classification import auprc, auroc, called_at_share, f1
from ehrsynth.metrics.intervals import normal
from ehrsynth.seeding import numpy_rng

Found = dict[str, Value | Undefined]

CARDS = Cards.beside(__file__)
MEASURES = "auroc", "auprc", "f1"
OVERLAP = "utility/feature_importance_overlap"


@dataclass(kw_only=True)
class OutcomePrediction(Evaluator):
    """Predict each outcome with boosted trees: train on R or S or both, test on H or S.

    Args:
        rounds: trees; 2000 as published.
        learning_rate: weight of each tree; 0.01 as published. Six times fewer trees of 0.05 predict as well.
        max_rows: to train on, drawn at random; None takes all.
        explained_rows: of H, for the SHAP values; 0 leaves the overlap out.
        ratios: rows of S per row of R that the parts of the hybrid tell beside the score itself, which is 1; None
            leaves the hybrid out.
        attributes: columns to tell subgroups by; by default the protected ones.
        min_rows: of H in a subgroup that is scored.
    """

    uses_holdout = True

    rounds: int = 2000
    learning_rate: float = 0.01
    max_rows: int | None = None
    explained_rows: int = 500
    ratios: Sequence[float] | None = (0.25, 0.5)
    column_options: ClassVar = ATTRIBUTES
    attributes: Sequence[str] | None = None
    min_rows: int = MIN_ROWS

    def __post_init__(self) -> None:
        self.trees = Trees(self.rounds, self.learning_rate, self.max_rows)
        arms = ("trtr", "tstr", "trts") + (() if self.ratios is None else ("hybrid",))
        names = [f"utility/{arm}_{measure}" for arm in arms for measure in MEASURES]
        self.cards = tuple(CARDS[name] for name in [*names, *([OVERLAP] if self.explained_rows else [])])

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Train on R and test on H."""
        problem = Problem(real)
        on_real = self.trees.on_real(problem)
        benchmark = _named("trtr", self._on_holdout(problem, on_real, with_subgroups=True))
        explained = Explained(problem, self.trees, on_real, self.explained_rows) if self.explained_rows else None

        def score(synthetic: Records, seed: int) -> Found:
            hybrid = {} if self.ratios is None else _named("hybrid", self._hybrid(problem, synthetic, self.ratios))
            on_synthetic = self.trees.on_synthetic(problem, synthetic)
            if isinstance(on_synthetic, str):
                return self.undefined(on_synthetic) | hybrid | benchmark
            found = {
                **benchmark,
                **_named("tstr", self._on_holdout(problem, on_synthetic, with_subgroups=True)),
                **_named("trts", self._on_synthetic(problem, on_real, synthetic)),
                **hybrid,
            }
            if explained:
                found[OVERLAP] = explained.overlap(on_synthetic)
            return found

        return score

    def _on_holdout(self, problem: Problem, trained: TrainedTrees, with_subgroups: bool = False) -> dict[str, Value]:
        """Return each measure on H; AUROC with its subgroups if asked for."""
        found = _over_tasks(problem, problem.truths, trained.risks, trained.shares)
        if with_subgroups:
            whole = found["auroc"]
            parts = OutcomeSubgroups(problem, self.attributes, self.min_rows).auroc(trained.risks)
            found["auroc"] = Value(whole.value, whole.ci, {**whole.parts, **parts})
        return found

    def _on_synthetic(self, problem: Problem, trained: TrainedTrees, synthetic: Records) -> dict[str, Value]:
        test = problem.drawn(synthetic, self.max_rows)
        x, truths = problem.x(test), [task.of(test) for task in problem.tasks]
        risks = np.array([boosting.risk(trained.model(i), x) for i in range(len(truths))])
        return _over_tasks(problem, truths, risks, trained.shares)

    def _hybrid(self, problem: Problem, synthetic: Records, ratios: Sequence[float]) -> dict[str, Value]:
        """Train on R and as many rows of S (all, if it has fewer), and on other shares of S for the parts."""
        train = problem.drawn(problem.real.train, self.max_rows)

        def at(ratio: float) -> dict[str, Value]:
            added = problem.drawn(synthetic, max(round(ratio * len(train)), 1), "hybrid")
            return self._on_holdout(problem, self.trees.fit(problem, (train, added)), with_subgroups=ratio == 1)

        equal = at(1)
        short = Undefined("the synthetic table has too few rows for this ratio")
        others = {f"{ratio:g}": at(ratio) if round(ratio * len(train)) <= len(synthetic) else None for ratio in ratios}
        mixed = {**others, "1": equal if len(train) <= len(synthetic) else None}
        return {
            measure: Value(
                value.value,
                value.ci,
                {**value.parts, **{("ratio", name): _bare(v[measure]) if v else short for name, v in mixed.items()}},
            )
            for measure, value in equal.items()
        }


def _named(arm: str, values: Mapping[str, Value]) -> Found:
    return {f"utility/{arm}_{measure}": value for measure, value in values.items()}


def _over_tasks(
    problem: Problem, truths: Sequence[NDArray[np.uint8]], risks: NDArray[np.float64], shares: NDArray[np.float64]
) -> dict[str, Value]:
    found = [_performance(*parts, problem.seed) for parts in zip(truths, risks, shares, strict=True)]
    return {measure: over_outcomes(problem, [values[measure] for values in found]) for measure in MEASURES}


def _performance(truth: NDArray[np.uint8], risk: NDArray[np.float64], share: float, seed: int) -> dict[str, Value]:
    """Return the value of each measure for one task; ``share`` of the records are called positive."""
    return {
        "auroc": Value(*normal(*auroc(truth, risk))),
        "auprc": Value(*auprc(truth, risk)),
        "f1": Value(*f1(truth, called_at_share(risk, share), numpy_rng(seed, "f1"))),
    }


def _bare(value: Value) -> Value:
    return Value(value.value, value.ci)
