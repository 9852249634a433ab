"""Scores of a binary classifier with their 95 % intervals."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_curve

from ehrsynth.metrics.intervals import Estimate, Z


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


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, fpr: float) -> float:
    """Return the true positive rate at a false positive rate, ties broken at random (on the ROC's chord)."""
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    return float(np.interp(fpr, false, true))
