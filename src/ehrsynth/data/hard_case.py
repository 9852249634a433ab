"""A hard case of the simulated hospital: the very ill, whose numbers are what makes their table hard to learn.

One row a patient, 49 columns. Behind them are five latent factors, standard normal: *severity* s, and four organs

    z_k = ORGANS[k] s + sqrt(1 - ORGANS[k]^2) e_k,    e_k ~ N(0, 1),    k = inflammation, kidney, liver, heart

Each ``_panel`` below says how its columns follow from these, age, sex and diagnosis. What is planted on purpose:

    heavy tails     log-normal values; enzymes, troponin and charges with Pareto tails
    atoms           laboratories report no less than a detection limit and no more than an instrument can measure
                    (``LIMITS``: censored there), urine of 0, saturations of 100 %, ages of 90 and over, oxygen settings
    digits          pressures end in 0, pulses are counted over 15 seconds, temperatures taken in Fahrenheit, weights of
                    whole or half kilograms, years of school, urine in steps of 50: a share of patients, not all
    counts          zero-inflated and overdispersed
    rules           ``RULES``: orders between numbers, without exception; total bilirubin is the sum of its parts
    gaps            whole panels are not ordered, the less the illness asks for them (``GAPS``); income and school are
                    unknown more often in the ill: missing not at random, for severity is no column
    rare levels     of race and diagnosis, down to 0.5 %
    outcomes        death (a U of temperature, sodium and pressure, a step of lactate, albumin times age); dialysis (if
                    potassium and creatinine are both high: rare); readmission (likeliest in the middle of severity,
                    never after death)

Nothing is fitted: the intercepts are constants, and every seed draws patients of the same hospital. So what the
generator of the data itself would score is known (``draw`` any number of fresh patients), and so is what is true of
some patients given others' columns (``conditional_means``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from ehrsynth.seeding import numpy_rng

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Given = Mapping[str, str | float | tuple[float, float]]

ORGANS = {"inflammation": 0.6, "kidney": 0.5, "liver": 0.4, "heart": 0.5}
RACES = {"white": 0.78, "black": 0.151, "hispanic": 0.034, "asian": 0.014, "native": 0.005, "other": 0.016}
DIAGNOSES = {  # share, and which organ is worse by how much
    "heart failure": (0.235, "heart", 1.2),
    "lung failure": (0.300, "inflammation", 0.7),
    "liver failure": (0.080, "liver", 2.0),
    "lung cancer": (0.130, "inflammation", -0.2),
    "colon cancer": (0.090, "inflammation", -0.1),
    "coma": (0.070, "heart", -0.4),
    "sepsis": (0.075, "inflammation", 1.6),
    "renal failure": (0.015, "kidney", 2.2),
    "burns": (0.005, "inflammation", 0.9),
}
CANCERS = ("lung cancer", "colon cancer")
INCOMES = ("under 11k", "11k to 25k", "25k to 50k", "over 50k")
OXYGEN = (0.21, 0.28, 0.35, 0.4, 0.5, 0.6, 1.0)

LIMITS = {  # what a laboratory reports at least and at most; beyond, the limit is what stands in the table
    "crp": (5.0, 350.0),
    "troponin": (0.01, 50.0),
    "bilirubin_direct": (0.1, 30.0),
    "creatinine": (0.3, np.inf),
    "ferritin": (8.0, 16_500.0),
    "glucose": (20.0, 600.0),
    "platelets": (5.0, np.inf),
}
GAPS = {  # panel: its columns, intercept, and what a standard deviation of severity adds to the log-odds of a gap
    "blood gas": (("ph", "oxygen_pressure"), -1.1, -0.9),
    "liver": (("bilirubin_total", "bilirubin_direct", "bilirubin_indirect", "alt"), -0.9, -0.6),
    "inflammation": (("crp", "ferritin"), -0.6, -0.8),
    "heart": (("troponin",), -0.7, -0.5),
    "lactate": (("lactate",), -0.6, -1.0),
    "albumin": (("albumin",), -0.6, -0.4),
    "urine": (("urine",), -0.3, -0.7),
    "glucose": (("glucose",), -0.5, -0.2),
    "income": (("income",), -0.8, 0.4),
    "education": (("education",), -1.6, 0.5),
    "cost": (("cost",), -2.3, -0.3),
}
RULES = (  # the first is never above the second, where both are there
    ("diastolic", "mean_pressure"),
    ("mean_pressure", "systolic"),
    ("diastolic", "systolic"),
    ("bilirubin_direct", "bilirubin_total"),
    ("bilirubin_indirect", "bilirubin_total"),
    ("day_of_transfer", "day_of_discharge"),
    ("day_of_discharge", "days_followed"),
    ("day_of_transfer", "days_followed"),
    ("days_ventilated", "day_of_discharge"),
    ("cost", "charges"),
)
OUTCOMES = ("died", "dialysis", "readmitted")
SENSITIVE = ("sex", "race")
CHUNK = 50_000  # patients simulated at once


@dataclass(frozen=True, eq=False)
class Patients:
    """What is true of n patients before anything is measured, [n] each; see the module.

    Attributes:
        age: in years, not capped.
        female: whether a woman.
        diagnosis: index into ``DIAGNOSES``.
        severity: latent.
        organs: latent, by organ, the diagnosis included.
    """

    age: Floats
    female: Flags
    diagnosis: NDArray[np.int64]
    severity: Floats
    organs: Mapping[str, Floats]

    @classmethod
    def draw(cls, n: int, rng: np.random.Generator) -> "Patients":
        """Draw ``n`` patients."""
        age = 18 + 80 * rng.beta(3.2, 2.0, n)
        female = rng.random(n) < 0.44
        diagnosis = rng.choice(len(DIAGNOSES), n, p=[share for share, _, _ in DIAGNOSES.values()])
        severity = rng.standard_normal(n)
        organs = {}
        for organ, loading in ORGANS.items():
            organs[organ] = loading * severity + sqrt(1 - loading**2) * rng.standard_normal(n)
        for code, (_, organ, worse) in enumerate(DIAGNOSES.values()):
            organs[organ] = organs[organ] + worse * (diagnosis == code)
        return cls(age, female, diagnosis, severity, organs)

    def has(self, *names: str) -> Flags:
        """Return who has one of the diagnoses."""
        return np.isin(self.diagnosis, [list(DIAGNOSES).index(name) for name in names])


def draw(n: int, seed: int) -> pd.DataFrame:
    """Draw a table of ``n`` patients; those of another seed are fresh ones of the same hospital."""
    return pd.concat(tables(n, seed), ignore_index=True)


def tables(n: int, seed: int) -> Iterator[pd.DataFrame]:
    """Yield the table of ``draw`` in pieces of ``CHUNK`` patients, which bounds memory."""
    for start in range(0, n, CHUNK):
        yield _table(min(CHUNK, n - start), numpy_rng(seed, "hard case", start))


def conditional_means(
    of: Sequence[str], given: Given, *, rows: int = 2_000, seed: int = 0, most: int = 2_000_000
) -> pd.DataFrame:
    """Return true means given what some columns hold, by simulation: one row a column of ``of``.

    Args:
        of: numbers and outcomes; means are over patients who have them.
        given: a level, a number, or the ends of a range, both included, by column.
        rows: patients to be found who meet it.
        seed: of the simulation.
        most: patients to look at.

    Returns:
        ``mean``, its standard ``error``, and the ``rows`` it is of; fewer than asked for where patients are rare.
    """
    found, count = list[pd.DataFrame](), 0
    for table in tables(most, seed):
        met = np.ones(len(table), bool)
        for name, wanted in given.items():
            low, high = wanted if isinstance(wanted, tuple) else (wanted, wanted)
            met &= ((table[name] >= low) & (table[name] <= high)).to_numpy(bool, na_value=False)
        found.append(table.loc[met, list(of)])
        count += int(met.sum())
        if count >= rows:
            break
    kept = pd.concat(found).astype(float)
    return pd.DataFrame({"mean": kept.mean(), "error": kept.sem(), "rows": kept.count()})


def _table(n: int, rng: np.random.Generator) -> pd.DataFrame:
    patients = Patients.draw(n, rng)
    cells = _people(patients, rng)
    for panel in (_vitals, _blood, _kidney, _liver, _organs):
        cells |= panel(patients, rng)
    cells |= _outcomes(patients, cells, rng)
    cells |= _stay(patients, cells, rng)
    table = pd.DataFrame({name: _reported(name, values) for name, values in cells.items()})
    for columns, intercept, slope in GAPS.values():
        table.loc[rng.random(n) < expit(intercept + slope * patients.severity), list(columns)] = None
    return table


def _reported(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return values as the laboratory reports them."""
    return values.clip(*LIMITS[name]) if name in LIMITS else values


