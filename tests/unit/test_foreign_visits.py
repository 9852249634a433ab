"""Patients through time of other tools: read from MEDS and from long tables, made alike, and judged."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ehrsynth
from ehrsynth.data.foreign_visits import Foreign, made_alike, read_alike
from ehrsynth.data.long_frames import long_frame
from ehrsynth.data.meds_out import write_meds
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.errors import FileError, InputError, TableError
from ehrsynth.visits import UNKNOWN
from tests.conftest import Cli
from tests.trajectories import prepared, told

EVENTS = [
    (3, None, "GENDER//F", None),
    (3, "1950-01-01", "MEDS_BIRTH", None),
    (3, "2020-01-01T08:00", "HOSPITAL_ADMISSION//URGENT", 1),
    (3, "2020-01-03T10:00", "DIAGNOSIS//ICD//10//I10", 1),
    (3, "2020-01-02T09:00", "LAB//glucose//mg/dL", 1),
    (3, "2020-02-01T09:00", "MEDICATION//Aspirin", None),
    (3, "2020-02-01T19:00", "MEDICATION//rare", None),
    (3, "2020-03-01", "MEDS_DEATH", None),
    (5, None, "GENDER//M", None),
    (7, "2020-05-05T05:00", "DIAGNOSIS//ICD//10//I10", None),
    (7, "2020-05-06T05:00", "MEDICATION//rarer", None),
    (8, "2020-05-05T05:00", "MEDICATION//Aspirin", None),
    (8, "2020-05-05T05:00", "LAB//glucose//mg/dL", None),
]


def meds(folder: Path) -> Path:
    """Write the events as MEDS."""
    (folder / "data").mkdir(parents=True)
    frame = pd.DataFrame(EVENTS, columns=["subject_id", "time", "code", "hadm_id"])
    frame["time"] = pd.to_datetime(frame["time"], format="ISO8601").astype("datetime64[us]")
    frame.astype({"hadm_id": "Int64"}).to_parquet(folder / "data" / "0.parquet", index=False)
    return folder


def test_meds_by_hand(tmp_path: Path) -> None:
    one = Foreign.read("train", meds(tmp_path / "some"))
    made = made_alike({"train": one}, least=2)
    schema, visits = made.visit_schema, made.visits("train")
    visits.check(schema, "here")
    assert [(code.name, code.domain) for code in schema.codes] == [
        ("LAB//glucose//mg/dL", "code"),
        ("DIAGNOSIS//ICD//10//I10", "diagnosis"),
        ("MEDICATION//Aspirin", "medication"),
    ]
    assert made.strange == {"train": 2}
    assert len(visits) == 4, "patient 5, who has no visit, is a patient too"
    assert [(start, codes) for _, start, _, codes, _ in told(visits, schema, 0)] == [
        ("2020-01-01 08:00", ["LAB//glucose//mg/dL", "DIAGNOSIS//ICD//10//I10"]),
        ("2020-02-01 00:00", ["MEDICATION//Aspirin"]),
    ]
    assert told(visits, schema, 1) == []
    assert [codes for _, _, _, codes, _ in told(visits, schema, 2)] == [["DIAGNOSIS//ICD//10//I10"], []]
    assert visits.died.astype("datetime64[us]").astype(str).tolist()[0].startswith("2020-03-01")
    assert (visits.born[1:] == UNKNOWN).all()
    assert made.records("train").layout.width == 1


def test_numbers_by_hand(tmp_path: Path) -> None:
    lab, plain = "LAB//glucose//mg/dL", "DIAGNOSIS//ICD//10//I10"
    rows = [(1, "2020-01-01", lab, 60.0), (1, "2020-01-01", lab, 50.0), (1, "2020-01-01", plain, None)]
    rows += [(2, "2020-01-02", lab, 60.0), (2, "2020-01-03", plain, None), (3, "2020-01-04", "VITAL//bp//", 2.0)]
    rows += [(who, "2020-01-05", lab, 50.0 + 10 * (who % 2)) for who in range(4, 34)]
    sets = {}
    for role, some in (("train", rows), ("holdout", [(9, "2021-01-01", lab, 500.0), (9, "2021-01-01", plain, None)])):
        frame = pd.DataFrame(some, columns=["subject_id", "time", "code", "numeric_value"])
        frame["time"] = pd.to_datetime(frame["time"]).astype("datetime64[us]")
        (tmp_path / role / "data").mkdir(parents=True)
        frame.to_parquet(tmp_path / role / "data" / "0.parquet", index=False)
        sets[role] = tmp_path / role
    made = made_alike(read_alike(sets), least=2)
    (glucose,) = made.visit_schema.measurements
    assert (glucose.name, glucose.domain, glucose.bounds) == (lab, "lab", (50.0, 60.0))
    assert [code.name for code in made.visit_schema.codes] == [plain]
    assert made.strange == {"train": 1, "holdout": 0}
    train, holdout = made.visits("train"), made.visits("holdout")
    for visits in (train, holdout):
        visits.check(made.visit_schema, "here")
    assert [line[3:] for line in told(train, made.visit_schema, 0)] == [([plain], {lab: 50.0})], "the last of the visit"
    assert [line[3:] for line in told(train, made.visit_schema, 1)] == [([], {lab: 60.0}), ([plain], {})]
    assert holdout.values.tolist() == [60.0], "500 is beyond what ten training patients have"


def test_visits_are_days_where_not_all_name_their_stays(tmp_path: Path) -> None:
    named, plain = meds(tmp_path / "named"), meds(tmp_path / "plain")
    file = plain / "data" / "0.parquet"
    pd.read_parquet(file).drop(columns="hadm_id").to_parquet(file, index=False)
    alike = read_alike({"train": named, "holdout": plain})
    assert [one.stays for one in alike.values()] == [False, False]
    pd.testing.assert_frame_equal(alike["train"].rows, alike["holdout"].rows)
    assert read_alike({"train": named, "holdout": named})["train"].stays


def test_a_table_and_its_labels() -> None:
    rows = [("a", 0, "x", 0), ("a", 1, "x", 1), ("b", 0, "x", 0), ("b", 0, "q", 0)]
    frame = pd.DataFrame(rows, columns=["id", "time", "visit_codes", "labels"])
    train, other = Foreign.read("train", frame), Foreign.read("holdout", frame.iloc[::-1])
    made = made_alike({"train": train, "holdout": other}, least=2)
    assert [column.name for column in made.schema.outcomes] == ["label"]
    assert made.records("train").dense()[:, 0].tolist() == made.records("holdout").dense()[:, 0].tolist() == [1, 0]
    assert [code.name for code in made.visit_schema.codes] == ["x"]
    with pytest.raises(TableError, match="holdout: no labels, but train has some"):
        made_alike({"train": train, "holdout": Foreign.read("holdout", frame[["id", "time", "visit_codes"]])}, least=2)
    dated = frame[["id", "time", "visit_codes"]].assign(time="2020-01-01")
    plain = Foreign.read("holdout", frame[["id", "time", "visit_codes"]])
    with pytest.raises(TableError, match="holdout: no dates, but train has some"):
        made_alike({"train": Foreign.read("train", dated), "holdout": plain}, least=2)


def test_what_it_refuses(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [1], "time": [0], "visit_codes": ["x"]})
    with pytest.raises(TableError, match="train: no code of at least 10 patients"):
        made_alike({"train": Foreign.read("train", frame)}, least=10)
    others = Foreign.read("other", frame.assign(visit_codes="y"))
    with pytest.raises(TableError, match="other: none of its codes is common in train"):
        made_alike({"train": Foreign.read("train", frame), "holdout": others}, least=1)
    with pytest.raises(TableError, match="mine: no column 'visit_codes'"):
        Foreign.read("mine", frame[["id", "time"]])
    with pytest.raises(TableError, match="mine: column 'labels', row 0: 0 or 1 of a patient was expected"):
        Foreign.read("mine", frame.assign(labels=3))
    with pytest.raises(FileError, match=r"no data/\*.parquet in it; a folder of MEDS, or a long table"):
        Foreign.read("mine", tmp_path)
    with pytest.raises(InputError, match="no such file"):
        Foreign.read("mine", tmp_path / "absent.csv")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Trajectories:
    return prepared(tmp_path_factory.mktemp("made") / "m", "source=demo_visits", "source.n=300")


def test_our_own_meds_comes_back_with_its_codes(made: Trajectories, tmp_path: Path) -> None:
    visits, schema = made.visits("train"), made.visit_schema
    write_meds(visits, schema, made.static("train"), tmp_path / "meds")
    back = made_alike({"train": Foreign.read("train", tmp_path / "meds")}, least=1)
    again = back.visits("train")
    np.testing.assert_array_equal(again.offsets, visits.offsets)
    np.testing.assert_array_equal(again.died, visits.died)
    names = [code.name.rpartition("//")[2] for code in back.visit_schema.codes]
    for patient in range(0, len(visits), 7):
        for mine, wanted in zip(told(again, back.visit_schema, patient), told(visits, schema, patient), strict=True):
            assert mine[1] == wanted[1]
            assert {name.rpartition("//")[2] for name in mine[3]} == set(wanted[3])
            assert {name.rpartition("//")[2]: value for name, value in mine[4].items()} == pytest.approx(wanted[4])
    assert set(names) == {code.name for code in schema.codes}
    assert len(back.visit_schema.measurements) == len(schema.measurements) > 3
    np.testing.assert_array_equal(again.value_offsets, visits.value_offsets)


ASKED = """\
_target_: ehrsynth.evaluation.suite.Suite
_convert_: all
evaluators:
  - _target_: ehrsynth.evaluation.temporal.counts.VisitCounts
  - _target_: ehrsynth.evaluation.temporal.progression.Progression
