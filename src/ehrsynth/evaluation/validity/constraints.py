"""Validity: the rules that were declared for the data."""

import torch

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Value
from ehrsynth.layout import Records
from ehrsynth.metrics.intervals import share

CONSTRAINTS = Cards.beside(__file__)["validity/constraint_violation"]
BLOCK = 8192  # rows made dense at a time


class ConstraintViolation(Evaluator):
    """Whether records break the declared rules."""

    cards = (CONSTRAINTS,)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Take the rules of the data."""
        if not real.constraints:
            raise NotApplicableError("no constraint is declared for the data")

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            n, broken, each = len(synthetic), 0, torch.zeros(len(real.constraints), dtype=torch.int64)
            for rows in synthetic.blocks(BLOCK):
                x = rows.dense()
                violated = torch.stack([rule.violation(x, synthetic.layout) for rule in real.constraints]) > 0
                broken += int(violated.any(0).sum())
                each += violated.sum(1)
            parts = {
                ("constraint", rule.describe()): Value(*share(count, n))
                for rule, count in zip(real.constraints, each.tolist(), strict=True)
            }
            return {CONSTRAINTS.name: Value(*share(broken, n), parts)}

        return score
