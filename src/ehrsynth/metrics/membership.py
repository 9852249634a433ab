"""Membership inference from a score of each record, such as the distance to its nearest synthetic neighbour."""

import math

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

from ehrsynth.metrics.classification import auroc, tpr_at_fpr
from ehrsynth.metrics.intervals import Estimate, normal, share, wilson


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


def everybody_f1(members: int, others: int) -> float:
    """Return the F1 of calling every record a member: 2 n / (2 n + m)."""
    return 2 * members / (2 * members + others)


def membership_accuracy(members: Tensor, others: Tensor) -> Estimate:
    """Return the share of people told right by calling as many members as there are, those nearest to S.

    For equally many of both the threshold is the median, and 0.5 is a coin toss. Wilson interval over all people: where
    chances of both sides are alike at the threshold that is the error of TPR and FPR that must add up to 1.

    Args:
        members: [n] scores of training records, the smaller the likelier a member.
        others: [m] scores of records that were not trained on; ties at the threshold are broken at random.
    """
    n, everybody = len(members), torch.cat([members, others])
    cut = everybody.kthvalue(n).values
    tied = (n - int((everybody < cut).sum())) / int((everybody == cut).sum())
    found = float((members < cut).sum()) + tied * float((members == cut).sum())
    return share(len(others) - n + 2 * found, len(everybody))


def membership_auc(members: Tensor, others: Tensor) -> Estimate:
    """Return the AUROC of telling members from others, with DeLong's interval.

    Args:
        members: [n] scores of training records, the smaller the likelier a member (a distance).
        others: [m] scores of records that were not trained on.
    """
    return normal(*membership_auroc(members, others))


def membership_auroc(members: Tensor, others: Tensor) -> tuple[float, float]:
    """Return what ``membership_auc`` does, with its standard error in place of the interval."""
    return auroc(*_labelled(members, others))


def membership_tpr(members: Tensor, others: Tensor, fpr: float = 0.01) -> Estimate:
    """Return the share of members found at a false positive rate, with an interval that knows the threshold is a guess.

    The threshold that wrongly accuses a share ``fpr`` of all people is known only from m of them. It
    lies between two order statistics of theirs with 95 % confidence (the binomial bound for a
    quantile), and the members found at these are combined with the Wilson interval of the members by
    MOVER (Zou and Donner 2008). With fewer than 3.7 / fpr others the lower end is 0.

    Args:
        members: [n] scores of training records, the smaller the likelier a member.
        others: [m] scores of records that were not trained on.
        fpr: share of others that may be accused, ties broken at random (on the chord of the ROC curve).
    """
    labels, scores = _labelled(members, others)
    m = len(others)
    value = tpr_at_fpr(labels, scores, fpr)
    fewest, most = (int(count) for count in np.asarray(binom.ppf([0.025, 0.975], m, fpr)))
    low = tpr_at_fpr(labels, scores, (fewest - 1) / m) if fewest else 0.0
    high = tpr_at_fpr(labels, scores, min((most + 1) / m, 1.0))
    below, above = wilson(value * len(members), len(members))
    return value, (
        max(value - math.hypot(value - below, value - low), 0.0),
        min(value + math.hypot(above - value, high - value), 1.0),
    )


def density_scores(to_synthetic: Tensor, to_reference: Tensor) -> Tensor:
    """Return the log ratio of the densities of the reference and of S at each record [n]; small for a likely member.

    DOMIAS (van Breugel et al., AISTATS 2023, equation 2) calls a record a member where p_S(x) / p(x)
    is large. With the nearest-neighbour density p(x) ~ 1 / r(x)^d the ratio orders records as the
    ratio of the distances to the nearest records does, whatever the dimension d. One cell is added
    to both squared distances, or every coincidence of simple records would outrank the rest.

    Args:
        to_synthetic: [n] squared distance to the nearest record of S.
        to_reference: [n] to the nearest reference record, a real one that was not trained on.
    """
    return torch.log((to_synthetic.double() + 1) / (to_reference.double() + 1))


def _labelled(members: Tensor, others: Tensor) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([1, 0], [len(members), len(others)])
    return labels, -torch.cat([members, others]).double().numpy()
