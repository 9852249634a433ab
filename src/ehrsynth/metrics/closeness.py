"""Closeness: are synthetic records nearer to those of R than to those of H, and who is nearest to whom?

The intervals come from leaving out groups of records, see ``grouped``.
"""

from dataclasses import dataclass

from torch import Tensor

from ehrsynth.metrics.grouped import smallest
from ehrsynth.metrics.intervals import Estimate
from ehrsynth.metrics.replicates import jackknife


def closer_share(to_train: Tensor, to_holdout: Tensor) -> Estimate:
    """Return the share of synthetic records closer to R than to H, ties one half, with its jackknife interval.

    Args:
        to_train: [m, g] squared distance of each synthetic record to the nearest of each group of m rows of R.
        to_holdout: [m, g] to the nearest of each group of m rows of H.
    """

    def share(without: int | None = None) -> float:
        train, holdout = smallest(to_train, without), smallest(to_holdout, without)
        return float(((train < holdout).double() + 0.5 * (train == holdout).double()).mean())

    return jackknife([share(group) for group in (None, *range(to_train.shape[1]))], 0.0, 1.0)


@dataclass(frozen=True)
class Pairing:
    """Squared distances between a real sample and a synthetic one of the same size m, in g groups of records.

    Attributes:
        across: [m, g] from each real record to the nearest record of each synthetic group.
        within: [m, g] from each real record to the nearest other one of each real group.
        back: [m, g] from each synthetic record to the nearest record of each real group.
        among: [m, g] from each synthetic record to the nearest other one of each synthetic group.
    """

    across: Tensor
    within: Tensor
    back: Tensor
    among: Tensor

    def accuracy(self, without: int | None = None) -> float:
        """Return the adversarial accuracy in [0, 1], of all records or without a group.

        AA = 1/2 (share of real records with d(x, S) > d(x, other real) + share of synthetic ones with
        d(x, real) > d(x, other S)); Yale et al., Neurocomputing 2020, equation 1. A tie is not nearer.
        """
        across, within, back, among = (
            smallest(part, without) for part in (self.across, self.within, self.back, self.among)
        )
        return float((across > within).double().mean() + (back > among).double().mean()) / 2


def accuracy(pairing: Pairing) -> Estimate:
    """Return the adversarial accuracy with its jackknife interval."""
    groups = None, *range(pairing.across.shape[1])
    return jackknife([pairing.accuracy(group) for group in groups], 0.0, 1.0)


def accuracy_gain(holdout: Pairing, train: Pairing) -> Estimate:
    """Return AA(H, S) - AA(R, S), the privacy loss of Yale et al. 2020 (equation 3), with its jackknife interval.

    Args:
        holdout: of H and S.
        train: of R and S, the same sample of S, of the same size.
    """
    groups = None, *range(train.across.shape[1])
    return jackknife([holdout.accuracy(group) - train.accuracy(group) for group in groups], -1.0, 1.0)
