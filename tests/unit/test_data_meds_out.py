"""Visits out as MEDS, and back through ``prepare source=meds``."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data import meds_out
from ehrsynth.data.meds_out import write_meds
from ehrsynth.data.prepare import prepare
from ehrsynth.data.sources.meds.standard import validated
from ehrsynth.data.split import SPLITS
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.errors import OptionError, TableError
from ehrsynth.visits import Visits
from tests.handed_out import SCHEMA, STATIC, two
from tests.matrices import recipe
from tests.trajectories import assert_equal, prepared

pytest.importorskip("meds")

DEMO = ("source=demo_visits", "source.n=300")


def test_row_by_row(tmp_path: Path) -> None:
    folder = write_meds(two(), SCHEMA, STATIC, tmp_path / "meds", parts=["train", "holdout"])
    rows = pd.read_parquet(folder / "data" / "0.parquet")
    days = (rows["time"] - pd.Timestamp("1970-01-01")).dt.total_seconds() / 86400
    told = [
        (int(s), None if pd.isna(d) else round(d, 2), c, None if pd.isna(v) else round(v, 2), None if pd.isna(t) else t)
        for s, d, c, v, t in zip(
            rows["subject_id"], days, rows["code"], rows["numeric_value"], rows["text_value"], strict=True
        )
    ]
    assert told == [
        (1, None, "SUBJECT//EHRSYNTH", None, None),
        (1, None, "GENDER//F", None, None),
        (1, None, "RACE//white", None, None),
        (1, None, "STATIC//EHRSYNTH//score", 1.5, None),
        (1, None, "STATIC//EHRSYNTH//word", None, "a"),
        (1, 10, "HOSPITAL_ADMISSION//EW EMER.", None, None),
        (1, 12, "MEDS_DEATH", None, None),
        (1, 12, "HOSPITAL_DISCHARGE//DIED", None, None),
        (1, 12, "DIAGNOSIS//EHRSYNTH//dx_250.00", None, None),
        (1, 12, "MEDICATION//EHRSYNTH//rx_a//b", None, None),
        (1, 12, "LAB//EHRSYNTH//mg/dL//glucose", 100.5, None),
        (1, 12, "VALUE//EHRSYNTH////score", 3, None),
        (1, 40, "VISIT//EHRSYNTH//clinic", None, None),
        (1, 40, "LAB//EHRSYNTH//mg/dL//glucose", 0.1, None),
        (1, 40, "VISIT_END//EHRSYNTH", None, None),
        (2, None, "SUBJECT//EHRSYNTH", None, None),
        (2, None, "RACE//other", None, None),
        (2, -100, "MEDS_BIRTH", None, None),
        (2, 5, "HOSPITAL_ADMISSION//EW EMER.", None, None),
        (2, 5, "CODE//EHRSYNTH//code_x", None, None),
    ]
    assert rows["hadm_id"].dropna().astype(int).tolist() == [1] * 6 + [2] * 3 + [3] * 2
    for name, kind in (("data/0", "DataSchema"), ("metadata/codes", "CodeMetadataSchema")):
        validated(folder / f"{name}.parquet", kind)
    codes = pd.read_parquet(folder / "metadata" / "codes.parquet").set_index("code")["description"]
    assert set(codes.index) >= set(rows["code"])
    assert codes["DIAGNOSIS//EHRSYNTH//dx_250.00"] == "Diabetes"
    splits = pd.read_parquet(folder / "metadata" / "subject_splits.parquet")
    assert splits.to_numpy().tolist() == [[1, "train"], [2, "held_out"]]


def test_shards_are_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many, static = two().of_patients(np.arange(7) % 2), STATIC.iloc[np.arange(7) % 2]
    one = write_meds(many, SCHEMA, static, tmp_path / "one")
    monkeypatch.setattr(meds_out, "PATIENTS", 3)
    several = write_meds(many, SCHEMA, static, tmp_path / "several")
    parts = [pd.read_parquet(several / "data" / f"{number}.parquet") for number in range(3)]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), pd.read_parquet(one / "data" / "0.parquet"))
    first, second = (pd.read_parquet(folder / "metadata" / "codes.parquet") for folder in (one, several))
    assert set(first["code"]) == set(second["code"])


def test_what_it_refuses(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="visits of 2 patients beside 1 static rows"):
        write_meds(two(), SCHEMA, STATIC[:1], tmp_path / "x")
    (tmp_path / "there").mkdir()
    with pytest.raises(OptionError, match=r"out=.*there: something is there"):
        write_meds(two(), SCHEMA, STATIC, tmp_path / "there")
    wrong = replace(two(), codes=np.array([0, 9, 2], np.int32))
    with pytest.raises(TableError, match="MEDS: codes must be places"):
        write_meds(wrong, SCHEMA, STATIC, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def written(made: Trajectories, folder: Path) -> Path:
    """Write all patients of a folder, each with its part."""
    visits = Visits.joined([made.visits(part) for part in SPLITS])
    static = pd.concat([made.static(part) for part in SPLITS], ignore_index=True)
    return write_meds(
        visits,
        made.visit_schema,
        static,
        folder,
        parts=[part for part in SPLITS for _ in range(len(made.visits(part)))],
    )


def assert_back(folder: Path, *overrides: str, read_with: Sequence[str] = ()) -> None:
    """Assert that trajectories written as MEDS are the same when they are read back, and their matrix too."""
    made = prepared(folder / "there", *overrides)
    own = [word for word in overrides if not word.startswith("source")]
    back_from = ("source=meds", f"source.root={written(made, folder / 'meds')}", "split=given", *own, *read_with)
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


def test_simulated_patients_come_back(tmp_path: Path) -> None:
    assert_back(tmp_path, *DEMO, read_with=("cohort=demo_visits", "features=demo_visits"))


@pytest.mark.study
@pytest.mark.parametrize("release", ["mimic_iv", "mimic_iii"])
def test_real_patients_come_back_with_the_usual_options(release: str, shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / f"{release.replace('_', '-')}-demo"
    every_code = ("preprocess.min_count=1", "preprocess.min_prevalence=0")
    assert_back(tmp_path, f"source={release}", f"source.root={root}", *every_code)
