"""Validity: codes that a table of medical knowledge restricts to one sex."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from ehrsynth.data.table_files import read_text
from ehrsynth.errors import FileError
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Value
from ehrsynth.evaluation.validity.sexes import Sex, two_sexes
from ehrsynth.layout import Records
from ehrsynth.metrics.intervals import wilson

SEXES = {"m": "male", "male": "male", "man": "male", "f": "female", "female": "female", "woman": "female"}
TRUE = ("true", "1")

RESTRICTION = Card(
    name="validity/sex_restriction_violation",
    direction="lower",
    low=0,
    high=1,
    definition="Share of S with any code that the given table restricts to the other sex; codes are matched to columns"
    " by their name or by what follows its last '_', '=' or ':'. Wilson interval; a part per code.",
    reading="Prostate disease in women, by a table that people made and not by what R happens to show. Real records"
    " break such tables too, by errors of entry or after a change of sex: read it beside fresh real. Codes that the"
    " table does not know are not judged.",
    paper="phecode sex restrictions: Wei et al., PLoS One 2017 (PheWAS catalog 1.2)",
)


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
            of = {other: other(synthetic) for other in others.values()}
            parts = {}
            for code, other in rules.items():
                broken = (synthetic.bits[:, code] == 1) & of[other]
                any_broken |= broken
                count = int(broken.sum())
                parts["code", real.layout.names[code]] = Value(count / n, wilson(count, n))
            count = int(any_broken.sum())
            return {RESTRICTION.name: Value(count / n, wilson(count, n), parts)}

        return score


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
