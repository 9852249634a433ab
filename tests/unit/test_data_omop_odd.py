"""OMOP tables as hospitals really have them: outpatients, dates alone, ids that were floats, gaps anywhere."""

from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.data.cohort.base import Cohort
from ehrsynth.data.cohort.rules import Age
from ehrsynth.data.events import EVENTS, make_timeline
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.sources.omop import Omop
from ehrsynth.data.store import Store
from ehrsynth.errors import InputError, OptionError, TableError
from tests import matrices
from tests.exports import Tables, write_database, write_folder
from tests.unit.test_data_omop import day, rows, tables

CONTENT = f"SELECT * EXCLUDE (time), time FROM {EVENTS} ORDER BY ALL"


def content(root: Path) -> pd.DataFrame:
    with Store(threads=1) as store:
        Omop(root=root).read(store)
        return store.frame(CONTENT)


def as_floats(whole: Tables) -> Tables:
    """Return tables whose ids were numbers with gaps once."""
    ids = {name: [column for column in table if column.endswith("_id")] for name, table in whole.items()}
    return {
        name: table if name == "concept" else table.astype(dict.fromkeys(ids[name], float))
        for name, table in whole.items()
    }


def in_capitals(whole: Tables) -> Tables:
    return {name.upper(): table.rename(columns=str.upper) for name, table in whole.items()}


@pytest.mark.parametrize("form", [".parquet", ".csv", "database"])
@pytest.mark.parametrize("change", [as_floats, in_capitals])
def test_the_same_tables_in_other_words(tmp_path: Path, form: str, change: object) -> None:
    assert callable(change)
    plain, changed = tables(), change(tables())
    wanted = content(write_folder(plain, tmp_path / "plain"))
    if form == "database":
        found = content(write_database(changed, tmp_path / "hospital.duckdb"))
    else:
        found = content(write_folder(changed, tmp_path / "changed", suffix=form))
    pd.testing.assert_frame_equal(found, wanted)


def test_tables_without_rows(tmp_path: Path) -> None:
    empty = {name: table.iloc[:0] for name, table in tables().items() if name not in ("person", "concept")}
    for suffix in (".parquet", ".csv"):
        whole = write_folder({**tables(), **empty}, tmp_path / suffix[1:], suffix=suffix)
        assert set(content(whole)["domain"]) == {"subject", "sex", "birth", "race", "ethnicity"}
    nobody = write_folder(tables(person=tables()["person"].iloc[:0]), tmp_path / "nobody")
    with pytest.raises(TableError, match="table person has no rows; at least one was expected"):
        content(nobody)


def test_visits_of_no_kind_are_no_stays(tmp_path: Path) -> None:
    visits = tables()["visit_occurrence"].assign(visit_concept_id=[9201, None, 9201, None])
    source = Omop(root=write_folder(tables(visit_occurrence=visits), tmp_path))
    assert (2, None, "195967001") in rows(source, "diagnosis", "subject_id", "stay_id", "code")


@pytest.mark.parametrize(
    ("person", "problem"),
    [([1, 2, 3, None], None), ([1, 2, None, 3], "without a subject"), ([1, 2, 99, 3], None)],
)
def test_visits_without_a_person(tmp_path: Path, person: list[int | None], problem: str | None) -> None:
    visits = tables()["visit_occurrence"].assign(person_id=pd.array(person, "Int64"))
    root = write_folder(tables(visit_occurrence=visits), tmp_path)
    with Store(threads=1) as store:
        Omop(root=root).read(store)
        if problem is None:
            make_timeline(store)
            flow = Cohort().choose(store)
            assert flow[-1].subjects == (2 if 99 in person else 3)
        else:
            with pytest.raises(TableError, match=problem):
                make_timeline(store)


def test_people_of_whom_little_is_known(tmp_path: Path) -> None:
    little = tables()["person"][["person_id", "year_of_birth"]].assign(gender_concept_id=0)
    with Store(threads=1) as store:
        Omop(root=write_folder(tables(person=little), tmp_path)).read(store)
        make_timeline(store)
        people = store.frame("SELECT sex, birth FROM people ORDER BY subject_id")
    assert people["sex"].isna().all()
    assert people["birth"].dt.year.tolist() == [1950, 1960, 1970, 1980]


def test_a_vocabulary_in_a_schema_of_its_own(tmp_path: Path) -> None:
    whole = tables()
    concept = whole.pop("concept")
    path = write_database(whole, tmp_path / "hospital.duckdb")
    source = Omop(root=write_database({"concept": concept}, path, schema="vocabulary"))
    assert ("ICD10CM", "I10") in rows(source, "diagnosis", "vocabulary", "code")


def test_what_was_understood(tmp_path: Path) -> None:
    source = Omop(root=write_folder(tables(), tmp_path))
    with Store(threads=1) as store:
        source.read(store)
        told = {(line.what, line.means): (line.count, line.of) for line in source.coverage(store)}
    assert told == {
        ("diagnosis events", "codes of ICD10CM"): (2, 5),
        ("diagnosis events", "codes of SNOMED"): (1, 5),
        ("diagnosis events", "source values of no vocabulary (see source.source_codes)"): (2, 5),
        ("procedure events", "codes of ICD9PCS"): (1, 1),
    }


# --- outpatients ----------------------------------------------------------------------------------------------------

PEOPLE, INPATIENTS = 40, 6


