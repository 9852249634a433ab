"""Dimension-wise prediction: can each code be predicted from the others as it can with real data?"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from torch import Tensor

from ehrsynth.bits import as_sparse
from ehrsynth.metrics.intervals import Estimate, Z
from ehrsynth.metrics.neighbours import Points


def entropy(prevalence: Tensor) -> Tensor:
    """Return the binary entropy in bits, in [0, 1], of each prevalence."""
    nats: Tensor = torch.special.entr(prevalence) + torch.special.entr(1 - prevalence)
    return nats / math.log(2)


def design_matrix(points: Points) -> sparse.csc_array:
    """Return the records [n, p] as sparse float64 columns."""
    bits = as_sparse(points.bits, slice(None)).astype(np.float64)
    return sparse.csc_array(sparse.hstack([bits, sparse.csr_array(points.values.double().numpy())]))


def code_f1(train: sparse.csc_array, test: sparse.csc_array, codes: list[int], seed: int) -> NDArray[np.float64]:
    """Return, per code, F1 on ``test`` of a logistic regression fitted on ``train``.

    Each code is predicted from all other columns, with L2 penalty 1 and a cut at 0.5. A code that is
    constant in ``train`` is predicted by that constant.

    Args:
        train: [n, p].
        test: [m, p].
        codes: positions of the codes to predict.
        seed: of the solver, below 2**32; without one it would draw from NumPy's global stream.

    Returns:
        [len(codes)] in [0, 1]; 0 where nothing is predicted positive.
    """
    scores = np.zeros(len(codes))
    for i, code in enumerate(codes):
        others = np.delete(np.arange(train.shape[1]), code)
        label, truth = (table[:, [code]].toarray().ravel() > 0 for table in (train, test))
        if label.all() or not label.any():
            predicted = np.full(len(truth), label[0])
        else:
            model = LogisticRegression(solver="liblinear", tol=1e-3, random_state=seed)
            predicted = model.fit(train[:, others], label).predict(test[:, others])
        scores[i] = f1_score(truth, predicted, zero_division=0.0)
    return scores


def agreement(real: NDArray[np.float64], synthetic: NDArray[np.float64]) -> Estimate:
    """Return Pearson r over the codes with its interval by Fisher's z (0 if either side is constant).

    Args:
        real: [m] F1 of each code, trained on R.
        synthetic: [m] trained on S.
    """
    if np.ptp(real) == 0 or np.ptp(synthetic) == 0:
        return 0.0, (-1.0, 1.0)
    r = min(max(float(np.corrcoef(real, synthetic)[0, 1]), -1.0), 1.0)
    if abs(r) == 1 or len(real) < 4:
        return r, ((r, r) if len(real) > 3 else (-1.0, 1.0))
    half = Z / math.sqrt(len(real) - 3)
    return r, (math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half))
