"""Who is nearest to whom among R, H and S: one pass of distances that every distance score reads from."""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from ehrsynth.evaluation.evaluator import RealData
from ehrsynth.evaluation.subsets import capped
from ehrsynth.layout import Records
from ehrsynth.metrics.grouped import nearest_by_group
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points, nearest
from ehrsynth.seeding import torch_rng


@dataclass(frozen=True)
class Side:
    """Squared distances between S and one real table, R or H.

    The real table is cut at random into parts as large as the smaller of R and H, and within the
    first part a sample is taken that is no larger than S, so that what is compared has equal sizes.

    Attributes:
        to_synthetic: [n] from each real record to the nearest of S, in row order.
        from_parts: [k, n_S] from each record of S to the nearest of each of the k whole parts.
        from_all: [n_S] from each record of S to the nearest of the table.
        sample: [m] rows of the sample.
        sample_to_groups: [m, g] from each of the sample to each group of S's sample, see ``grouped``.
        sample_from_groups: [m, g] from each of S's sample to each group of the real sample.
    """

    to_synthetic: Tensor
    from_parts: Tensor
    from_all: Tensor
    sample: Tensor
    sample_to_groups: Tensor
    sample_from_groups: Tensor


@dataclass(frozen=True)
class Nearness:
    """Squared L2 distances to the nearest record; missing values are filled with R's mean, and their indicators count.

    Attributes:
        train: between S and R.
        holdout: between S and H.
        sample: [m] rows of S that were drawn to compare equal sizes.
    """

    train: Side
    holdout: Side
    sample: Tensor

    @property
    def members(self) -> Tensor:
        """From each record of R to the nearest of S [n_R]."""
        return self.train.to_synthetic

    @property
    def others(self) -> Tensor:
        """From each record of H to the nearest of S [n_H]."""
        return self.holdout.to_synthetic


def thinned(real: RealData, max_rows: int | None, seed: int) -> RealData:
    """Return the real side with at most ``max_rows`` drawn of each of R and H; itself if nothing is left out."""
    if max_rows is None or max(len(real.train), len(real.holdout)) <= max_rows:
        return real
    train, holdout = (
        capped(table, max_rows, seed, name) for table, name in ((real.train, "train"), (real.holdout, "holdout"))
    )
    return replace(real, train=train, holdout=holdout)


def nearness(real: RealData, synthetic: Records) -> Nearness:
    """Find all nearest neighbours between S and R and between S and H, once per synthetic table.

    The parts and samples are drawn by the seed of the real data, so that all evaluators speak of the same
    rows and what is known about the real ones can be kept. S is never thinned out: the attack on a record rests on
    the very rows that resemble it.
    """
    return real.shared.once(synthetic, "nearness", lambda: _measure(real, synthetic))


def _measure(real: RealData, synthetic: Records) -> Nearness:
    means = observed_means(real.train.values)
    part = min(len(real.train), len(real.holdout))
    size = min(part, len(synthetic))
    s, order = Points.of(synthetic, means), _order(real, synthetic, "synthetic")
    train, holdout = (
        _side(Points.of(table, means), s, _order(real, table, name), order, part, size)
        for table, name in ((real.train, "train"), (real.holdout, "holdout"))
    )
    return Nearness(train, holdout, order[:size])


def _order(real: RealData, table: Records, name: str) -> Tensor:
    return torch.randperm(len(table), generator=torch_rng(real.seed, "nearness", name))


def _side(real: Points, synthetic: Points, rows: Tensor, columns: Tensor, part: int, size: int) -> Side:
    """Measure between the tables cut in pieces: the real one in sample, parts and rest, S in sample and rest."""
    parts = len(real) // part
    to_synthetic = torch.full((len(real),), torch.inf)
    from_parts = torch.full((parts, len(synthetic)), torch.inf)
    from_all = torch.full((len(synthetic),), torch.inf)
    edges = sorted({0, size, *range(part, len(real), part), len(real)})
    for start, stop in pairwise(edges):
        for first, last in ((0, size), (size, len(synthetic))):
            here, there = rows[start:stop], columns[first:last]
            if start == first == 0:
                groups = nearest_by_group(real[here], synthetic[there])
                to_there, to_here = (distances.amin(1) for distances in groups)
            else:
                to_there, to_here = nearest(real[here], synthetic[there])
            to_synthetic[here] = torch.minimum(to_synthetic[here], to_there)
            from_all[there] = torch.minimum(from_all[there], to_here)
            if (index := start // part) < parts:
                from_parts[index, there] = torch.minimum(from_parts[index, there], to_here)
    return Side(to_synthetic, from_parts, from_all, rows[:size], *groups)
