"""Fairness of the table: are all kinds of patients shown in their real numbers?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.subgroups import ATTRIBUTES, MIN_ROWS, Subgroups, largest_gap, subgroups
from ehrsynth.layout import Records
from ehrsynth.metrics.fairness import share_distance
from ehrsynth.metrics.intervals import difference, share

REPRESENTATION = Cards.beside(__file__)["fairness/representation"]


@dataclass(kw_only=True)
class Representation(Evaluator):
    """Whether every subgroup has its real share of the synthetic patients.

    Args:
        attributes: columns to split by; by default the protected ones.
        min_rows: of R in a subgroup that is told apart in the parts.
    """

    cards = (REPRESENTATION,)
    column_options: ClassVar = ATTRIBUTES
    attributes: Sequence[str] | None = None
    min_rows: int = MIN_ROWS

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
                    change = difference(share(there[label], m), share(count, n))
                    few = Undefined(f"too small: fewer than {self.min_rows} training records")
                    parts["subgroup", label] = Value(*change) if count >= self.min_rows else few
            return {REPRESENTATION.name: largest_gap(gaps, parts)}

        return score


def _counts(found: Subgroups) -> dict[str, dict[str, int]]:
    return {name: {label: int(mask.sum()) for label, mask in labels.items()} for name, labels in found.items()}


def _with_rest(counts: Mapping[str, int], n: int) -> list[int]:
    """Return the counts and how many of ``n`` records are in no subgroup, having a level that the schema lacks."""
    return [*counts.values(), n - sum(counts.values())]
