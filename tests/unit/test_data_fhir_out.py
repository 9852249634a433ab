"""Visits out as FHIR R4, read back by a small reader; held against the standard where that is installed."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data import fhir_out
from ehrsynth.data.fhir_out import TYPES, write_fhir
from ehrsynth.data.split import SPLITS
from ehrsynth.data.trajectories_out import shards
from ehrsynth.errors import TableError
from tests.handed_out import SCHEMA, STATIC, two
from tests.trajectories import Told, prepared, told

Resource = dict[str, Any]


def read(folder: Path) -> dict[str, list[Resource]]:
    """Return the resources of each type; each line is one."""
    files = {name: (folder / f"{name}.ndjson").read_text(encoding="utf-8").splitlines() for name in TYPES}
    return {name: [json.loads(line) for line in lines] for name, lines in files.items()}


def visits_of(resources: dict[str, list[Resource]]) -> dict[str, list[Told]]:
    """Return the visits of each patient, written out, from the resources alone."""
    found: dict[str, Told] = {}
    for one in resources["Encounter"]:
        period = {side: time[:16].replace("T", " ") for side, time in one["period"].items()}
        found[one["id"]] = one["type"][0]["coding"][0]["code"], period["start"], period.get("end"), [], {}
    for name in TYPES[2:]:
        for one in resources[name]:
            if "encounter" in one:
                visit = found[one["encounter"]["reference"].removeprefix("Encounter/")]
                code = one.get("code", one.get("medicationCodeableConcept"))["coding"][0]["code"]
                if "valueQuantity" in one:
                    visit[4][code] = round(one["valueQuantity"]["value"], 4)
                else:
                    visit[3].append(code)
    people: dict[str, list[Told]] = {one["id"]: [] for one in resources["Patient"]}
    for one in resources["Encounter"]:
        people[one["subject"]["reference"].removeprefix("Patient/")].append(found[one["id"]])
    return people


def test_who_and_what_is_said_once(tmp_path: Path) -> None:
    found = read(write_fhir(two(), SCHEMA, STATIC, tmp_path / "fhir"))
    first, second = found["Patient"]
    assert (first["id"], first["gender"], first["deceasedDateTime"]) == ("1", "female", "1970-01-13T00:00:00Z")
    assert (second["gender"], second["birthDate"]) == ("unknown", "1969-09-23")
    assert first["extension"][0]["extension"] == [{"url": "text", "valueString": "white"}]
    once = [one for one in found["Observation"] if "encounter" not in one]
    assert [(one["code"]["text"], one["subject"]["reference"]) for one in once] == [
        ("score", "Patient/1"),
        ("word", "Patient/1"),
    ]
    assert [one["class"]["code"] for one in found["Encounter"]] == ["IMP", "AMB", "IMP"]
    assert [one["status"] for one in found["Encounter"]] == ["finished", "finished", "unknown"]
    assert "hospitalization" in found["Encounter"][0]
    for resources in found.values():
        for one in resources:
            assert one["meta"]["tag"][0]["code"] == "HTEST"
    plain = read(write_fhir(two(), SCHEMA, STATIC, tmp_path / "real", synthetic=False))
    assert not any("meta" in one for resources in plain.values() for one in resources)


def test_patients_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = prepared(tmp_path / "made", "source=demo_visits", "source.n=300")
    monkeypatch.setattr(fhir_out, "shards", lambda *asked: shards(*asked, size=40))
    for part in SPLITS[1:]:
        visits = made.visits(part)
        found = read(write_fhir(visits, made.visit_schema, made.static(part), tmp_path / part))
        assert {name: len({one["id"] for one in some}) for name, some in found.items()} == {
            name: len(some) for name, some in found.items()
        }
        domains = np.array([code.domain for code in made.visit_schema.codes])[visits.codes]
        assert len(found["Condition"]) == (domains == "diagnosis").sum()
        assert len(found["MedicationRequest"]) == (domains == "medication").sum()
        back = visits_of(found)
        for patient in range(len(visits)):
            mine = [(*rest, sorted(codes), values) for *rest, codes, values in back[str(patient + 1)]]
            wanted = [
                (*rest, sorted(codes), values) for *rest, codes, values in told(visits, made.visit_schema, patient)
            ]
            assert mine == wanted


def test_it_refuses_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="FHIR: visits of 2 patients beside 1 static rows"):
        write_fhir(two(), SCHEMA, STATIC[:1], tmp_path / "x")


def test_the_standard_knows_every_resource(tmp_path: Path) -> None:
    pytest.importorskip("fhir.resources", reason="the package fhir.resources has the models to hold it against")
    static = pd.concat([STATIC, STATIC], ignore_index=True)
    found = read(write_fhir(two().of_patients(np.array([0, 1, 0, 1])), SCHEMA, static, tmp_path / "fhir"))
    for name, resources in found.items():
        model = getattr(import_module(f"fhir.resources.R4B.{name.lower()}"), name)
        for one in resources:
            model.model_validate(one)
