"""The vocabulary of the simulated hospital: its conditions, whichever ICD they were coded in."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ehrsynth.data.hospital import conditions
from ehrsynth.data.vocabulary.base import Vocabulary


class DemoConditions(Vocabulary):
    """ICD-9 and ICD-10 codes of the simulated hospital to the ICD-9 code of their condition."""

    def map(self, codes: pd.DataFrame) -> pd.DataFrame:
        """Map distinct codes."""
        table = conditions()
        known = pd.concat(
            [
                pd.DataFrame({"vocabulary": name, "code": table[key], "concept": table["icd9"]})
                for name, key in (("ICD9CM", "icd9"), ("ICD10CM", "icd10"))
            ]
        )
        return codes.merge(known, on=["vocabulary", "code"])

    def labels(self) -> Mapping[str, str]:
        """Return the name of each condition."""
        return dict(zip(conditions()["icd9"], conditions()["label"], strict=True))

    def options(self) -> dict[str, Any]:
        """Return the class."""
        return {"vocabulary": "demo"}
