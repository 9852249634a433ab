"""Nearest-neighbour adversarial accuracy: can real and synthetic records be told apart by who is nearest to whom?

The intervals come from leaving out groups of records, see ``grouped``.
"""

from dataclasses import dataclass

from torch import Tensor

from ehrsynth.metrics.grouped import smallest
from ehrsynth.metrics.intervals import Estimate, jackknife


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
    groups = range(pairing.across.shape[1])
    return jackknife(pairing.accuracy(), [pairing.accuracy(group) for group in groups], 0.0, 1.0)


def accuracy_gain(holdout: Pairing, train: Pairing) -> Estimate:
    """Return AA(H, S) - AA(R, S), the privacy loss of Yale et al. 2020 (equation 3), with its jackknife interval.

    Args:
        holdout: of H and S.
        train: of R and S, the same sample of S, of the same size.
    """
    groups = range(train.across.shape[1])
    left_out = [holdout.accuracy(group) - train.accuracy(group) for group in groups]
    return jackknife(holdout.accuracy() - train.accuracy(), left_out, -1.0, 1.0)
