"""Validity: common medical knowledge and declared rules."""

import torch

from ehrsynth.bits import chosen
from ehrsynth.constraints import Rules
from ehrsynth.evaluation.card import BENCHMARK, JMIR, Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.subsets import code_columns
from ehrsynth.evaluation.validity.sexes import two_sexes
from ehrsynth.layout import Records
from ehrsynth.metrics.intervals import Estimate, mover_mean, wilson
from ehrsynth.metrics.knowledge import one_sex_codes, violations

BLOCK = 8192  # rows made dense at a time

_CODES = (
    "For each sex the 3 most prevalent codes that R has in that sex only (and of which at least 5 records of the other"
    " would be expected by chance); mean over those that occur in S of the share of their records in S that are of the"
    " other sex"
)
_INTERVAL = "interval of the mean recovered from the Wilson intervals of the codes (MOVER), taken as independent."

KNOWLEDGE = Card(
    name="validity/knowledge_violation",
    direction="lower",
    low=0,
    high=1,
    definition=f"{_CODES}; mean of the two sexes; {_INTERVAL}",
    reading="Pregnant men: does the generator know what is impossible? It looks at six codes, and other rules of"
    " medicine may still be broken. The papers name the codes by hand and add the two sexes up; here R names"
    " them and it is the mean. A generator that hardly makes these codes is judged on few records: see the interval.",
    paper=f"{BENCHMARK}; {JMIR} (CKV)",
)
PUBLISHED = Card(
    name="validity/knowledge_violation_published",
    direction="lower",
    low=0,
    high=2,
    definition=f"{_CODES}; sum of the two sexes, as in the public code; {_INTERVAL}",
    reading="knowledge_violation on the scale of the published tables, 0 to 2, where the text of the papers says mean."
    " The codes are those that R has in one sex only, not the six that the public code writes down, and a code that"
    " never occurs is left out, where the public code divides by zero.",
    paper=f"{BENCHMARK}; {JMIR} (CKV)",
)
CONSTRAINTS = Card(
    name="validity/constraint_violation",
    direction="lower",
    low=0,
    high=1,
    definition="Share of S that breaks any of the constraints declared for the data; Wilson interval.",
    reading="Records that cannot exist by the rules someone wrote down. It is blind to rules that nobody declared.",
    paper="-",
)


class KnowledgeViolation(Evaluator):
    """Whether codes of one sex appear in records of the other."""

    cards = (KNOWLEDGE, PUBLISHED)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Find the codes of one sex in R."""
        first, second = two_sexes(real)
        candidates = code_columns(real.schema, real.layout)
        rules = []
        for sex, other in ((first, second), (second, first)):
            found = one_sex_codes(chosen(real.train.bits, candidates), sex(real.train), other(real.train))
            rules += [([candidates[code] for code in found], sex, other)] if found else []
        if not rules:
            raise NotApplicableError("no code is seen in one sex only")

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            parts: dict[tuple[str, str], Value | Undefined] = {}
            means: list[Estimate] = []
            for codes, sex, other in rules:
                counts = violations(synthetic.bits[:, codes], sex(synthetic), other(synthetic))
                shares = [_share(wrong, n) for wrong, n in counts]
                parts |= {("code", real.layout.names[code]): share for code, share in zip(codes, shares, strict=True)}
                seen = [(wrong / n, wilson(wrong, n)) for wrong, n in counts if n]
                means += [mover_mean(*zip(*seen, strict=True))] if seen else []
            return {KNOWLEDGE.name: _mean(means, parts), PUBLISHED.name: _sum(means, parts)}

        return score


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
            for start in range(0, n, BLOCK):
                violated = rules.violation(synthetic.dense(slice(start, start + BLOCK))) > 0
                broken += int(violated.any(1).sum())
                each += violated.sum(0)
            parts = {
                ("constraint", words): Value(count / n, wilson(count, n))
                for words, count in zip(rules.describe(), each.tolist(), strict=True)
            }
            return {CONSTRAINTS.name: Value(broken / n, wilson(broken, n), parts)}

        return score


def _share(wrong: int, n: int) -> Value | Undefined:
    return Value(wrong / n, wilson(wrong, n)) if n else Undefined("the code does not occur in the synthetic rows")


def _mean(means: list[Estimate], parts: dict[tuple[str, str], Value | Undefined]) -> Value | Undefined:
    if not means:
        return Undefined("none of the codes of one sex occurs in the synthetic rows")
    return Value(*mover_mean(*zip(*means, strict=True)), parts)


def _sum(means: list[Estimate], parts: dict[tuple[str, str], Value | Undefined]) -> Value | Undefined:
    if len(means) < 2:
        return Undefined("codes of both sexes are needed, and those of one do not occur")
    value, (low, high) = mover_mean(*zip(*means, strict=True))
    return Value(2 * value, (2 * low, 2 * high), parts)
