"""Whether the diagnoses of a visit lie as close together in the tree of ICD as real ones do."""

import numpy as np

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.groups import needs_two_rows
from ehrsynth.evaluation.temporal.groups import gap_of_shares, summed
from ehrsynth.metrics.temporal.hierarchy import Tree, hierarchy_sums, icd_path
from ehrsynth.visits import Visits

CARDS = Cards.beside(__file__)
LEAST = 0.5  # share of the diagnoses of R that must have a place in the tree


class Hierarchy(VisitEvaluator):
    """How deep the diagnoses are, how far apart within a visit, and in how many chapters."""

    cards = tuple(CARDS.values())

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Place the diagnoses in the tree, and measure R."""
        diagnoses = [code.domain in ("diagnosis", "code") for code in real.schema.codes]
        tree = Tree.of(
            [icd_path(code.name) if own else None for code, own in zip(real.schema.codes, diagnoses, strict=True)]
        )
        coded = np.array(diagnoses, dtype=bool)[real.train.codes]
        placed = (tree.depth > 0)[real.train.codes]
        if not coded.any() or placed.sum() < LEAST * coded.sum():
            raise NotApplicableError("half of the diagnoses have no name that ends in an ICD-9-CM or ICD-10 code")
        expected = _means(hierarchy_sums(real.train, tree))
        if np.isnan(expected).any():
            raise NotApplicableError("no visit of R has two diagnoses")

        @needs_two_rows(self)
        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            found = _means(summed(real, synthetic, lambda visits: hierarchy_sums(visits, tree)))
            if np.isnan(found).any():
                return self.undefined("too few synthetic visits have two diagnoses")
            return {
                card.name: gap_of_shares(card, float(expected[i]), found[:, i]) for i, card in enumerate(self.cards)
            }

        return score


def _means(sums: np.ndarray) -> np.ndarray:
    """Return sums [..., 3, 2] over what they are divided by, [..., 3]; NaN where nothing was counted."""
    return np.where(sums[..., 1] > 0, sums[..., 0] / np.maximum(sums[..., 1], 1), np.nan)
