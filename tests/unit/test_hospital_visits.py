"""The simulated hospital in time keeps what its functions promise, as its records show it."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq

from ehrsynth.data import hospital_visit_tables as tables
from ehrsynth.data import hospital_visits as hospital
from ehrsynth.data.hospital_visits import (
    ACUTE,
    CHRONIC,
    LABS,
    PROGRESSION,
    YEAR,
    Courses,
    hazard_ratio,
    simulate_courses,
)
from ehrsynth.data.sources.demo_visits import DemoVisits
from ehrsynth.data.store import Store
from ehrsynth.errors import OptionError
from ehrsynth.seeding import numpy_rng

CODES = [*CHRONIC, *ACUTE]


@pytest.fixture(scope="module")
def courses() -> Courses:
    return simulate_courses(20_000, numpy_rng(0, "test"))


@pytest.fixture(scope="module")
def pairs(courses: Courses) -> np.ndarray:
    """Visits that the same patient's next one follows."""
    return np.flatnonzero(courses.patient[1:] == courses.patient[:-1])


def begun(courses: Courses) -> np.ndarray:
    """What the record shows to have begun by each visit, [V, codes]."""
    seen = pd.DataFrame(courses.coded).groupby(courses.patient).cummax()
    return seen.to_numpy(bool)


def test_codes_persist_as_told(courses: Courses, pairs: np.ndarray) -> None:
    for j, code in enumerate(CODES):
        now = pairs[courses.coded[pairs, j]]
        again = courses.coded[now + 1, j]
        truth = hospital.persistence(code)
        assert abs(again.mean() - truth) <= 4 * np.sqrt(truth * (1 - truth) / len(now)), code


def test_acute_codes_do_not_return_and_chronic_ones_are_coded_at_once(courses: Courses) -> None:
    acute = courses.coded[:, len(CHRONIC) :]
    assert pd.DataFrame(acute).groupby(courses.patient).sum().to_numpy().max() == 1
    known = begun(courses)[:, : len(CHRONIC)]
    np.testing.assert_array_equal(known, courses.onset[courses.patient] <= courses.admitted[:, None])


@pytest.mark.parametrize("pair", list(PROGRESSION))
def test_hazard_ratios_can_be_read_off_the_records(courses: Courses, pairs: np.ndarray, pair: tuple[str, str]) -> None:
    cause, effect = pair
    known, entry = begun(courses), CHRONIC[effect]
    hazard = (entry.rate * np.exp(entry.age * (courses.age - 60) / 15))[courses.patient]
    for other in CHRONIC:
        if other != cause:
            hazard = hazard * hazard_ratio(other, effect) ** known[:, CODES.index(other)]
    at_risk = pairs[~known[pairs, CODES.index(effect)]]
    years = (courses.admitted[at_risk + 1] - courses.discharged[at_risk]) / YEAR
    exposed, comes = known[at_risk, CODES.index(cause)], known[at_risk + 1, CODES.index(effect)]
    for group, truth in ((exposed, hazard_ratio(cause, effect)), (~exposed, 1.0)):
        found, error = _ratio((hazard[at_risk] * years)[group], comes[group])
        assert error < 0.2
        assert abs(np.log(found / truth)) < 3.5 * error


def _ratio(expected: np.ndarray, comes: np.ndarray) -> tuple[float, float]:
    """Return r that makes P = 1 - exp(-r expected) most likely, and the standard error of its logarithm."""
    with_event, without = expected[comes], expected[~comes].sum()
    r = brentq(lambda r: (with_event / np.expm1(r * with_event)).sum() - without, 1e-3, 1e3)
    information = (with_event**2 * np.exp(r * with_event) / np.expm1(r * with_event) ** 2).sum()
    return r, 1 / (r * np.sqrt(information))


def test_gaps_follow_their_law(courses: Courses) -> None:
    """By the median, of those who had five years left, since longer gaps and the dead are not seen."""
    weights = np.array([entry.weight for entry in CHRONIC.values()])
    grave = np.array([entry.grave for entry in ACUTE.values()])
    acute = courses.coded[:, len(CHRONIC) :]
    severity = begun(courses)[:, : len(CHRONIC)] @ weights + hospital.ACUTE_WEIGHT * (acute & grave).any(1)
    row = int(np.argmax(severity))
    conditions = [CODES[j] for j in np.flatnonzero(np.concatenate([begun(courses)[row, : len(CHRONIC)], acute[row]]))]
    assert hospital.severity(conditions) == pytest.approx(severity[row])
    last = np.append(courses.patient[1:] != courses.patient[:-1], True)
    clock = hospital.operational(np.append(courses.admitted[1:], 0)) - hospital.operational(courses.discharged)
    gap = np.where(last, np.inf, np.log(np.where(last, 1, clock)))
    early = (courses.discharged < hospital.FOLLOW_UP - 5 * YEAR) & ~courses.died
    for low, high in ((0, 0.05), (0.1, 0.4), (0.5, 0.9), (1.0, 1.6)):
        mine = early & (severity >= low) & (severity <= high)
        mean, spread = np.array([hospital.gap_law(s) for s in severity[mine]]).T
        assert abs(np.median((gap[mine] - mean) / spread)) < 0.06
        assert np.mean(gap[mine] < mean - spread) == pytest.approx(0.159, abs=0.03)


