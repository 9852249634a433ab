"""The trajectories folder: what prepare writes into it, and what it refuses to open."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ehrsynth
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.prepare import digest_of
from ehrsynth.data.split import SPLITS
from ehrsynth.data.trajectories import ARRAYS, OUTPUTS, Trajectories
from ehrsynth.errors import FileError, InputError, OptionError, SchemaError, TableError
from ehrsynth.reporting.trajectories_report import TRAJECTORIES_PAGE
from ehrsynth.study.prepare import made, made_trajectories
from tests.matrices import recipe
from tests.trajectories import assert_equal, prepared

DEMO = ("source=demo_visits", "source.n=300")


@pytest.fixture(scope="module")
def visits_folder(tmp_path_factory: pytest.TempPathFactory) -> Trajectories:
    return made_trajectories(recipe(*DEMO, "form=trajectories"), tmp_path_factory.mktemp("trajectories") / "hospital")


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return made(recipe(*DEMO), tmp_path_factory.mktemp("matrices") / "hospital")


def test_it_is_the_matrix_through_time(visits_folder: Trajectories, matrix: Matrix) -> None:
    schema = visits_folder.visit_schema
    assert visits_folder.schema.names == ["sex", "race", "age", "died_within_year"]
    assert [code.name for code in schema.codes] == [c.name for c in matrix.schema.columns if c.is_code]
    for part in SPLITS:
        rows, visits, static = getattr(matrix, part), visits_folder.visits(part), visits_folder.static(part)
        pd.testing.assert_frame_equal(static, rows[static.columns.tolist()])
        bounds = matrix.schema.by_name["admissions"].bounds
        assert bounds is not None
        np.testing.assert_array_equal(visits.per_patient.clip(*bounds), rows["admissions"])
        ever = np.zeros((len(visits), len(schema.codes)), np.int8)
        ever[visits.patient[visits.visit_of_code], visits.codes] = 1
        np.testing.assert_array_equal(ever, rows[[code.name for code in schema.codes]])
        for place, measurement in enumerate(schema.measurements):  # the last value of all is the matrix's
            mine = visits.measured == place
            last = np.full(len(visits), np.nan)
            last[visits.patient[visits.visit_of_value[mine]]] = visits.values[mine]
            bounds = matrix.schema.by_name[measurement.name].bounds
            assert bounds is not None
            np.testing.assert_allclose(last.clip(*bounds), rows[measurement.name].to_numpy(float), rtol=1e-6)
        assert len(visits_folder.records(part)) == len(rows)


def test_identity_of_both_forms(visits_folder: Trajectories, matrix: Matrix) -> None:
    plain = recipe(*DEMO)
    assert "form" not in plain.identity
    assert "undated_visit" not in json.dumps(plain.identity)
    assert digest_of(matrix.provenance) == plain.digest
    through_time = replace(plain, form="trajectories")
    assert digest_of(visits_folder.provenance) == through_time.digest != plain.digest
    stricter = recipe(*DEMO, "cohort.faults.equal_times=exclude", "form=trajectories")
    assert stricter.digest != through_time.digest
    assert replace(stricter, form="matrix").digest == plain.digest
    with pytest.raises(OptionError, match=r"form=table: matrix or trajectories was expected"):
        recipe(*DEMO, "form=table")


def test_a_folder_of_the_other_form_is_kept(visits_folder: Trajectories, matrix: Matrix) -> None:
    with pytest.raises(OptionError, match="trajectories is there, and form=matrix was asked for"):
        made(recipe(*DEMO), visits_folder.folder)
    with pytest.raises(OptionError, match="trajectories made with another seed is there"):
        made_trajectories(recipe(*DEMO, "form=trajectories", "seed=1"), visits_folder.folder)
    with pytest.raises(OptionError, match="a matrix is there, and form=trajectories was asked for"):
        made_trajectories(recipe(*DEMO, "form=trajectories"), matrix.folder)
    with pytest.raises(FileError, match="a matrix; a folder written by prepare form=trajectories"):
        Trajectories.open(matrix.folder)
    with pytest.raises(FileError, match="no such folder"):
        Trajectories.open(matrix.folder / "nothing")


def test_the_library_opens_what_is_there(visits_folder: Trajectories) -> None:
    changed = (visits_folder.folder / "train" / "codes.npy").stat().st_mtime_ns
    again = ehrsynth.prepare("demo_visits", form="trajectories", n=300, out=visits_folder.folder)
    assert isinstance(again, Trajectories)
    assert again.fingerprint == visits_folder.fingerprint
    assert (visits_folder.folder / "train" / "codes.npy").stat().st_mtime_ns == changed
    assert "189 train, 21 validation, 90 holdout patients" in repr(again)
    assert set(visits_folder.provenance["outputs"]) == set(OUTPUTS)


def test_visits_are_mapped_not_read(visits_folder: Trajectories) -> None:
    codes = Trajectories.open(visits_folder.folder).visits("train").codes
    base: object = codes
    while getattr(base, "base", None) is not None and not isinstance(base, np.memmap):
        base = base.base  # type: ignore[attr-defined]
    assert isinstance(base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        codes[0] = 1


def test_a_part_may_stay_closed(visits_folder: Trajectories, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(visits_folder.folder, copy)
    (copy / "holdout" / "static.parquet").write_bytes(b"nobody's")
    opened = Trajectories.open(copy, parts=("train", "validation"))
    assert_equal(opened.visits("train"), visits_folder.visits("train"))
    with pytest.raises(AssertionError, match="holdout was left closed"):
        opened.visits("holdout")
    with pytest.raises(InputError):
        Trajectories.open(copy)


def _rewrite(change: Callable[[np.ndarray], np.ndarray], *names: str) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        for name in names:
            np.save(folder / f"{name}.npy", change(np.load(folder / f"{name}.npy")))

    return harm


def _pickle(folder: Path) -> None:
    np.save(folder / "codes.npy", np.array([object()]), allow_pickle=True)


def _take_the_rows_of_another_part(folder: Path) -> None:
    shutil.copy(folder.parent / "holdout" / "static.parquet", folder / "static.parquet")


def _write(text: str, name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


BROKEN: dict[str, tuple[Callable[[Path], None], type[InputError], str]] = {
    "gone": (lambda folder: (folder / "starts.npy").unlink(), FileError, r"starts\.npy: no such file"),
    "changed": (_rewrite(lambda v: v + 1, "values"), FileError, r"values\.npy: changed since prepare wrote it"),
    "wide": (_rewrite(lambda c: c.astype(np.int64), "codes"), FileError, r"codes\.npy: 1 dimensions of int64"),
    "square": (_rewrite(lambda c: c[:4].reshape(2, 2), "codes"), FileError, r"codes\.npy: 2 dimensions of int32"),
    "pickle": (_pickle, FileError, r"codes\.npy: not readable as an array"),
    "text": (_write("x", "codes.npy"), FileError, r"codes\.npy: not readable as an array"),
    "unknown code": (_rewrite(lambda c: c + 1000, "codes"), TableError, r"train: codes must be places among the"),
    "shuffled": (_rewrite(lambda s: s[::-1], "starts"), TableError, r"train: the visits of a patient are not in"),
    "more patients": (
        _rewrite(lambda a: np.append(a, a[-1:]), "offsets", "born", "died"),
        TableError,
        r"train: visits of 190 patients beside 189 rows in static\.parquet",
    ),
    "twice": (_take_the_rows_of_another_part, TableError, r"the subject of row 0 is also in"),
    "schema": (_write('{"version": 2}', "../visits.json"), SchemaError, r"visits\.json: not a visit schema"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_folder_is_refused(what: str, visits_folder: Trajectories, tmp_path: Path) -> None:
    harm, error, message = BROKEN[what]
    copy = tmp_path / "copy"
    shutil.copytree(visits_folder.folder, copy)
    harm(copy / "train")
    with pytest.raises(error, match=message):
        Trajectories.open(copy)


def test_the_arrays_are_those_of_visits() -> None:
    assert {name: str(kind) for name, kind in ARRAYS.items()} == {
        **dict.fromkeys(("offsets", "starts", "ends", "code_offsets", "value_offsets", "born", "died"), "int64"),
        **{"kinds": "int16", "codes": "int32", "measured": "int32", "values": "float32"},
    }


def test_the_page_shows_no_patient(visits_folder: Trajectories) -> None:
    page = (visits_folder.folder / TRAJECTORIES_PAGE).read_text(encoding="utf-8")
    assert "Twelve simulated timelines: none of them is a patient" in page
    assert "Essential hypertension" in page
    assert "http" not in page.replace("http-equiv", "")
    for subject in visits_folder.static("train")["subject_id"]:
        assert str(subject) not in page


@pytest.mark.parametrize(
    ("source", "overrides"),
    [("demo_hard", ("source.n=200",)), ("flat", ("source.path={}", "source.subject=patient"))],
)
def test_sources_without_times_refuse(source: str, overrides: tuple[str, ...], tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("patient,age,died\n" + "".join(f"{i},{20 + i % 50},{i % 2}\n" for i in range(60)))
    given = [word.format(table) for word in overrides]
    with pytest.raises(TableError, match=rf"source={source}: it has no times, .* mimic_iii, mimic_iv, omop, meds"):
        prepared(tmp_path / "out", f"source={source}", *given)
    assert not (tmp_path / "out").exists()


def test_a_long_table_has_trajectories(tmp_path: Path) -> None:
    table = tmp_path / "long.csv"
    lines = ["who,when,what,how_much"]
    for patient in range(1, 61):
        lines += [f"{patient},2020-01-0{1 + patient % 3},a,", f"{patient},2020-02-01 10:00,b,{patient / 2}"]
        lines += [f"{patient},2020-02-01 12:00,b,7"] * (patient % 2)
    table.write_text("\n".join(lines) + "\n")
    columns = "{subject_id: who, time: when, code: what, numeric_value: how_much}"
    made = prepared(tmp_path / "t", "source=flat", f"source.path={table}", f"source.columns={columns}")
    assert made.schema.names == ["visits"]  # a table that tells nothing of patients but their visits
    assert set(made.static("train")["visits"]) == {2}
    assert made.visit_schema.kinds == made.visit_schema.ambulatory == ("outpatient",)
    assert [code.name for code in made.visit_schema.codes] == ["code_a", "code_b"]
    visits = made.visits("holdout")
    assert visits.per_patient.tolist() == [2] * len(visits)
    assert visits.codes.tolist() == [0, 1] * len(visits)
    odd = made.static("holdout")["subject_id"].to_numpy() % 2 == 1
    assert (visits.values[odd] == 7).all()


def test_a_table_without_codes_or_measurements_has_none(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = (f"{i},{i},2020-01-{1 + i % 28:02},{20 + i % 50}\n" for i in range(60))
    table.write_text("patient,stay,when,age\n" + "".join(rows))
    options = ("source.subject=patient", "source.stay=stay", "source.time=when")
    with pytest.raises(TableError, match="none of 0 codes and measurements is left, so visits would be empty"):
        prepared(tmp_path / "out", "source=flat", f"source.path={table}", *options)
