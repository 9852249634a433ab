"""A classifier at one working point: whom it calls positive, and its F1."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ehrsynth.metrics.intervals import Estimate, quantiles

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
