"""A small simulated hospital in visits: chronic and acute codes, kinds, gaps by kind, one measurement that drifts."""

import numpy as np
import torch
from torch import Tensor

from ehrsynth.layout import Layout
from ehrsynth.schema import Column, Schema
from ehrsynth.seeding import numpy_rng
from ehrsynth.visits import DAY, UNKNOWN, Code, Measurement, Visits, VisitSchema, ragged

SCHEMA = Schema(
    (
        Column("sex", "categorical", ("F", "M"), domain="demographics"),
        Column("age", "count", bounds=(20, 90), domain="demographics"),
        Column("smoker", "binary", domain="demographics"),
    )
)


def visit_schema(codes: int = 24, measurements: int = 1) -> VisitSchema:
    """Return a schema of so many codes, three quarters of them diagnoses."""
    split = 3 * codes // 4
    return VisitSchema(
        ("ward", "clinic"),
        tuple(Code(f"code{i}", "diagnosis" if i < split else "medication") for i in range(codes)),
        tuple(Measurement(f"lab{i}", "lab", "mg/dL", (40.0, 400.0), 0) for i in range(measurements)),
    )


def simulated(
    n: int = 200, seed: int = 0, codes: int = 24, measurements: int = 1, mean_visits: float = 3.0
) -> tuple[Tensor, Visits]:
    """Return encoded rows [n, s] and visits of n patients.

    A third of the diagnoses are chronic: they begin at some visit, men never have the first of them, and come back in
    nine of ten visits. The first starts the second within a visit with a chance of one half. Each is treated by one
    medication, four times of five. The others are acute. Ward follows soon after ward, and a lab goes its own way.
    """
    rng = numpy_rng(seed, "simulated visits")
    diagnoses = 3 * codes // 4
    chronic = max(diagnoses // 3, 2)
    drugs = np.arange(diagnoses, codes)
    begin = np.geomspace(0.12, 0.01, chronic)
    acute = np.geomspace(0.12, 0.01, diagnoses - chronic)
    sex, age, smoker = rng.integers(0, 2, n), rng.integers(20, 91, n), rng.integers(0, 2, n)
    offsets, starts, ends, kinds, code_rows, value_rows, values = [0], [], [], [], [], [], []
    for i in range(n):
        has = np.zeros(chronic, bool)
        level, kind, day = rng.normal(120, 30), int(rng.random() < 0.5), int(rng.integers(12_000, 16_000))
        for _ in range(rng.geometric(1 / mean_visits)):
            new = rng.random(chronic) < begin * (1 + 2 * age[i] / 90)
            new[0] &= sex[i] == 0
            new[1] |= has[0] and rng.random() < 0.5
            has |= new
            told = has & (new | (rng.random(chronic) < 0.9))
            here = [*np.flatnonzero(told), *(chronic + np.flatnonzero(rng.random(len(acute)) < acute * (1 + kind)))]
            here += [int(drugs[c % len(drugs)]) for c in np.flatnonzero(told) if rng.random() < 0.8]
            code_rows.append(sorted({int(code) for code in here}))
            level += rng.normal(0, 8)
            measured = measurements and rng.random() < 0.7
            value_rows.append(list(range(measurements)) if measured else [])
            values += (
                [float(np.clip(round(level + 20 * place), 40, 400)) for place in range(measurements)]
                if measured
                else []
            )
            stay = int(rng.integers(1, 9)) if kind else 0
            starts.append(day * DAY)
            ends.append((day + stay) * DAY if rng.random() < 0.95 else UNKNOWN)
            kinds.append(kind)
            kind = int(rng.random() < (0.7 if kind else 0.3))
            day += stay + (0 if rng.random() < 0.05 else int(rng.exponential(20 if kind else 150)) + 1)
        offsets.append(len(starts))
    code_offsets, flat = ragged(code_rows)
    value_offsets, measured_places = ragged(value_rows)
    at = np.array(offsets)
    first, last = np.array(starts)[at[:-1]], np.array(starts)[at[1:] - 1]
    dead = rng.random(n) < 0.2
    visits = Visits(
        offsets=at,
        starts=np.array(starts),
        ends=np.array(ends),
        kinds=np.array(kinds, np.int16),
        code_offsets=code_offsets,
        codes=flat,
        value_offsets=value_offsets,
        measured=measured_places,
        values=np.array(values, np.float32),
        born=first - (365.25 * age * DAY).astype(np.int64) // DAY * DAY,
        died=np.where(dead, last + rng.integers(0, 300, n) * DAY, UNKNOWN),
    )
    layout = Layout.of(SCHEMA)
    static = torch.zeros(n, layout.width)
    static[:, layout.places["smoker"][0]] = torch.from_numpy(smoker).float()
    static[torch.arange(n), torch.tensor(layout.places["sex"])[torch.from_numpy(sex)]] = 1.0
    static[:, layout.places["age"][0]] = torch.from_numpy((age - 20) / 70).float()
    return static, visits


def persistence(visits: Visits, codes: int) -> float:
    """Return how many of the codes of visits that another follows are there again in that one."""
    key = visits.visit_of_code * codes + visits.codes
    again = np.isin(key + codes, key)
    last = visits.offsets[1:][visits.patient] - 1 == np.arange(visits.count)
    followed = ~last[visits.visit_of_code]
    return float(again[followed].mean())
