"""The simulated hospital as raw tables in the shape of MIMIC-IV's ``hosp`` module.

Admissions run from 2011; diagnoses are coded in ICD-9 before October 2015 and in ICD-10 after. Every condition of a
patient is coded at one of the admissions, and from then on at each later one with probability ``RECODED``.
``omr`` holds BMI and blood pressure as text; a share ``ABSURD`` of them is mistyped. Nobody dies in hospital.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.extensions import ExtensionArray
from scipy.special import expit

from ehrsynth.data import hospital
from ehrsynth.data.hospital import RACES, Flags, Floats, Patients, conditions
from ehrsynth.seeding import numpy_rng

CHUNK = 50_000  # patients simulated at once, which bounds the memory of the [patients, conditions] arrays
FIRST_SUBJECT, FIRST_ADMISSION = 10_000_000, 20_000_000
OPENING, YEARS = np.datetime64("2011-01-01T00:00"), 7.5
ICD10_FROM = np.datetime64("2015-10-01T00:00")
RECODED = 0.6
ABSURD = 0.005
BMI, PRESSURE = "BMI (kg/m2)", "Blood Pressure"
MIMIC_RACE = {"black": "BLACK/AFRICAN AMERICAN", "hispanic": "HISPANIC/LATINO"}  # the others in upper case
MINUTES_PER_DAY = 1440

OFFICIAL = {  # the columns of these tables in version 2.2, in their order; those the simulation lacks are empty
    "patients": {
        "subject_id": "BIGINT",
        "gender": "VARCHAR",
        "anchor_age": "INTEGER",
        "anchor_year": "INTEGER",
        "anchor_year_group": "VARCHAR",
        "dod": "DATE",
    },
    "admissions": {
        **{"subject_id": "BIGINT", "hadm_id": "BIGINT"},
        **dict.fromkeys(("admittime", "dischtime", "deathtime"), "TIMESTAMP"),
        **dict.fromkeys(("admission_type", "admit_provider_id", "admission_location", "discharge_location"), "VARCHAR"),
        **dict.fromkeys(("insurance", "language", "marital_status", "race"), "VARCHAR"),
        **{"edregtime": "TIMESTAMP", "edouttime": "TIMESTAMP", "hospital_expire_flag": "INTEGER"},
    },
    "diagnoses_icd": {
        "subject_id": "BIGINT",
        "hadm_id": "BIGINT",
        "seq_num": "INTEGER",
        "icd_code": "VARCHAR",
        "icd_version": "INTEGER",
    },
    "omr": {
        "subject_id": "BIGINT",
        "chartdate": "DATE",
        "seq_num": "INTEGER",
        "result_name": "VARCHAR",
        "result_value": "VARCHAR",
    },
}

# What the desk writes down, in MIMIC-IV's words; nothing clinical depends on it.
OF_PATIENT = {
    "language": {"ENGLISH": 0.9, "?": 0.1},
    "marital_status": {"MARRIED": 0.45, "SINGLE": 0.35, "WIDOWED": 0.12, "DIVORCED": 0.08},
}
OF_STAY = {
    "admission_type": {"EW EMER.": 0.5, "OBSERVATION ADMIT": 0.2, "URGENT": 0.17, "ELECTIVE": 0.13},
    "admission_location": {"EMERGENCY ROOM": 0.6, "PHYSICIAN REFERRAL": 0.3, "TRANSFER FROM HOSPITAL": 0.1},
    "discharge_location": {"HOME": 0.55, "HOME HEALTH CARE": 0.25, "SKILLED NURSING FACILITY": 0.2},
}
INSURANCE = {True: {"Medicare": 0.85, "Other": 0.15}, False: {"Other": 0.7, "Medicaid": 0.22, "Medicare": 0.08}}
RETIRED = 65  # years of age from which the first of these holds

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HospitalTables:
    """Raw tables with the column names of MIMIC-IV."""

    patients: pd.DataFrame
    admissions: pd.DataFrame
    diagnoses_icd: pd.DataFrame
    omr: pd.DataFrame


def simulate(n: int, seed: int) -> HospitalTables:
    """Simulate ``n`` patients from first admission to death or end of follow-up."""
    parts = list(chunks(n, seed))
    joined = {f.name: pd.concat([getattr(c, f.name) for c in parts], ignore_index=True) for f in fields(HospitalTables)}
    return HospitalTables(**joined)


def chunks(n: int, seed: int) -> Iterator[HospitalTables]:
    """Yield the tables of ``simulate`` in pieces of ``CHUNK`` patients, which bounds memory."""
    first_admission = FIRST_ADMISSION
    for start in range(0, n, CHUNK):
        tables = _simulate_chunk(
            np.arange(start, min(start + CHUNK, n)) + FIRST_SUBJECT,
            first_admission,
            numpy_rng(seed, "hospital", start),
            numpy_rng(seed, "paperwork", start),
        )
        first_admission += len(tables.admissions)
        yield tables


def _simulate_chunk(
    subjects: Integers, first_admission: int, rng: np.random.Generator, desk: np.random.Generator
) -> HospitalTables:
    patients = Patients.draw(len(subjects), rng)
    sick = hospital.draw_conditions(patients, rng)
    dies = hospital.draw_deaths(patients, rng)
    stays = _Stays.draw(patients, sick, rng)
    admissions = pd.DataFrame(
        {
            "subject_id": subjects[stays.patient],
            "hadm_id": first_admission + np.arange(len(stays.patient)),
            "admittime": stays.admitted,
            "dischtime": stays.discharged,
            "race": pd.Categorical.from_codes(
                patients.race[stays.patient], pd.Index([MIMIC_RACE.get(race, race.upper()) for race in RACES])
            ),
            **_paperwork(patients.age, stays.patient, desk),
            "hospital_expire_flag": np.int8(0),
        }
    )
    day = np.timedelta64(1, "D")
    death = stays.discharged[stays.last].astype("datetime64[D]") + rng.integers(1, 366, len(subjects)) * day
    year = stays.admitted[stays.first].astype("datetime64[Y]").astype(int) + 1970
    people = pd.DataFrame(
        {
            "subject_id": subjects,
            "gender": pd.Categorical.from_codes(patients.female.astype(int), pd.Index(["M", "F"])),
            "anchor_age": patients.age,
            "anchor_year": year,
            "anchor_year_group": [f"{first} - {first + 2}" for first in year - (year - 2008) % 3],
            "dod": np.where(dies, death, np.datetime64("NaT", "D")).astype("datetime64[s]"),
        }
    )
    return HospitalTables(
        people, admissions, _diagnoses(sick, stays, admissions, rng), _omr(patients, sick, stays, admissions, rng)
    )


@dataclass(frozen=True, eq=False)
class _Stays:
    """Admissions in the order of patients and time.

    Attributes:
        patient: index of the patient, one per admission.
        first, last: index of each patient's first and last admission.
        admitted, discharged: to the minute.
    """

    patient: Integers
    first: Integers
    last: Integers
    admitted: NDArray[np.datetime64]
    discharged: NDArray[np.datetime64]

    @classmethod
    def draw(cls, patients: Patients, sick: Flags, rng: np.random.Generator) -> "_Stays":
        """Draw admissions: the more conditions, the more and the longer."""
        burden = np.log1p(sick.sum(1))
        count = 1 + np.minimum(rng.poisson(np.exp(-2 + 0.8 * burden)), 15)
        last = np.cumsum(count) - 1
        first = last - count + 1
        patient = np.repeat(np.arange(len(count)), count)
        minutes = (MINUTES_PER_DAY * rng.gamma(1.5, np.exp(-0.6 + 0.6 * burden))[patient]).astype(np.int64)
        minutes = (minutes * rng.uniform(0.3, 1.7, len(patient))).astype(np.int64) + 60
        pause = rng.exponential(200 * MINUTES_PER_DAY, len(patient)).astype(np.int64) + MINUTES_PER_DAY
        before = np.cumsum(minutes + pause) - (minutes + pause)
        start = rng.integers(0, int(YEARS * 365 * MINUTES_PER_DAY), len(count))
        offset = before - before[first][patient] + start[patient]
        admitted = OPENING + offset * np.timedelta64(1, "m")
        return cls(patient, first, last, admitted, admitted + minutes * np.timedelta64(1, "m"))


def _diagnoses(sick: Flags, stays: _Stays, admissions: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    patient, condition = np.nonzero(sick)
    count = (stays.last - stays.first + 1)[patient]
    onset = (rng.random(len(patient)) * count).astype(np.int64)
    pair = np.repeat(np.arange(len(patient)), count - onset)
    later = np.arange(len(pair)) - np.repeat(np.cumsum(count - onset) - (count - onset), count - onset)
    coded = (later == 0) | (rng.random(len(pair)) < RECODED)
    pair, later = pair[coded], later[coded]
    stay = stays.first[patient[pair]] + onset[pair] + later
    by_stay = np.argsort(stay, kind="stable")
    stay, what = stay[by_stay], condition[pair][by_stay]
    table = conditions()
    old = stays.admitted[stay] < ICD10_FROM
    names, which = np.unique([*table["icd9"], *table["icd10"]], return_inverse=True)  # V43 is a code of both
    return pd.DataFrame(
        {
            "subject_id": admissions["subject_id"].to_numpy()[stay],
            "hadm_id": admissions["hadm_id"].to_numpy()[stay],
            "seq_num": (np.arange(len(stay)) - np.searchsorted(stay, stay) + 1).astype(np.int16),
            "icd_code": pd.Categorical.from_codes(which[np.where(old, what, what + len(table))], pd.Index(names)),
            "icd_version": np.where(old, 9, 10).astype(np.int8),
        }
    )


def usual_vitals(patients: Patients, sick: Flags, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Draw each patient's usual BMI, systolic and diastolic pressure from age and conditions."""
    has = {code: sick[:, j] for j, code in enumerate(conditions()["icd9"])}
    n = len(patients.age)
    bmi = 26 * np.exp(rng.normal(0, 0.14, n)) + 8.5 * has["278"] + 2 * has["250"] - 2 * has["263"]
    systolic = rng.normal(119, 12, n) + 0.2 * (patients.age - 60) + 14 * has["401"] - 8 * has["458"]
    diastolic = 0.45 * systolic + rng.normal(19, 6, n) - 0.1 * (patients.age - 60)
    return bmi, systolic, diastolic


