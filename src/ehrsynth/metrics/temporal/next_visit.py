"""What the visits so far say of the next one: decayed counts of codes, and linear models on them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

from ehrsynth.metrics.temporal.content import code_matrix, later_visits
from ehrsynth.visits import DAY, UNKNOWN, Integers, Visits, VisitSchema

Numbers = NDArray[np.float64]
DECAY = 0.5  # of a code's weight from visit to visit
STEPS = 100  # of L-BFGS


def history(visits: Visits, schema: VisitSchema, codes: Integers) -> Numbers:
    """Return what each visit and those before it say [V, k + kinds + 4].

    The k decayed counts of ``codes`` (1 now, 1/2 a visit ago, 1/4 two ago ...), which kind the visit is of, log(1 +
    number of earlier visits), log(1 + days since the visit before), 0 at the first, log(1 + codes of this visit), and
    the age in decades, 0 if it is unknown.
    """
    counts = np.asarray(code_matrix(visits, len(schema.codes))[:, codes].toarray(), dtype=np.float64)
    order = np.argsort(visits.number, kind="stable")
    edges = np.searchsorted(visits.number[order], np.arange(1, visits.per_patient.max(initial=0) + 1))
    for places in np.split(order, edges)[1:]:
        counts[places] += DECAY * counts[places - 1]
    kinds = visits.kinds[:, None] == np.arange(len(schema.kinds))
    gaps = np.log1p(np.nan_to_num(visits.gaps))
    born = visits.born[visits.patient]
    age = np.where(born == UNKNOWN, 0, visits.starts - np.where(born == UNKNOWN, 0, born)) / (3652.5 * DAY)
    return np.column_stack([counts, kinds, np.log1p(visits.number), gaps, np.log1p(visits.codes_per_visit), age])


def transitions(
    visits: Visits, schema: VisitSchema, codes: Integers
) -> tuple[Numbers, NDArray[np.bool_], Numbers, Integers]:
    """Return what is known before each later visit, and what it brings.

    Returns:
        ``history`` of the visit before [T, p], whether the later one has each code [T, k], log(1 + days) in
        between [T], and the patient [T].
    """
    later = later_visits(visits)
    has = np.asarray(code_matrix(visits, len(schema.codes))[later][:, codes].toarray(), dtype=bool)
    return history(visits, schema, codes)[later - 1], has, np.log1p(visits.gaps[later]), visits.patient[later]


def fit_logistic(x: Numbers, y: NDArray[np.bool_], penalty: float = 1.0) -> Numbers:
    """Return the weights [p + 1, k] of k logistic regressions, the last row their intercepts (L-BFGS; no draw).

    Args:
        x: [m, p] features.
        y: [m, k] outcomes.
        penalty: times half the squared weights, intercepts left free, is added to the summed log loss.
    """
    m, (p, k) = len(x), (x.shape[1], y.shape[1])
    design, truth = np.column_stack([x, np.ones(m)]), y.astype(np.float64)
    share = (truth.sum(0) + 0.5) / (m + 1)
    start = np.zeros((p + 1, k))
    start[-1] = np.log(share / (1 - share))

    def loss(flat: Numbers) -> tuple[float, Numbers]:
        weights = flat.reshape(p + 1, k)
        odds = design @ weights
        slopes = design.T @ (expit(odds) - truth)
        slopes[:-1] += penalty * weights[:-1]
        value = np.logaddexp(0, odds).sum() - (truth * odds).sum() + penalty / 2 * (weights[:-1] ** 2).sum()
        return float(value) / m, slopes.ravel() / m

    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
    return np.asarray(found.x).reshape(p + 1, k)


def fit_ridge(x: Numbers, y: Numbers, penalty: float = 1.0) -> Numbers:
    """Return the weights [p + 1] of a linear regression with the same penalty, the intercept last and free."""
    design = np.column_stack([x, np.ones(len(x))])
    ridge = np.diag(np.append(np.full(x.shape[1], penalty), 1e-9))
    return np.linalg.solve(design.T @ design + ridge, design.T @ y)


def linear(x: Numbers, weights: Numbers) -> Numbers:
    """Return what fitted weights say of ``x`` [m, p]: log odds [m, k], or numbers [m]."""
    return np.asarray(x @ weights[:-1] + weights[-1])


def recall_at(scores: Numbers, truth: NDArray[np.bool_], ks: Sequence[int]) -> Numbers:
    """Return the share of each visit's codes that are among its k highest scores [len(ks), m]; NaN without a code."""
    ranks = rankdata(-scores, method="ordinal", axis=1)
    with np.errstate(invalid="ignore"):
        return np.stack([(truth & (ranks <= k)).sum(1) / truth.sum(1) for k in ks])


def means_by_patient(values: Numbers, patients: Integers) -> Numbers:
    """Return the mean of each patient's values, those that are not NaN: patients are independent, visits are not."""
    known = ~np.isnan(values)
    _, place = np.unique(patients[known], return_inverse=True)
    return np.asarray(np.bincount(place, values[known]) / np.bincount(place))
