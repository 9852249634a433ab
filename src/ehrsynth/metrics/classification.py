"""Scores of a binary classifier with their 95 % intervals."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_curve

from ehrsynth.metrics.intervals import Estimate, Z, quantiles


def auroc(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """Return the area under the ROC curve, ties one half, and its standard error.

    The error is that of DeLong et al. 1988, by midranks (Sun and Xu 2014): the variance of the
    placements of positives among negatives and of negatives among positives.

    Args:
        labels: [n], both classes present.
        scores: [n], higher for positives.
    """
    truth, x = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    above, below = placements(truth, x)
    variance = sum(float(part.var(ddof=1)) / len(part) for part in (above, below) if len(part) > 1)
    return float(above.mean()), math.sqrt(variance)


def placements(
    truth: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each positive the share of negatives below it, and for each negative that of positives above."""
    ranks = rankdata(scores)
    above = (ranks[truth] - rankdata(scores[truth])) / int((~truth).sum())
    below = 1 - (ranks[~truth] - rankdata(scores[~truth])) / int(truth.sum())
    return above, below


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


DRAWS = 1000


def called_at_share(scores: NDArray[np.floating], share: float) -> NDArray[np.bool_]:
    """Return whether each of [n] records is among the ``share`` of highest scores, those tied at the cut included."""
    called = max(round(share * len(scores)), 1)
    return np.asarray(scores >= np.partition(scores, len(scores) - called)[len(scores) - called])


def f1(labels: ArrayLike, called: NDArray[np.bool_], rng: np.random.Generator) -> Estimate:
    """Return F1 = 2 TP / (2 TP + FP + FN) with its bootstrap percentile interval.

    To draw records with replacement is to draw the four cells of the confusion table from a
    multinomial, so a draw costs no pass over the records. The threshold stays where it is.

    Args:
        labels: [n].
        called: [n], called positive.
        rng: draws the tables.

    Returns:
        In [0, 1]; 0 where nobody is positive and nobody called.
    """
    truth = np.asarray(labels, dtype=bool)
    cells = np.bincount(2 * truth + called, minlength=4)  # true and false negatives, ...
    drawn = rng.multinomial(len(truth), cells / len(truth), size=DRAWS)
    return quantiles(float(_f1(cells[None])[0]), _f1(drawn))


def _f1(cells: NDArray[np.integer]) -> NDArray[np.float64]:
    _, false_positive, false_negative, true_positive = cells.T
    wrong = false_positive + false_negative
    return np.asarray(2 * true_positive / np.maximum(2 * true_positive + wrong, 1))
