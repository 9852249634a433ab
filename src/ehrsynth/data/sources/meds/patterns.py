"""What the codes of a MEDS dataset mean: the standard leaves that to each dataset, so patterns tell.

The patterns here are the conventions of the widely used conversions of MIMIC-IV, and of codes written as
``VOCABULARY/CODE``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ehrsynth.data.vocabulary.base import OWN
from ehrsynth.errors import OptionError

OTHER = "other"
_PART = "((?:(?!//).)*)"  # what stands between two double slashes
_REST = "(?://.*)?"


@dataclass(frozen=True)
class Pattern:
    r"""Codes that are written alike.

    Attributes:
        match: regular expression (Python's) of whole codes.
        domain: of the events, as in ``ehrsynth.data.events``.
        vocabulary, code, unit: of the events; ``\1`` is what the first group has matched.
        halves: names of the two numbers in a text such as 120/80; each becomes an event of its own.
    """

    match: str
    domain: str
    vocabulary: str = ""
    code: str = r"\g<0>"
    unit: str = ""
    halves: Sequence[str] = ()


_OWN = {  # what ``ehrsynth.data.meds_out`` writes: names of columns, which no vocabulary maps again
    **{
        f"own_{domain}": Pattern(rf"{domain.upper()}//{OWN}//(.+)", domain, OWN, r"\1")
        for domain in ("diagnosis", "procedure", "medication")
    },
    "own_code": Pattern(rf"CODE//{OWN}//(.+)", OTHER, OWN, r"\1"),
    **{
        f"own_{domain}": Pattern(rf"{domain.upper()}//{OWN}//{_PART}//(.+)", domain, OWN, r"\2", r"\1")
        for domain in ("lab", "vital")
    },
    "own_value": Pattern(rf"VALUE//{OWN}//{_PART}//(.+)", OTHER, OWN, r"\2", r"\1"),
    "own_visit": Pattern(rf"VISIT//{OWN}//(.+)", "visit", code=r"\1"),
    "own_visit_end": Pattern(rf"VISIT_END//{OWN}", "visit_end", code=""),
    "own_subject": Pattern(rf"SUBJECT//{OWN}", "subject", code=""),
    "own_static": Pattern(rf"STATIC//{OWN}//(.+)", "static", code=r"\1"),
}
PATTERNS = {
    **_OWN,
    "birth": Pattern(rf"MEDS_BIRTH{_REST}", "birth", code=""),
    "death": Pattern(rf"MEDS_DEATH{_REST}", "death", code=""),
    "sex": Pattern(rf"(?:GENDER|SEX)//{_PART}", "sex", code=r"\1"),
    **{
        domain: Pattern(rf"{domain.upper()}//{_PART}", domain, code=r"\1")
        for domain in ("race", "ethnicity", "insurance", "language", "marital_status")
    },
    "admission": Pattern(rf"HOSPITAL_ADMISSION(?://{_PART}{_REST})?", "admission", code=r"\1"),
    "discharge": Pattern(rf"HOSPITAL_DISCHARGE(?://{_PART}{_REST})?", "discharge", code=r"\1"),
    "icu_admission": Pattern(rf"ICU_ADMISSION(?://{_PART}{_REST})?", "icu_admission", code=r"\1"),
    "icu_discharge": Pattern(rf"ICU_DISCHARGE(?://{_PART}{_REST})?", "icu_discharge", code=r"\1"),
    "diagnosis": Pattern(rf"DIAGNOSIS//ICD//(9|10)//{_PART}{_REST}", "diagnosis", r"ICD\1CM", r"\2"),
    "procedure": Pattern(rf"PROCEDURE//ICD//(9|10)//{_PART}{_REST}", "procedure", r"ICD\1PCS", r"\2"),
    "icd_diagnosis": Pattern(r"(ICD9CM|ICD10CM)//?(.+)", "diagnosis", r"\1", r"\2"),
    "icd9_procedure": Pattern(r"(?:ICD9Proc|ICD9PCS)//?(.+)", "procedure", "ICD9PCS", r"\1"),
    "icd10_procedure": Pattern(r"ICD10PCS//?(.+)", "procedure", "ICD10PCS", r"\1"),
    "medication_stop": Pattern(rf"MEDICATION//STOP//{_PART}{_REST}", "medication_stop", code=r"\1"),
    "medication": Pattern(rf"MEDICATION//(?:START//)?{_PART}{_REST}", "medication", code=r"\1"),
    "lab": Pattern(rf"LAB//{_PART}(?://{_PART}{_REST})?", "lab", code=r"\1", unit=r"\2"),
    "vital": Pattern(rf"VITAL//{_PART}(?://{_PART}{_REST})?", "vital", code=r"\1", unit=r"\2"),
    "pressure": Pattern(r"Blood Pressure.*", "vital", halves=("systolic", "diastolic")),
    "body": Pattern(r"BMI \(kg/m2\)|Height \(Inches\)|Weight \(Lbs\)|Height|Weight|BMI|eGFR.*", "vital"),
}


def patterns_of(options: Mapping[str, Mapping[str, Any] | None] | None) -> dict[str, Pattern]:
    """Return the patterns in the order they are tried: a user's own, then the others.

    Args:
        options: by name, what ``Pattern`` takes; a name of ``PATTERNS`` replaces that one, None leaves it out.

    Raises:
        OptionError: not a pattern, or no regular expression.
    """
    given = dict(options or {})
    own = {}
    for name, option in given.items():
        if option is not None:
            try:
                own[name] = Pattern(**option)
                re.compile(own[name].match)
            except (TypeError, re.error) as error:
                raise OptionError(
                    f"source.patterns.{name}: {error}; match (a regular expression), domain and perhaps vocabulary,"
                    " code, unit and halves were expected"
                ) from None
            if len(own[name].halves) not in (0, 2):
                raise OptionError(f"source.patterns.{name}.halves={list(own[name].halves)}: two names were expected")
    return {**own, **{name: pattern for name, pattern in PATTERNS.items() if name not in given}}


def meanings(codes: Sequence[str], patterns: Mapping[str, Pattern]) -> pd.DataFrame:
    """Return ``raw, domain, vocabulary, code, unit, first, second, pattern`` of distinct codes.

    ``first`` and ``second`` are the halves, ``pattern`` is the name of the one that matches. A code that none matches
    is of the domain ``other``.

    Raises:
        OptionError: a pattern speaks of a group that it does not have.
    """
    compiled = [(name, re.compile(pattern.match), pattern) for name, pattern in patterns.items()]
    rows = [_meaning(code, compiled) for code in codes]
    columns = ["raw", "domain", "vocabulary", "code", "unit", "first", "second", "pattern"]
    return pd.DataFrame(rows, columns=columns, dtype=object)


def sex_of(word: str) -> str:
    """Return F or M for the usual words of a sex, others in capitals."""
    return {"FEMALE": "F", "MALE": "M"}.get(word.upper(), word.upper())


def _meaning(raw: str, patterns: Sequence[tuple[str, re.Pattern[str], Pattern]]) -> tuple[str | None, ...]:
    for name, compiled, pattern in patterns:
        found = compiled.fullmatch(raw)
        if found:
            try:
                vocabulary, code, unit = (
                    found.expand(part) or None for part in (pattern.vocabulary, pattern.code, pattern.unit)
                )
            except (re.error, IndexError) as error:
                raise OptionError(f"source.patterns.{name}: {error}; match has fewer groups than are named") from None
            if pattern.domain == "sex" and code:
                code = sex_of(code)
            return raw, pattern.domain, vocabulary, code, unit, *(pattern.halves or (None, None)), name
    return raw, OTHER, None, raw, None, None, None, None
