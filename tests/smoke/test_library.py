"""The verbs as functions: what they take, what they give back, and that the command line does nothing else."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ehrsynth
from ehrsynth.data.cohort.base import Cohort
from ehrsynth.data.cohort.rules import DischargedAlive
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.preprocess import Preprocess
from ehrsynth.data.sources.demo import Demo
from ehrsynth.data.split import BySubject
from ehrsynth.errors import FileError, OptionError, TableError
from ehrsynth.files import read_json, sha256, write_json
from ehrsynth.models.independent import IndependentMarginals
from ehrsynth.schema import Schema
from ehrsynth.study.prepare import readable_name
from ehrsynth.study.run_folder import RunFolder
from tests.conftest import Cli, small
from tests.matrices import recipe

SMALL = {
    "batch_size": 128,
    "max_epochs": 2,
    "trainer": {"accelerator": "cpu"},
    "evaluation": {"checkpoints": 2, "rows": 300},
    "suite": "quick",
    "logger": "disabled",
    "study": "small",
}


pytestmark = pytest.mark.usefixtures("no_figures")


def run_of(study: Path, model: str) -> RunFolder:
    (path,) = (study / model).glob("*/report.json")
    return RunFolder(path.parent)


def test_a_function_finds_the_run_that_the_command_finished(
    study: Path, matrix: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    run = ehrsynth.train(Matrix.open(matrix), "vae", runs=study.parent, watch=ehrsynth.Watch(say=told.append), **SMALL)
    assert run == run_of(study, "vae")
    assert told == [f"vae seed 0: finished already  {run.path}"]
    assert capsys.readouterr() == ("", "")
    assert list(run.frame.columns[:3]) == ["value", "low", "high"]
    assert run.frame.loc["fidelity/apd", "train_copy"] == 0
    assert all(file.is_file() for file in run.figures.values())
    assert {"prevalence", "training"} <= set(run.figures)
    assert run.rows["train"] == len(pd.read_parquet(matrix / "train.parquet"))


def test_generate_gives_the_table_that_the_command_writes(study: Path, cli: Cli, tmp_path: Path) -> None:
    run = run_of(study, "vae")
    out = tmp_path / "s.parquet"
    assert cli("generate", f"run={run.path}", "n=30", "seed=5", "condition.sex=F", f"out={out}") == 0
    table = ehrsynth.generate(run, 30, seed=5, condition={"sex": "F"})
    pd.testing.assert_frame_equal(pd.read_parquet(out), table)
    written = ehrsynth.generate(str(run.path), n=30, out=tmp_path / "t.csv")
    assert written == (tmp_path / "t.csv", 30, len(table.columns))
    with pytest.raises(OptionError, match="n=0: a whole number"):
        ehrsynth.generate(run, n=0)
    code = max((c.name for c in Schema.load(run.schema).columns if c.kind == "binary"), key=lambda c: table[c].mean())
    ones = [ehrsynth.generate(run, np.int64(3), condition={code: one}) for one in ("1", 1, 1.0, True, np.bool_(True))]
    assert all(same.equals(ones[0]) and same[code].eq(1).all() for same in ones)
    with pytest.raises(OptionError, match=f"condition.{code}=2: 0 or 1 was expected"):
        ehrsynth.generate(run, 3, condition={code: 2})


def test_rank_takes_runs_folders_and_patterns(study: Path, tmp_path: Path) -> None:
    runs = [run_of(study, "vae"), str(run_of(study, "independent").path)]
    one, other = ehrsynth.rank(runs, "education"), ehrsynth.rank(f"{study}/*/*", "education")
    assert set(one.frame["group"]) == {"vae", "independent"}
    pd.testing.assert_frame_equal(
        one.frame.sort_values("group", ignore_index=True), other.frame.sort_values("group", ignore_index=True)
    )
    assert one.best().path.parent.name == one.frame["group"][0]
    assert one.save(tmp_path / "ranking.csv").is_file()
    assert repr(one) == "<Comparison of 2 runs for education, see .frame>"
    assert ehrsynth.rank(runs[0]).frame["group"].tolist() == ["vae"]
    with pytest.raises(FileError, match="runs: none was given"):
        ehrsynth.rank([])
    with pytest.raises(OptionError, match="profile=teaching: no such profile; use one of education, "):
        ehrsynth.rank(runs, "teaching")


def test_prepare_takes_objects_names_and_options(matrix: Path, tmp_path: Path) -> None:
    """All ways to say the same have the same hash; the matrix that a command made of it is the same to the byte."""
    known = recipe("source.n=800", "preprocess.min_count=3", "preprocess.min_aside=1").digest
    made = ehrsynth.prepare("demo", n=800, preprocess={"min_count": 3, "min_aside": 1}, matrices=tmp_path)
    assert made.folder == tmp_path / f"demo-n800-{known}"
    assert readable_name(made.folder) == "demo-n800"
    assert made.fingerprint == Matrix.open(matrix).fingerprint
    before = (made.folder / "cohort.html").stat().st_mtime_ns
    cohort = Cohort(stay="last", index="discharge", window="history", rules={"alive": DischargedAlive()})
    usual = {"preprocess": Preprocess(min_count=3, min_aside=1), "split": BySubject(), "cohort": cohort}
    assert ehrsynth.prepare(Demo(n=800), **usual, matrices=tmp_path).folder == made.folder
    assert (
        ehrsynth.prepare(
            recipe("source.n=800", "preprocess.min_count=3", "preprocess.min_aside=1"), matrices=tmp_path
        ).folder
        == made.folder
    )
    assert (made.folder / "cohort.html").stat().st_mtime_ns == before
    own = tmp_path / "mine.yaml"
    own.write_text("_target_: ehrsynth.data.split.BySubject\nholdout: 0.4\n", encoding="utf-8")
    other = ehrsynth.prepare("demo", n=300, split=own, features={"bmi": None}, seed=3, out=tmp_path / "other")
    assert other.folder == tmp_path / "other"
    assert "bmi" not in other.schema.by_name
    assert (other.provenance["split"]["holdout"], other.provenance["seed"]) == (0.4, 3)
    assert repr(other).endswith(
        f"other: {len(other.train)} train, {len(other.validation)} validation, "
        f"{len(other.holdout)} holdout rows, {len(other.schema.columns)} columns>"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": "a"}, r"split.seed=a: a whole number"),
        ({"features": {"bmii": None}}, r"features.bmii: no such option; use one of sex, race, age"),
        ({"cohort": {"rules": {"alife": None}}}, r"cohort.rules.alife: no such option; use one of alive"),
        ({"split": BySubject(), "seed": 4}, r"seed=: the split is an object already"),
        ({"source": Demo(n=300), "n": 400}, r"n=: the source is an object already"),
        ({"split": BySubject}, r"split: found BySubject; split= takes a name, a YAML file, a mapping or an object"),
        ({"features": 3}, r"features: found a int"),
    ],
)
def test_what_prepare_cannot_use_is_named(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ehrsynth.prepare(**{"source": "demo", **options}, matrices=tmp_path)


def test_train_takes_classes_and_yamls(matrix: Path, tmp_path: Path) -> None:
    own = tmp_path / "floor.yaml"
    own.write_text("# @package _global_\nmodel:\n  _target_: ehrsynth.models.independent.IndependentMarginals\n")
    options = {**SMALL, "max_epochs": 1, "evaluation": {"checkpoints": 1, "rows": 100}, "runs": tmp_path}
    told: list[str] = []
    first = ehrsynth.train(matrix, IndependentMarginals, **options)
    assert ehrsynth.train(matrix, IndependentMarginals, seed=np.int64(0), **options) == first
    for same in (own, partial(IndependentMarginals), {"_target_": "ehrsynth.models.independent.IndependentMarginals"}):
        assert ehrsynth.train(matrix, same, **options, watch=ehrsynth.Watch(say=told.append)) == first
    assert [line.split(":")[1] for line in told] == [" finished already  " + str(first.path)] * 3
    assert first.path.parts[-3:-1] == ("small", "independent")
    assert "ehrsynth.train(" in first.provenance["command"]
    with pytest.raises(OptionError, match=r"model=vae: its options do not fit \(.*'latent'"):
        ehrsynth.train(matrix, "vae", {"latent": 3}, **options)
    with pytest.raises(OptionError, match=r"no plain value \(Object of type object is not JSON serializable\)"):
        ehrsynth.train(matrix, "vae", **{**options, "trainer": {"strategy": object()}})
    with pytest.raises(OptionError, match=r"seed=0.5: a whole number"):
        ehrsynth.train(matrix, "vae", seed=0.5, **options)
    with pytest.raises(OptionError, match=r"evaluation.checkpoint: no such option; use one of checkpoints, rows"):
        ehrsynth.train(matrix, "vae", **{**options, "evaluation": {"checkpoint": 1}})


def leaky(matrix: Path, copy: Path, share: float) -> Path:
    """Copy a matrix and put training rows in place of held-out ones; the subjects stay who they are."""
    shutil.copytree(matrix, copy)
    train, holdout = (pd.read_parquet(copy / f"{part}.parquet") for part in ("train", "holdout"))
    taken = int(share * len(holdout))
    rows = train.head(taken).assign(subject_id=holdout["subject_id"].head(taken))
    holdout = pd.concat([rows, holdout.iloc[taken:]], ignore_index=True)
    if share == 1:
        train.head(taken).to_parquet(copy / "train.parquet", index=False)
    holdout.to_parquet(copy / "holdout.parquet", index=False)
    provenance = read_json(copy / "provenance.json")
    provenance["outputs"] |= {name: sha256(copy / name) for name in ("train.parquet", "holdout.parquet")}
    write_json(copy / "provenance.json", provenance)
    return copy


def test_train_warns_of_held_out_rows_that_are_training_rows(
    matrix: Path, cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = leaky(matrix, tmp_path / "leaky", 0.25)
    assert cli("train", "model=independent", *small(copy, tmp_path)) == 0
    run = run_of(tmp_path / "small", "independent")
    (warning,) = run.warnings
    assert "of the held-out rows equal a training row in every cell" in warning
    assert f"WARNING: {warning}" in capsys.readouterr().out
    assert "of the held-out rows equal a training row" in run.html.read_text(encoding="utf-8")
    files = [f"{role}={copy / role}.parquet" for role in ("train", "holdout")]
    files += [f"synthetic={run.synthetic}", f"schema={copy / 'schema.json'}", f"out={tmp_path / 'r'}", "suite=quick"]
    assert cli("evaluate", *files) == 0
    theirs = json.loads((tmp_path / "r" / "report.json").read_text(encoding="utf-8"))
    assert theirs["warnings"] == [warning]
    values = {score["metric"]: score["value"] for score in theirs["scores"]}
    assert values == {score.metric: score.value for score in run.scores()}


def test_a_holdout_that_is_the_training_table_is_refused_before_training(matrix: Path, tmp_path: Path) -> None:
    copy = leaky(matrix, tmp_path / "same", 1)
    with pytest.raises(TableError, match=r"holdout.parquet: the same rows as .*train.parquet"):
        ehrsynth.train(copy, "independent", runs=tmp_path, **{**SMALL, "max_epochs": 1})
    assert not list(tmp_path.glob("small/*/*/metrics.csv"))
