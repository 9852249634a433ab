"""Phecodes 1.2: diagnoses as phenotypes (Wei et al., PLoS One 2017)."""

from pathlib import Path
from typing import Any

import pandas as pd

from ehrsynth.data.vocabulary.icd import ICD9CM, ICD10CM
from ehrsynth.data.vocabulary.lookup import Known, LookedUp, checked, packaged, read_columns

MAP = "phecode_maps/phecode12.csv"
VERSIONS = {"9": ICD9CM, "10": ICD10CM}
CATALOG = {"ICD9": ICD9CM, "ICD10": ICD10CM}  # column of the codes in the catalog's maps


class Phecodes(LookedUp):
    """Phecodes, version 1.2: from ICD-9-CM and ICD-10-CM to 1,817 phenotypes such as 250.2, type 2 diabetes.

    Args:
        icd9_map: the PheWAS catalog's map of ICD-9, with the columns ICD9, PheCode and Phenotype, and perhaps sex and
            Rollup.
        icd10_map: the same for ICD-10, with ICD10. Without either, the map of ``ehrsynth[codes]`` is used for both; a
            version whose map is not given while the other's is stays unmapped.
        sex_table: phecodes that one sex alone can have, with the columns phecode, male_only and female_only, instead of
            what the maps say.
        shorten: by how many characters a code that is not in the map may be shortened; None: down to its category.
        rollup: a code also has the parents of its phecode: 401.1 brings 401.

    Raises:
        OptionError: ``shorten`` is no whole number.
    """

    def __init__(
        self,
        *,
        icd9_map: Path | str | None = None,
        icd10_map: Path | str | None = None,
        sex_table: Path | str | None = None,
        shorten: int | None = None,
        rollup: bool = False,
    ) -> None:
        given = {"ICD9": icd9_map, "ICD10": icd10_map}
        self.maps = {column: Path(file) for column, file in given.items() if file is not None}
        self.sex_table = None if sex_table is None else Path(sex_table)
        self.shorten = checked(shorten)
        self.rollup = rollup

    def options(self) -> dict[str, Any]:
        """Return class and options."""
        return {"vocabulary": "phecode", "shorten": self.shorten, "rollup": self.rollup}

    def inputs(self) -> dict[str, Path]:
        """Return the maps, and the table of sexes."""
        files = list(self.maps.values()) or [packaged("pyphewas", MAP)]
        return {file.name: file for file in [*files, *([self.sex_table] if self.sex_table else [])]}

    def load(self) -> Known:
        """Read the maps."""
        table = pd.concat([_catalog(*item) for item in self.maps.items()]) if self.maps else _packaged()
        leaves = Known.of(table)
        sexes = leaves.sexes if self.sex_table is None else _restrictions(self.sex_table)
        if not self.rollup:
            return Known(leaves.concepts, leaves.labels, sexes)
        above = Known.of(table.assign(concept=table["above"]).explode("concept"))
        return Known(pd.concat([leaves.concepts, above.concepts]).drop_duplicates(), leaves.labels, sexes)


def _packaged() -> pd.DataFrame:
    """Read the package's map; it has a row for each code and each parent."""
    columns = ["phecode", "ICD", "flag", "phecode_string", "sex", "phecode_unrolled"]
    table = read_columns(packaged("pyphewas", MAP), columns)
    # Some codes are there a second time with a small x, and not always with the same phecode.
    upper = table["ICD"].str.upper()
    table = table[(table["ICD"] == upper) | ~upper.isin(table["ICD"])]
    names = {"ICD": "code", "phecode": "concept", "phecode_string": "label", "phecode_unrolled": "above"}
    return table.rename(columns=names).assign(vocabulary=table["flag"].map(VERSIONS))


def _catalog(column: str, path: Path) -> pd.DataFrame:
    """Read a map of the PheWAS catalog."""
    table = read_columns(path, [column, "PheCode", "Phenotype"], ["sex", "Rollup"]).dropna(subset=[column, "PheCode"])
    above = table["PheCode"].map(parents).where(~table["Rollup"].isin(("0", "0.0")))
    names = {column: "code", "PheCode": "concept", "Phenotype": "label"}
    return table.rename(columns=names).assign(vocabulary=CATALOG[column], above=above)


def parents(phecode: str) -> list[str]:
    """Return what a phecode is part of: 401 and 401.1 for 401.11."""
    head, _, digits = phecode.partition(".")
    return [f"{head}.{digits[:end]}".rstrip(".") for end in range(len(digits))]


def _restrictions(path: Path) -> dict[str, str]:
    table = read_columns(path, ["phecode", "male_only", "female_only"])
    only = {
        sex: table[column].str.lower().isin(("true", "1")) for sex, column in (("M", "male_only"), ("F", "female_only"))
    }
    return {phecode: sex for sex, rows in only.items() for phecode in table.loc[rows, "phecode"]}
