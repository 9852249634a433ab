"""The three-character roll-up of ICD, the usual level of models of MIMIC-III."""

from typing import Any

import pandas as pd

from ehrsynth.data.vocabulary.base import Vocabulary, one_by_one
from ehrsynth.data.vocabulary.icd import category, in_its_space


class ThreeCharacters(Vocabulary):
    """The first three characters of ICD codes, four of ICD-9 E codes.

    ICD-10 concepts carry ``icd10_``, since the two versions share characters; diagnoses and procedures are kept apart
    by the prefixes of their features.
    """

    keeps_codes = True

    def map(self, codes: pd.DataFrame) -> pd.DataFrame:
        """Map distinct codes; those of other vocabularies have no concept."""
        return one_by_one(codes, _concept)

    def options(self) -> dict[str, Any]:
        """Return the class."""
        return {"vocabulary": "icd3"}


def _concept(vocabulary: str, code: str) -> str | None:
    found = category(vocabulary, code)
    return None if found is None else in_its_space(vocabulary, found)
