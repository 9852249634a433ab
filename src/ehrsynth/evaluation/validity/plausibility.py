"""Validity: cells and groups of columns that R never has."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ehrsynth.bits import chosen
from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Value
from ehrsynth.layout import Records
from ehrsynth.metrics.intervals import share
from ehrsynth.metrics.plausibility import any_of, one_hot_groups, outside_range, unseen_levels

CARDS = Cards.beside(__file__)
UNSEEN, RANGE, ONE_HOT = (CARDS[f"validity/{n}"] for n in ("unseen_level", "value_range", "one_hot_violation"))


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
    parts = {(kind, name): Value(*share(int(rows.sum()), n)) for name, rows in columns.items()}
    return Value(*share(int(any_of(columns, n).sum()), n), parts)
