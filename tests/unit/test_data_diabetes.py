"""The UCI file: read by hand-made rows, and against plain pandas over the real one."""

import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.data.events import make_timeline
from ehrsynth.data.features.codes import Codes
from ehrsynth.data.sources.diabetes130 import DIAGNOSES, DRUGS, NEEDED, Diabetes130
from ehrsynth.data.store import Store
from ehrsynth.data.vocabulary.maps import Phecodes
from ehrsynth.data.wide import Wide, widen
from ehrsynth.errors import FileError, TableError
from ehrsynth.metrics.temporal.outcomes import readmitted
from tests import matrices
from tests.trajectories import prepared

FILE = Path("diabetes130") / "diabetic_data.csv.gz"
MAP = Path("phecode") / "phecode_map_v1_2_icd9.csv.gz"
SEXES = Path("phecode") / "sex_restriction.csv.gz"


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


def wide(path: Path, *overrides: str, verify: bool = False) -> Wide:
    """Return the rows as ``prepare`` collects them, before the split."""
    from hydra.utils import instantiate

    named = [f"source.path={path}", f"source.verify={str(verify).lower()}", *overrides]
    parts = matrices.config("source=diabetes130", *named)
    with Store(threads=1) as store:
        instantiate(parts.source).read(store)
        make_timeline(store)
        instantiate(parts.cohort).choose(store)
        return widen(store, list(instantiate(parts.features, _convert_="all").values()))


def test_by_hand(small_file: Path) -> None:
    table = wide(small_file)
    rows = table.frame().set_index("subject_id")
    codes = ["icd9_008", "icd9_250", "icd9_428", "icd9_E909", "icd9_V58"]
    assert [name for name in rows if name.startswith("icd9_")] == codes
    first = {"sex": "F", "race": "Other", "age": 55, "time_in_hospital": 7, "num_lab_procedures": 20, "encounters": 2}
    assert {name: rows.at[7, name] for name in first} == first
    assert rows.loc[7, codes].tolist() == [1, 1, 0, 0, 1]
    assert rows.loc[9, codes].tolist() == [0, 0, 0, 1, 0]
    assert pd.isna(rows.at[8, "sex"])
    assert rows.loc[[7, 9], "drug_insulin"].tolist() == [1, 0]
    assert [name for name in rows if name.startswith("drug_")] == [f"drug_{drug}" for drug in DRUGS]
    assert rows[[f"drug_{drug}" for drug in DRUGS]].to_numpy().sum() == 1
    assert rows[["race", "died", "readmitted_30d"]].loc[9].tolist() == ["unknown", 1, 0]
    assert rows["readmitted_30d"].tolist() == [1, 0, 0]
    assert table.specs["icd9_250"].label == "Diabetes mellitus"
    assert table.specs["icd9_E909"].label == "icd9 E909"
    assert table.specs["drug_insulin"].label == "Insulin"
    assert table.specs["readmitted_30d"].role == "outcome"


