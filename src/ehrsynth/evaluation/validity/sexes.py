"""Which records are of which sex, in the ways tables write it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ehrsynth.evaluation.evaluator import NotApplicableError, RealData
from ehrsynth.layout import Records

SEX = ("sex", "gender")


@dataclass(frozen=True)
class Sex:
    """One sex.

    Attributes:
        level: what the table calls it; empty where a 0/1 column tells the sexes apart.
        column: the encoded 0/1 column.
        value: what stands in it for this sex.
    """

    level: str
    column: int
    value: int = 1

    def __call__(self, records: Records) -> Tensor:
        """Return which records are of this sex, bool [n]."""
        return records.bits[:, self.column] == self.value


def two_sexes(real: RealData) -> tuple[Sex, Sex]:
    """Return the two most frequent sexes of R.

    Raises:
        NotApplicableError: no column named sex or gender, or one with fewer than two levels.
    """
    names = [column.name for column in real.schema.columns if column.name.lower() in SEX]
    if not names:
        raise NotApplicableError("the schema has no column named sex or gender")
    (column,) = (column for column in real.schema.columns if column.name == names[0])
    fields = [
        (i, field)
        for i, field in enumerate(real.layout.fields)
        if field.column == column.name and field.kind in ("bit", "level")
    ]
    if column.kind == "binary":
        ((i, _),) = fields
        return Sex("", i), Sex("", i, 0)
    levels = [Sex(level, i) for level, (i, _) in zip(column.levels, fields, strict=False)]  # missing is the last
    if len(levels) < 2:
        raise NotApplicableError(f"column {column.name!r} does not tell two sexes apart")
    counts = torch.stack([sex(real.train).sum() for sex in levels])
    first, second = counts.argsort(descending=True, stable=True)[:2].tolist()
    return levels[first], levels[second]
