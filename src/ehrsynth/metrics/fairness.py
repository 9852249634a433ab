"""Gaps between subgroups, and what of them the synthetic data have added, with intervals.

A gap is the largest value minus the smallest over the subgroups of one attribute. Its interval takes
the two subgroups as if they had been named beforehand: with many or small ones the gap of chance is
not zero, so it is read beside the same gap of a model of real data.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ehrsynth.metrics.classification import placements
from ehrsynth.metrics.intervals import Estimate, difference, normal, share


@dataclass(frozen=True)
class Paired:
    """One measure of two models on the same records of one subgroup.

    Attributes:
        values: [2], of the model trained on S and of that trained on R.
        covariance: [2, 2] of the two.
    """

    values: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def estimate(self, model: int) -> Estimate:
        """Return the value of one model with its normal interval."""
        return normal(float(self.values[model]), math.sqrt(self.covariance[model, model]))


def paired_auroc(labels: ArrayLike, synthetic: ArrayLike, real: ArrayLike) -> Paired:
    """Return the AUROCs of two models and their covariance (DeLong, DeLong and Clarke-Pearson 1988, eq. 4 to 6).

    Args:
        labels: [n], both classes present.
        synthetic: [n] scores of the model trained on S.
        real: [n] scores of the model trained on R.
    """
    truth = np.asarray(labels, dtype=bool)
    placed = [placements(truth, np.asarray(scores, dtype=np.float64)) for scores in (synthetic, real)]
    covariance = np.zeros((2, 2))
    for part in (np.stack(side) for side in zip(*placed, strict=True)):
        if part.shape[1] > 1:
            covariance += np.cov(part) / part.shape[1]
    return Paired(np.array([above.mean() for above, _ in placed]), covariance)


def paired_rate(synthetic: NDArray[np.bool_], real: NDArray[np.bool_]) -> Paired:
    """Return the shares that two models call positive, and their covariance.

    One half is added to each of the four cells for the covariance alone, so that a share of 0 or 1 in
    a small subgroup is not taken for certain (Agresti and Min, Statistics in Medicine 2005).

    Args:
        synthetic: [n], called positive by the model trained on S.
        real: [n], by that trained on R.
    """
    cells = np.bincount(2 * synthetic + real, minlength=4).reshape(2, 2)
    n, shares = cells.sum() + 2, (cells + 0.5) / (cells.sum() + 2)
    first, second = shares[1].sum(), shares[:, 1].sum()
    both = shares[1, 1] - first * second
    covariance = np.array([[first * (1 - first), both], [both, second * (1 - second)]]) / n
    return Paired(np.array([synthetic.mean(), real.mean()]), covariance)


def gap(values: ArrayLike, variances: ArrayLike) -> Estimate:
    """Return largest minus smallest of [k] independent values, with a normal interval within [0, 1]."""
    x, contrast = np.asarray(values, dtype=np.float64), _contrast(values)
    return normal(float(contrast @ x), math.sqrt(contrast**2 @ np.asarray(variances, dtype=np.float64)))


def model_gap(groups: Sequence[Paired], model: int) -> Estimate:
    """Return the gap over subgroups of one of the two models (0: of S, 1: of R)."""
    return gap([g.values[model] for g in groups], [g.covariance[model, model] for g in groups])


def excess_gap(groups: Sequence[Paired]) -> Estimate:
    """Return the gap of the model of S minus that of R, in [-1, 1], paired by records.

    Each gap is a contrast of the subgroups (+1 for the largest, -1 for the smallest), so the variance is
    the sum over subgroups of c' V c, with c the two weights of the subgroup and V the covariance there.
    """
    values = np.array([g.values for g in groups])
    weights = np.stack([_contrast(values[:, 0]), -_contrast(values[:, 1])], axis=1)
    variance = sum(float(c @ g.covariance @ c) for c, g in zip(weights, groups, strict=True))
    return normal(float((weights * values).sum()), math.sqrt(max(variance, 0.0)), low=-1.0)


def share_distance(synthetic: Sequence[int], real: Sequence[int], n_synthetic: int, n_real: int) -> Estimate:
    """Return the total variation distance between the shares of disjoint subgroups in S and in R.

    It is the difference of the shares of all subgroups that S has more of, so its interval is
    Newcombe's for that difference, cut at 0.

    Args:
        synthetic: [k] records of S in each subgroup; together all of S.
        real: [k] records of R; together all of R.
        n_synthetic: records of S.
        n_real: records of R.
    """
    more = [s * n_real > r * n_synthetic for s, r in zip(synthetic, real, strict=True)]
    left, right = (sum(c for c, m in zip(counts, more, strict=True) if m) for counts in (synthetic, real))
    value, (low, high) = difference(share(left, n_synthetic), share(right, n_real))
    return value, (max(low, 0.0), min(high, 1.0))


def _contrast(values: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    weights = np.zeros(len(x))
    weights[x.argmax()] += 1
    weights[x.argmin()] -= 1
    return weights
