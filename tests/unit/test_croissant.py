"""``croissant.json``, and the head of the card: what search engines and loaders read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from ehrsynth.data import meds_out
from ehrsynth.data.meds_out import write_meds
from ehrsynth.files import sha256
from ehrsynth.reporting.croissant import Handed, Made, write_croissant
from ehrsynth.reporting.model_card import NO_USE, PERSONS, card_md, front_matter
from tests.handed_out import SCHEMA, STATIC, two

MADE = Made("3f2a91c0b7", "vae", "demo", "f" * 64, "ehrsynth train", privacy="Measured: nothing.")
HANDED = Handed("vae on demo", "7 records", "7 records", {"age": "Age in years"})
TABLE = pd.DataFrame({"age": [1, 2], "a b/c": [0.5, None], "%50 <x>": ["u", "v"]})


def described(place: Path, made: Made = MADE) -> dict[str, Any]:
    file = place.with_name("croissant.json")
    write_croissant(file, place, HANDED, made)
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_table(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"some.{suffix}"
    TABLE.to_parquet(file) if suffix == "parquet" else TABLE.to_csv(file, index=False)
    content = described(file)
    (told,) = content["distribution"]
    assert (told["contentUrl"], told["sha256"]) == (f"some.{suffix}", sha256(file))
    (table,) = content["recordSet"]
    assert [(one["name"], one["dataType"]) for one in table["field"]] == [
        ("age", "sc:Integer"),
        ("a b/c", "sc:Float"),
        ("%50 <x>", "sc:Text"),
    ]
    assert [one["source"]["extract"]["column"] for one in table["field"]] == list(TABLE)
    assert table["field"][0]["description"] == "Age in years"
    assert content["prov:wasDerivedFrom"]["@id"] == f"urn:sha256:{'f' * 64}"
    assert content["prov:wasGeneratedBy"]["@id"] == "urn:ehrsynth:run:3f2a91c0b7"
    assert "Measured: nothing." in content["rai:personalSensitiveInformation"]


def test_training_rows_are_called_so(tmp_path: Path) -> None:
    TABLE.to_parquet(tmp_path / "some.parquet")
    content = described(tmp_path / "some.parquet", Made("r", "train_copy", "demo", "f", "", keeps_rows=True))
    assert content["rai:personalSensitiveInformation"] == [PERSONS]
    assert content["rai:dataUseCases"] == NO_USE
    assert "synthetic data" not in content["keywords"]


@pytest.fixture
def patients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(meds_out, "PATIENTS", 3)
    rows = np.arange(7) % 2
    return write_meds(two().of_patients(rows), SCHEMA, STATIC.iloc[rows], tmp_path / "of patients")


def test_a_folder(patients: Path) -> None:
    content = described(patients)
    *files, together = content["distribution"]
    assert {one["name"]: one["sha256"] for one in files} == {
        f"of patients/{file.relative_to(patients).as_posix()}": sha256(file) for file in patients.rglob("*.*")
    }
    assert together["includes"] == "of%20patients/data/*.parquet"
    assert [one["name"] for one in content["recordSet"]] == ["events", "codes"]


def test_the_reader_of_the_standard_reads_the_records(patients: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="the package mlcroissant has the rules to hold it against")
    TABLE.to_parquet(patients.parent / "some.parquet")
    for place, name, n in ((patients.parent / "some.parquet", "some", 2), (patients, "events", 75)):
        described(place)
        found = mlcroissant.Dataset(jsonld=str(place.with_name("croissant.json")))
        assert not found.metadata.ctx.issues.errors
        assert sum(1 for _ in found.records(name)) == n


def test_the_head_of_the_card() -> None:
    head = front_matter('a: "b" #c', 999, "synthetic/data/*.parquet")
    start, text, rest = head.split("---\n")
    told = yaml.safe_load(text)
    assert (start, rest) == ("", "")
    assert told["pretty_name"] == 'a: "b" #c'
    assert told["size_categories"] == ["n<1K"]
    assert told["configs"][0]["data_files"] == [{"split": "train", "path": "synthetic/data/*.parquet"}]
    same: dict[str, Any] = {
        "title": "t",
        "facts": {},
        "rows": {"train": 1, "holdout": 1, "synthetic": 1_000},
        "data": {},
    }
    card = card_md(**same, choice="", scores=[], command="x")
    assert card.startswith('---\npretty_name: "t"\n')
    assert '"1K<n<10K"' in card
    real = card_md(**same, choice="", scores=[], command="x", keeps_rows=True)
    assert real.startswith("# t\n"), "real patients are not to be found by a search for data sets"
