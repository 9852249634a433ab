"""What one training patient alone has leaves nowhere: planted in every field, looked for in all that is written."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ehrsynth.data.sources.demo import Demo
from ehrsynth.data.store import Store
from tests.conftest import Cli, small

ROWS = 160
EXTREMES = (987654.5, -876543.5, 765432)  # numbers that nobody else has
CANARIES = ("canary", *(str(int(abs(number))) for number in EXTREMES))
REQUEST = ("preprocess.min_count=1", "preprocess.min_level=1", "preprocess.bounds=exact")
PATIENTS = {f"{part}.parquet" for part in ("train", "validation", "holdout")}  # of a matrix folder: they stay with it


def flat(folder: Path) -> list[str]:
    """Write a row per patient and return the options that read it; patient 0 has what nobody else has."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "patient": [f"p{i}" for i in range(ROWS)],
            "ward": rng.choice(["A", "B"], ROWS),
            "lab": rng.normal(7, 1, ROWS).round(2),
            "base": rng.normal(0, 1, ROWS).round(2),
            "visits": rng.integers(0, 9, ROWS),
            "fate": rng.choice(["home", "hospice"], ROWS),
            "seen": pd.date_range("2020-01-01", periods=ROWS).astype(str),
            "note": [f"note {i}" for i in range(ROWS)],
            **{f"code{i}": rng.integers(0, 2, ROWS) for i in range(10)},
            "code_canary": 0,
        }
    )
    words = {"patient": "canary-1", "ward": "canary ward", "fate": "canary fate", "note": "canary note"}
    numbers = dict(zip(("lab", "base", "visits"), EXTREMES, strict=True))
    table["patient"] = table["patient"].astype(str)
    for name, cell in {**words, **numbers, "seen": "1902-12-31 canary", "code_canary": 1}.items():
        table.loc[0, name] = cell
    table.to_csv(folder / "patients.csv", index=False)
    return ["source=flat", f"source.path={folder / 'patients.csv'}", "source.subject=patient", "source.outcomes=[fate]"]


def hospital(folder: Path) -> list[str]:
    """Write a hospital's raw tables, and return the options that read them; its first patient has what nobody has."""
    with Store(threads=1) as store:
        Demo(n=2 * ROWS, write_raw=folder).read(store)
    hosp = folder / "hosp"
    tables = {path.name: pd.read_csv(path, dtype=str) for path in hosp.glob("*.csv.gz")}
    admissions = tables["admissions.csv.gz"]
    first = admissions["subject_id"].iloc[0]
    mine = admissions["subject_id"] == first
    admissions.loc[mine, ["insurance", "language", "race", "admission_type"]] = "Canary"
    diagnoses = tables["diagnoses_icd.csv.gz"]
    stay = admissions.loc[mine, "hadm_id"].iloc[-1]
    rare = pd.DataFrame([[first, stay, "1", "CANARY7", "10"]], columns=diagnoses.columns)
    tables["diagnoses_icd.csv.gz"] = pd.concat([diagnoses, rare])
    omr = tables["omr.csv.gz"]
    omr.loc[(omr["subject_id"] == first) & omr["result_name"].str.startswith("BMI"), "result_value"] = str(EXTREMES[0])
    for name, table in tables.items():
        table.to_csv(hosp / name, index=False)
    return ["source=mimic_iv", f"source.root={folder}"]


def texts(file: Path) -> Iterator[str]:
    """Yield all that a file says, decoded: its name, its bytes, the cells of tables, the members of archives."""
    content = file.read_bytes()
    yield str(file)
    yield content.decode("latin-1")
    if file.suffix == ".parquet":
        yield pd.read_parquet(io.BytesIO(content)).to_csv()
    if file.suffix == ".ckpt":
        yield str(torch.load(file, weights_only=True, map_location="cpu"))
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            yield from (archive.read(name).decode("latin-1") for name in archive.namelist())


