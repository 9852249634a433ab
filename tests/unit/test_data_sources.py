"""Sources against plain recomputation from their raw tables, and against files made by hand."""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data.hospital import conditions
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.demo import Demo
from ehrsynth.data.sources.diabetes130 import DRUGS, NEEDED, Diabetes130
from ehrsynth.data.wide import widen
from ehrsynth.errors import FileError, OptionError, TableError

FILE = Path("diabetes130") / "diabetic_data.csv.gz"
MAP = Path("phecode") / "phecode_map_v1_2_icd9.csv.gz"


def test_demo_matrix_is_what_its_raw_tables_say() -> None:
    source = Demo(n=150, seed=2)
    wide = widen(source).set_index("subject_id")
    tables, table = source.tables, conditions()
    for subject, patient in tables.patients.set_index("subject_id").iloc[:40].iterrows():
        stays = tables.admissions[tables.admissions["subject_id"] == subject]
        rows = tables.diagnoses_icd[tables.diagnoses_icd["subject_id"] == subject]
        expected = set()
        for code, version in zip(rows["icd_code"], rows["icd_version"], strict=True):
            expected.add("dx_" + table.loc[table["icd9" if version == 9 else "icd10"] == code, "icd9"].item())
        assert {name for name in wide.columns[wide.loc[subject] == 1] if name.startswith("dx_")} == expected
        assert wide.at[subject, "sex"] == patient["gender"]
        assert wide.at[subject, "admissions"] == len(stays)
        days = (stays["dischtime"] - stays["admittime"]).sum() / pd.Timedelta(days=1)
        assert wide.at[subject, "days"] == round(days)
        pressure = tables.omr[(tables.omr["subject_id"] == subject) & (tables.omr["result_name"] == "Blood Pressure")]
        if pressure.empty:
            assert np.isnan(wide.at[subject, "systolic"])
        else:
            high, low = pressure.sort_values("chartdate")["result_value"].iloc[-1].split("/")
            assert (wide.at[subject, "systolic"], wide.at[subject, "diastolic"]) == (float(high), float(low))
        assert wide.at[subject, "died_within_year"] == int(not pd.isna(patient["dod"]))


def test_demo_writes_raw_tables_in_the_layout_of_mimic(tmp_path: Path) -> None:
    source = Demo(n=100, write_raw=tmp_path)
    source.subjects()
    written = pd.read_csv(tmp_path / "hosp" / "diagnoses_icd.csv.gz", dtype={"icd_code": str})
    assert list(written) == ["subject_id", "hadm_id", "seq_num", "icd_code", "icd_version"]
    assert written["icd_code"].tolist() == source.tables.diagnoses_icd["icd_code"].tolist()
    assert {path.name.split(".")[0] for path in (tmp_path / "hosp").iterdir()} == {
        *("patients", "admissions", "diagnoses_icd", "omr")
    }


def test_demo_refuses_a_seed_that_is_no_whole_number() -> None:
    with pytest.raises(OptionError, match=r"source\.seed=1\.5"):
        Demo(seed=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [0, 99, 1.5])
def test_demo_refuses_too_few_patients(n: int) -> None:
    with pytest.raises(OptionError, match=r"source\.n"):
        Demo(n=n)


def encounter(**cells: object) -> dict[str, object]:
    usual = dict.fromkeys(NEEDED, "No") | {"race": "Asian", "gender": "Female", "age": "[60-70)", "readmitted": "NO"}
    usual |= {"time_in_hospital": 2, "num_lab_procedures": 10, "num_procedures": 0, "discharge_disposition_id": 1}
    return usual | {"diag_1": "?", "diag_2": "?", "diag_3": "?"} | cells


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    rows = [
        encounter(encounter_id=3, patient_nbr=7, race="Other", diag_1="250.83", insulin="Up", readmitted="<30"),
        encounter(encounter_id=1, patient_nbr=7, race="?", age="[50-60)", diag_1="8", diag_2="V58", time_in_hospital=5),
        encounter(encounter_id=2, patient_nbr=8, gender="Unknown/Invalid", diag_1="428"),
        encounter(encounter_id=4, patient_nbr=9, gender="Male", race="?", diag_3="E909", discharge_disposition_id=11),
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "diabetic_data.csv", index=False)
    return tmp_path / "diabetic_data.csv"


