"""Scores of a binary classifier with their 95 % intervals."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, f1_score, roc_curve

Z = 1.959963984540054  # the 97.5 % point of the normal distribution
Estimate = tuple[float, tuple[float, float]]  # a value and its 95 % interval


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Return the Wilson interval of a share of ``n`` trials (Wilson 1927)."""
    share, z2 = successes / n, Z * Z / n
    centre = (share + z2 / 2) / (1 + z2)
    half = Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n)) / (1 + z2)
    return (max(centre - half, 0.0) if successes else 0.0), (min(centre + half, 1.0) if successes < n else 1.0)


def normal(value: float, error: float, low: float = 0.0, high: float = 1.0) -> Estimate:
    """Return ``value`` with 1.96 standard ``error`` on both sides, clipped to the range."""
    return value, (max(value - Z * error, low), min(value + Z * error, high))


def auroc(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """Return the area under the ROC curve, ties one half, and its standard error.

    The error is that of DeLong et al. 1988, by midranks (Sun and Xu 2014): the variance of the
    placements of positives among negatives and of negatives among positives.

    Args:
        labels: [n], both classes present.
        scores: [n], higher for positives.
    """
    truth, x = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    ranks = rankdata(x)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    above = (ranks[truth] - rankdata(x[truth])) / negatives
    below = 1 - (ranks[~truth] - rankdata(x[~truth])) / positives
    variance = sum(float(part.var(ddof=1)) / len(part) for part in (above, below) if len(part) > 1)
    return float(above.mean()), math.sqrt(variance)


def auprc(labels: ArrayLike, scores: ArrayLike) -> Estimate:
    """Return the average precision and its logit interval (Boyd, Eng and Page 2013)."""
    value = float(average_precision_score(labels, scores))
    if not 0 < value < 1:
        return value, (value, value)
    half = Z / math.sqrt(np.asarray(labels).sum() * value * (1 - value))
    return value, (float(expit(logit(value) - half)), float(expit(logit(value) + half)))


def f1_at_share(labels: ArrayLike, scores: NDArray[np.floating], share: float) -> float:
    """Return F1 when the ``share`` of highest scores (those tied at the cut included) is called positive."""
    called = max(round(share * len(scores)), 1)
    cut = np.partition(scores, len(scores) - called)[len(scores) - called]
    return float(f1_score(labels, scores >= cut))


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, fpr: float) -> float:
    """Return the true positive rate at a false positive rate, ties broken at random (on the ROC's chord)."""
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    return float(np.interp(fpr, false, true))