"""


@pytest.mark.usefixtures("no_figures")
def test_the_command_judges_files_of_either_kind(
    made: Trajectories, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    suites = tmp_path / "conf" / "suite"
    suites.mkdir(parents=True)
    (suites / "visits.yaml").write_text(ASKED, encoding="utf-8")
    rows = ASKED.split("  - ")[0] + "  - _target_: ehrsynth.evaluation.fidelity.prevalence.Prevalence\n"
    (suites / "rows.yaml").write_text(rows, encoding="utf-8")
    names = {"train": "train", "holdout": "holdout", "validation": "synthetic"}
    for part, role in names.items():
        write_meds(made.visits(part), made.visit_schema, made.static(part), tmp_path / role)
        long_frame(made.visits(part), made.visit_schema).to_csv(tmp_path / f"{role}.csv", index=False)
    same = [f"--config-dir={suites.parent}", "form=trajectories", "suite=rows", "suite@temporal=visits"]
    for suffix in ("", ".csv"):
        out = tmp_path / f"report{suffix}"
        given = [f"{role}={tmp_path / role}{suffix}" for role in names.values()]
        assert cli("evaluate", *same, *given, f"out={out}") == 0
        assert "synthetic patients: 21 with" in capsys.readouterr().out
        assert ehrsynth.verify(out).findings == ()
        scores = {score["metric"]: score for score in pd.read_json(out / "report.json", typ="series")["scores"]}
        assert set(scores["temporal/visits_ks"]["anchors"]) == {
            "fresh_real",
            "train_copy",
            "independent",
            "order_shuffled",
        }
        assert any(name.startswith("fidelity/") for name in scores)
    assert cli("evaluate", *same, *given, f"out={tmp_path / 'x'}", "outcomes=[y]") == 2
    assert "outcomes: of form=rows alone" in capsys.readouterr().err
