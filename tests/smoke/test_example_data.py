"""The simulated hospital as example data: the same patients in every form, and their truth."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data import hospital_visits as hospital
from ehrsynth.data.split import SPLITS
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.errors import OptionError
from ehrsynth.study.example_data import write_examples
from tests.trajectories import assert_equal, prepared

FORMS = {"mimic_iv": "mimic-iv", "meds": "meds", "omop": "omop"}
pytest.importorskip("meds")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_examples(tmp_path_factory.mktemp("examples") / "out", n=300)


@pytest.fixture(scope="module")
def read(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trajectories]:
    out, with_ = tmp_path_factory.mktemp("read"), ("cohort=demo_visits", "features=demo_visits")
    return {
        source: prepared(out / source, f"source={source}", f"source.root={examples / folder}", *with_)
        for source, folder in FORMS.items()
    }


def test_every_form_has_the_same_patients(read: dict[str, Trajectories]) -> None:
    raw = read["mimic_iv"]
    assert sum(len(raw.visits(part)) for part in SPLITS) == 300
    assert len(raw.visit_schema.codes) > 20
    for source in ("meds", "omop"):
        made = read[source]
        assert made.visit_schema == raw.visit_schema
        for part in SPLITS:
            assert_equal(made.visits(part), raw.visits(part))
            pd.testing.assert_frame_equal(
                made.static(part).drop(columns="subject_id"), raw.static(part).drop(columns="subject_id")
            )


def test_patients_are_numbered_alike(examples: Path, read: dict[str, Trajectories]) -> None:
    truth = json.loads((examples / "truth.json").read_text(encoding="utf-8"))
    first = truth["simulation"]["first_subject"]
    subjects = {source: np.sort(made.static("train")["subject_id"]) for source, made in read.items()}
    np.testing.assert_array_equal(subjects["mimic_iv"] - first + 1, subjects["omop"])
    np.testing.assert_array_equal(subjects["meds"], subjects["omop"])
    lines = (examples / "fhir" / "Patient.ndjson").read_text(encoding="utf-8").splitlines()
    patients = pd.read_csv(examples / "mimic-iv" / "hosp" / "patients.csv.gz")
    assert [{"female": "F", "male": "M"}[json.loads(line)["gender"]] for line in lines] == patients["gender"].tolist()


def test_the_truth_is_that_of_the_simulation(examples: Path) -> None:
    truth = json.loads((examples / "truth.json").read_text(encoding="utf-8"))
    ratios = {(one["cause"], one["effect"]): one["ratio"] for one in truth["hazard_ratios"]}
    assert ratios["E11", "N18"] == hospital.hazard_ratio("E11", "N18") == 3.0
    assert truth["chronic"]["I10"]["kept"] == hospital.persistence("I10")
    assert truth["gap"]["mean"] - truth["gap"]["slope"] == hospital.gap_law(1.0)[0]
    assert truth["labs"]["Albumin"]["drift"] == ["death", -1.0, 180]


def test_nothing_is_written_over(examples: Path) -> None:
    with pytest.raises(OptionError, match="something is there"):
        write_examples(examples)
