"""What words say a code of a MEDS dataset is where no pattern knows it: its parents, its own, its description.

Only what some column is made of by default is looked for; all else is a column of its own under the code as it is.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from ehrsynth.data.sources.meds.patterns import Pattern, meanings
from ehrsynth.data.vocabulary.icd import canonical

_AND = r"[\W_]+"  # between words, whatever the separator
_OR_NOT = r"[\W_]*"
_IS = r"\s*(?:[|:=/#~^>;]|_|\s-\s)+\s*"  # between a name and its value; a blank is none: sex hormone
DIAGNOSES = r"(?:dx|diag[a-z]*|conditions?|problems?)"
PROCEDURES = r"(?:px|proc[a-z]*|surg[a-z]*|operations?)"
_ICD = rf"ICD{_OR_NOT}(9|10)"
_SAYS_ICD = r"(?=.*ICD)"  # or most texts would be searched for every end of _LEAD
_CODE = r"([A-Z0-9]+(?:\.[A-Z0-9]*)?)(?:[^\w.].*)?"
_LEAD = rf"(?:.*{_AND})?"
_NO_STAY = rf"(?!{_OR_NOT}(?:{DIAGNOSES}|{PROCEDURES}|weight|height|drug|med))"  # an admission diagnosis
_STAY = rf"(?:(?:hosp(?:ital)?|inpatient){_OR_NOT})?"
_VISIT = rf"(?:hospitali[sz]ation|encounter|visit|stay){_OR_NOT}"


def _named(names: str, domain: str) -> Pattern:
    return Pattern(rf"(?i)(?:(?:patient|person|static|demo[a-z]*){_AND})?(?:{names})(?:{_IS}(.*))?", domain, code=r"\1")


WORDS = {
    "birth": Pattern(rf"(?i)(?:(?:date{_AND}of{_AND})?birth(?:{_AND}date)?|dob)", "birth", code=""),
    "death": Pattern(rf"(?i)(?:(?:date{_AND}of{_AND})?death(?:{_AND}date)?|dod)", "death", code=""),
    "sex": _named(rf"(?:sex|gender)(?:{_AND}at{_AND}birth)?", "sex"),
    "race": _named(rf"race(?:{_OR_NOT}ethnicity)?", "race"),
    "insurance": _named("insurance|payer|payor", "insurance"),
    "admission": Pattern(
        rf"(?i)(?:{_STAY}(?:admission|admit|adm)|{_VISIT}(?:start|begin)){_NO_STAY}(?:{_IS}(.*))?",
        "admission",
        code=r"\1",
    ),
    "discharge": Pattern(
        rf"(?i)(?:{_STAY}(?:discharge|disch)|{_VISIT}(?:end|stop)){_NO_STAY}(?:{_IS}(.*))?", "discharge", code=r"\1"
    ),
    "procedure": Pattern(
        rf"(?i){_SAYS_ICD}{_LEAD}{PROCEDURES}{_AND}{_LEAD}{_ICD}(?:{_OR_NOT}(?:CM|PCS))?{_AND}{_CODE}",
        "procedure",
        r"ICD\1PCS",
        r"\2",
    ),
    "pcs": Pattern(
        rf"(?i){_SAYS_ICD}{_LEAD}{_ICD}{_OR_NOT}(?:CM{_OR_NOT})?(?:PCS|{PROCEDURES}){_AND}{_CODE}",
        "procedure",
        r"ICD\1PCS",
        r"\2",
    ),
    "diagnosis": Pattern(
        rf"(?i){_SAYS_ICD}{_LEAD}{_ICD}{_OR_NOT}(?:CM|GM|WHO)?{_OR_NOT}{DIAGNOSES}?{_AND}{_CODE}",
        "diagnosis",
        r"ICD\1CM",
        r"\2",
    ),
    "bmi": Pattern(rf"(?i)LOINC{_AND}39156-5", "vital", code="BMI (kg/m2)"),
    "systolic": Pattern(rf"(?i)LOINC{_AND}8480-6", "vital", code="Blood Pressure, systolic"),
    "diastolic": Pattern(rf"(?i)LOINC{_AND}8462-4", "vital", code="Blood Pressure, diastolic"),
}
LOOKED_FOR = frozenset(pattern.domain for pattern in WORDS.values())
ONCE = frozenset({"birth", "death", "admission", "discharge"})  # said by a pattern, they are not looked for elsewhere


def said(
    texts: Mapping[str, Sequence[str]], *, patterns: Mapping[str, Pattern], domains: Collection[str]
) -> pd.DataFrame:
    """Return the meanings, as of ``meanings``, of those codes whose texts say one.

    Args:
        texts: what is said of each code, in the order it is tried.
        patterns: tried on each text, in their order.
        domains: that are looked for.
    """
    found = meanings(sorted({text for several in texts.values() for text in several}), patterns)
    rows = [dict[str, Any](zip(found.columns, row, strict=True)) for row in found.itertuples(index=False)]
    known = {row["raw"]: row for row in rows if row["domain"] in domains and _is_plain(row)}
    of_codes = (
        (code, next((known[text] for text in several if text in known), None)) for code, several in texts.items()
    )
    meant = [{**row, "raw": code} for code, row in of_codes if row is not None]
    return pd.DataFrame(meant, columns=list(found), dtype=object)


def _is_plain(row: Mapping[str, Any]) -> bool:
    """Return whether a meaning has a code of the vocabulary that it says."""
    vocabulary, code = row["vocabulary"], row["code"]
    return vocabulary is None or not vocabulary.startswith("ICD") or canonical(vocabulary, code or "") is not None


def with_ancestors(parents: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return each code's parents, and theirs where the metadata know them too, nearest first."""
    return {code: list(_ancestors(code, parents)) for code in parents}


def _ancestors(code: str, parents: Mapping[str, Sequence[str]]) -> Iterator[str]:
    seen, level = {code}, list(parents.get(code, ()))
    while level:
        yield from level
        seen.update(level)
        level = [above for parent in level for above in parents.get(parent, ()) if above not in seen]