def _people(p: Patients, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    n = len(p.age)
    school = np.where(rng.random(n) < 0.45, rng.choice([8, 12, 16], n, p=[0.15, 0.6, 0.25]), rng.normal(12, 3.2, n))
    rich = 0.25 * (school - 12) + rng.normal(0, 1, n)
    known = np.array(["no", "local", "metastatic"])
    spread = np.where(p.has(*CANCERS), 1 + (rng.random(n) < 0.6), (rng.random(n) < 0.06).astype(int))
    names = np.array(list(RACES))
    odds = 0.03 * (p.age - 60) + 0.5 * p.severity
    return {
        "age": p.age.clip(max=90).round(2),
        "sex": np.where(p.female, "F", "M"),
        "race": names[rng.choice(len(names), n, p=list(RACES.values()))],
        "education": school.round().clip(0, 25),
        "income": np.array(INCOMES, dtype=object)[np.digitize(rich, [-0.3, 0.6, 1.4])],
        "diagnosis": np.array(list(DIAGNOSES))[p.diagnosis],
        "cancer": known[spread],
        "diabetes": (rng.random(n) < expit(-1.6 + 0.3 * p.organs["heart"] + 0.01 * (p.age - 60))).astype(int),
        "comorbidities": rng.poisson(np.exp(0.35 + 0.012 * (p.age - 60) + 0.15 * p.organs["heart"])).clip(max=9),
        "resuscitation": np.array(["full", "limited", "none"])[np.digitize(odds + rng.logistic(0, 1, n), [0.9, 2.6])],
    }


def _vitals(p: Patients, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    n = len(p.age)
    shock = 0.6 * p.severity + 0.5 * p.organs["inflammation"]
    systolic = rng.normal(124, 18, n) + 0.25 * (p.age - 60) - 9 * shock
    diastolic = 0.42 * systolic + rng.normal(20, 7, n)
    ends_in_0 = rng.random(n) < 0.45
    systolic, diastolic = (
        np.where(ends_in_0, x.round(-1), 2 * (x / 2).round()).clip(least)
        for x, least in ((systolic, 40), (diastolic, 10))
    )
    diastolic = np.minimum(diastolic, systolic - 10)
    mean = (systolic + 2 * diastolic) / 3 + rng.normal(0, 3, n)
    pulse = rng.normal(88, 15, n) + 10 * shock + 28 * (rng.random(n) < 0.2)
    pulse = np.where(rng.random(n) < 0.5, 4 * (pulse / 4).round(), pulse.round()).clip(30, 250)
    breaths = rng.normal(20, 5, n) + 3 * p.organs["inflammation"]
    breaths = np.where(rng.random(n) < 0.7, 4 * (breaths / 4).round(), breaths.round()).clip(6, 64)
    celsius = 36.9 + 0.45 * p.organs["inflammation"] + rng.standard_t(4, n) * 0.45
    fahrenheit = ((celsius * 1.8 + 32).round(1) - 32) / 1.8
    celsius = np.where(rng.random(n) < 0.55, fahrenheit, celsius.round(1)).clip(30, 43).round(2)
    kilograms = (78 - 12 * p.female) * np.exp(rng.normal(0, 0.22, n))
    steps = rng.choice([1.0, 2.0, 10.0], n, p=[0.5, 0.2, 0.3])
    need = 0.8 * p.severity + 0.7 * p.organs["inflammation"] + rng.normal(0, 0.8, n)
    return {
        "systolic": systolic,
        "diastolic": diastolic,
        "mean_pressure": mean.round().clip(diastolic, systolic),
        "heart_rate": np.where(rng.random(n) < 0.012, 0, pulse),  # in arrest
        "respiratory_rate": breaths,
        "temperature": celsius,
        "saturation": (101 - rng.gamma(1.6, np.exp(0.6 + 0.35 * p.organs["inflammation"]))).round().clip(40, 100),
        "oxygen_fraction": np.array(OXYGEN)[np.digitize(need, [0.2, 0.7, 1.1, 1.5, 2.0, 2.6])],
        "weight": ((kilograms * steps).round() / steps).round(1),
    }


def _blood(p: Patients, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    n, flame = len(p.age), p.organs["inflammation"]
    white = np.exp(2.35 + 0.25 * flame + rng.normal(0, 0.45, n)) * np.where(rng.random(n) < 0.03, 0.05, 1)
    acid = 0.5 * p.severity + 0.3 * p.organs["kidney"]
    return {
        "white_cells": white.round(1),
        "platelets": np.exp(5.35 - 0.3 * p.organs["liver"] - 0.1 * p.severity + rng.normal(0, 0.5, n)).round(),
        "crp": np.exp(3.1 + 1.1 * flame + rng.normal(0, 0.9, n)).round(),
        "ferritin": np.exp(5.6 + 0.7 * flame + 0.3 * p.organs["liver"] + rng.normal(0, 1.1, n)).round(),
        "albumin": (3.2 - 0.35 * flame - 0.2 * p.organs["liver"] + rng.normal(0, 0.5, n)).clip(0.6).round(1),
        "lactate": np.exp(0.35 + 0.45 * acid + 0.2 * flame + rng.normal(0, 0.5, n)).clip(0.3).round(1),
        "ph": (7.40 - 0.04 * acid + rng.standard_t(5, n) * 0.045).clip(6.8, 7.8).round(2),
        "oxygen_pressure": np.exp(4.5 - 0.22 * flame + rng.normal(0, 0.4, n)).round(),
    }


def _kidney(p: Patients, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    n, bad = len(p.age), p.organs["kidney"]
    urine = np.exp(7.6 - 0.35 * bad - 0.15 * p.severity + rng.normal(0, 0.45, n))
    urine = np.where(rng.random(n) < 0.6, 50 * (urine / 50).round(), urine.round())
    return {
        "creatinine": np.exp(0.05 + 0.5 * bad + rng.normal(0, 0.4, n)).round(1),
        "sodium": (137.5 + rng.standard_t(5, n) * 4 - 1.2 * p.organs["heart"]).round().clip(105, 180),
        "potassium": (4.1 + 0.35 * bad + rng.normal(0, 0.5, n)).clip(1.8, 9.5).round(1),
        "urine": np.where(rng.random(n) < expit(-4 + 1.3 * bad), 0, urine),
    }


def _liver(p: Patients, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    n, bad = len(p.age), p.organs["liver"]
    direct = _reported("bilirubin_direct", np.exp(-1.6 + 0.85 * bad + rng.normal(0, 0.8, n)).round(1))
    indirect = np.exp(-0.9 + 0.5 * bad + rng.normal(0, 0.6, n)).clip(0.1).round(1)
    alt = np.exp(3.2 + 0.4 * bad + rng.normal(0, 0.6, n))
    dying = rng.random(n) < expit(-4.5 + 0.9 * bad)  # liver cells, by the thousand
    return {
        "bilirubin_total": (direct + indirect).round(1),
        "bilirubin_direct": direct,
        "bilirubin_indirect": indirect,
        "alt": np.where(dying, 5 * alt * (1 + rng.pareto(1.3, n)), alt).round(),
    }


def _organs(p: Patients, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    n = len(p.age)
    troponin = np.exp(-4.6 + 0.9 * p.organs["heart"] + rng.normal(0, 0.9, n))
    dying = rng.random(n) < expit(-2.2 + 0.9 * p.organs["heart"])  # muscle
    troponin = np.where(dying, 8 * troponin * (1 + rng.pareto(0.9, n)), troponin)
    sugar = np.where(rng.random(n) < 0.25, np.exp(5.35 + rng.normal(0, 0.45, n)), np.exp(4.75 + rng.normal(0, 0.25, n)))
    points = 22 + 9 * p.severity + 0.25 * (p.age - 60) + 3 * p.organs["kidney"] + rng.normal(0, 4, n)
    asleep = 1.4 * p.has("coma") + 0.5 * p.severity + rng.normal(0, 1, n)
    return {
        "troponin": troponin.round(3),
        "glucose": (sugar * np.exp(0.05 * p.severity)).round(),
        "coma_score": np.array([0, 9, 26, 37, 44, 55, 61, 89, 94, 100])[
            np.digitize(asleep, [0.9, 1.2, 1.5, 1.8, 2.0, 2.2, 2.5, 2.8, 3.1])
        ],
        "physiology_score": points.clip(0, 143).round(),
    }


def _outcomes(p: Patients, cells: Mapping[str, NDArray[Any]], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    died, dialysis, readmitted = (
        rng.random(len(p.age)) < expit(odds)
        for odds in (death_odds(p, cells), dialysis_odds(cells), readmission_odds(p, cells))
    )
    return {"died": died.astype(int), "dialysis": dialysis.astype(int), "readmitted": (readmitted & ~died).astype(int)}


def death_odds(p: Patients, cells: Mapping[str, NDArray[Any]]) -> Floats:
    """Return the log-odds [n] of death, from what was measured whether it is in the table or not."""
    odds: Floats = -1.9 + 0.8 * p.severity + 0.03 * (p.age - 62) + 0.9 * (cells["cancer"] == "metastatic")
    odds += 0.35 * (cells["temperature"] - 37) ** 2 + 0.006 * (cells["sodium"] - 138) ** 2
    odds += 0.0009 * (cells["mean_pressure"] - 85.0) ** 2 + 1.3 * (cells["lactate"] > 4)
    odds += 0.03 * (3.5 - cells["albumin"]).clip(0) * (p.age - 40).clip(0)
    return odds


def dialysis_odds(cells: Mapping[str, NDArray[Any]]) -> Floats:
    """Return the log-odds [n] of dialysis, which hardly anybody needs without both of two findings."""
    both = (cells["potassium"] > 5.2) & (cells["creatinine"] > 2.5)
    odds: Floats = -4.7 + 4.5 * both + 1.5 * (cells["urine"] == 0) + 0.2 * cells["creatinine"].clip(0, 8)
    return odds


def readmission_odds(p: Patients, cells: Mapping[str, NDArray[Any]]) -> Floats:
    """Return the log-odds [n] of another admission of those who live: who is well needs none."""
    odds: Floats = -0.9 - 0.9 * (p.severity - 0.3) ** 2 + 0.2 * cells["comorbidities"] + 0.5 * cells["diabetes"]
    return odds


def _stay(p: Patients, cells: Mapping[str, NDArray[Any]], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    n, died = len(p.age), cells["died"] == 1
    transfer = np.where(rng.random(n) < 0.55, 1, 1 + rng.negative_binomial(0.7, 0.12, n))
    after = np.exp(1.9 + 0.3 * p.severity + rng.normal(0, 0.85, n)).astype(int)
    discharge = transfer + after
    later = np.where(died, np.exp(rng.normal(3.6, 1.8, n)), 30 + rng.exponential(500, n)).astype(int)
    tube = rng.random(n) < expit(-0.9 + 0.9 * p.severity + 0.5 * cells["oxygen_fraction"])
    ventilated = np.minimum(np.where(tube, 1 + rng.negative_binomial(0.8, 0.12, n), 0), discharge)
    units = np.where(rng.random(n) < 0.7, 0, rng.negative_binomial(1.1, 0.3, n))
    charges = np.exp(8.6 + 0.35 * p.severity + rng.normal(0, 0.45, n)) * (1 + discharge / 6 + ventilated / 2)
    charges = charges * np.where(rng.random(n) < 0.02, 1 + rng.pareto(1.5, n), 1)
    billed = np.where(rng.random(n) < 0.3, charges.round(-2), charges.round())
    return {
        "day_of_transfer": transfer,
        "day_of_discharge": discharge,
        "days_ventilated": ventilated,
        "transfusions": units,
        "days_followed": np.minimum(discharge + later, np.maximum(2000, discharge)),  # the study ends
        "charges": billed,
        "cost": (billed * rng.beta(6, 6, n)).round(2),
    }
