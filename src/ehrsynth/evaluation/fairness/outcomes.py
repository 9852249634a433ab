"""Fairness of what is learned: do models of synthetic patients serve all kinds of real patients alike?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.subgroups import ATTRIBUTES, FEW, MIN_ROWS, largest_gap
from ehrsynth.evaluation.utility.outcome_subgroups import Mask, OutcomeSubgroups
from ehrsynth.evaluation.utility.outcomes import Problem, Trees, averaged
from ehrsynth.layout import Records
from ehrsynth.metrics.classification import called_at_share
from ehrsynth.metrics.fairness import Paired, excess_gap, model_gap, paired_auroc, paired_rate
from ehrsynth.metrics.intervals import Estimate

CARDS = Cards.beside(__file__)
UTILITY, OPPORTUNITY, PARITY = (
    CARDS[f"fairness/{name}_gap"] for name in ("utility", "equal_opportunity", "demographic_parity")
)

Measure = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], Paired]  # answers, model of S, model of R -> both of it


@dataclass(kw_only=True)
class OutcomeFairness(Evaluator):
    """Whether models of synthetic patients serve all subgroups as models of real ones do.

    The trees are those of ``OutcomePrediction`` with the same options, and are fitted once for both.

    Args:
        rounds: trees; 2000 as published.
        learning_rate: weight of each tree; 0.01 as published.
        max_rows: to train on, drawn at random; None takes all.
        attributes: columns to split by; by default the protected ones.
        min_rows: of H in a subgroup that is scored.
    """

    cards = (UTILITY, OPPORTUNITY, PARITY)
    uses_holdout = True
    rounds: int = 2000
    learning_rate: float = 0.01
    max_rows: int | None = None
    column_options: ClassVar = ATTRIBUTES
    attributes: Sequence[str] | None = None
    min_rows: int = MIN_ROWS

    def __post_init__(self) -> None:
        self.trees = Trees(self.rounds, self.learning_rate, self.max_rows)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Train on R and find the subgroups of H."""
        problem = Problem(real)
        groups = OutcomeSubgroups(problem, self.attributes, self.min_rows)
        if all(len(labels) < 2 for scored in groups.scored for labels in scored.values()):
            raise NotApplicableError("no protected attribute has two subgroups of H that are large enough to judge")
        on_real = self.trees.on_real(problem)

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            on_synthetic = self.trees.on_synthetic(problem, synthetic)
            if isinstance(on_synthetic, str):
                return self.undefined(on_synthetic)
            models = on_synthetic, on_real
            risks = list(zip(problem.truths, *(model.risks for model in models), strict=True))
            called = [[called_at_share(r, share) for r, share in zip(m.risks, m.shares, strict=True)] for m in models]
            cases = list(zip(problem.truths, *called, strict=True))
            return {
                UTILITY.name: _compared(groups, paired_auroc, risks, excess=False),
                OPPORTUNITY.name: _compared(groups, _hits, cases, excess=True),
                PARITY.name: _compared(groups, _calls, cases, excess=True),
            }

        return score


def _compared(
    groups: OutcomeSubgroups, measure: Measure, tasks: Sequence[tuple[NDArray[Any], ...]], excess: bool
) -> Value | Undefined:
    """Return the gap of the model of S, or its excess over that of R, in the worst attribute."""
    pairs = [
        {
            a: {label: measure(*(x[mask] for x in task)) for label, mask in labels.items()}
            for a, labels in scored.items()
        }
        for scored, task in zip(groups.scored, tasks, strict=True)
    ]
    kinds: dict[str, Callable[[list[Paired]], Estimate]] = {
        "attribute_synthetic": lambda found: model_gap(found, 0),
        "attribute_real": lambda found: model_gap(found, 1),
        "attribute_excess": excess_gap,
    }
    gaps = {kind: _per_attribute(pairs, estimate) for kind, estimate in kinds.items()}
    parts: dict[tuple[str, str], Value | Undefined] = {
        (kind, attribute): value for kind, found in gaps.items() for attribute, value in found.items()
    }
    for model, kind in enumerate(("subgroup", "subgroup_real")):
        flat = [{label: Value(*p.estimate(model)) for part in t.values() for label, p in part.items()} for t in pairs]
        parts |= groups.parts(flat, kind)
    return largest_gap(gaps["attribute_excess" if excess else "attribute_synthetic"], parts)


def _per_attribute(
    pairs: Sequence[Mapping[str, Mapping[str, Paired]]], estimate: Callable[[list[Paired]], Estimate]
) -> dict[str, Value | Undefined]:
    """Return the mean over the tasks, for each attribute."""
    found: dict[str, Value | Undefined] = {}
    for attribute in pairs[0]:
        values = [Value(*estimate(list(t[attribute].values()))) for t in pairs if len(t[attribute]) > 1]
        found[attribute] = averaged(values) if values else FEW
    return found


def _hits(truth: NDArray[np.uint8], synthetic: Mask, real: Mask) -> Paired:
    return paired_rate(synthetic[truth > 0], real[truth > 0])


def _calls(truth: NDArray[np.uint8], synthetic: Mask, real: Mask) -> Paired:
    return paired_rate(synthetic, real)