def test_admissions_have_a_season(courses: Courses) -> None:
    day = np.linspace(0, hospital.FOLLOW_UP, 1000)
    np.testing.assert_allclose(hospital.calendar(hospital.operational(day)), day, atol=1e-6)
    slope = (hospital.operational(day + 1e-3) - hospital.operational(day - 1e-3)) / 2e-3
    np.testing.assert_allclose(slope, hospital.season(day), atol=1e-4)
    first = courses.admitted[np.append(True, courses.patient[1:] != courses.patient[:-1])]  # of no growing crowd
    seen, edges = np.histogram(first[first < 7 * YEAR] % YEAR, bins=12, range=(0, YEAR))
    wanted = hospital.season((edges[1:] + edges[:-1]) / 2)
    np.testing.assert_allclose(seen / seen.mean(), wanted, atol=0.08)
    flu = courses.admitted[courses.coded[:, CODES.index("J10")]] % YEAR
    assert np.mean((flu < 76) | (flu > 320)) > 2.5 * np.mean((flu > 137) & (flu < 258))


def test_lives_end_in_time(courses: Courses) -> None:
    dead = courses.dead[courses.patient]
    assert (courses.admitted < courses.discharged).all()
    assert not (courses.admitted > dead).any()
    assert (courses.discharged[courses.died] == dead[courses.died]).all()
    later = courses.patient[1:] == courses.patient[:-1]
    assert (courses.admitted[1:][later] > courses.discharged[:-1][later]).all()
    assert not courses.died[:-1][later].any()
    assert 0.1 < np.isfinite(courses.dead).mean() < 0.25
    women, men = courses.female[courses.patient], ~courses.female[courses.patient]
    assert not courses.coded[women, CODES.index("N40")].any()
    assert not courses.coded[men, CODES.index("N80")].any()


@pytest.fixture(scope="module")
def raw() -> tuple[Courses, tables.CourseTables]:
    courses = simulate_courses(4_000, numpy_rng(3, "hospital in time", 0))  # of the same draws
    return courses, next(tables.chunks(4_000, 3))


def test_drugs_follow_diagnoses(raw: tuple[Courses, tables.CourseTables]) -> None:
    _, table = raw
    drugs = {code: entry.drug for code, entry in CHRONIC.items() if entry.drug}
    coded = table.diagnoses_icd.assign(drug=table.diagnoses_icd["icd_code"].map(drugs)).dropna(subset=["drug"])
    given = coded.merge(table.prescriptions, on=["subject_id", "hadm_id", "drug"], how="outer", indicator="found")
    assert not (given["found"] == "right_only").any()  # never without
    share = (given["found"] == "both").mean()
    assert share == pytest.approx(hospital.GIVEN, abs=0.01)
    stays = table.admissions.set_index("hadm_id")
    at = stays.loc[table.prescriptions["hadm_id"]]
    assert (table.prescriptions["starttime"].to_numpy() >= at["admittime"].to_numpy()).all()


def test_labs_drift_before_an_outcome(raw: tuple[Courses, tables.CourseTables]) -> None:
    courses, table = raw
    stays = table.admissions["hadm_id"].to_numpy()
    for name, outcome in (("Creatinine", "N18"), ("% Hemoglobin A1c", "E11"), ("Albumin", "death")):
        lab = LABS[name]
        assert lab.drift is not None
        mine = table.labevents[table.labevents["itemid"] == lab.item]
        visit = np.searchsorted(stays, mine["hadm_id"])
        when = courses.dead if outcome == "death" else courses.onset[:, CODES.index(outcome)]
        days = np.nan_to_num(when[courses.patient[visit]], nan=np.inf) - courses.admitted[visit]
        horizon = lab.drift[2]
        shift = hospital.expected_lab(lab, (), 0.25 * horizon) - hospital.expected_lab(lab, ())
        assert shift == pytest.approx(0.75 * lab.drift[1])
        near, far = (days > 0.2 * horizon) & (days < 0.3 * horizon), days > 1.5 * horizon
        found = mine["valuenum"][near].mean() - mine["valuenum"][far].mean()
        assert found == pytest.approx(shift, abs=0.1 * abs(lab.drift[1]) + 3 * lab.between / np.sqrt(near.sum()))
    diabetics = hospital.expected_lab(LABS["Glucose"], ["E11"]) - hospital.expected_lab(LABS["Glucose"], ())
    assert diabetics == LABS["Glucose"].effects["E11"]


def test_tables_are_those_of_a_hospital(raw: tuple[Courses, tables.CourseTables]) -> None:
    courses, table = raw
    assert len(table.patients) == len(courses.age)
    assert table.admissions["hadm_id"].is_unique
    died = table.admissions[table.admissions["hospital_expire_flag"] == 1]
    assert (died["deathtime"] == died["dischtime"]).all()
    dod = table.patients.set_index("subject_id")["dod"].loc[died["subject_id"]]
    assert (dod.to_numpy() == died["dischtime"].to_numpy().astype("datetime64[D]")).all()
    assert not table.diagnoses_icd.duplicated(["hadm_id", "icd_code"]).any()
    assert set(table.diagnoses_icd["icd_code"]) <= set(tables.dictionaries().d_icd_diagnoses["icd_code"])


def test_the_same_seed_gives_the_same_patients_whatever_comes_after() -> None:
    first, again = (next(tables.chunks(n, 1)) for n in (300, 300))
    pd.testing.assert_frame_equal(first.labevents, again.labevents)
    other = next(tables.chunks(300, 2))
    assert not first.admissions.equals(other.admissions)


def test_source_and_options() -> None:
    for wrong in ({"n": 10}, {"n": 1.5}, {"seed": "x"}):
        with pytest.raises(OptionError, match=rf"source\.{next(iter(wrong))}="):
            DemoVisits(**wrong)
    with Store(threads=1) as store:
        DemoVisits(n=200).read(store)
        counts = store.frame("SELECT domain, count(*) AS n FROM events GROUP BY ALL").set_index("domain")["n"]
        assert {"birth", "death", "admission", "discharge", "diagnosis", "medication", "lab"} <= set(counts.index)
        assert counts["birth"] == 200
