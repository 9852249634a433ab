"""Fairness of protection: is membership easier to infer for some kinds of patients?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.privacy.nearness import nearness
from ehrsynth.evaluation.subgroups import ATTRIBUTES, FEW, MIN_ROWS, largest_gap, subgroups
from ehrsynth.layout import Records
from ehrsynth.metrics.fairness import gap
from ehrsynth.metrics.intervals import normal
from ehrsynth.metrics.membership import membership_auroc

PRIVACY_GAP = Cards.beside(__file__)["fairness/privacy_gap"]


@dataclass(kw_only=True)
class MembershipGap(Evaluator):
    """Whether membership is easier to infer in some subgroups.

    Args:
        attributes: columns to split by; by default the protected ones.
        min_rows: of R and of H in a subgroup that is scored.
    """

    cards = (PRIVACY_GAP,)
    uses_holdout = True
    column_options: ClassVar = ATTRIBUTES
    attributes: Sequence[str] | None = None
    min_rows: int = MIN_ROWS

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Find the subgroups of R and H."""
        sides = [subgroups(real.schema, t, self.attributes, real.train) for t in (real.train, real.holdout)]
        masks = {
            attribute: {label: (mask, sides[1][attribute][label]) for label, mask in labels.items()}
            for attribute, labels in sides[0].items()
        }
        scored = {
            attribute: [label for label, pair in labels.items() if min(mask.sum() for mask in pair) >= self.min_rows]
            for attribute, labels in masks.items()
        }
        if all(len(labels) < 2 for labels in scored.values()):
            raise NotApplicableError(f"no attribute has two subgroups of {self.min_rows} training and held-out records")
        few = Undefined(f"too small: fewer than {self.min_rows} training or held-out records")

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            near = nearness(real, synthetic)
            gaps: dict[str, Value | Undefined] = {}
            parts: dict[tuple[str, str], Value | Undefined] = {}
            for attribute, labels in masks.items():
                found = {
                    label: membership_auroc(near.members[labels[label][0]], near.others[labels[label][1]])
                    for label in scored[attribute]
                }
                parts |= {
                    ("subgroup", label): Value(*normal(*found[label])) if label in found else few for label in labels
                }
                values, errors = np.array(list(found.values())).reshape(-1, 2).T
                gaps[attribute] = Value(*gap(values, errors**2)) if len(found) > 1 else FEW
            return {PRIVACY_GAP.name: largest_gap(gaps, parts)}

        return score
