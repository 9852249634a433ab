"""No map at all: every code is a concept."""

from typing import Any

import pandas as pd

from ehrsynth.data.vocabulary.base import Vocabulary, one_by_one
from ehrsynth.data.vocabulary.icd import canonical, in_its_space


class AsIs(Vocabulary):
    """Codes as they are: those of ICD in one form, others without needless blanks.

    The same code of two vocabularies stays two concepts (see ``ehrsynth.data.vocabulary.icd.in_its_space``). What
    should be ICD and is not, or is of an unknown version, has no concept.
    """

    keeps_codes = True

    def map(self, codes: pd.DataFrame) -> pd.DataFrame:
        """Map distinct codes."""
        return one_by_one(codes, _concept)

    def options(self) -> dict[str, Any]:
        """Return the class."""
        return {"vocabulary": "as_is"}


def _concept(vocabulary: str, code: str) -> str | None:
    tidy = canonical(vocabulary, code) if vocabulary.startswith("ICD") else " ".join(code.split())
    return None if tidy is None else in_its_space(vocabulary, tidy)
