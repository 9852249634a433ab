"""The matrix folder: written whole or not at all, reused, and checked when opened."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.constraints import OnlyIf
from ehrsynth.data import matrix as module
from ehrsynth.data import prepare as preparing
from ehrsynth.data.hospital import conditions
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.plan import PLAN
from ehrsynth.data.rare_codes import read_rare
from ehrsynth.errors import FileError, OptionError, SchemaError, TableError
from ehrsynth.files import aside_of, sha256, write_json
from tests import matrices

BESIDE = (PLAN, "constraints.yaml", "cohort.html", "log.jsonl")  # what was learned, pages for people, what was done


def make(out: Path, n: int = 600, seed: int = 0, **preprocess: float) -> Matrix:
    overrides = [f"preprocess.{name}={value}" for name, value in preprocess.items()]
    return matrices.make(out, f"source.n={n}", *overrides, seed=seed)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return make(tmp_path_factory.mktemp("matrices") / "demo")


@pytest.fixture
def folder(prepared: Matrix, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared.folder, tmp_path / "copy"))


def rewrite(path: Path, table: pd.DataFrame) -> None:
    table.to_parquet(path, index=False)


def test_what_is_in_the_folder(prepared: Matrix) -> None:
    assert {path.name for path in prepared.folder.iterdir()} == {*module.OUTPUTS, module.PROVENANCE, *BESIDE}
    provenance = prepared.provenance
    assert provenance["rows"] == {"train": 378, "validation": 42, "holdout": 180}
    assert provenance["source"] == {"name": "demo", "n": 600, "seed": 0, "write_raw": None}
    assert all({"step", "rows", "columns"} <= set(step) for step in provenance["steps"])
    assert provenance["outputs"] == {name: sha256(prepared.folder / name) for name in module.OUTPUTS}
    assert prepared.train.columns[0] == "subject_id"
    assert prepared.train["dx_401"].dtype == "int8"
    assert str(prepared.folder) not in json.dumps(provenance)


def test_rare_codes_are_kept_aside(tmp_path: Path) -> None:
    matrix = make(tmp_path / "demo", n=200, min_count=5, min_aside=1)
    rare = [one.code for one in read_rare(matrix.folder)[0]]
    assert all(0 < code.prevalence < 5 / len(matrix.train) for code in rare)
    assert len({code.column.name for code in rare} - set(matrix.schema.names)) == len(rare) > 10


def test_constraints_are_clinical_and_hold(prepared: Matrix) -> None:
    sexes = conditions().set_index("icd9")["sex"]
    assert {rule.given for rule in prepared.constraints if isinstance(rule, OnlyIf)} == {"sex=F", "sex=M"}
    for rule in (rule for rule in prepared.constraints if isinstance(rule, OnlyIf)):
        assert rule.given == f"sex={sexes[rule.column.removeprefix('dx_')]}"
        assert prepared.train.loc[prepared.train[rule.column] == 1, "sex"].eq(rule.given[-1]).all()
        assert prepared.train[rule.column].sum() >= 20


def test_the_same_options_reuse_the_folder(prepared: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "widen", None)  # would fail if anything was read again
    assert make(prepared.folder).fingerprint == prepared.fingerprint


def test_other_options_are_refused_and_the_folder_stays(prepared: Matrix) -> None:
    before = prepared.fingerprint
    for other in ({"n": 700}, {"seed": 1}, {"max_missing": 0.2}):
        with pytest.raises(OptionError, match=str(prepared.folder)):
            make(prepared.folder, **other)  # type: ignore[arg-type]
    assert Matrix.open(prepared.folder).fingerprint == before


def test_something_else_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OptionError, match="something else is there"):
        make(tmp_path)
    assert make(tmp_path / "new" / "deep", n=200).name == "deep"


def test_the_fingerprint_is_of_the_contents(prepared: Matrix, tmp_path: Path) -> None:
    assert make(tmp_path / "elsewhere").fingerprint == prepared.fingerprint
    assert make(tmp_path / "other", seed=1).fingerprint != prepared.fingerprint


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(preparing, "rules_of", full_disk)
    with pytest.raises(OSError, match="no space"):
        make(tmp_path / "out", n=200)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_or_file(folder: Path) -> None:
    with pytest.raises(FileError, match="no such folder"):
        Matrix.open(folder / "absent")
    (folder / "holdout.parquet").unlink()
    with pytest.raises(FileError, match=r"holdout\.parquet"):
        Matrix.open(folder)


def test_a_subject_in_two_parts(folder: Path) -> None:
    train, holdout = pd.read_parquet(folder / "train.parquet"), pd.read_parquet(folder / "holdout.parquet")
    holdout.loc[4, "subject_id"] = train["subject_id"].iloc[0]
    rewrite(folder / "holdout.parquet", holdout)
    with pytest.raises(TableError, match=r"holdout\.parquet: the subject of row 4 is also in train\.parquet"):
        Matrix.open(folder)


def test_a_table_that_does_not_fit(folder: Path) -> None:
    train = pd.read_parquet(folder / "train.parquet")
    rewrite(folder / "train.parquet", train.assign(age=train["age"].astype(str).replace(str(train["age"][0]), "old")))
    with pytest.raises(TableError, match=r"train\.parquet: column 'age', row 0: text"):
        Matrix.open(folder)


def test_a_file_that_was_changed(folder: Path) -> None:
    train = pd.read_parquet(folder / "train.parquet")
    rewrite(folder / "train.parquet", train.assign(age=train["age"] + 1))
    with pytest.raises(FileError, match=r"train\.parquet: changed"):
        Matrix.open(folder)


@pytest.mark.parametrize(
    ("name", "key"), [("constraints.json", "constraints"), ("provenance.json", "outputs"), ("schema.json", "columns")]
)
def test_a_file_without_its_key(folder: Path, name: str, key: str) -> None:
    for content in ({"version": 1}, {"version": 1, key: None}, [1]):
        write_json(folder / name, content)
        with pytest.raises((FileError, SchemaError), match=rf"{name}: .*{key}"):
            Matrix.open(folder)


def test_rare_codes_without_their_key(folder: Path) -> None:
    write_json(folder / "low_prevalence.json", {"version": 1})
    with pytest.raises(FileError, match=r"low_prevalence\.json: no 'codes'"):
        read_rare(folder)
    for entry in (1, {"column": {"name": "x", "kind": "binary"}}, {"column": 1, "prevalence": 0.1}):
        write_json(folder / "low_prevalence.json", {"codes": [entry]})
        with pytest.raises(FileError, match=r"low_prevalence\.json: not a list of columns"):
            read_rare(folder)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"rule": "only_if", "column": "dx_gone", "given": "sex=F"}, "no 0/1 column 'dx_gone'"),
        ({"rule": "only_if", "column": "dx_401", "given": "sex=X"}, "no 0/1 column 'sex=X'"),
        ({"rule": "only_if", "column": "age", "given": "sex=F"}, "no 0/1 column 'age'"),
        ({"rule": "never"}, "one of only_if"),
        ("dx_401", "one of only_if"),
    ],
)
def test_a_constraint_that_does_not_fit(folder: Path, rule: object, words: str) -> None:
    write_json(folder / "constraints.json", {"version": 1, "constraints": [rule]})
    with pytest.raises(SchemaError, match=rf"constraints\.json: .*{words}"):
        Matrix.open(folder)


@pytest.mark.parametrize("part", ["validation", "holdout"])
def test_a_part_of_one_row(folder: Path, part: str) -> None:
    rewrite(folder / f"{part}.parquet", pd.read_parquet(folder / f"{part}.parquet").head(1))
    with pytest.raises(TableError, match=rf"{part}\.parquet: .* is 1; at least two rows are needed"):
        Matrix.open(folder)


def test_a_file_that_provenance_does_not_vouch_for(folder: Path, prepared: Matrix) -> None:
    outputs = {name: digest for name, digest in prepared.provenance["outputs"].items() if name != "train.parquet"}
    write_json(folder / "provenance.json", prepared.provenance | {"outputs": outputs})
    with pytest.raises(FileError, match=r"train\.parquet: changed"):
        Matrix.open(folder)


def test_what_a_killed_preparation_left_is_removed(tmp_path: Path) -> None:
    gone = 4_194_304  # above the largest process number of Linux
    names = {
        out: aside_of(tmp_path / out).name.replace(f"-{os.getpid()}-", f"-{gone}-") for out in ("demo", "other")
    } | {"running": aside_of(tmp_path / "demo").name}
    for name in names.values():
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.parquet").touch()
    make(tmp_path / "demo", n=200)
    assert {path.name for path in tmp_path.iterdir()} == {"demo", names["other"], names["running"]}
