"""Tables of other people: judged without a schema of ours, from the command line and from Python alike."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ehrsynth
from ehrsynth.errors import OptionError, TableError
from ehrsynth.evaluation.fidelity.prevalence import Prevalence
from ehrsynth.evaluation.suite import Suite
from ehrsynth.evaluation.utility.prediction import OutcomePrediction
from ehrsynth.evaluation.validity.plausibility import OneHotIntegrity, UnseenLevels, ValueRange
from tests.conftest import Cli

SUITE = Suite(
    evaluators=[
        Prevalence(),
        OutcomePrediction(rounds=2, explained_rows=0),
        UnseenLevels(),
        ValueRange(),
        OneHotIntegrity(),
    ]
)


def patients(seed: int, n: int = 80) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({f"icd_{i}": (rng.random(n) < 0.3).astype(int) for i in range(10)})
    race = rng.integers(0, 3, n)
    for level, name in enumerate(("white", "african_american", "other")):
        table[f"race_{name}"] = (race == level).astype(int)
    return table.assign(
        sex=rng.choice(["F", "M"], n),
        smoker=np.where(rng.random(n) < 0.2, None, rng.choice(["true", "false"], n)),
        relapse=np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 2, n)),
        age=rng.integers(20, 90, n),
        bmi=np.where(rng.random(n) < 0.1, np.nan, np.round(rng.normal(27, 4, n), 1)),
        died=(np.arange(n) % 3 == 0).astype(int),
        admitted="2020-01-31 10:00",
        patient=[f"P{seed}-{i}" for i in range(n)],
    )


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    """R, H, and an S with other columns' order, unknown levels and numbers out of range."""
    synthetic = patients(2).drop(columns=["admitted", "patient"])
    synthetic.loc[:3, "sex"] = "X"
    synthetic.loc[2:5, "age"] = 120
    synthetic.loc[7, "race_white"] = 1 - synthetic.loc[7, "race_white"]
    return {"train": patients(0), "holdout": patients(1), "synthetic": synthetic[synthetic.columns[::-1]]}


READING = {"subject": "patient", "drop": ["admitted"], "outcomes": ["died"]}


def test_three_lines_of_python(tables: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    result = ehrsynth.evaluate(**tables, suite=SUITE, **READING)
    assert list(result.frame.columns[:3]) == ["value", "low", "high"]
    assert result.frame.loc["validity/unseen_level", "value"] == 4 / 80
    assert result.frame.loc["validity/value_range", "value"] >= 4 / 80
    assert result.frame.loc["validity/one_hot_violation", "value"] == 1 / 80
    assert result.frame.loc["fidelity/apd", "train_copy"] == 0
    assert result.frame.loc["utility/trtr_auroc", "status"] == "ok"
    assert not result.warnings
    kinds = {column.name: (column.kind, column.role, column.domain) for column in result.schema.columns}
    assert kinds["icd_3"] == ("binary", "feature", "code")
    assert kinds["race_white"] == ("binary", "demographic", "demographics")
    assert kinds["sex"] == ("categorical", "demographic", "demographics")
    assert kinds["died"] == ("binary", "outcome", "outcome")
    assert kinds["age"] == ("count", "demographic", "demographics")
    assert [result.schema.by_name[name].levels for name in ("smoker", "relapse")] == [("0", "1")] * 2
    result.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html",
        "privacy.html",
        "report.json",
        "report.parquet",
    }
    assert "P0-1" not in "".join(path.read_text(errors="ignore") for path in tmp_path.iterdir())


def test_files_frames_and_the_command_agree(
    tables: dict[str, pd.DataFrame], tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delimiters, compression, decimal commas, column order and the rest of a file's dress change no score."""
    monkeypatch.setattr("ehrsynth.study.judge.report_figures", lambda *_, **__: [])
    for role, table in tables.items():
        table.to_parquet(tmp_path / f"{role}.parquet")
    tables["train"].to_csv(tmp_path / "train.csv", sep=";", decimal=",", index=False)
    tables["holdout"].rename(columns=" {} ".format).to_csv(tmp_path / "holdout.csv.gz", sep="\t", index=False)
    spaced = tables["synthetic"].assign(sex=" " + tables["synthetic"]["sex"] + "  ")
    spaced.to_csv(tmp_path / "synthetic.csv", sep="|", index=False)
    frames = ehrsynth.evaluate(**tables, suite=SUITE, **READING)
    parquet = ehrsynth.evaluate(*(tmp_path / f"{role}.parquet" for role in tables), suite=SUITE, **READING)
    names = ("train.csv", "holdout.csv.gz", "synthetic.csv")
    csv = ehrsynth.evaluate(*(str(tmp_path / name) for name in names), suite=SUITE, **READING)
    for other in (parquet, csv):
        pd.testing.assert_frame_equal(other.frame, frames.frame)
        assert other.schema == frames.schema

    files = [f"{role}={tmp_path / name}" for role, name in zip(tables, names, strict=True)]
    options = ["subject=patient", "drop=[admitted]", "outcomes=died", "suite=quick", f"out={tmp_path / 'out'}"]
    assert cli("evaluate", *files, *options) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    values = {score["metric"]: score["value"] for score in report["scores"]}
    assert values["fidelity/apd"] == pytest.approx(frames.frame.loc["fidelity/apd", "value"])
    assert ehrsynth.Evaluation is type(frames)

    given = [f"schema={tmp_path / 'out' / 'schema.json'}", "subject=patient", "drop=admitted", "suite=quick"]
    assert cli("evaluate", *files, *given, f"out={tmp_path / 'again'}") == 0
    again = json.loads((tmp_path / "again" / "report.json").read_text(encoding="utf-8"))
    assert {score["metric"]: score["value"] for score in again["scores"]} == values
    assert again["data"] == report["data"]


def test_a_shared_row_is_no_warning_and_many_are(tables: dict[str, pd.DataFrame]) -> None:
    leaky = pd.concat([tables["train"].head(20), tables["holdout"].iloc[20:]], ignore_index=True)
    leaky["patient"] = tables["holdout"]["patient"]
    result = ehrsynth.evaluate(tables["train"], leaky, tables["synthetic"], suite=SUITE, **READING)
    (warning,) = result.warnings
    assert warning.startswith("25.00 %")
    assert result.to_dict()["warnings"] == [warning]
    mixed = pd.concat([tables["train"].head(30), tables["holdout"]])
    with pytest.raises(TableError, match="30 rows belong to subjects"):
        ehrsynth.evaluate(tables["train"], mixed, tables["synthetic"], suite=SUITE, **READING)


def test_a_suite_that_does_not_exist(tables: dict[str, pd.DataFrame]) -> None:
    with pytest.raises(OptionError, match=r"suite=huge: no such suite; use one of .*full, quick"):
        ehrsynth.evaluate(**tables, suite="huge")


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = "import sys, ehrsynth; print(sorted({'torch', 'pandas', 'hydra', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'evaluates'"):
        ehrsynth.evaluates  # noqa: B018
