"""Validity: common medical knowledge and declared rules."""

import torch
from torch import Tensor

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.fidelity import BENCHMARK, JMIR
from ehrsynth.evaluation.subsets import code_columns
from ehrsynth.layout import Layout, Records
from ehrsynth.metrics.classification import wilson
from ehrsynth.metrics.knowledge import one_sex_codes, violation_share

SEX = ("sex", "gender")
BLOCK = 8192  # rows made dense at a time

KNOWLEDGE = Card(
    name="validity/knowledge_violation",
    direction="lower",
    low=0,
    high=1,
    definition="For each sex the 3 most prevalent codes that R has in that sex only (and of which at least 5 records"
    " of the other would be expected by chance); mean over them of the share of positives in S of the other"
    " sex; mean of the sexes.",
    reading="Pregnant men: does the generator know what is impossible? It looks at six codes, and other rules of"
    " medicine may still be broken. The papers name the codes by hand and add the two sexes up; here R names"
    " them and it is the mean.",
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

    cards = (KNOWLEDGE,)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Find the codes of one sex in R."""
        first, second = _sexes(real)
        candidates = code_columns(real.schema, real.layout)
        rules: list[tuple[list[int], int, int]] = []
        for sex, other in ((first, second), (second, first)):
            codes = one_sex_codes(real.train.bits[:, candidates], *_of(real.train, sex, other))
            rules += [([candidates[code] for code in codes], sex, other)] if codes else []
        if not rules:
            raise NotApplicableError("no code is seen in one sex only")

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            shares = [
                violation_share(synthetic.bits[:, codes], *_of(synthetic, sex, other)) for codes, sex, other in rules
            ]
            found = [share for share in shares if share is not None]
            if not found:
                return {KNOWLEDGE.name: Undefined("none of the codes of one sex occurs in the synthetic rows")}
            return {KNOWLEDGE.name: Value(sum(found) / len(found))}

        return score


class ConstraintViolation(Evaluator):
    """Whether records break the declared rules."""

    cards = (CONSTRAINTS,)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Take the rules of the data."""
        if not real.constraints:
            raise NotApplicableError("no constraint is declared for the data")

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            broken = 0
            for start in range(0, len(synthetic), BLOCK):
                x = synthetic.dense(slice(start, start + BLOCK))
                violations = torch.stack([rule.violation(x, synthetic.layout) for rule in real.constraints])
                broken += int((violations > 0).any(0).sum())
            return {CONSTRAINTS.name: Value(broken / len(synthetic), wilson(broken, len(synthetic)))}

        return score


def _sexes(real: RealData) -> tuple[int, int]:
    """Return the encoded columns of the two most frequent sexes; of a 0/1 column ``i``, ``i`` and ``~i``."""
    names = [column.name for column in real.schema.columns if column.name.lower() in SEX]
    if not names:
        raise NotApplicableError("the schema has no column named sex or gender")
    layout: Layout = real.layout
    columns = [
        i
        for i, field in enumerate(layout.fields)
        if field.column == names[0] and field.kind in ("bit", "level") and not field.name.endswith(":missing")
    ]
    if len(columns) == 1 and layout.fields[columns[0]].kind == "bit":
        return columns[0], ~columns[0]
    if len(columns) < 2:
        raise NotApplicableError(f"column {names[0]!r} does not tell two sexes apart")
    counts = real.train.bits[:, columns].sum(0, dtype=torch.int64)
    most = counts.argsort(descending=True, stable=True)
    return columns[int(most[0])], columns[int(most[1])]


def _of(records: Records, sex: int, other: int) -> tuple[Tensor, Tensor]:
    """Return which records are of the one and of the other sex, as ``_sexes`` names them."""
    one, two = (records.bits[:, i] == 1 if i >= 0 else records.bits[:, ~i] == 0 for i in (sex, other))
    return one, two
