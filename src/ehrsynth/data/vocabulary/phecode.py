"""Rolling diagnosis codes up to the level a model can learn: ICD-9 categories or phecodes."""

from functools import cached_property
from pathlib import Path

import pandas as pd

from ehrsynth.errors import TableError
from ehrsynth.files import read_table

UNMAPPED = "unmapped_"
MAP_COLUMNS = ("ICD9", "PheCode", "Phenotype")


def icd9_category(code: str) -> str:
    """Return the ICD-9 category of a code, with or without a point: three characters, four for E codes.

    Leading zeros that a spreadsheet has eaten come back: ``8.45`` and ``8`` are ``008``.
    """
    head = code.split(".")[0].upper()
    return head[:4] if head.startswith("E") else head.zfill(3)[:3]


class Phecodes:
    """The map from ICD-9 to phecodes (Wei et al., PLoS One 2017, version 1.2 of the PheWAS catalog).

    A code that is not in the map is shortened from its end until one is, but not beyond its category. What is not
    found then keeps a name of its own, ``unmapped_CATEGORY``.

    Args:
        map_file: csv or csv.gz with the columns ``ICD9``, ``PheCode`` and ``Phenotype``.
    """

    def __init__(self, map_file: Path) -> None:
        self.map_file = map_file

    @cached_property
    def _table(self) -> pd.DataFrame:
        table = read_table(self.map_file, text=MAP_COLUMNS)
        absent = set(MAP_COLUMNS) - set(table.columns)
        if absent:
            raise TableError(f"{self.map_file}: missing columns {sorted(absent)}; a phecode map of ICD-9 was expected")
        return table.dropna(subset=["ICD9", "PheCode"]).drop_duplicates("ICD9").set_index("ICD9")

    @cached_property
    def labels(self) -> dict[str, str]:
        """Phenotype of each phecode."""
        known = self._table.dropna(subset=["Phenotype"]).drop_duplicates("PheCode")
        return dict(zip(known["PheCode"], known["Phenotype"], strict=True))

    def map(self, codes: "pd.Series[str]") -> "pd.Series[str]":
        """Return the phecode, or ``unmapped_CATEGORY``, of each ICD-9 code (with its point, if it has decimals)."""
        return codes.map({code: self._lookup(code) for code in codes.unique()})

    def _lookup(self, code: str) -> str:
        category = icd9_category(code)
        _, _, decimals = code.partition(".")
        for length in range(len(decimals), -1, -1):
            shorter = f"{category}.{decimals[:length]}" if length else category
            if shorter in self._table.index:
                return str(self._table.at[shorter, "PheCode"])
        return f"{UNMAPPED}{category}"
