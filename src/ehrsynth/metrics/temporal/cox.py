"""Hazard ratios: Cox's proportional hazards by Newton's method."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Places = NDArray[np.integer]
STEPS = 50
CLOSE = 1e-9  # gain of the log likelihood at which Newton's method stops


class Hazards(NamedTuple):
    """Log hazard ratios [p] and their standard errors [p]."""

    log_ratios: Numbers
    errors: Numbers


def cox(
    days: Numbers, events: NDArray[np.bool_], x: Numbers, penalty: float = 0.0, start: Numbers | None = None
) -> Hazards:
    """Fit the proportional hazards model (Cox 1972), ties as Breslow (1974) has them.

    Maximises sum over events of x_i b - log sum_{t_j >= t_i} exp(x_j b), less ``penalty`` / 2 |b|^2.

    Args:
        days: [m], until event or censoring.
        events: [m], at least one.
        x: [m, p] covariates; a shift of a column changes nothing.
        penalty: that of a ridge; above 0 the estimate exists even where a covariate parts those with events from all
            others.
        start: [p], where to begin; by default 0.
    """
    order = np.argsort(days, kind="stable")
    days, events, x = days[order], events[order], x[order] - x.mean(0)
    risk_set = np.searchsorted(days, days[events], side="left")  # the first of those still there
    leave = np.searchsorted(days[events], days, side="right")  # events up to the time of each
    beta = np.zeros(x.shape[1]) if start is None else start.copy()
    value, gradient, information = _likelihood(beta, x, events, risk_set, leave, penalty)
    for _ in range(STEPS):
        step = np.linalg.solve(information, gradient)
        for _ in range(STEPS):
            tried = _likelihood(beta + step, x, events, risk_set, leave, penalty)
            if tried[0] >= value - CLOSE:
                break
            step = step / 2
        gain, beta = tried[0] - value, beta + step
        value, gradient, information = tried
        if gain < CLOSE:
            break
    return Hazards(beta, np.sqrt(np.diag(np.linalg.inv(information))))


def _likelihood(
    beta: Numbers, x: Numbers, events: NDArray[np.bool_], risk_set: Places, leave: Places, penalty: float
) -> tuple[float, Numbers, Numbers]:
    """Return the penalised log likelihood, its gradient [p] and minus its Hessian [p, p]; rows lie by time."""
    scores = np.clip(x @ beta, -500, 500)
    weights = np.exp(scores - scores.max())
    total = np.cumsum(weights[::-1])[::-1][risk_set]
    mean = np.cumsum((weights[:, None] * x)[::-1], axis=0)[::-1][risk_set] / total[:, None]
    value = scores[events].sum() - (np.log(total) + scores.max()).sum() - penalty / 2 * beta @ beta
    gradient = (x[events] - mean).sum(0) - penalty * beta
    # The sum over events of the second moment of their risk sets, patient by patient: each is in those until it leaves.
    passed = np.append(0.0, np.cumsum(1 / total))[leave]
    information = (x * (weights * passed)[:, None]).T @ x - mean.T @ mean
    return float(value), gradient, information + penalty * np.eye(len(beta))