def _omr(
    patients: Patients, sick: Flags, stays: _Stays, admissions: pd.DataFrame, rng: np.random.Generator
) -> pd.DataFrame:
    bmi, systolic, diastolic = usual_vitals(patients, sick, rng)
    chance = expit(0.65 + 0.7 * patients.frailty)  # the sicker, the more often measured

    def results(name: str, who: Integers, stay: Integers) -> pd.DataFrame:
        mistyped = rng.random(len(who)) < ABSURD
        if name == BMI:
            measured = bmi[who] + rng.normal(0, 0.5, len(who))
            text = pd.Series(np.where(mistyped, measured * 35, measured).round(1)).astype(str)
        else:
            high = systolic[who] + rng.normal(0, 6, len(who))
            low = diastolic[who] + rng.normal(0, 4, len(who))
            high = np.where(mistyped, high * 10, high)  # a digit too many
            text = _whole(high) + "/" + _whole(low)
        return pd.DataFrame(
            {
                "subject_id": admissions["subject_id"].to_numpy()[stay],
                "chartdate": stays.admitted[stay].astype("datetime64[D]").astype("datetime64[s]"),
                "seq_num": np.int8(1),
                "result_name": pd.Categorical([name] * len(stay), [BMI, PRESSURE]),
                "result_value": text,
            }
        )

    tables = []
    for name in (BMI, PRESSURE):
        stay = np.flatnonzero((rng.random(len(chance)) < chance)[stays.patient])
        tables.append(results(name, stays.patient[stay], stay))
    return pd.concat(tables, ignore_index=True)


def _whole(numbers: Floats) -> pd.Series:
    return pd.Series(numbers.round().astype(np.int64)).astype(str)


def _paperwork(age: Integers, patient: Integers, rng: np.random.Generator) -> dict[str, ExtensionArray]:
    """Draw the words of every stay, columns of MIMIC-IV's ``admissions``; ``patient`` is that of each stay."""
    words = {name: _draw(shares, len(age), rng)[patient] for name, shares in OF_PATIENT.items()}
    old, young = (_draw(INSURANCE[retired], len(age), rng) for retired in (True, False))
    words["insurance"] = np.where(age >= RETIRED, old, young)[patient]
    words |= {name: _draw(shares, len(patient), rng) for name, shares in OF_STAY.items()}
    return {name: pd.Categorical(values) for name, values in words.items()}


def _draw(shares: Mapping[str, float], n: int, rng: np.random.Generator) -> NDArray[np.str_]:
    return rng.choice(np.array(list(shares)), n, p=list(shares.values()))
