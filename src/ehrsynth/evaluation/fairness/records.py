"""Fairness of the table: are all kinds of patients shown in their real numbers, and protected alike?"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.fairness.cards import PRIVACY, REPRESENTATION
from ehrsynth.evaluation.privacy.nearness import nearness
from ehrsynth.evaluation.subgroups import FEW, MIN_ROWS, Subgroups, subgroups, worst
from ehrsynth.layout import Records
from ehrsynth.metrics.classification import auroc
from ehrsynth.metrics.fairness import gap, share_distance
from ehrsynth.metrics.intervals import difference, normal, wilson


class Representation(Evaluator):
    """Whether every subgroup has its real share of the synthetic patients.

    Args:
        attributes: columns to split by; by default the protected ones.
        min_rows: of R in a subgroup that is told apart in the parts.
    """

    cards = (REPRESENTATION,)

    def __init__(self, *, attributes: Sequence[str] | None = None, min_rows: int = MIN_ROWS) -> None:
        self.attributes = attributes
        self.min_rows = min_rows

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Count the subgroups of R."""
        expected = _counts(subgroups(real.schema, real.train, self.attributes))
        n = len(real.train)

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            found = _counts(subgroups(real.schema, synthetic, self.attributes, real.train))
            m = len(synthetic)
            gaps, parts = {}, {}
            for attribute, counts in expected.items():
                there = found[attribute]
                gaps[attribute] = Value(*share_distance(_with_rest(there, m), _with_rest(counts, n), m, n))
                for label, count in counts.items():
                    change = difference(there[label] / m, wilson(there[label], m), count / n, wilson(count, n))
                    few = Undefined(f"too small: fewer than {self.min_rows} training records")
                    parts["subgroup", label] = Value(*change) if count >= self.min_rows else few
            return {REPRESENTATION.name: worst(gaps, parts)}

        return score


class MembershipGap(Evaluator):
    """Whether membership is easier to infer in some subgroups.

    Args:
        attributes: columns to split by; by default the protected ones.
        min_rows: of R and of H in a subgroup that is scored.
    """

    cards = (PRIVACY,)
    uses_holdout = True

    def __init__(self, *, attributes: Sequence[str] | None = None, min_rows: int = MIN_ROWS) -> None:
        self.attributes = attributes
        self.min_rows = min_rows

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Find the subgroups of R and H."""
        sides = [subgroups(real.schema, t, self.attributes, real.train) for t in (real.train, real.holdout)]
        masks = {
            attribute: {label: (mask.numpy(), sides[1][attribute][label].numpy()) for label, mask in labels.items()}
            for attribute, labels in sides[0].items()
        }
        scored = {
            attribute: [label for label, pair in labels.items() if min(map(np.sum, pair)) >= self.min_rows]
            for attribute, labels in masks.items()
        }
        if all(len(labels) < 2 for labels in scored.values()):
            raise NotApplicableError(f"no attribute has two subgroups of {self.min_rows} training and held-out records")
        few = Undefined(f"too small: fewer than {self.min_rows} training or held-out records")

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            near = nearness(real, synthetic)
            members, others = near.members.numpy(), near.others.numpy()
            gaps: dict[str, Value | Undefined] = {}
            parts: dict[tuple[str, str], Value | Undefined] = {}
            for attribute, labels in masks.items():
                found = {
                    label: _membership(members[labels[label][0]], others[labels[label][1]])
                    for label in scored[attribute]
                }
                parts |= {
                    ("subgroup", label): Value(*normal(*found[label])) if label in found else few for label in labels
                }
                values, errors = np.array(list(found.values())).reshape(-1, 2).T
                gaps[attribute] = Value(*gap(values, errors**2)) if len(found) > 1 else FEW
            return {PRIVACY.name: worst(gaps, parts)}

        return score


def _counts(found: Subgroups) -> dict[str, dict[str, int]]:
    return {name: {label: int(mask.sum()) for label, mask in labels.items()} for name, labels in found.items()}


def _with_rest(counts: Mapping[str, int], n: int) -> list[int]:
    """Return the counts and how many of ``n`` records are in no subgroup, having a level that the schema lacks."""
    return [*counts.values(), n - sum(counts.values())]


def _membership(members: NDArray[np.float32], others: NDArray[np.float32]) -> tuple[float, float]:
    labels = np.repeat([1, 0], [len(members), len(others)])
    return auroc(labels, -np.concatenate([members, others]))
