"""Visits out as OMOP CDM 5.4, and back through ``prepare source=omop``."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data import omop_out
from ehrsynth.data.omop_out import without_standard_concept, write_omop
from ehrsynth.data.prepare import prepare
from ehrsynth.data.split import SPLITS
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.data.trajectories_out import shards
from ehrsynth.errors import OptionError, TableError
from ehrsynth.visits import Visits
from tests.handed_out import SCHEMA, STATIC, two
from tests.matrices import recipe
from tests.trajectories import assert_equal, prepared

DEMO = ("source=demo_visits", "source.n=300")
READ_WITH = ("cohort=demo_visits", "features=demo_visits")


def rows(folder: Path, table: str, *columns: str) -> list[tuple[object, ...]]:
    """Return cells of a table, None where there is nothing."""
    frame = pd.read_parquet(folder / f"{table}.parquet")[list(columns)].astype(object)
    return [tuple(None if pd.isna(cell) else cell for cell in row) for row in frame.itertuples(index=False)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_omop(two(), SCHEMA, STATIC, tmp_path_factory.mktemp("out") / "omop")


def test_who(folder: Path) -> None:
    told = ("person_id", "gender_concept_id", "year_of_birth", "race_concept_id", "race_source_value")
    assert rows(folder, "person", *told) == [(1, 8532, None, 8527, "white"), (2, 0, 1969, 0, "other")]
    assert rows(folder, "death", "person_id", "death_date") == [(1, pd.Timestamp("1970-01-13").date())]
    seen = rows(folder, "observation_period", "person_id", "observation_period_start_date", "period_type_concept_id")
    assert seen == [(1, pd.Timestamp("1970-01-11").date(), 32817), (2, pd.Timestamp("1970-01-06").date(), 32817)]
    assert rows(folder, "cdm_source", "cdm_version", "cdm_holder") == [("5.4", "synthetic")]


def test_visits(folder: Path) -> None:
    told = ("visit_occurrence_id", "person_id", "visit_concept_id", "visit_source_value", "discharged_to_source_value")
    assert rows(folder, "visit_occurrence", *told) == [
        (1, 1, 262, "EW EMER.", "DIED"),
        (2, 1, 9202, "clinic", None),
        (3, 2, 262, "EW EMER.", None),  # it goes on
    ]
    ends = rows(folder, "visit_occurrence", "visit_end_date", "visit_end_datetime")
    assert ends[2] == (pd.Timestamp("1970-01-06").date(), None)  # the CDM wants a day, and the clock says it is unknown


def test_content_and_its_concepts(folder: Path) -> None:
    words = pd.read_parquet(folder / "concept.parquet").set_index("concept_id")
    assert (words.index > 2_000_000_000).all()
    found = []
    for table, what in (
        ("condition_occurrence", "condition"),
        ("drug_exposure", "drug"),
        ("measurement", "measurement"),
        ("observation", "observation"),
    ):
        for visit, code, source, concept in rows(
            folder,
            table,
            "visit_occurrence_id",
            f"{what}_source_value",
            f"{what}_source_concept_id",
            f"{what}_concept_id",
        ):
            assert words.loc[source, "concept_code"] == code
            assert concept == 0
            found.append((table, visit, code))
    assert found == [
        ("condition_occurrence", 1, "dx_250.00"),
        ("drug_exposure", 1, "rx_a//b"),
        ("measurement", 1, "glucose"),
        ("measurement", 1, "score"),
        ("measurement", 2, "glucose"),
        ("observation", 3, "code_x"),
        ("observation", None, "score"),
        ("observation", None, "word"),
    ]
    values = rows(folder, "measurement", "value_as_number", "unit_source_value")
    assert values == [(100.5, "mg/dL"), (3.0, None), (0.1, "mg/dL")]
    assert words.set_index("concept_code").loc["dx_250.00", "concept_name"] == "Diabetes"
    assert without_standard_concept(two(), SCHEMA) == {
        "condition_occurrence": 1,
        "procedure_occurrence": 0,
        "drug_exposure": 1,
        "observation": 1,
        "measurement": 3,
    }


def test_numbers_go_on_from_shard_to_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many, static = two().of_patients(np.arange(7) % 2), STATIC.iloc[np.arange(7) % 2]
    one = write_omop(many, SCHEMA, static, tmp_path / "one")
    monkeypatch.setattr(omop_out, "shards", lambda *asked: shards(*asked, size=3))
    several = write_omop(many, SCHEMA, static, tmp_path / "several")
    for file in sorted(one.iterdir()):
        tables = [pd.read_parquet(folder / file.name) for folder in (one, several)]
        if file.stem == "observation":  # what is said once comes shard by shard
            assert tables[1]["observation_id"].tolist() == list(range(1, 12))
            by = ["person_id", "observation_source_value"]
            tables = [t.drop(columns="observation_id").sort_values(by, ignore_index=True) for t in tables]
        pd.testing.assert_frame_equal(*tables)


def test_what_it_refuses(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="OMOP: visits of 2 patients beside 1 static rows"):
        write_omop(two(), SCHEMA, STATIC[:1], tmp_path / "x")
    with pytest.raises(TableError, match="OMOP: codes must be places"):
        write_omop(replace(two(), codes=np.array([0, 9, 2], np.int32)), SCHEMA, STATIC, tmp_path / "x")
    (tmp_path / "there").mkdir()
    with pytest.raises(OptionError, match=r"out=.*there: something is there"):
        write_omop(two(), SCHEMA, STATIC, tmp_path / "there")
    assert not (tmp_path / "x").exists()


def written(made: Trajectories, folder: Path, suffix: str) -> Path:
    """Write all patients of a folder in the order of the source, so that the same draw gives the same parts."""
    static = pd.concat([made.static(part) for part in SPLITS], ignore_index=True)
    order = np.argsort(static["subject_id"].to_numpy())
    visits = Visits.joined([made.visits(part) for part in SPLITS]).of_patients(order)
    return write_omop(visits, made.visit_schema, static.iloc[order], folder, suffix=suffix, synthetic=False)


def assert_back(folder: Path, suffix: str, *overrides: str, read_with: tuple[str, ...] = ()) -> None:
    """Assert that trajectories written as OMOP are the same when they are read back, and their matrix too."""
    made = prepared(folder / "there", *overrides)
    own = [word for word in overrides if not word.startswith("source")]
    back_from = ("source=omop", f"source.root={written(made, folder / 'omop', suffix)}", *own, *read_with)
    back = prepared(folder / "back", *back_from)
    assert back.visit_schema == made.visit_schema
    assert back.schema == made.schema
    for part in SPLITS:
        assert_equal(back.visits(part), made.visits(part))
        pd.testing.assert_frame_equal(
            back.static(part).drop(columns="subject_id"), made.static(part).drop(columns="subject_id")
        )
    matrix, again = prepare(recipe(*overrides), folder / "m"), prepare(recipe(*back_from), folder / "n")
    assert again.schema == matrix.schema
    for part in SPLITS:
        one, other = getattr(matrix, part), getattr(again, part)
        pd.testing.assert_frame_equal(other.drop(columns="subject_id"), one.drop(columns="subject_id"))


@pytest.mark.parametrize("suffix", [".parquet", ".csv.gz"])
def test_simulated_patients_come_back(suffix: str, tmp_path: Path) -> None:
    assert_back(tmp_path, suffix, *DEMO, read_with=READ_WITH)


@pytest.mark.study
def test_real_patients_come_back_with_the_usual_options(shared_data: Path, tmp_path: Path) -> None:
    every_code = ("preprocess.min_count=1", "preprocess.min_prevalence=0")
    read_with = ("cohort=mimic_iv", "features=mimic_iv")
    root = shared_data / "mimic-iv-demo"
    assert_back(tmp_path, ".parquet", "source=mimic_iv", f"source.root={root}", *every_code, read_with=read_with)
