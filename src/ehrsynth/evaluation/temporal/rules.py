"""Rules over time that were declared for the data: what may not come before what."""

from ehrsynth.constraints.over_time import RulesOverTime
from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.metrics.intervals import share
from ehrsynth.visits import Visits

RULES = Cards.beside(__file__)["temporal/rule_violation"]


class RuleViolation(VisitEvaluator):
    """Whether patients break the declared rules over time."""

    cards = (RULES,)

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Take the rules of the data."""
        if not real.over_time:
            raise NotApplicableError("no rule over time is declared for the data")
        rules = RulesOverTime(real.over_time, real.schema)

        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            n = len(synthetic)
            if not n:
                return self.undefined("no synthetic patient")
            _, does = rules.judged(synthetic)
            parts = {
                ("rule", words): Value(*share(count, n))
                for words, count in zip(rules.describe(), does.sum(0).tolist(), strict=True)
            }
            return {RULES.name: Value(*share(int(does.any(1).sum()), n), parts)}

        return score
