"""Simulated patients through time with known dynamics, for the tests of what asks trajectories."""

import dataclasses

import numpy as np

from ehrsynth.constraints.over_time import NeverBefore, NothingAfterDeath
from ehrsynth.evaluation.evaluator import RealVisits
from ehrsynth.visits import DAY, UNKNOWN, Code, Measurement, Visits, VisitSchema, ragged

CHRONIC, ACUTE, DRUGS, MOST = 8, 24, 6, 12
TOPICS = (10, 145, 395, 465, 525, 585)  # of four acute codes each, in chapters of their own
PERSISTENCE = 0.9  # of a chronic code from visit to visit; an acute one comes back by chance alone
SCHEMA = VisitSchema(
    kinds=("emergency", "planned"),
    codes=(
        *(Code(f"dx_{250 + 17 * i}", "diagnosis") for i in range(CHRONIC)),
        *(Code(f"dx_{TOPICS[i // 4] + i % 4:03}.{i % 3}", "diagnosis") for i in range(ACUTE)),
        *(Code(f"rx_{i}", "medication") for i in range(DRUGS)),
    ),
    measurements=(
        Measurement("glucose", "lab", "mg/dL", (20.0, 900.0), 0),
        Measurement("creatinine", "lab", "mg/dL", (0.1, 20.0), 1),
    ),
)


def simulated(n: int, seed: int) -> Visits:
    """Chronic codes that stay, the first of which hastens the second; acute ones by season of life; drugs that follow.

    An emergency is followed soon, a planned visit late; values remember the patient; the burden of chronic codes kills.
    """
    rng = np.random.default_rng(seed)
    severity = rng.gamma(2.0, 0.5, n)
    has = np.zeros((n, MOST, len(SCHEMA.codes)), bool)
    kinds = np.zeros((n, MOST), np.int16)
    values = np.zeros((n, MOST, 2), np.float32)
    lengths = np.clip(rng.poisson(1 + 2 * severity), 1, MOST)
    seen = np.zeros((n, CHRONIC), bool)
    level = rng.normal(0, 1, (n, 2))
    state = level + rng.normal(0, 0.5, (n, 2))
    drugs = np.zeros((n, DRUGS), bool)
    for t in range(MOST):
        onset = 0.06 * severity[:, None] * np.linspace(1.5, 0.5, CHRONIC)[None]
        onset[:, 1] *= np.where(seen[:, 0], 5.0, 0.5)
        new = rng.random((n, CHRONIC)) < np.clip(onset, 0, 0.9)
        has[:, t, :CHRONIC] = (seen & (rng.random((n, CHRONIC)) < PERSISTENCE)) | (new & ~seen)
        drugs |= seen[:, :DRUGS] & (rng.random((n, DRUGS)) < 0.6)
        has[:, t, CHRONIC + ACUTE :] = drugs
        seen |= new
        topic = rng.integers(len(TOPICS), size=n)
        near = np.arange(ACUTE)[None] // 4 == topic[:, None]
        has[:, t, CHRONIC : CHRONIC + ACUTE] = rng.random((n, ACUTE)) < np.where(near, 0.4, 0.02)
        kinds[:, t] = rng.random(n) < 0.6
        state = level + 0.7 * (state - level) + rng.normal(0, 0.4, (n, 2))
        values[:, t] = [120, 2] + state * [30, 0.4]
    gaps = np.exp(rng.normal(np.where(kinds[:, :-1] == 0, 3.0, 4.8), 0.8)) + 1
    first = rng.integers(0, 3650, n).astype(float)
    days = np.concatenate([first[:, None], first[:, None] + gaps.cumsum(1)], axis=1)
    there = np.arange(MOST)[None] < lengths[:, None]
    starts = (days[there] * DAY).astype(np.int64)
    last = days[np.arange(n), lengths - 1]
    died = rng.random(n) < 0.03 * (1 + seen.sum(1))
    code_offsets, codes = ragged([np.flatnonzero(row).tolist() for row in has[there]])
    measured = rng.random((len(starts), 2)) < 0.8
    value_offsets, places = ragged([np.flatnonzero(row).tolist() for row in measured])
    visits = Visits(
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        starts=starts,
        ends=starts + rng.integers(0, DAY, len(starts)),
        kinds=kinds[there],
        code_offsets=code_offsets,
        codes=codes,
        value_offsets=value_offsets,
        measured=places,
        values=values[there][measured],
        born=((first - 365.25 * rng.uniform(30, 90, n)) * DAY).astype(np.int64),
        died=np.where(died, ((last + rng.uniform(2, 300, n)) * DAY).astype(np.int64), UNKNOWN),
    )
    visits.check(SCHEMA, "simulated")
    return visits


def real_visits(train: int = 500, holdout: int = 500, seed: int = 0) -> RealVisits:
    """R and H from one source."""
    rules = NothingAfterDeath(), NeverBefore("rx_0", "dx_250")
    return RealVisits(SCHEMA, simulated(train, seed), simulated(holdout, seed + 1000), rules)


def visits_of(patients: list[list[tuple[float, list[int]]]], **changes: np.ndarray) -> Visits:
    """Patients written out as (day, codes) of each visit; of one kind, without ends, values, births and deaths."""
    flat = [visit for visits in patients for visit in visits]
    code_offsets, codes = ragged([codes for _, codes in flat])
    nobody, count = np.full(len(patients), UNKNOWN), len(flat)
    visits = Visits(
        offsets=np.concatenate([[0], np.cumsum([len(visits) for visits in patients])]).astype(np.int64),
        starts=np.array([round(day * DAY) for day, _ in flat], np.int64),
        ends=np.full(count, UNKNOWN),
        kinds=np.zeros(count, np.int16),
        code_offsets=code_offsets,
        codes=codes,
        value_offsets=np.zeros(count + 1, np.int64),
        measured=np.zeros(0, np.int32),
        values=np.zeros(0, np.float32),
        born=nobody,
        died=nobody,
    )
    return dataclasses.replace(visits, **changes)
