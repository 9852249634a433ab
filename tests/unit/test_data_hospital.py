"""The simulated hospital keeps the promises of its docstring."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ehrsynth.data import hospital
from ehrsynth.data.hospital import CLUSTERS, Patients, conditions, death_probability, draw_conditions, draw_deaths
from ehrsynth.data.mimic_tables import ICD10_FROM, simulate
from ehrsynth.seeding import numpy_rng

N = 9_300


@pytest.fixture(scope="module")
def people() -> tuple[Patients, np.ndarray, np.ndarray]:
    rng = numpy_rng(5, "test")
    patients = Patients.draw(N, rng)
    return patients, draw_conditions(patients, rng), draw_deaths(patients, rng)


def test_conditions_table() -> None:
    table = conditions()
    for key in ("icd9", "icd10", "label"):
        assert table[key].is_unique
    assert set(table["cluster"]) == set(CLUSTERS)
    for sex in "FM":
        prevalence = table.loc[table["sex"] == sex, "prevalence"].sort_values()
        assert len(prevalence) >= 6
        assert prevalence.iloc[-3] > 0.03
    assert (table["prevalence"] < 5e-5).sum() == 5
    assert table["prevalence"].between(0.005, 0.3).mean() > 0.8
    assert 12 < table["prevalence"].sum() < 16


def test_prevalences_are_the_listed_ones(people: tuple[Patients, np.ndarray, np.ndarray]) -> None:
    _, sick, dies = people
    listed = conditions()["prevalence"].to_numpy()
    deviation = (sick.mean(0) - listed) / np.sqrt(listed * (1 - listed) / N + (0.05 * listed) ** 2)
    assert np.abs(deviation).max() < 4.5
    assert abs(dies.mean() - hospital.DEATH_PREVALENCE) < 0.012


def test_sexes_and_ages_are_never_violated(people: tuple[Patients, np.ndarray, np.ndarray]) -> None:
    patients, sick, _ = people
    table = conditions()
    assert not sick[~patients.female][:, table["sex"] == "F"].any()
    assert not sick[patients.female][:, table["sex"] == "M"].any()
    assert not sick[patients.age > 50][:, table["cluster"] == "pregnancy"].any()


def test_number_of_conditions_is_overdispersed(people: tuple[Patients, np.ndarray, np.ndarray]) -> None:
    count = people[1].sum(1)
    assert count.var() > 5 * count.mean()


def test_independent_columns_are_twice_as_far_from_the_correlations_as_fresh_patients(
    people: tuple[Patients, np.ndarray, np.ndarray],
) -> None:
    sick = people[1].astype(float)
    rng = np.random.default_rng(0)
    train, fresh = sick[:6300], sick[6300:]
    shuffled = np.column_stack([rng.permutation(column) for column in train.T])
    seen = (train.sum(0) > 0) & (fresh.sum(0) > 0)

    def correlations(table: np.ndarray) -> np.ndarray:
        return np.corrcoef(table[:, seen].T)

    def distance(table: np.ndarray) -> float:
        return float(np.abs(correlations(table) - correlations(train)).mean())

    assert distance(shuffled) > 2 * distance(fresh)


def test_death_can_be_predicted_and_needs_the_interaction(people: tuple[Patients, np.ndarray, np.ndarray]) -> None:
    patients, _, dies = people
    assert 0.85 < roc_auc_score(dies, death_probability(patients)) < 0.93
    infection, renal = (patients.active[:, list(CLUSTERS).index(name)] for name in ("infection", "renal"))
    logit = patients.death_odds()
    alone = logit - hospital.INTERACTIONS["infection", "renal"] * (infection & renal)
    assert (logit - alone)[infection & renal].min() == pytest.approx(1.0)
    assert dies[infection & renal].mean() > 2 * dies.mean()


def test_raw_tables_are_consistent() -> None:
    tables = simulate(1_500, 3)
    assert tables.patients["subject_id"].is_unique
    assert tables.admissions["hadm_id"].is_unique
    assert (tables.admissions["dischtime"] > tables.admissions["admittime"]).all()
    assert set(tables.admissions["subject_id"]) == set(tables.patients["subject_id"])
    diagnoses = tables.diagnoses_icd.merge(tables.admissions, on=["subject_id", "hadm_id"], how="left")
    assert diagnoses["admittime"].notna().all()
    assert ((diagnoses["admittime"] < ICD10_FROM) == (diagnoses["icd_version"] == 9)).all()
    assert not diagnoses.duplicated(["hadm_id", "icd_code"]).any()
    assert (diagnoses.groupby("hadm_id")["seq_num"].max() == diagnoses.groupby("hadm_id").size()).all()
    following = tables.admissions.groupby("subject_id")["admittime"].shift(-1)
    assert ((following > tables.admissions["dischtime"]) | following.isna()).all()


def test_the_sicker_are_measured_more_often_and_some_values_are_absurd() -> None:
    tables = simulate(6_000, 1)
    bmi = tables.omr[tables.omr["result_name"] == "BMI (kg/m2)"]
    count = tables.diagnoses_icd.groupby("subject_id")["icd_code"].nunique()
    count = count.reindex(tables.patients["subject_id"], fill_value=0)
    measured = count.index.isin(bmi["subject_id"])
    assert 0.3 < 1 - measured.mean() < 0.4
    assert count[measured].mean() > count[~measured].mean() + 2
    assert 0.002 < (bmi["result_value"].astype(float) > 200).mean() < 0.01


def test_a_seed_is_a_hospital_and_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    pd.testing.assert_frame_equal(simulate(150, 0).diagnoses_icd, simulate(150, 0).diagnoses_icd)
    assert not simulate(150, 0).patients.equals(simulate(150, 1).patients)
    monkeypatch.setattr("ehrsynth.data.mimic_tables.CHUNK", 60)
    chunked = simulate(150, 0)
    assert chunked.patients["subject_id"].is_unique
    assert chunked.admissions["hadm_id"].tolist() == list(range(20_000_000, 20_000_000 + len(chunked.admissions)))
