"""The same patients through MIMIC-IV, MEDS and OMOP give the same matrix, cell by cell."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.data.matrix import Matrix
from ehrsynth.data.sources.demo import Demo
from ehrsynth.data.store import Store
from tests import exports, matrices

pytest.importorskip("meds")

PARTS = ("train", "validation", "holdout")
KEPT = ("preprocess.max_missing=1", "preprocess.min_prevalence=0", "preprocess.min_count=0")  # to compare every column
DRUGS = (
    "+features.drugs={_target_: ehrsynth.data.features.codes.Codes, domain: medication, prefix: rx_,"
    " vocabulary: {_target_: ehrsynth.data.vocabulary.icd.AsIs}}"
)


def export(raw: Path, folder: Path) -> dict[str, Path]:
    """Write every export of the raw tables, and return where each is."""
    mimic = exports.read_mimic(raw)
    omop = exports.omop_tables(mimic)
    return {
        "meds": exports.write_meds(mimic, folder / "meds"),
        "meds_without_stays": exports.write_meds(mimic, folder / "meds_without_stays", stays=False),
        "omop": exports.write_folder(omop, folder / "omop"),
        "omop_53": exports.write_folder(
            exports.omop_tables(mimic, version="5.3"), folder / "omop_53", suffix=".csv.gz", upper=True
        ),
        "omop_database": exports.write_database(omop, folder / "omop.duckdb"),
    }


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    raw = shared_data / "mimic-iv-demo"
    return {"mimic_iv": raw, **export(raw, tmp_path_factory.mktemp("exports"))}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("simulated")
    with Store(threads=1) as store:
        Demo(n=150, seed=1, write_raw=folder).read(store)
    return {"mimic_iv": folder, **export(folder, folder)}


EXPORTS = ("meds", "meds_without_stays", "omop", "omop_53", "omop_database")


def made(roots: dict[str, Path], name: str, out: Path, *overrides: str, defaults: bool = True) -> Matrix:
    """Prepare one export; ``defaults`` asks for the source's own columns."""
    source = name if name == "mimic_iv" else name.split("_")[0]
    own = [f"cohort={source}", f"features={source}"] if defaults else []
    return matrices.make(
        out / name, f"source={source}", f"source.root={roots[name]}", "constraints=none", *own, *overrides
    )


def assert_same(matrix: Matrix, wanted: Matrix) -> None:
    for part in PARTS:
        pd.testing.assert_frame_equal(getattr(matrix, part), getattr(wanted, part), check_exact=True)


@pytest.fixture(scope="module")
def defaults(real: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return made(real, "mimic_iv", tmp_path_factory.mktemp("defaults"), DRUGS, *KEPT)


@pytest.mark.parametrize("name", EXPORTS)
def test_real_patients_with_the_defaults_of_each_source(
    real: dict[str, Path], defaults: Matrix, name: str, tmp_path: Path
) -> None:
    matrix = made(real, name, tmp_path, DRUGS, *KEPT)
    assert len(matrix.train) > 50
    assert {"bmi", "systolic", "insurance", "rx_Aspirin", "dx_V58", "px_549"} <= set(matrix.schema.names)
    assert_same(matrix, defaults)
    for column, wanted in zip(matrix.schema.columns, defaults.schema.columns, strict=True):
        has_words = "omop" in name and column.domain in ("diagnosis", "procedure")  # the public demo names no codes
        assert column == (replace(wanted, label=column.label) if has_words else wanted)


@pytest.fixture(scope="module")
def tutorial(real: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    pytest.importorskip("pyphewas")
    return made(real, "mimic_iv", tmp_path_factory.mktemp("tutorial"), "experiment=jmir_mimic4", *KEPT, defaults=False)


@pytest.mark.parametrize("name", ["meds", "omop"])
def test_real_patients_with_the_recipe_of_the_tutorial(
    real: dict[str, Path], tutorial: Matrix, name: str, tmp_path: Path
) -> None:
    matrix = made(real, name, tmp_path, "experiment=jmir_mimic4", *KEPT, defaults=False)
    assert_same(matrix, tutorial)
    assert matrix.schema == tutorial.schema


@pytest.fixture(scope="module")
def hospital(simulated: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return made(simulated, "mimic_iv", tmp_path_factory.mktemp("hospital"), *KEPT)


@pytest.mark.parametrize("name", EXPORTS)
def test_simulated_patients(simulated: dict[str, Path], hospital: Matrix, name: str, tmp_path: Path) -> None:
    matrix = made(simulated, name, tmp_path, *KEPT)
    assert len(matrix.train) > 80
    assert_same(matrix, hospital)


def test_the_splits_of_the_standard(real: dict[str, Path], tmp_path: Path) -> None:
    matrix = made(real, "meds", tmp_path, "split=given")
    splits = pd.read_parquet(real["meds"] / "metadata" / "subject_splits.parquet").set_index("subject_id")["split"]
    for part, theirs in zip(PARTS, ("train", "tuning", "held_out"), strict=True):
        assert set(splits[getattr(matrix, part)["subject_id"]]) == {theirs}


def test_codes_that_no_pattern_knows_are_counted(simulated: dict[str, Path], tmp_path: Path) -> None:
    matrix = made(simulated, "meds", tmp_path, "+source.patterns.diagnosis=null", *KEPT)
    diagnoses = len(exports.read_mimic(simulated["mimic_iv"])["diagnoses_icd"])
    detail = matrix.provenance["steps"][0]["detail"]
    assert detail["events with a code that no pattern knows"] == diagnoses
    assert not [name for name in matrix.schema.names if name.startswith("dx_")]