def found(*places: Path, console: str = "") -> dict[str, set[str]]:
    """Return where each canary is: names of files, and ``console``."""
    files = [file for place in places for file in place.rglob("*") if file.is_file() and ".cache" not in file.parts]
    said = [(file.name, text) for file in files if file.name not in PATIENTS for text in texts(file)]
    said.append(("console", console))
    return {canary: where for canary in CANARIES if (where := {name for name, text in said if canary in text.lower()})}


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("source", [flat, hospital], ids=["flat", "hospital"])
def test_nothing_of_one_patient_leaves(
    source: object, tmp_path: Path, cli: Cli, capfd: pytest.CaptureFixture[str]
) -> None:
    raw, matrix, runs = (tmp_path / name for name in ("raw", "matrix", "runs"))
    raw.mkdir()
    options = source(raw)  # type: ignore[operator]
    assert cli("prepare", *options, f"out={matrix}", "split.holdout=0.2") == 0
    train = pd.read_parquet(matrix / "train.parquet")
    assert train["subject_id"].astype(str).isin(["canary-1", "10000000"]).any(), "the patient is one to train on"
    offline = [option for option in small(matrix, runs) if not option.startswith("logger")]
    assert cli("train", "model=independent", "logger.mode=offline", *offline) == 0
    (run,) = (path.parent for path in runs.rglob("report.json"))
    assert list(run.glob("wandb/*/*.wandb"))
    table = tmp_path / "synthetic.csv"
    assert cli("generate", f"run={run}", "n=30", f"out={runs / 'synthetic.csv'}", "reintroduce=true") == 0
    assert cli("rank", f"runs={runs}/**", f"out={runs / 'ranking.csv'}") == 0
    assert cli("generate", f"run={run}", f"out={table}", "condition.ward=canary", "condition.insurance=canary") == 2
    said = "".join(capfd.readouterr())
    assert found(matrix, runs, console=said.replace("=canary", "")) == {}

    assert cli("prepare", *options, f"out={tmp_path / 'asked'}", *REQUEST, "split.holdout=0.2") == 0
    asked = found(tmp_path / "asked")
    assert {"schema.json", "plan.json"} <= asked["canary"]
    assert source is hospital or set(asked) == set(CANARIES)


@pytest.mark.usefixtures("no_figures")
def test_evaluate_tells_nothing_of_one_row(tmp_path: Path, cli: Cli, capfd: pytest.CaptureFixture[str]) -> None:
    flat(tmp_path)
    everyone = pd.read_csv(tmp_path / "patients.csv").drop(columns=["seen", "note", "code_canary"])
    half = ROWS // 2
    tables = {
        "train": everyone[:half],
        "holdout": everyone[half:],
        "synthetic": everyone[:half].sample(frac=1, random_state=0),
    }
    for role, table in tables.items():
        table.to_csv(tmp_path / f"{role}.csv", index=False)
    options = [f"{role}={tmp_path / role}.csv" for role in tables]
    options += ["suite=quick", "subject=patient", "outcomes=[fate]", "sensitive=[ward]"]
    assert cli("evaluate", *options, f"out={tmp_path / 'report'}") == 0
    assert found(tmp_path / "report", console="".join(capfd.readouterr())) == {}

    again = [option for option in options if not option.startswith("outcomes")]
    again += [f"schema={tmp_path / 'report/schema.json'}"]
    assert cli("evaluate", *again, f"out={tmp_path / 'again'}") == 0
    scores = [json.loads((tmp_path / name / "report.json").read_text())["scores"] for name in ("report", "again")]
    assert [{k: v for k, v in s.items() if k != "seconds"} for s in scores[0]] == [
        {k: v for k, v in s.items() if k != "seconds"} for s in scores[1]
    ]

    assert cli("evaluate", *options, "min_level=1", f"out={tmp_path / 'asked'}") == 0
    assert {"schema.json", "report.parquet"} <= found(tmp_path / "asked")["canary"]