def test_the_order_of_the_rows_does_not_matter(small_file: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.csv"
    pd.read_csv(small_file, dtype=str).iloc[::-1].to_csv(turned, index=False)
    pd.testing.assert_frame_equal(wide(turned).frame(), wide(small_file).frame())


def test_encounters_in_order_say_no_more_than_the_file(small_file: Path, tmp_path: Path) -> None:
    """The first encounter of 7 lasts five days and is not followed within 30: the next begins 90 days after its end."""
    soon = [
        encounter(encounter_id=11, patient_nbr=10, readmitted="<30", time_in_hospital=3, age="[40-50)"),
        encounter(encounter_id=12, patient_nbr=10, readmitted=">30", time_in_hospital=1, discharge_disposition_id=11),
    ]
    pd.concat([pd.read_csv(small_file), pd.DataFrame(soon)]).to_csv(small_file, index=False)
    with Store(threads=1) as store:
        Diabetes130(path=small_file, verify=False, ordered=True).read(store)
        make_timeline(store)
        stays = store.frame("SELECT * FROM stays ORDER BY subject_id, stay_id").set_index("stay_id")
        born = store.frame("SELECT * FROM people").set_index("subject_id")["birth"]
    dates = {name: stays[name].astype(str).str[:10] for name in ("admitted", "discharged")}
    assert dates["admitted"].loc[[1, 3]].tolist() == ["2000-01-01", "2000-04-05"]
    assert dates["discharged"].loc[[1, 3]].tolist() == ["2000-01-06", "2000-04-07"]
    assert dates["admitted"].loc[[11, 12]].tolist() == ["2000-01-01", "2000-01-19"]
    assert stays["died"].loc[[4, 11, 12]].tolist() == [True, False, True]
    assert str(born[7])[:10] == "1945-01-01"
    assert str(born[10])[:10] == "1955-01-01"
    pd.testing.assert_frame_equal(wide(small_file, "source.ordered=true").frame(), wide(small_file).frame())


def test_the_zip(small_file: Path) -> None:
    packed = small_file.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(small_file, "dataset/diabetic_data.csv")
    pd.testing.assert_frame_equal(wide(packed).frame(), wide(small_file).frame())


def test_the_culprit_is_named(small_file: Path, tmp_path: Path) -> None:
    def read(path: Path, *, verify: bool = False) -> None:
        with Store(threads=1) as store:
            Diabetes130(path=path, verify=verify).read(store)

    with pytest.raises(FileError, match=r"diabetic_data\.csv: wrong checksum"):
        read(small_file, verify=True)
    with pytest.raises(FileError, match="absent"):
        read(tmp_path / "absent.csv")
    table = pd.read_csv(small_file)
    table.drop(columns="insulin").to_csv(small_file, index=False)
    with pytest.raises(TableError, match="'insulin'"):
        read(small_file)
    table.assign(time_in_hospital=["2", "many", "3", "4"]).to_csv(small_file, index=False)
    with pytest.raises(TableError, match="'time_in_hospital', row 1"):
        read(small_file)
    small_file.with_suffix(".zip").write_bytes(b"no zip")
    with pytest.raises(FileError, match="not readable"):
        read(small_file.with_suffix(".zip"))


@pytest.fixture(scope="module")
def raw(shared_data: Path) -> pd.DataFrame:
    return pd.read_csv(shared_data / FILE, dtype=str, na_values="?", keep_default_na=False)


def test_counts_on_the_real_file(shared_data: Path, raw: pd.DataFrame) -> None:
    rows = wide(shared_data / FILE, verify=True).frame()
    assert len(rows) == 71_518
    assert rows["subject_id"].is_monotonic_increasing
    counts = rows[[name for name in rows if name.startswith(("icd9_", "drug_"))]].sum()
    assert (counts >= 20).sum() == 461
    assert counts[counts >= 20].sum() / len(rows) == pytest.approx(4.92, abs=0.02)
    heart = raw[list(DIAGNOSES)].apply(lambda codes: codes.str.match(r"428(\.|$)", na=False)).any(axis=1)
    assert counts["icd9_428"] == raw.loc[heart, "patient_nbr"].nunique()
    assert counts["drug_insulin"] == raw.loc[raw["insulin"] != "No", "patient_nbr"].nunique()
    assert rows["readmitted_30d"].sum() == raw.loc[raw["readmitted"] == "<30", "patient_nbr"].nunique()
    assert rows["time_in_hospital"].sum() == raw["time_in_hospital"].astype(int).sum()
    assert rows["encounters"].sum() == len(raw)
    assert rows["sex"].isna().sum() == 3
    earliest = raw.assign(order=raw["encounter_id"].astype(int)).sort_values("order").drop_duplicates("patient_nbr")
    assert rows["age"].mean() == pytest.approx(earliest["age"].str.extract(r"(\d+)")[0].astype(int).mean() + 5)
    assert set(rows["race"]) == {"AfricanAmerican", "Asian", "Caucasian", "Hispanic", "Other", "unknown"}


def test_trajectories_of_the_real_file(shared_data: Path, raw: pd.DataFrame, tmp_path: Path) -> None:
    """Who is there again 15 days after discharge is who the file says, of those whose next encounter it has."""
    left_out = ("age", "encounters", "time_in_hospital", "died")
    named = f"source.path={shared_data / FILE}", "source.ordered=true", *(f"features.{name}=null" for name in left_out)
    data = prepared(tmp_path / "out", "source=diabetes130", *named)
    parts = [data.visits(part) for part in ("train", "validation", "holdout")]
    assert sum(part.count for part in parts) == len(raw)
    order = raw.assign(encounter_id=raw["encounter_id"].astype(int)).sort_values(["patient_nbr", "encounter_id"])
    followed = order["patient_nbr"].eq(order["patient_nbr"].shift(-1))
    assert sum(int(readmitted(part, 30).sum()) for part in parts) == (followed & (order["readmitted"] == "<30")).sum()


def test_phecodes_on_the_real_file(shared_data: Path, raw: pd.DataFrame) -> None:
    maps = [f"icd9_map={shared_data / MAP}", f"sex_table={shared_data / SEXES}"]
    chosen = ["vocabulary@features.diagnoses.vocabulary=phecode", "features.diagnoses.prefix=phe_"]
    found = wide(shared_data / FILE, *chosen, *(f"features.diagnoses.vocabulary.{one}" for one in maps), verify=True)
    remarks, names = found.remarks, [name for name in found.specs if name.startswith("phe_")]
    assert remarks["diagnosis (phe_): events"] == raw[list(DIAGNOSES)].notna().to_numpy().sum()
    unmapped = remarks["diagnosis (phe_): events with an unmapped code"]
    assert 1 - unmapped / remarks["diagnosis (phe_): events"] == pytest.approx(0.973, abs=0.001)
    assert sum(not name.startswith("phe_unmapped_") for name in names) == 583
    assert found.specs["phe_008"].label == "Intestinal infection"

    only = pd.read_csv(shared_data / SEXES, dtype={"phecode": str}).set_index("phecode")
    declared = {f"phe_{code}": "M" for code in only.index[only["male_only"]]}
    declared |= {f"phe_{code}": "F" for code in only.index[only["female_only"]]}
    assert found.sexes == {name: declared[name] for name in names if name in declared}
    rows = found.frame()
    with_male, with_female = (rows[[n for n, sex in found.sexes.items() if sex == one]].any(axis=1) for one in "MF")
    assert not (with_male & (rows["sex"] == "F")).any()
    assert not (with_female & (rows["sex"] == "M")).any()
    assert with_male.sum() > 500
    assert with_female.sum() > 1000


def test_what_is_told_of_unknown_codes_is_told_of_many(small_file: Path, tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("ICD9,PheCode,Phenotype\n250,250,Diabetes\n")
    rare = [encounter(encounter_id=10 + n, patient_nbr=100 + n, diag_1="V57") for n in range(10)]
    rare += [encounter(encounter_id=30 + n, patient_nbr=200 + n, diag_1="786") for n in range(9)]
    pd.concat([pd.read_csv(small_file), pd.DataFrame(rare)]).to_csv(small_file, index=False)
    vocabulary = Phecodes(icd9_map=tmp_path / "map.csv")
    with Store(threads=1) as store:
        Diabetes130(path=small_file, verify=False).read(store)
        make_timeline(store)
        store.view("cohort", "SELECT row_number() OVER (ORDER BY subject_id) - 1 AS row, subject_id FROM people")
        store.view("history", "SELECT * FROM events JOIN cohort USING (subject_id)")
        found = Codes(domain="diagnosis", vocabulary=vocabulary, prefix="dx_").collect(store)
        dropping = Codes(domain="diagnosis", vocabulary=vocabulary, prefix="dx_", unmapped="drop").collect(store)
    assert list(dropping.specs) == ["dx_250"]
    unmapped = ["008", "428", "786", "E909", "V57", "V58"]
    assert list(found.specs) == ["dx_250", *(f"dx_unmapped_{code}" for code in unmapped)]
    assert found.remarks == dropping.remarks
    assert found.remarks == {
        "diagnosis (dx_): events": 24,
        "diagnosis (dx_): events with an unmapped code": 23,
        "diagnosis (dx_): unmapped codes": 6,
        "diagnosis (dx_): unmapped codes of less than 10 subjects": 5,
        "diagnosis (dx_): subjects with unmapped ICD9CM V57": 10,
    }
    assert "786" not in json.dumps(found.remarks)
