"""Validity: cells and groups of columns that R never has."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ehrsynth.bits import chosen
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Value
from ehrsynth.layout import Records
from ehrsynth.metrics.intervals import wilson
from ehrsynth.metrics.ranges import any_of, one_hot_groups, outside_range, unseen_levels

UNSEEN = Card(
    name="validity/unseen_level",
    direction="lower",
    low=0,
    high=1,
    definition="Share of S with a level that R never has in any categorical column; an empty cell counts where R has"
    " none. Wilson interval.",
    reading="Answers that no training patient gave: spelling, invented categories, or real ones too rare for R. The"
    " other metrics take such a cell as no level at all.",
    paper="-",
)
RANGE = Card(
    name="validity/value_range",
    direction="lower",
    low=0,
    high=1,
    definition="Share of S with a number below R's minimum or above its maximum in any numeric column; an empty cell"
    " counts where R has none. Wilson interval.",
    reading="Numbers beyond anything in the training rows: impossible, or only rarer than R could show. Some fresh real"
    " patients are beyond it too, more the more numeric columns there are: read it beside fresh real. A generator that"
    " clips always scores 0.",
    paper="-",
)
ONE_HOT = Card(
    name="validity/one_hot_violation",
    direction="lower",
    low=0,
    high=1,
    definition="Share of S where some group of 0/1 columns does not have exactly one that is set, although every row of"
    " R has; groups are found by names that begin alike up to '_', '=' or ':'. Wilson interval.",
    reading="Two races at once, or none. A categorical column declared as one cannot be broken and is not looked at;"
    " groups whose names do not begin alike are not found.",
    paper="-",
)


class UnseenLevels(Evaluator):
    """Whether records have levels that R lacks."""

    cards = (UNSEEN,)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Check that there is a categorical column."""
        if not real.layout.groups:
            raise NotApplicableError("the data have no categorical column")

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            return {UNSEEN.name: _share(unseen_levels(real.train, synthetic), "column", len(synthetic))}

        return score


class ValueRange(Evaluator):
    """Whether records have numbers beyond those of R."""

    cards = (RANGE,)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Check that there is a numeric column."""
        if not real.train.values.shape[1]:
            raise NotApplicableError("the data have no numeric column")

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            return {RANGE.name: _share(outside_range(real.train, synthetic), "column", len(synthetic))}

        return score


class OneHotIntegrity(Evaluator):
    """Whether exactly one of the indicators of a question is set."""

    cards = (ONE_HOT,)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Find the groups in R."""
        columns = [i for i, field in enumerate(real.layout.fields) if field.kind == "bit"]
        found = one_hot_groups([real.layout.names[i] for i in columns], chosen(real.train.bits, columns))
        groups = {name: [columns[i] for i in members] for name, members in found.items()}
        if not groups:
            raise NotApplicableError("no 0/1 columns whose names begin alike add up to one in every training row")

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            broken = {name: synthetic.bits[:, group].sum(1, dtype=torch.int64) != 1 for name, group in groups.items()}
            return {ONE_HOT.name: _share(broken, "group", len(synthetic))}

        return score


def _share(columns: Mapping[str, Tensor], kind: str, n: int) -> Value:
    counts = {(kind, name): int(rows.sum()) for name, rows in columns.items()}
    marked = int(any_of(columns, n).sum())
    parts = {key: Value(count / n, wilson(count, n)) for key, count in counts.items()}
    return Value(marked / n, wilson(marked, n), parts)
