"""Exponential tilting: weights under which records have given shares, and a sample that has them.

Of all weights of a pool of records under which the features f(x) have given means, those nearest to equal ones are
w(x) = exp(b + theta . f(x)) (Deming and Stephan, 1940, for tables; Deville and Saerndal, Calibration estimators in
survey sampling, JASA 1992, for samples). Where n of N records are to be taken, each once, no weight may be above N / n
times their mean; with such a limit they are min(limit, exp(b + theta . f(x))). theta and b are found by descending the
dual.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize

Floats = NDArray[np.float64]

TOLERANCE = 0.05  # of the sampling error of a share, by which the descent may miss it
STEPS = 500
MOST = 12.0  # of theta either way: a share that the pool cannot have would drive it on and on


def tilt(features: sparse.csr_array, shares: Floats, rows: int, limit: float | None = None) -> Floats:
    """Return theta [j]: a record's weight is exp(features @ theta), up to a factor and to the limit.

    A share of ``rows`` training rows is known up to its sampling error. So theta has a prior: standard normal for each
    feature in units of its deviation, which moves no share by more than a fraction of that error.

    Args:
        features: zeros and ones of the pool, [n, j].
        shares: of each feature, above 0 and below 1.
        rows: training rows that the shares are of.
        limit: the largest weight, in means; none above n is possible.
    """
    n = features.shape[0]
    drawn = np.asarray(features.sum(0)).ravel()
    theta = np.zeros(len(shares))
    moved = np.flatnonzero((drawn > 0) & (drawn < n))  # what no record has, or every one, no weights change
    deviation = np.sqrt(shares[moved] * (1 - shares[moved]))
    by_row = sparse.csr_array(features[:, moved] @ sparse.diags_array(1 / deviation))
    by_feature = by_row.T.tocsr()
    wanted = shares[moved] / deviation
    most = np.log(n if limit is None else limit)

    def dual(x: Floats) -> tuple[float, Floats]:
        scaled, b = x[:-1], x[-1]
        logs = by_row @ scaled + (b - wanted @ scaled)
        weights = np.exp(np.minimum(logs, most))
        value = (weights * (1 + np.maximum(logs - most, 0))).mean() - b + scaled @ scaled / (2 * rows)
        slope = (by_feature @ weights - wanted * weights.sum()) / n + scaled / rows
        return float(value), np.append(slope, weights.mean() - 1)

    options = {"maxiter": STEPS, "maxcor": 20, "ftol": 0.0, "gtol": TOLERANCE / np.sqrt(rows)}
    bounds = [*((-MOST * scale, MOST * scale) for scale in deviation), (None, None)]
    start = np.zeros(len(moved) + 1)
    found = minimize(dual, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)  # type: ignore[call-overload]
    theta[moved] = found.x[:-1] / deviation
    return theta


def effective_share(log_weights: Floats) -> float:
    """Return how many equally weighted records would be worth as much, as a share of them (Kish, 1965)."""
    weights = np.exp(log_weights - log_weights.max())
    return float(weights.mean() ** 2 / (weights**2).mean())


def inclusion(log_weights: Floats, n: int) -> Floats:
    """Return the chance of each record to be among ``n`` taken without replacement: min(1, c w), summing to n."""
    order = np.argsort(-log_weights, kind="stable")
    own = log_weights[order]
    rest = np.logaddexp.accumulate(own[::-1])[::-1]  # of a record and all with less weight
    sure = np.arange(len(own))
    scaled = own - rest + np.log(np.maximum(n - sure, np.finfo(float).tiny))  # if all before it are taken for sure
    first = int(np.argmax(scaled <= 0))
    found = np.ones(len(own))
    found[order[first:]] = np.exp(own[first:] - rest[first]) * (n - first)
    return found


def taken(chances: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw records, each at most once and with its chance, in ascending order; as many as the chances add up to.

    Systematic sampling (Madow, 1949), in random order.
    """
    sure = np.flatnonzero(chances >= 1)
    others = rng.permutation(np.flatnonzero(chances < 1))
    n = round(float(chances.sum())) - len(sure)
    up_to = np.cumsum(chances[others])
    up_to *= n / up_to[-1] if n else 0.0
    steps = np.floor(np.append(0.0, up_to) + rng.random())
    steps[-1] = n  # whatever rounding did
    return np.sort(np.concatenate([sure, others[np.diff(steps) > 0]]))