def test_diabetes_by_hand(small_file: Path) -> None:
    source = Diabetes130(path=small_file, verify=False)
    wide = widen(source).set_index("subject_id")
    codes = ["icd9_008", "icd9_250", "icd9_428", "icd9_E909", "icd9_V58"]
    assert [name for name in wide if name.startswith("icd9_")] == codes
    first = {"sex": "F", "race": "Other", "age": 55, "time_in_hospital": 7, "num_lab_procedures": 20, "encounters": 2}
    assert {name: wide.at[7, name] for name in first} == first
    assert wide.loc[7, codes].tolist() == [1, 1, 0, 0, 1]
    assert wide.loc[9, codes].tolist() == [0, 0, 0, 1, 0]
    assert pd.isna(wide.at[8, "sex"])
    assert wide.loc[[7, 9], "drug_insulin"].tolist() == [1, 0]
    assert wide[[f"drug_{drug}" for drug in DRUGS]].to_numpy().sum() == 1
    assert wide[["race", "died", "readmitted_30d"]].loc[9].tolist() == ["unknown", 1, 0]
    assert wide["readmitted_30d"].tolist() == [1, 0, 0]
    assert source.remarks() == {"patients of unknown sex": 1}
    assert source.columns()["icd9_250"].label == "Diabetes mellitus"


def test_diabetes_takes_the_zip(small_file: Path) -> None:
    packed = small_file.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(small_file, "dataset/diabetic_data.csv")
    pd.testing.assert_frame_equal(
        widen(Diabetes130(path=packed, verify=False)), widen(Diabetes130(path=small_file, verify=False))
    )


def test_diabetes_names_the_culprit(small_file: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"diabetic_data\.csv: wrong checksum"):
        widen(Diabetes130(path=small_file))
    with pytest.raises(FileError, match="absent"):
        widen(Diabetes130(path=tmp_path / "absent.csv"))
    table = pd.read_csv(small_file)
    table.drop(columns="insulin").to_csv(small_file, index=False)
    with pytest.raises(TableError, match="'insulin'"):
        widen(Diabetes130(path=small_file, verify=False))
    table.assign(time_in_hospital=["2", "many", "3", "4"]).to_csv(small_file, index=False)
    with pytest.raises(TableError, match="'time_in_hospital', row 1"):
        widen(Diabetes130(path=small_file, verify=False))
    small_file.with_suffix(".zip").write_bytes(b"no zip")
    with pytest.raises(FileError, match="not readable"):
        widen(Diabetes130(path=small_file.with_suffix(".zip")))
    with pytest.raises(OptionError, match="icd3 or phecode"):
        Diabetes130(path=small_file, codes="icd4")
    with pytest.raises(OptionError, match="phecode_map"):
        Diabetes130(path=small_file, codes="phecode")


def test_diabetes_counts_on_the_real_file(shared_data: Path) -> None:
    wide = widen(Diabetes130(path=shared_data / FILE))
    assert len(wide) == 71_518
    counts = wide[[name for name in wide if name.startswith(("icd9_", "drug_"))]].sum()
    assert (counts >= 20).sum() == 461
    assert counts[counts >= 20].sum() / len(wide) == pytest.approx(4.92, abs=0.02)
    assert wide["readmitted_30d"].mean() == pytest.approx(0.124, abs=0.003)
    assert set(wide["race"]) == {"AfricanAmerican", "Asian", "Caucasian", "Hispanic", "Other", "unknown"}


def test_diabetes_phecodes_on_the_real_file(shared_data: Path) -> None:
    source = Diabetes130(path=shared_data / FILE, codes="phecode", phecode_map=shared_data / MAP)
    columns, remarks = source.columns(), source.remarks()
    diagnoses = int(source.encounters[["diag_1", "diag_2", "diag_3"]].notna().to_numpy().sum())
    assert 1 - remarks["diagnoses without a phecode"] / diagnoses == pytest.approx(0.973, abs=0.001)
    assert sum(name.startswith("phe_") for name in columns) == 583
    assert sum(name.startswith("unmapped_") for name in columns) == remarks["codes without a phecode"]
    assert columns["phe_008"].label == "Intestinal infection"


class Broken(Demo):
    """A demo whose events or subjects are wrong in one way."""

    def __init__(self, fault: str) -> None:
        super().__init__(n=100)
        self.fault = fault

    def subjects(self) -> pd.DataFrame:
        good = super().subjects()
        return {"twice": pd.concat([good, good]), "nobody": good[:0], "unknown": good[1:]}.get(self.fault, good)

    def events(self) -> pd.DataFrame:
        good = super().events()
        if self.fault == "undeclared":
            good["code"] = good["code"].cat.rename_categories({"dx_401": "dx_new"})
        if self.fault == "without a code":
            good["code"] = good["code"].where(good.index >= 3)
        return good


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("twice", "twice"),
        ("nobody", "no subjects"),
        ("unknown", "unknown subject"),
        ("undeclared", "undeclared code"),
        ("without a code", r"source demo: 3 of \d+ events have no code"),
    ],
)
def test_a_broken_source_is_refused(fault: str, message: str) -> None:
    source: Source = Broken(fault)
    with pytest.raises(TableError, match=message):
        widen(source)
