"""MIMIC-IV and MIMIC-III read from small folders in every published form, and what was expected of a bad one."""

import gzip
import re
from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.data.events import COLUMNS, LABELS, make_timeline
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.mimic import MimicIII, MimicIV
from ehrsynth.data.store import Store
from ehrsynth.errors import FileError, OptionError, TableError

IV = {
    "patients": """subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod
1,F,50,2150,2011 - 2013,2152-05-01
2,M,20,2160,2011 - 2013,
3,M,30,2160,2011 - 2013,
""",
    "admissions": """subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,\
discharge_location,insurance,language,marital_status,race,hospital_expire_flag
1,11,2150-01-01 10:00:00,2150-01-03 10:00:00,,URGENT,HOME,Medicare,ENGLISH,MARRIED,WHITE,0
1,12,2151-01-01 10:00:00,2151-01-03 10:00:00,,ELECTIVE,HOSPICE,Medicare,ENGLISH,WIDOWED,WHITE - RUSSIAN,0
2,21,2160-01-01 10:00:00,2160-01-03 10:00:00,2160-01-03 09:00:00,URGENT,DIED,Other,,,UNKNOWN,1
""",
    "diagnoses_icd": """subject_id,hadm_id,seq_num,icd_code,icd_version
1,11,1,4019,9
1,12,1,I10,10
1,99,1,25000,9
""",
}
IV_MORE = {
    "procedures_icd": "subject_id,hadm_id,seq_num,chartdate,icd_code,icd_version\n1,11,1,2150-01-02,5491,9\n",
    "prescriptions": "subject_id,hadm_id,starttime,drug\n1,11,2150-01-01 12:00:00,Aspirin\n",
    "labevents": """labevent_id,subject_id,hadm_id,itemid,charttime,valuenum,valueuom
5,1,11,50931,2150-01-01 11:00:00,99,mg/dL
6,1,,51478,2150-01-01 11:00:00,250,mg/dL
7,1,,7,2150-01-01 11:00:00,1,
""",
    "d_labitems": "itemid,label,fluid,category\n50931,Glucose,Blood,Chemistry\n51478,Glucose,Urine,Hematology\n",
    "omr": """subject_id,chartdate,seq_num,result_name,result_value
1,2150-01-01,1,BMI (kg/m2),25.5
1,2150-01-01,1,Blood Pressure,120/80
1,2150-01-02,1,Blood Pressure,0/0
1,2150-01-03,1,Blood Pressure Sitting,130/0
""",
    "services": "subject_id,hadm_id,transfertime,prev_service,curr_service\n1,11,2150-01-01 10:00:00,,MED\n",
    "d_icd_diagnoses": "icd_code,icd_version,long_title\n4019,9,Hypertension\n",
}
ICU = """subject_id,hadm_id,stay_id,first_careunit,last_careunit,intime,outtime,los
1,11,5,MICU,SICU,2150-01-01 12:00:00,2150-01-02 12:00:00,1.0
"""


