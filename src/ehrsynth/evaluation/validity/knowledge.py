"""Validity: medical knowledge of what only one sex can have, as R shows it or as a table has it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ehrsynth.bits import chosen
from ehrsynth.data.table_files import read_text
from ehrsynth.errors import FileError
from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.subsets import code_columns
from ehrsynth.layout import Records
from ehrsynth.metrics.intervals import Estimate, mover_mean, share
from ehrsynth.metrics.knowledge import one_sex_codes, violations

CARDS = Cards.beside(__file__)
KNOWLEDGE, PUBLISHED = CARDS["validity/knowledge_violation"], CARDS["validity/knowledge_violation_published"]
RESTRICTION = CARDS["validity/sex_restriction_violation"]

SEX = ("sex", "gender")  # what the column is called
SEXES = {"m": "male", "male": "male", "man": "male", "f": "female", "female": "female", "woman": "female"}
TRUE = ("true", "1")


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
                for code, (wrong, n) in zip(codes, counts, strict=True):
                    parts["code", real.layout.names[code]] = _share(wrong, n)
                seen = [share(wrong, n) for wrong, n in counts if n]
                means += [mover_mean(*zip(*seen, strict=True))] if seen else []
            return {KNOWLEDGE.name: _mean(means, parts), PUBLISHED.name: _sum(means, parts)}

        return score


class SexRestriction(Evaluator):
    """Whether codes restricted to one sex appear in records of the other.

    Args:
        sex_table: CSV or Parquet with the code in its first column and either ``male_only`` and ``female_only`` (true
            or false) or ``sex`` (male or female); without it the score is skipped.

    Raises:
        FileError: the table is not readable or has not these columns.
    """

    cards = (RESTRICTION,)

    def __init__(self, *, sex_table: str | Path | None = None) -> None:
        self.only = None if sex_table is None else read_restrictions(Path(sex_table))

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Match the codes of the table to columns."""
        if self.only is None:
            raise NotApplicableError("no table of sex restrictions was given (sex_table)")
        others = _others(real)
        rules = {}
        for i, field in enumerate(real.layout.fields):
            sex = self.only.get(field.name, self.only.get(re.split("[_=:]", field.name)[-1]))
            if field.kind == "bit" and sex is not None:
                rules[i] = others[sex]
        if not rules:
            raise NotApplicableError("no 0/1 column is named after a code that the table restricts to one sex")

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            n, any_broken = len(synthetic), torch.zeros(len(synthetic), dtype=torch.bool)
            others_of = {other: other(synthetic) for other in others.values()}
            parts = {}
            for code, other in rules.items():
                broken = (synthetic.bits[:, code] == 1) & others_of[other]
                any_broken |= broken
                parts["code", real.layout.names[code]] = Value(*share(int(broken.sum()), n))
            return {RESTRICTION.name: Value(*share(int(any_broken.sum()), n), parts)}

        return score


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
    column = real.schema.by_name[names[0]]
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


def read_restrictions(path: Path) -> dict[str, str]:
    """Read the codes that are restricted to one sex, code -> ``male`` or ``female``.

    Raises:
        FileError: not readable, or without the columns that ``SexRestriction`` names.
    """
    table = read_text(path)
    names = table.columns
    table = table.dropna(subset=names[0])
    codes = table[names[0]].astype(str).str.strip()
    if {"male_only", "female_only"} <= set(names):
        male, female = (table[name].astype(str).str.lower().isin(TRUE) for name in ("male_only", "female_only"))
    elif "sex" in names[1:]:
        sex = table["sex"].astype(str).str.strip().str.lower().map(SEXES)
        male, female = sex == "male", sex == "female"
    else:
        raise FileError(f"{path}: columns male_only and female_only, or sex, were expected beside the code")
    return {**dict.fromkeys(codes[male & ~female], "male"), **dict.fromkeys(codes[female & ~male], "female")}


def _others(real: RealData) -> Mapping[str, Sex]:
    """Return for each sex the other one."""
    found = {SEXES.get(sex.level.lower()): sex for sex in two_sexes(real)}
    if set(found) != {"male", "female"}:
        raise NotApplicableError("the levels of the sex column do not say which one is male and which female")
    return {"male": found["female"], "female": found["male"]}


def _share(wrong: int, n: int) -> Value | Undefined:
    return Value(*share(wrong, n)) if n else Undefined("the code does not occur in the synthetic rows")


def _mean(means: list[Estimate], parts: dict[tuple[str, str], Value | Undefined]) -> Value | Undefined:
    if not means:
        return Undefined("none of the codes of one sex occurs in the synthetic rows")
    return Value(*mover_mean(*zip(*means, strict=True)), parts)


def _sum(means: list[Estimate], parts: dict[tuple[str, str], Value | Undefined]) -> Value | Undefined:
    if len(means) < 2:
        return Undefined("codes of both sexes are needed, and those of one do not occur")
    value, (low, high) = mover_mean(*zip(*means, strict=True))
    return Value(2 * value, (2 * low, 2 * high), parts)
