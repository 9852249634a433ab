"""The simulated courses of ``ehrsynth.data.hospital_visits`` as raw tables in the shape of MIMIC-IV."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.data import mimic_tables
from ehrsynth.data.hospital_visits import (
    ACUTE,
    AGAIN,
    CHRONIC,
    DECIMALS,
    GIVEN,
    LABS,
    MEASURED,
    RACES,
    Courses,
    Floats,
    Integers,
    Lab,
    simulate_courses,
)
from ehrsynth.data.mimic_tables import FIRST_ADMISSION, FIRST_SUBJECT, MINUTES_PER_DAY, OPENING
from ehrsynth.seeding import numpy_rng

CHUNK = 10_000  # patients simulated at once, which bounds memory
FLUID = "Blood"
KINDS = {"EW EMER.": 0.5, "URGENT": 0.25, "ELECTIVE": 0.15, "OBSERVATION ADMIT": 0.1}

OFFICIAL = {  # the columns of these tables in version 2.2 that are simulated or read
    **{name: mimic_tables.OFFICIAL[name] for name in ("patients", "admissions", "diagnoses_icd")},
    "prescriptions": {"subject_id": "BIGINT", "hadm_id": "BIGINT", "starttime": "TIMESTAMP", "drug": "VARCHAR"},
    "labevents": {
        **{"subject_id": "BIGINT", "hadm_id": "BIGINT", "itemid": "INTEGER"},
        **{"charttime": "TIMESTAMP", "valuenum": "DOUBLE", "valueuom": "VARCHAR"},
    },
    "d_labitems": {"itemid": "INTEGER", "label": "VARCHAR", "fluid": "VARCHAR"},
    "d_icd_diagnoses": {"icd_code": "VARCHAR", "icd_version": "INTEGER", "long_title": "VARCHAR"},
}


@dataclass(frozen=True, eq=False)
class CourseTables:
    """Raw tables of some patients, with the column names of MIMIC-IV."""

    patients: pd.DataFrame
    admissions: pd.DataFrame
    diagnoses_icd: pd.DataFrame
    prescriptions: pd.DataFrame
    labevents: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Dictionaries:
    """What codes and tests are called."""

    d_labitems: pd.DataFrame
    d_icd_diagnoses: pd.DataFrame


def dictionaries() -> Dictionaries:
    """Return the tables of names."""
    titles = {code: entry.label for code, entry in CHRONIC.items()} | {
        code: entry.label for code, entry in ACUTE.items()
    }
    tests = {"itemid": [lab.item for lab in LABS.values()], "label": list(LABS), "fluid": FLUID}
    return Dictionaries(
        pd.DataFrame(tests),
        pd.DataFrame({"icd_code": list(titles), "icd_version": 10, "long_title": list(titles.values())}),
    )


def chunks(n: int, seed: int) -> Iterator[CourseTables]:
    """Yield the raw tables of ``n`` patients in pieces of ``CHUNK``."""
    first_admission = FIRST_ADMISSION
    for start in range(0, n, CHUNK):
        rng = numpy_rng(seed, "hospital in time", start)
        courses = simulate_courses(min(CHUNK, n - start), rng)
        yield _tables(courses, FIRST_SUBJECT + start, first_admission, rng)
        first_admission += len(courses.patient)


def _tables(courses: Courses, first_subject: int, first_admission: int, rng: np.random.Generator) -> CourseTables:
    subject = first_subject + courses.patient
    stay = first_admission + np.arange(len(courses.patient))
    admitted, discharged = _moment(courses.admitted), _moment(courses.discharged)
    first = np.searchsorted(courses.patient, np.arange(len(courses.age)))
    year = admitted[first].astype("datetime64[Y]").astype(int) + 1970
    kinds = rng.choice(list(KINDS), len(stay), p=list(KINDS.values()))
    people = pd.DataFrame(
        {
            "subject_id": first_subject + np.arange(len(courses.age)),
            "gender": np.where(courses.female, "F", "M"),
            "anchor_age": courses.age,
            "anchor_year": year,
            "anchor_year_group": [f"{begin} - {begin + 2}" for begin in year - (year - 2008) % 3],
            "dod": _moment(courses.dead).astype("datetime64[D]").astype("datetime64[s]"),
        }
    )
    admissions = pd.DataFrame(
        {
            "subject_id": subject,
            "hadm_id": stay,
            "admittime": admitted,
            "dischtime": discharged,
            "deathtime": np.where(courses.died, discharged, np.datetime64("NaT")),
            "admission_type": kinds,
            "discharge_location": np.where(courses.died, "DIED", "HOME"),
            "race": np.array(list(RACES))[courses.race[courses.patient]],
            "hospital_expire_flag": courses.died.astype(np.int8),
        }
    )
    visit, code = np.nonzero(courses.coded)
    number = np.arange(len(visit)) - np.searchsorted(visit, visit) + 1
    diagnoses = pd.DataFrame(
        {
            "subject_id": subject[visit],
            "hadm_id": stay[visit],
            "seq_num": number,
            "icd_code": np.array([*CHRONIC, *ACUTE])[code],
            "icd_version": np.int8(10),
        }
    )
    return CourseTables(
        people,
        admissions,
        diagnoses,
        _prescriptions(courses, subject, stay, admitted, rng),
        _labs(courses, subject, stay, rng),
    )


def _prescriptions(
    courses: Courses, subject: Integers, stay: Integers, admitted: NDArray[np.datetime64], rng: np.random.Generator
) -> pd.DataFrame:
    drugs = np.array([entry.drug for entry in CHRONIC.values()])
    visit, code = np.nonzero(courses.coded[:, : len(CHRONIC)] & (drugs != ""))
    given = rng.random(len(visit)) < GIVEN
    visit, code = visit[given], code[given]
    hours = rng.integers(1, 60, len(visit)) * np.timedelta64(1, "m")
    return pd.DataFrame(
        {
            "subject_id": subject[visit],
            "hadm_id": stay[visit],
            "starttime": admitted[visit] + hours,
            "drug": drugs[code],
        }
    )


def _labs(courses: Courses, subject: Integers, stay: Integers, rng: np.random.Generator) -> pd.DataFrame:
    tables = []
    for lab in LABS.values():
        usual = lab.usual + lab.between * rng.standard_normal(len(courses.age))
        done = np.flatnonzero(rng.random(len(stay)) < MEASURED)
        again = done[rng.random(len(done)) < AGAIN]
        for visit, day in ((done, courses.admitted[done] + 0.04), (again, courses.discharged[again] - 0.01)):
            mean = usual[courses.patient[visit]] + _shift(lab, courses, visit)
            value = mean + lab.noise * rng.standard_normal(len(visit))
            tables.append(
                pd.DataFrame(
                    {
                        "subject_id": subject[visit],
                        "hadm_id": stay[visit],
                        "itemid": np.int32(lab.item),
                        "charttime": _moment(day),
                        "valuenum": np.maximum(value, 0.1 * lab.usual).round(DECIMALS),
                        "valueuom": lab.unit,
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)


def _shift(lab: Lab, courses: Courses, visit: Integers) -> Floats:
    """Return by how much conditions and an outcome to come move a test at the admission of each visit."""
    patient, at = courses.patient[visit], courses.admitted[visit]
    shift = np.zeros(len(visit))
    for code, effect in lab.effects.items():
        shift += effect * (courses.onset[patient, list(CHRONIC).index(code)] <= at)
    if lab.drift is not None:
        outcome, most, horizon = lab.drift
        when = courses.dead if outcome == "death" else courses.onset[:, list(CHRONIC).index(outcome)]
        days = np.nan_to_num(when[patient], nan=np.inf) - at
        shift += np.where(days >= 0, most * np.maximum(0.0, 1 - np.abs(days) / horizon), 0.0)
    return shift


def _moment(day: Floats) -> NDArray[np.datetime64]:
    """Return days since the opening as times, to the minute; NaN is no time."""
    known = np.isfinite(day)
    minutes = np.where(known, day, 0) * MINUTES_PER_DAY
    times = OPENING.astype("datetime64[s]") + np.round(minutes).astype(np.int64) * np.timedelta64(60, "s")
    return np.where(known, times, np.datetime64("NaT", "s"))
