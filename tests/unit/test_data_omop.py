"""OMOP CDM tables as events, by hand, and what can be wrong with them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data.events import EVENTS, LABELS, make_timeline
from ehrsynth.data.sources.omop import Omop
from ehrsynth.data.store import Store
from ehrsynth.errors import FileError, InputError, OptionError, TableError
from tests.exports import Tables, write_database, write_folder

CONCEPTS = [
    (0, "No matching concept", "None", "0", ""),
    (11, "Hypertension", "ICD10CM", "I10", "3-char billing code"),
    (12, "Appendectomy", "ICD9Proc", "47.0", "3-dig billing code"),
    (13, "Long-term use of insulin", "ICD10CM", "Z79.4", "code"),
    (21, "Asthma", "SNOMED", "195967001", "Clinical Finding"),
    (22, "furosemide 40 MG Oral Tablet", "RxNorm", "313988", "Clinical Drug"),
    (23, "Glucose [Mass/volume] in Blood", "LOINC", "2339-0", "Lab Test"),
    (24, "Systolic blood pressure", "LOINC", "8480-6", "Clinical Observation"),
    (25, "milligram per deciliter", "UCUM", "mg/dL", "Unit"),
    (26, "Black or African American", "Race", "3", "Race"),
    (27, "Tobacco smoking status", "LOINC", "72166-2", "Clinical Observation"),
    (28, "Former smoker", "SNOMED", "8517006", "Finding"),
]


def day(number: int, hour: int = 0) -> pd.Timestamp:
    return pd.Timestamp(2020, 1, number, hour)


def tables(**changed: pd.DataFrame) -> Tables:
    """Return a hospital of four people; the fourth has no visit at all."""
    whole = {
        "person": pd.DataFrame(
            {
                "person_id": [1, 2, 3, 4],
                "gender_concept_id": [8507, 8532, 0, 8532],
                "gender_source_value": ["?", "?", "female", "?"],
                "year_of_birth": [1950, 1960, 1970, 1980],
                "month_of_birth": [None, 5, 6, 7],
                "day_of_birth": [None, None, 3, 4],
                "birth_datetime": [None, None, None, pd.Timestamp(1980, 7, 4, 9)],
                "race_concept_id": [26, 0, 0, 0],
                "ethnicity_concept_id": [0, 38003563, 0, 0],
                "race_source_value": ["B", "H", "MULTIPLE", None],
            }
        ),
        "death": pd.DataFrame({"person_id": [1, 2], "death_date": [day(5), day(9)]}),
        "visit_occurrence": pd.DataFrame(
            {
                "visit_occurrence_id": [100, 101, 102, 103],
                "person_id": [1, 2, 3, 3],
                "visit_concept_id": [9201, 262, 9201, 9202],
                "visit_start_date": [day(1), day(2), day(3), day(20)],
                "visit_start_datetime": [day(1, 8), day(2, 9), day(3, 10), None],
                "visit_end_date": [day(5), day(9), day(6), day(20)],
                "visit_end_datetime": [day(5, 12), day(9, 13), day(6, 14), None],
                "discharged_to_concept_id": [0, 0, 4216643, 0],
                "discharged_to_source_value": [None, "HOME", None, None],
            }
        ),
        "condition_occurrence": pd.DataFrame(
            {
                "person_id": [1, 2, 3, 3],
                "condition_concept_id": [0, 21, 0, 0],
                "condition_start_date": [day(1), day(2), day(3), day(20)],
                "visit_occurrence_id": [100, 101, 102, 103],
                "condition_source_value": ["I10", "J45", "local", "E11.9"],
                "condition_source_concept_id": [11, 0, 0, 0],
            }
        ),
        "procedure_occurrence": pd.DataFrame(
            {
                "person_id": [1],
                "procedure_concept_id": [0],
                "procedure_date": [day(2)],
                "visit_occurrence_id": [100],
                "procedure_source_concept_id": [12],
            }
        ),
        "drug_exposure": pd.DataFrame(
            {
                "person_id": [1, 2],
                "drug_concept_id": [22, 0],
                "drug_exposure_start_date": [day(1), day(2)],
                "drug_source_value": ["furo", "Aspirin"],
            }
        ),
        "measurement": pd.DataFrame(
            {
                "person_id": [1, 2],
                "measurement_concept_id": [23, 24],
                "measurement_date": [day(1), day(2)],
                "measurement_datetime": [day(1, 7), None],
                "value_as_number": [101.5, 130.0],
                "unit_concept_id": [25, 0],
                "unit_source_value": ["mg", "mmHg"],
            }
        ),
        "observation": pd.DataFrame(
            {
                "person_id": [2, 2],
                "observation_concept_id": [27, 0],
                "observation_date": [day(2), day(2)],
                "visit_occurrence_id": [101, 101],
                "observation_source_concept_id": [0, 13],
                "value_as_concept_id": [28, 0],
            }
        ),
        "concept": pd.DataFrame(
            CONCEPTS, columns=["concept_id", "concept_name", "vocabulary_id", "concept_code", "concept_class_id"]
        ),
    }
    return {**whole, **changed}


def events(source: Omop, query: str = "") -> pd.DataFrame:
    with Store(threads=1) as store:
        source.read(store)
        return store.frame(f"SELECT * FROM {EVENTS} {query} ORDER BY ALL")


def rows(source: Omop, domain: str, *columns: str) -> list[tuple[object, ...]]:
    found = events(source, f"WHERE domain = '{domain}'").astype(object)
    found = found.where(found.notna(), None)
    return list(found[list(columns)].itertuples(index=False, name=None))


@pytest.fixture(params=["parquet", "csv", "upper.csv.gz", "parts", "database"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Omop:
    """The same tables in every form they may have."""
    form = request.param
    if form == "database":
        return Omop(root=write_database(tables(), tmp_path / "hospital.duckdb"))
    if form == "parts":
        for name, table in tables().items():
            half = len(table) // 2
            for number, part in enumerate((table.iloc[:half], table.iloc[half:])):
                write_folder({f"{number}": part}, tmp_path / name / f"p{number}")
        return Omop(root=tmp_path)
    return Omop(root=write_folder(tables(), tmp_path, suffix="." + form.removeprefix("upper."), upper="upper" in form))


def test_people(source: Omop) -> None:
    with Store(threads=1) as store:
        source.read(store)
        make_timeline(store)
        people = store.frame("SELECT subject_id, sex, birth, death FROM people ORDER BY subject_id")
    assert people["sex"].tolist() == ["M", "F", "F", "F"]
    born = [(1950, 1, 1), (1960, 5, 1), (1970, 6, 3), (1980, 7, 4, 9)]
    assert people["birth"].tolist() == [pd.Timestamp(*moment) for moment in born]
    assert people["death"].iloc[:2].tolist() == [day(5), day(9)]
    assert people["death"].iloc[2:].isna().all()
    assert rows(source, "race", "subject_id", "code") == [
        (1, "Black or African American"),
        (2, "Hispanic or Latino"),
        (3, "MULTIPLE"),
        (4, None),
    ]


def test_stays_and_who_died_in_them(source: Omop) -> None:
    assert rows(source, "admission", "subject_id", "stay_id", "time") == [
        (1, 100, day(1, 8)),
        (2, 101, day(2, 9)),
        (3, 102, day(3, 10)),
    ]
    assert rows(source, "discharge", "stay_id", "time", "numeric_value") == [
        (100, day(5, 12), 1),  # died that day, and no place is known
        (101, day(9, 13), 0),  # went home, and died that day
        (102, day(6, 14), 1),  # to nowhere
    ]


def test_diagnoses(source: Omop) -> None:
    found = rows(source, "diagnosis", "subject_id", "stay_id", "time", "vocabulary", "code")
    assert found == [
        (1, 100, day(5, 12), "ICD10CM", "I10"),
        (2, 101, day(9, 13), "ICD10CM", "Z79.4"),  # an observation
        (2, 101, day(9, 13), "SNOMED", "195967001"),
        (3, 102, day(6, 14), None, "local"),
        (3, None, day(20), None, "E11.9"),  # outpatient
    ]


def test_the_other_domains(source: Omop) -> None:
    assert rows(source, "procedure", "time", "vocabulary", "code") == [(day(2), "ICD9PCS", "47.0")]
    assert rows(source, "medication", "code") == [("furosemide 40 MG Oral Tablet",), ("Aspirin",)]
    measured = ("time", "code", "numeric_value", "unit")
    assert rows(source, "lab", *measured) == [(day(1, 7), "Glucose [Mass/volume] in Blood", 101.5, "mg/dL")]
    assert rows(source, "vital", *measured) == [(day(2), "Systolic blood pressure", 130, "mmHg")]
    assert rows(source, "observation", "code", "text_value") == [("Tobacco smoking status", "Former smoker")]


def test_source_values_of_a_known_vocabulary(tmp_path: Path) -> None:
    source = Omop(root=write_folder(tables(), tmp_path), source_codes="ICD10CM")
    assert ("ICD10CM", "J45") in rows(source, "diagnosis", "vocabulary", "code")
    assert ("ICD10CM", "E11.9") in rows(source, "diagnosis", "vocabulary", "code")


def test_which_visits_are_stays(tmp_path: Path) -> None:
    source = Omop(root=write_folder(tables(), tmp_path), stays=[9202])
    assert rows(source, "admission", "stay_id", "time") == [(103, day(20))]
    for stays in ([], ["inpatient"]):
        with pytest.raises(OptionError, match=r"source\.stays"):
            Omop(root=tmp_path, stays=stays)  # type: ignore[arg-type]


def test_words(source: Omop) -> None:
    with Store(threads=1) as store:
        source.read(store)
        words = store.frame(f"SELECT * FROM {LABELS} ORDER BY ALL")
    found = set(words.itertuples(index=False, name=None))
    assert ("diagnosis", "ICD10CM", "I10", "Hypertension") in found
    assert ("diagnosis", "SNOMED", "195967001", "Asthma") in found
    assert ("procedure", "ICD9PCS", "47.0", "Appendectomy") in found


def test_a_vocabulary_apart_as_athena_writes_it(tmp_path: Path) -> None:
    whole = tables()
    concept = whole.pop("concept")
    concept.loc[1, "concept_name"] = 'Hypertension, "essential'
    (tmp_path / "athena").mkdir()
    lines = ["\t".join(map(str, row)) for row in [concept.columns, *concept.itertuples(index=False)]]
    (tmp_path / "athena" / "CONCEPT.csv").write_text("\n".join(lines) + "\n")
    source = Omop(root=write_folder(whole, tmp_path / "cdm"), vocabulary=tmp_path / "athena")
    assert ("ICD10CM", "I10") in rows(source, "diagnosis", "vocabulary", "code")
    assert "CONCEPT.csv" in source.inputs()


def test_versions(tmp_path: Path) -> None:
    visits = tables()["visit_occurrence"]
    old = visits.rename(columns=lambda name: name.replace("discharged_to", "discharge_to"))
    for version, table in (("5.4", visits), ("5.3", old)):
        source = Omop(root=write_folder(tables(visit_occurrence=table), tmp_path / version))
        assert source.options()["version"] == version
        assert [died for (died,) in rows(source, "discharge", "numeric_value")] == [1, 0, 1]
    neither = visits.drop(columns=["discharged_to_concept_id"])
    source = Omop(root=write_folder(tables(visit_occurrence=neither), tmp_path / "neither"))
    with pytest.raises(TableError, match=r"neither OMOP CDM 5\.3 nor 5\.4"):
        source.options()


def test_optional_tables(tmp_path: Path) -> None:
    needed = {name: table for name, table in tables().items() if name in ("person", "visit_occurrence", "concept")}
    source = Omop(root=write_folder(needed, tmp_path))
    assert set(events(source)["domain"]) == {"subject", "sex", "birth", "race", "ethnicity", "admission", "discharge"}
    assert set(source.inputs()) == {f"{name}.parquet" for name in needed}


def opened(form: str, whole: Tables, folder: Path) -> Omop:
    """Write the tables in a form, and open them; a database without a person is refused at once."""
    write = write_folder if form == "folder" else write_database
    return Omop(root=write(whole, folder / "hospital.duckdb"))


@pytest.mark.parametrize("form", ["folder", "database"])
@pytest.mark.parametrize("name", ["person", "visit_occurrence"])
def test_a_table_that_is_missing(tmp_path: Path, form: str, name: str) -> None:
    whole = {key: table for key, table in tables().items() if key != name}
    with pytest.raises(InputError, match=rf"no table '?{name}"):
        events(opened(form, whole, tmp_path))


@pytest.mark.parametrize("form", ["folder", "database"])
def test_a_column_that_is_missing(tmp_path: Path, form: str) -> None:
    whole = tables(person=tables()["person"].drop(columns=["year_of_birth"]))
    with pytest.raises(TableError, match=r"person.*missing column 'year_of_birth'"):
        events(opened(form, whole, tmp_path))


def test_no_concepts(tmp_path: Path) -> None:
    whole = tables()
    del whole["concept"]
    found = rows(Omop(root=write_folder(whole, tmp_path / "values")), "diagnosis", "code")
    assert found == [("I10",), ("J45",), ("local",), ("E11.9",)]
    conditions = whole["condition_occurrence"].assign(condition_source_value=np.nan)
    nameless = Omop(root=write_folder({**whole, "condition_occurrence": conditions}, tmp_path / "nameless"))
    with pytest.raises(TableError, match=r"no table concept.*source\.vocabulary"):
        events(nameless)


def test_roots_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"source\.root=.*no such folder"):
        Omop(root=tmp_path / "absent")
    with pytest.raises(OptionError, match=r"source\.vocabulary=.*no such folder"):
        Omop(root=tmp_path, vocabulary=tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(OptionError, match=r"source\.root=.*\.duckdb"):
        Omop(root=tmp_path / "notes.txt")
    (tmp_path / "none.duckdb").write_text("none")
    with pytest.raises(FileError, match="not readable as a DuckDB database"):
        Omop(root=tmp_path / "none.duckdb")
    database = write_database(tables(), tmp_path / "hospital.duckdb")
    with pytest.raises(OptionError, match=r"source\.vocabulary"):
        Omop(root=database, vocabulary=tmp_path)
    write_folder(tables(), tmp_path / "cdm")
    (tmp_path / "cdm" / "visit_occurrence.parquet").write_text("none")
    with pytest.raises(FileError, match=r"visit_occurrence\.parquet: not readable as Parquet"):
        Omop(root=tmp_path / "cdm").options()


def test_a_fraction_is_no_whole_number(tmp_path: Path) -> None:
    whole = tables()
    spoiled = {**whole, "person": whole["person"].assign(year_of_birth=1950.5)}
    where = {"database": "hospital.duckdb, person", "folder": "person.parquet"}
    for root in (write_database(spoiled, tmp_path / "hospital.duckdb"), write_folder(spoiled, tmp_path / "cdm")):
        place = where["database" if root.is_file() else "folder"]
        with pytest.raises(TableError, match=f"{place}: column 'year_of_birth' is DOUBLE, and .* whole number"):
            events(Omop(root=root))


def test_a_date_of_birth_that_is_none(tmp_path: Path) -> None:
    whole = tables()
    spoiled = {**whole, "person": whole["person"].assign(month_of_birth=13)}
    with pytest.raises(TableError, match=r"^person: a year_of_birth, .* no day of the calendar$"):
        events(Omop(root=write_folder(spoiled, tmp_path)))


@pytest.mark.parametrize("table", ["visit_occurrence", "concept", "person"])
def test_text_that_is_not_utf8(tmp_path: Path, table: str) -> None:
    write_folder(tables(), tmp_path, suffix=".csv")
    with (tmp_path / f"{table}.csv").open("ab") as file:
        file.write(b"\xdf")
    with pytest.raises(FileError, match=rf"{table}\.csv: not UTF-8 text; convert the file"):
        events(Omop(root=tmp_path))