def write(folder: Path, tables: dict[str, str], *, packed: bool = True, upper: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tables.items():
        file = folder / f"{name.upper() if upper else name}.csv{'.gz' if packed else ''}"
        file.write_bytes(gzip.compress(content.encode()) if packed else content.encode())


@pytest.fixture
def iv(tmp_path: Path) -> Path:
    write(tmp_path / "hosp", {**IV, **IV_MORE})
    write(tmp_path / "icu", {"icustays": ICU})
    return tmp_path


def events(source: Source) -> pd.DataFrame:
    with Store() as store:
        source.read(store)
        return store.frame(f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY ALL")


def of(frame: pd.DataFrame, domain: str, *columns: str) -> list[tuple[object, ...]]:
    rows = frame[frame["domain"] == domain][list(columns)].astype(object)
    return sorted(rows.where(rows.notna(), None).itertuples(index=False, name=None), key=str)


def day(text: str) -> pd.Timestamp:
    return pd.Timestamp(text)


@pytest.mark.parametrize("again", ["patients", "admissions", "d_labitems", "d_icd_diagnoses"])
def test_a_row_written_twice_doubles_no_event_of_other_tables(iv: Path, again: str) -> None:
    once = events(MimicIV(root=iv))
    lines = {**IV, **IV_MORE}[again].splitlines(keepends=True)
    write(iv / "hosp", {again: "".join([*lines, *lines[1:]])})
    twice = events(MimicIV(root=iv))
    for domain in ("diagnosis", "procedure", "medication", "lab", "vital"):
        before, after = (found[found["domain"] == domain].reset_index(drop=True) for found in (once, twice))
        pd.testing.assert_frame_equal(before, after)


def test_every_event_of_mimic_iv_by_hand(iv: Path) -> None:
    all_events = events(MimicIV(root=iv))
    assert of(all_events, "sex", "subject_id", "code") == [(1, "F"), (2, "M"), (3, "M")]
    assert of(all_events, "birth", "subject_id", "time") == [
        (1, day("2100-01-01")),
        (2, day("2140-01-01")),
        (3, day("2130-01-01")),
    ]
    assert of(all_events, "death", "subject_id", "time") == [(1, day("2152-05-01")), (2, day("2160-01-03 09:00"))]
    assert of(all_events, "admission", "stay_id", "time", "code")[0] == (11, day("2150-01-01 10:00"), "URGENT")
    assert of(all_events, "discharge", "stay_id", "code", "numeric_value") == [
        (11, "HOME", 0.0),
        (12, "HOSPICE", 0.0),
        (21, "DIED", 1.0),
    ]
    assert of(all_events, "race", "stay_id", "code")[1] == (12, "WHITE - RUSSIAN")
    assert of(all_events, "insurance", "stay_id", "code")[2] == (21, "Other")
    assert of(all_events, "language", "stay_id", "code")[2] == (21, None)
    assert of(all_events, "marital_status", "stay_id", "code")[1] == (12, "WIDOWED")
    assert of(all_events, "diagnosis", "stay_id", "vocabulary", "code", "time") == [
        (11, "ICD9CM", "4019", day("2150-01-03 10:00")),
        (12, "ICD10CM", "I10", day("2151-01-03 10:00")),
        (99, "ICD9CM", "25000", None),  # of a stay that nobody knows: not lost
    ]
    assert of(all_events, "procedure", "vocabulary", "code", "time") == [("ICD9PCS", "5491", day("2150-01-02"))]
    assert of(all_events, "medication", "code", "time") == [("Aspirin", day("2150-01-01 12:00"))]
    assert of(all_events, "lab", "code", "numeric_value", "unit") == [
        ("7", 1.0, None),
        ("Glucose, Blood", 99.0, "mg/dL"),
        ("Glucose, Urine", 250.0, "mg/dL"),
    ]
    assert of(all_events, "vital", "code", "numeric_value") == [
        ("BMI (kg/m2)", 25.5),
        ("Blood Pressure Sitting, diastolic", 0.0),
        ("Blood Pressure Sitting, systolic", 130.0),
        ("Blood Pressure, diastolic", 80.0),
        ("Blood Pressure, diastolic", None),
        ("Blood Pressure, systolic", 120.0),
        ("Blood Pressure, systolic", None),
    ]
    assert of(all_events, "icu_admission", "stay_id", "code", "time") == [(11, "MICU", day("2150-01-01 12:00"))]
    assert of(all_events, "icu_discharge", "stay_id", "code", "time") == [(11, "SICU", day("2150-01-02 12:00"))]
    assert of(all_events, "service", "code") == [("MED",)]


def test_titles_of_codes_become_labels(iv: Path) -> None:
    with Store() as store:
        MimicIV(root=iv).read(store)
        row = store.frame(f"SELECT domain, vocabulary, code, label FROM {LABELS}").iloc[0].tolist()
    assert row == ["diagnosis", "ICD9CM", "4019", "Hypertension"]


def test_version_1_has_core_and_ethnicity_and_no_omr(iv: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    old = tmp_path_factory.mktemp("one")
    core = {name: IV[name].replace(",race,", ",ethnicity,") for name in ("patients", "admissions")}
    write(old / "core", core)
    write(old / "hosp", {"diagnoses_icd": IV["diagnoses_icd"]})
    source = MimicIV(root=old)
    assert sorted(source.inputs()) == [
        "core/admissions.csv.gz",
        "core/patients.csv.gz",
        "hosp/diagnoses_icd.csv.gz",
    ]
    got, usual = events(source), events(MimicIV(root=iv))
    known = usual[usual["domain"].isin(got["domain"].unique())].reset_index(drop=True)
    pd.testing.assert_frame_equal(got.astype(known.dtypes), known)  # an empty column has no type
    assert not got["domain"].isin(["vital", "lab", "procedure", "icu_admission"]).any()
    with Store() as store:
        source.read(store)
        assert not store.has(LABELS)


@pytest.mark.parametrize("form", ["plain", "upper", "parquet", "flat"])
def test_every_packing_gives_the_same_events(iv: Path, tmp_path: Path, form: str) -> None:
    other = tmp_path / "other"
    folder = other if form == "flat" else other / "hosp"
    write(folder, {**IV, **IV_MORE}, packed=form == "flat", upper=form == "upper")
    write(other if form == "flat" else other / "icu", {"icustays": ICU})
    if form == "parquet":
        for file in list(folder.iterdir()):
            pd.read_csv(file, dtype={"icd_code": str}).to_parquet(file.with_suffix(".parquet"))
            file.unlink()
    pd.testing.assert_frame_equal(events(MimicIV(root=other)), events(MimicIV(root=iv)))


def test_only_the_tables_that_a_query_needs_are_scanned(iv: Path) -> None:
    with Store() as store:
        MimicIV(root=iv).read(store)

        def scanned(domains: str) -> int:
            plan = store.frame(f"EXPLAIN SELECT count(code) FROM events WHERE domain IN ({domains})")
            return len(re.findall("READ_CSV", plan["explain_value"].iloc[0]))

        assert scanned("'diagnosis'") == 2  # and admissions, for the date
        assert scanned("'lab'") == 2  # and the labels
        assert scanned("'admission', 'discharge'") == 2


III = {
    "patients": """"ROW_ID","SUBJECT_ID","GENDER","DOB","DOD","DOD_HOSP","DOD_SSN","EXPIRE_FLAG"
1,1,"F",1850-03-05 00:00:00,,,,0
2,2,"M",2094-03-05 00:00:00,2165-08-12 00:00:00,,2165-08-12 00:00:00,1
""",
    "admissions": """"ROW_ID","SUBJECT_ID","HADM_ID","ADMITTIME","DISCHTIME","DEATHTIME","ADMISSION_TYPE",\
"DISCHARGE_LOCATION","INSURANCE","ETHNICITY","HOSPITAL_EXPIRE_FLAG"
1,1,11,2150-03-06 10:00:00,2150-03-08 10:00:00,,"ELECTIVE","HOME","Medicare","WHITE",0
2,2,21,2164-10-23 21:09:00,2164-11-01 17:15:00,,"EMERGENCY","SNF","Private","ASIAN",0
""",
    "diagnoses_icd": '"ROW_ID","SUBJECT_ID","HADM_ID","SEQ_NUM","ICD9_CODE"\n1,1,11,1,"00845"\n2,2,21,1,\n',
    "procedures_icd": '"ROW_ID","SUBJECT_ID","HADM_ID","SEQ_NUM","ICD9_CODE"\n1,1,11,1,"0845"\n',
    "prescriptions": '"SUBJECT_ID","HADM_ID","STARTDATE","DRUG"\n2,21,2164-10-24 00:00:00,"Aspirin"\n',
    "d_icd_procedures": '"ROW_ID","ICD9_CODE","SHORT_TITLE","LONG_TITLE"\n1,"0845","Short","Long, and with a comma"\n',
}


@pytest.mark.parametrize("upper", [True, False])
def test_every_event_of_mimic_iii_by_hand(tmp_path: Path, upper: bool) -> None:
    write(tmp_path, III if upper else {name: text.lower() for name, text in III.items()}, upper=upper)
    source = MimicIII(root=tmp_path)
    all_events = events(source)
    assert of(all_events, "birth", "subject_id", "time") == [(1, day("1850-03-05")), (2, day("2094-03-05"))]
    assert of(all_events, "death", "subject_id", "time") == [(2, day("2165-08-12"))]
    assert of(all_events, "diagnosis", "stay_id", "vocabulary", "code", "time") == [
        (11, "ICD9CM", "00845", day("2150-03-08 10:00")),
        (21, "ICD9CM", None, day("2164-11-01 17:15")),
    ]
    assert of(all_events, "procedure", "stay_id", "vocabulary", "code", "time") == [
        (11, "ICD9PCS", "0845", day("2150-03-08 10:00"))
    ]
    assert len(of(all_events, "medication", "code")) == 1
    assert len(of(all_events, "race", "code")) == 2
    assert next(iter(source.inputs())) == ("PATIENTS.csv.gz" if upper else "patients.csv.gz")
    with Store() as store:
        source.read(store)
        label = store.value(f"SELECT lower(label) FROM {LABELS} WHERE vocabulary = 'ICD9PCS'")
    assert label == "long, and with a comma"


def test_a_folder_that_is_no_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"source\.root=.*absent: no such folder"):
        MimicIV(root=tmp_path / "absent")
    with pytest.raises(
        FileError, match=r"no table 'patients' in this folder and its hosp/, core/, icu/; patients\.csv"
    ):
        MimicIV(root=tmp_path)
    write(tmp_path, {name: text for name, text in III.items() if name != "diagnoses_icd"})
    with pytest.raises(FileError, match="no table 'diagnoses_icd' in this folder; diagnoses_icd"):
        MimicIII(root=tmp_path)


def test_a_required_table_without_rows_is_refused(iv: Path) -> None:
    write(iv / "hosp", {"diagnoses_icd": IV["diagnoses_icd"].splitlines()[0] + "\n"})
    with pytest.raises(TableError, match=r"diagnoses_icd\.csv\.gz: the table has a header and no rows"):
        events(MimicIV(root=iv))


@pytest.mark.parametrize(
    ("table", "old", "new", "message"),
    [
        ("patients", "anchor_year,", "year,", r"patients\.csv\.gz: missing column 'anchor_year' .1 of 5"),
        ("patients", "1,F,50", "one,F,50", r"patients\.csv\.gz, line 2: column 'subject_id' does not hold a BIGINT"),
        ("patients", "1,F,50", "1.5,F,50", r"patients\.csv\.gz: column 'subject_id' is text, and .* whole number"),
        ("patients", "1,F,50", "1,F,99999999", "^patients: an anchor_year less its anchor_age is no year"),
        ("admissions", "2150-01-03 10", "2150-01-33 10", r"admissions\.csv\.gz, line 2: column 'dischtime'"),
        ("diagnoses_icd", "1,12,1,I10,10", "1,12,1,I10", r"diagnoses_icd\.csv\.gz, line 3: 4 cells; the header has 5"),
        ("diagnoses_icd", "1,4019", '1,"4019', r"diagnoses_icd\.csv\.gz, line 2: a quote"),
    ],
)
def test_a_bad_cell_is_named(iv: Path, table: str, old: str, new: str, message: str) -> None:
    assert old in IV[table]
    write(iv / "hosp", {table: IV[table].replace(old, new)})
    with pytest.raises(TableError, match=message):
        events(MimicIV(root=iv))


@pytest.mark.parametrize("table", ["patients", "admissions"])
def test_a_row_must_name_its_subject(iv: Path, table: str) -> None:
    write(iv / "hosp", {table: re.sub("^2,", ",", IV[table], flags=re.MULTILINE)})
    with Store() as store:
        MimicIV(root=iv).read(store)
        with pytest.raises(TableError, match=r"^the source has people or admissions without a subject"):
            make_timeline(store)


def test_the_timeline_of_the_small_release(iv: Path) -> None:
    with Store() as store:
        MimicIV(root=iv).read(store)
        make_timeline(store)
        assert store.frame("SELECT subject_id, died FROM stays ORDER BY ALL").to_numpy().tolist() == [
            [1, False],
            [1, False],
            [2, True],
        ]
        assert store.value("SELECT count(*) FROM people") == 3
