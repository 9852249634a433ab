"""Membership inference from the distance of a record to its nearest synthetic neighbour."""

import math

import numpy as np
import torch
from torch import Tensor

from ehrsynth.metrics.classification import auroc, tpr_at_fpr
from ehrsynth.metrics.intervals import Estimate, normal, wilson


def membership_f1(members: Tensor, others: Tensor, threshold: float) -> Estimate:
    """Return F1 of calling everyone within ``threshold`` a member, with its delta-method interval.

    Args:
        members: [n] squared distances of training records to the nearest synthetic one.
        others: [m] those of held-out records.
        threshold: on the squared distance.

    With a = TPR, b = FPR and ratio = m / n this is F1 = 2 a / (1 + a + ratio b).
    """
    a = float((members <= threshold).double().mean())
    b = float((others <= threshold).double().mean())
    ratio = len(others) / len(members)
    base = 1 + a + ratio * b
    by_a, by_b = 2 * (base - a) / base**2, -2 * a * ratio / base**2
    error = math.sqrt(by_a**2 * a * (1 - a) / len(members) + by_b**2 * b * (1 - b) / len(others))
    return normal(2 * a / base, error)


def membership_auc(members: Tensor, others: Tensor) -> Estimate:
    """Return the AUROC of the negated distance, members against others, with DeLong's interval."""
    return normal(*auroc(*_labelled(members, others)))


def membership_tpr(members: Tensor, others: Tensor, fpr: float = 0.01) -> Estimate:
    """Return the share of members found at a false positive rate; Wilson interval at a fixed threshold."""
    value = tpr_at_fpr(*_labelled(members, others), fpr)
    return value, wilson(value * len(members), len(members))


def closer_share(to_train: Tensor, to_holdout: Tensor) -> Estimate:
    """Return the share of synthetic records closer to R than to H, ties one half; normal interval.

    Args:
        to_train: [n] squared distance of each synthetic record to the nearest of R.
        to_holdout: [n] to the nearest of as many rows of H.
    """
    wins = (to_train < to_holdout).double() + 0.5 * (to_train == to_holdout).double()
    return normal(float(wins.mean()), float(wins.std(correction=0)) / math.sqrt(len(wins)))


def _labelled(members: Tensor, others: Tensor) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([1, 0], [len(members), len(others)])
    return labels, -torch.cat([members, others]).double().numpy()