def outpatients(folder: Path) -> Path:
    """Write forty people, five of them children, who come twice a year; six stayed in hospital once. Dates alone."""
    people = range(1, PEOPLE + 1)
    visits = [(person, 2010 + year, month) for person in people for year in range(3) for month in (3, 9)]
    frame = pd.DataFrame(visits, columns=["person_id", "year", "month"])
    start = pd.to_datetime(frame[["year", "month"]].assign(day=frame["person_id"] % 28 + 1))
    inpatient = (frame["person_id"] <= INPATIENTS) & (frame["year"] == 2011) & (frame["month"] == 3)
    number = range(1, len(frame) + 1)
    stress, headache, drug = 312437, 378253, 19078461
    even = frame["person_id"] % 2 == 0
    whole = {
        "person": pd.DataFrame(
            {
                "person_id": people,
                "gender_concept_id": [8507, 8532] * (PEOPLE // 2),
                "year_of_birth": [1950 + person if person <= PEOPLE - 5 else 2005 for person in people],
            }
        ),
        "visit_occurrence": pd.DataFrame(
            {
                "visit_occurrence_id": number,
                "person_id": frame["person_id"],
                "visit_concept_id": inpatient.map({True: 9201, False: 9202}),
                "visit_start_date": start.dt.date,
                "visit_end_date": start.dt.date,
                "discharged_to_concept_id": 0,
            }
        ),
        "condition_occurrence": pd.DataFrame(
            {
                "person_id": frame["person_id"],
                "condition_concept_id": even.map({True: stress, False: headache}),
                "condition_start_date": start.dt.date,
                "visit_occurrence_id": number,
            }
        ),
        "drug_exposure": pd.DataFrame(
            {
                "person_id": frame["person_id"],
                "drug_concept_id": drug,
                "drug_exposure_start_date": start.dt.date,
                "visit_occurrence_id": number,
            }
        )[frame["person_id"] % 4 < 2],
        "death": pd.DataFrame({"person_id": [2, 9], "death_date": ["2013-01-05", "2012-11-30"]}),
        "concept": pd.DataFrame(
            [
                (stress, "Stress (finding)", "SNOMED", "73595000", "Clinical Finding"),
                (headache, "Headache", "SNOMED", "25064002", "Clinical Finding"),
                (drug, "ibuprofen 200 MG Oral Tablet", "RxNorm", "310965", "Clinical Drug"),
            ],
            columns=["concept_id", "concept_name", "vocabulary_id", "concept_code", "concept_class_id"],
        ),
    }
    return write_folder(whole, folder, suffix=".csv")


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return outpatients(tmp_path_factory.mktemp("clinic"))


def made(clinic: Path, out: Path, *options: str) -> Matrix:
    shares = "split.validation=0.1", "preprocess.max_missing=1", "preprocess.min_count=0", "constraints=none"
    return matrices.make(out, "source=omop", "cohort=omop", "features=omop", f"source.root={clinic}", *shares, *options)


def test_outpatients_become_rows(clinic: Path, tmp_path: Path) -> None:
    matrix = made(clinic, tmp_path / "m", "cohort.stay=null", "features.died_within_year.days=400")
    assert [(step["what"], step["subjects"]) for step in matrix.provenance["flow"]] == [
        ("subjects in the source", 40),
        ("alive at the index", 40),
        ("18 years or older", 35),
    ]
    labels = {column.name: column.label for column in matrix.schema.columns}
    assert labels["dx_unmapped_snomed_73595000"] == "Stress (finding)"
    assert "rx_ibuprofen" in labels
    assert any("73595000 (Stress (finding))" in words for words in matrix.provenance["steps"][0]["detail"])


@pytest.mark.parametrize(
    ("index", "words", "adults"),
    [
        ("last_visit", "with a dated visit", 35),
        ("end_of_observation", "with a known end of observation", 35),
        ("2011-06-30", "seen by 2011-06-30", 35),
        ({"first": ["73595000"]}, "with a dated diagnosis 73595000", 17),
    ],
)
def test_outpatients_seen_from_an_index(
    clinic: Path, index: str | dict[str, list[str]], words: str, adults: int
) -> None:
    with Store(threads=1) as store:
        Omop(root=clinic).read(store)
        make_timeline(store)
        flow = Cohort(stay=None, index=index, rules={"adult": Age(18)}).choose(store)
    assert (flow[1].what, flow[-1].subjects) == (words, adults)


def test_too_few_rows_tell_how_they_became_so_few(clinic: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"in 6 subjects.*: 40 subjects in the source, 6 with at least one stay$"):
        made(clinic, tmp_path / "m")


def test_a_constant_outcome_names_the_option_that_leaves_it_out(clinic: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'died_within_year': a constant.*with features\.died_within_year=null$"):
        made(clinic, tmp_path / "m", "cohort.stay=null", "features.died_within_year.days=1")


def test_measurements_of_the_day_of_discharge_count(tmp_path: Path) -> None:
    visits = tables()["visit_occurrence"].assign(visit_end_datetime=pd.NaT, visit_start_datetime=pd.NaT)
    measured = tables()["measurement"].assign(
        measurement_concept_id=24, measurement_date=[day(5), day(9)], measurement_datetime=[day(5, 11), day(9, 11)]
    )
    with Store(threads=1) as store:
        Omop(root=write_folder(tables(visit_occurrence=visits, measurement=measured), tmp_path)).read(store)
        make_timeline(store)
        Cohort(stay="last").choose(store)
        assert store.value("SELECT count(*) FROM history WHERE domain = 'vital'") == 2
