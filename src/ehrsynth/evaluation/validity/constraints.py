"""Validity: the rules that were declared for the data."""

import torch

from ehrsynth.constraints import Rules
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

        rules = Rules(real.constraints, real.schema)

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            n, broken, each = len(synthetic), 0, torch.zeros(len(rules), dtype=torch.int64)
            for rows in synthetic.blocks(BLOCK):
                violated = rules.violation(rows.dense()) > 0
                broken += int(violated.any(1).sum())
                each += violated.sum(0)
            parts = {
                ("constraint", words): Value(*share(count, n))
                for words, count in zip(rules.describe(), each.tolist(), strict=True)
            }
            return {CONSTRAINTS.name: Value(*share(broken, n), parts)}

        return score
