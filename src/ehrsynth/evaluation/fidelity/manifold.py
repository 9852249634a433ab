"""Fidelity and diversity of records: are synthetic patients plausible, and is no kind of patient left out?"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.groups import needs_two_rows, real_moments, replicated
from ehrsynth.evaluation.subsets import capped
from ehrsynth.layout import Records
from ehrsynth.metrics import manifold
from ehrsynth.metrics.grouped import GROUPS, groups_of
from ehrsynth.metrics.intervals import share, t_mean
from ehrsynth.metrics.latent_space import latent_space, space_memory
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.moments import WHOLE
from ehrsynth.metrics.neighbours import Points
from ehrsynth.metrics.replicates import replicates
from ehrsynth.seeding import numpy_rng, torch_rng

CARDS = Cards.beside(__file__)
PRECISION, RECALL, DENSITY, COVERAGE = (CARDS[f"fidelity/{n}"] for n in ("precision", "recall", "density", "coverage"))
ALPHA, BETA = CARDS["fidelity/alpha_precision"], CARDS["fidelity/beta_recall"]


@dataclass(kw_only=True)
class Manifold(Evaluator):
    """Whether real and synthetic records lie within each other's neighbourhoods.

    Args:
        k: the neighbour that the balls reach to.
        max_rows: of each side, drawn at random; the work grows with its square.
    """

    cards = (PRECISION, RECALL, DENSITY, COVERAGE)
    k: int = 5
    max_rows: int = 10_000

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Find the balls of R."""
        means = observed_means(real.train.values)
        train = Points.of(_drawn(real, self.k, self.max_rows, seed), means)
        key = {"work": "balls", "k": self.k, "max_rows": self.max_rows, "seed": seed}
        radii = torch.from_numpy(real.memory.array(key, lambda: manifold.kth_nearest(train, self.k).numpy()))

        @needs_two_rows(self)
        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            order = torch.randperm(len(synthetic), generator=torch_rng(seed, "manifold/synthetic"))
            drawn = Points.of(synthetic[order[: self.max_rows]], means)
            if len(drawn) <= self.k:
                return self.undefined(f"{len(drawn)} synthetic records have no neighbour {self.k}")
            own = manifold.kth_nearest(drawn, self.k)
            found = manifold.balls(train, radii, drawn, own, groups_of(len(drawn)))
            return {
                PRECISION.name: Value(*share(int((found.hits > 0).sum()), len(drawn))),
                RECALL.name: replicated(RECALL, manifold.shares(found.recalled)),
                DENSITY.name: Value(*t_mean(found.hits.numpy() / self.k, DENSITY.low)),
                COVERAGE.name: replicated(COVERAGE, manifold.shares(found.covered)),
            }

        return score


@dataclass(kw_only=True)
class Support(Evaluator):
    """Whether typical and untypical records are as frequent as in real data.

    Args:
        k: the neighbour that the balls around real records reach to.
        max_rows: of each side, drawn at random; the work grows with its square.
    """

    cards = (ALPHA, BETA)
    k: int = 1
    max_rows: int = 10_000

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Find the embedding and the balls of R."""
        means = observed_means(real.train.values)
        known = next(real_moments(real).replicates()) if real.layout.width <= WHOLE else None
        space = latent_space([real.train], means, known)
        if not bool((space.spread > 0).all()):
            raise NotApplicableError("all training records are equal")
        embedded = space.scaled().project
        train = embedded(_drawn(real, self.k, self.max_rows, seed))
        key = {"work": "embedded balls", "k": self.k, "max_rows": self.max_rows, "seed": seed}
        radii = torch.from_numpy(real.memory.array(key, lambda: manifold.kth_nearest(_points(train), self.k).numpy()))
        real_depths = _depths(train).numpy()
        alphas = manifold.within(real_depths, real_depths) / len(train)

        @needs_two_rows(self)
        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            drawn = embedded(capped(synthetic, self.max_rows, seed, "support/synthetic"))
            rng = numpy_rng(seed, "support groups")
            to_real = (drawn - train.mean(0)).square().sum(1).numpy()
            depths = _depths(drawn)
            betas = manifold.within(depths.numpy(), depths.numpy()) / len(drawn)
            reached = manifold.innermost(_points(train), radii, _points(drawn), depths).numpy()
            alpha = manifold.integrated(_shares(to_real, real_depths, rng), alphas)
            beta = manifold.integrated(_shares(reached, depths.numpy(), rng), betas)
            return {ALPHA.name: replicated(ALPHA, alpha), BETA.name: replicated(BETA, beta)}

        return score

    def peak_memory(self, real: RealData, rows: int) -> int:
        """The axes are eigenvectors of a matrix of columns, or of rows if they are fewer."""
        return space_memory(real.layout.width, len(real.train))


def _drawn(real: RealData, k: int, max_rows: int, seed: int) -> Records:
    train = capped(real.train, max_rows, seed, "manifold/real")
    if len(train) <= k:
        raise NotApplicableError(f"{len(train)} training rows have no neighbour {k}")
    return train


def _points(x: Tensor) -> Points:
    return Points(torch.empty((len(x), 0), dtype=torch.uint8), x)


def _depths(x: Tensor) -> Tensor:
    """Return the squared distance of each record [n] from their mean."""
    return (x - x.mean(0)).square().sum(1)


def _shares(
    depths: NDArray[np.floating], reference: NDArray[np.floating], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the share within each quantile of the reference [1 + g, 100], of all and without each group."""
    groups = np.array_split(rng.permutation(depths), min(GROUPS, len(depths)))
    counts = replicates([manifold.within(group, reference) for group in groups])
    return counts / replicates([len(group) for group in groups])[:, None]
