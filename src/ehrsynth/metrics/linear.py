"""A linear utility model: logistic regression on standardised columns."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression


class Scale(NamedTuple):
    """Mean and standard deviation [p] of each column of the training rows; the deviation of a constant one is 1."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, x: sparse.csr_matrix) -> "Scale":
        """Measure the columns of ``x`` [n, p], none missing."""
        x = x.astype(np.float64)  # sums in float32 would make a constant column vary
        mean = np.asarray(x.mean(axis=0)).ravel()
        variance = np.asarray(x.multiply(x).mean(axis=0)).ravel() - mean**2
        return cls(mean, np.where(variance > 1e-12, np.sqrt(np.maximum(variance, 0)), 1.0))

    def divided(self, x: sparse.csr_matrix) -> sparse.csr_matrix:
        """Return ``x`` over the deviations; still sparse, for the means move nothing but an intercept."""
        return sparse.csr_matrix(x @ sparse.diags(1 / self.deviation))


def logistic_scores(
    x: sparse.csr_matrix, y: NDArray[Any], test: sparse.csr_matrix, scale: Scale
) -> NDArray[np.float64]:
    """Return the log odds [m] of ``test`` by a logistic regression with L2 penalty 1 (L-BFGS; no draw).

    Args:
        x: [n, p] without missing values.
        y: [n] 0/1, both present.
        test: [m, p].
        scale: what to standardise both by.
    """
    model = LogisticRegression(max_iter=5000).fit(scale.divided(x), y)
    return np.asarray(model.decision_function(scale.divided(test)), dtype=np.float64)
