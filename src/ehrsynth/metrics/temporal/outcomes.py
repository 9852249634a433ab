"""What happens after a visit, and whether predicted risks of it are right on average and at every level."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from ehrsynth.metrics.intervals import Estimate, Z
from ehrsynth.metrics.temporal.content import has_next
from ehrsynth.visits import DAY, UNKNOWN, Integers, Visits

Numbers = NDArray[np.float64]
BINS = 10
STEPS = 50


class Labels(NamedTuple):
    """Outcomes of one visit of each patient.

    Attributes:
        visits: [m], their places.
        readmitted: [m], whether another visit starts within 30 days of the end (of the start, if that is unknown).
        died: [m], whether the patient dies within 365 days of the start, in hospital or later.
    """

    visits: Integers
    readmitted: NDArray[np.bool_]
    died: NDArray[np.bool_]


def outcomes(visits: Visits, rng: np.random.Generator) -> Labels:
    """Return the outcomes of a visit of each patient drawn at random, so that rows are independent.

    A patient without a later visit counts as not readmitted, one without a date of death as alive.
    """
    patients = np.flatnonzero(visits.per_patient > 0)
    drawn = visits.offsets[patients] + rng.integers(visits.per_patient[patients])
    return Labels(drawn, readmitted(visits, 30)[drawn], dies_within(visits, 365)[drawn])


def ends_of(visits: Visits) -> Integers:
    """Return when each visit ends [V]; when it starts, if the end is unknown."""
    return np.where(visits.ends == UNKNOWN, visits.starts, visits.ends)


def readmitted(visits: Visits, days: float) -> NDArray[np.bool_]:
    """Return whether another visit starts within ``days`` of the end of each, [V]."""
    after = np.append(visits.starts[1:], 0)[: visits.count]
    return np.asarray(has_next(visits) & (after - ends_of(visits) <= days * DAY))


def dies_within(visits: Visits, days: float, since: Integers | None = None) -> NDArray[np.bool_]:
    """Return whether each visit's patient is known to be dead ``days`` after its start, or after ``since``, [V]."""
    died = visits.died[visits.patient]
    known = died != UNKNOWN
    begin = visits.starts if since is None else since
    return np.asarray(known & (np.where(known, died, begin) - begin <= days * DAY))


class Calibration(NamedTuple):
    """How predicted risks p meet outcomes y.

    Attributes:
        slope: b of logit P(y) = a + b logit p; 1 is right, below 1 the risks are too extreme.
        intercept: a of logit P(y) = a + logit p; 0 is right, above 0 the risks are too low.
    """

    slope: Estimate
    intercept: Estimate


def calibration(y: NDArray[np.bool_], risks: Numbers) -> Calibration:
    """Return slope and intercept with Wald intervals (Cox 1958; Van Calster et al., BMC Medicine 2019).

    Args:
        y: [m], both outcomes present.
        risks: [m], predicted.
    """
    odds = logit(np.clip(risks, 1e-9, 1 - 1e-9))
    (_, slope), errors = _newton(y, np.column_stack([np.ones(len(odds)), odds]), np.zeros(len(odds)))
    (intercept,), (error,) = _newton(y, np.ones((len(odds), 1)), odds)
    return Calibration(_wald(slope, errors[1]), _wald(intercept, error))


def calibration_error(y: NDArray[np.bool_], risks: Numbers) -> float:
    """Return the mean over ten equally large groups by risk of |mean y - mean p|, each weighted by its rows.

    The expected calibration error (Naeini et al., AAAI 2015), with equal numbers in the bins.
    """
    order = np.argsort(risks, kind="stable")
    gaps = [(y[part] - risks[part]).sum() for part in np.array_split(order, BINS)]
    return float(np.abs(gaps).sum() / len(y))


def _newton(y: NDArray[np.bool_], x: Numbers, offset: Numbers) -> tuple[Numbers, Numbers]:
    """Return coefficients and standard errors of a logistic regression; a speck of ridge keeps them finite."""
    beta = np.zeros(x.shape[1])
    for _ in range(STEPS):
        p = expit(offset + x @ beta)
        information = (x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(len(beta))
        step = np.linalg.solve(information, x.T @ (y - p) - 1e-6 * beta)
        beta = beta + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-10:
            break
    return beta, np.sqrt(np.diag(np.linalg.inv(information)))


def _wald(value: float, error: float) -> Estimate:
    return float(value), (float(value - Z * error), float(value + Z * error))
