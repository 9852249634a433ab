"""Fidelity and diversity of records: are synthetic patients plausible, and is no kind of patient left out?"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.groups import GROUPS, of_several, real_moments, replicated
from ehrsynth.evaluation.subsets import capped
from ehrsynth.layout import Records
from ehrsynth.metrics import manifold
from ehrsynth.metrics.grouped import groups_of
from ehrsynth.metrics.intervals import t_mean, wilson
from ehrsynth.metrics.latent import principal_axes, project
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points
from ehrsynth.metrics.replicates import replicates
from ehrsynth.seeding import numpy_rng, torch_rng

KYNKAANNIEMI = "Kynkaanniemi et al., NeurIPS 2019"
NAEEM = "Naeem et al., ICML 2020"
ALAA = "Alaa et al., ICML 2022"
BALLS = (
    " Balls reach to the 5th nearest other record of their own table (squared L2 over all encoded columns, borders"
    " inside); at most 10,000 records of each side, drawn at random."
)
KEPT = (
    " Interval: delete-a-group jackknife over 20 random groups of S, R and the other balls held fixed; rather too wide"
    " near 1."
)
CURVE = (
    " All records projected on the principal components of R (80 % of the variance), each scaled to variance 1; at most"
    " 10,000 records of each side, drawn at random. Interval: delete-a-group jackknife over 20 groups of the records"
    " whose share it is."
)
DUPLICATES = (
    " It depends on the numbers of records: compare with anchors of the same. Sparse codes repeat, so many balls have"
    " radius 0 and hold exact copies only."
)

PRECISION = Card(
    name="fidelity/precision",
    direction="higher",
    low=0,
    high=1,
    definition="Share of S that lies in the ball around some record of R." + BALLS + " Interval: Wilson, R held fixed.",
    reading="Is each synthetic patient like some real one? One odd real patient with a huge ball can make almost"
    " everything plausible; density is the sturdier form. A memoriser is perfect, and a generator that makes only"
    " the commonest patients is too." + DUPLICATES,
    paper=KYNKAANNIEMI,
)
RECALL = Card(
    name="fidelity/recall",
    direction="higher",
    low=0,
    high=1,
    definition="Share of R that lies in the ball around some record of S." + BALLS + KEPT,
    reading="Is each kind of real patient found among the synthetic ones? Scattered synthetic outliers have huge balls"
    " and raise it; coverage is the sturdier form." + DUPLICATES,
    paper=KYNKAANNIEMI,
)
DENSITY = Card(
    name="fidelity/density",
    direction="higher",
    low=0,
    high=math.inf,
    definition="Mean over S of the number of balls around records of R that hold it, divided by 5."
    + BALLS
    + " Interval: Student t over S, R held fixed.",
    reading="Do synthetic patients lie where real ones are dense? About 1 for fresh patients. Above fresh real, the"
    " generator prefers common patients, which is no virtue: shuffled columns score 1.4 on real patients. Read the"
    " other three." + DUPLICATES,
    paper=NAEEM,
)
COVERAGE = Card(
    name="fidelity/coverage",
    direction="higher",
    low=0,
    high=1,
    definition="Share of the balls around records of R that hold some record of S." + BALLS + KEPT,
    reading="How many real patients have a synthetic one nearby? Less than 1 even for fresh patients: 0.97 where no"
    " records repeat." + DUPLICATES,
    paper=NAEEM,
)
ALPHA = Card(
    name="fidelity/alpha_precision",
    direction="higher",
    low=0,
    high=1,
    definition="1 - 2 * the mean over alpha = 0.01 to 1 of |share of S within the ball around the mean of R that"
    " holds a share alpha of R - alpha| (where records are equally deep, the share that it does hold)." + CURVE,
    reading="Are synthetic patients typical and untypical as often as real ones? Low both when they pile up in the"
    " middle and when they scatter. It measures the distance from the average patient only, not the direction.",
    paper=f"{ALAA} (integrated alpha-precision)",
)
BETA = Card(
    name="fidelity/beta_recall",
    direction="higher",
    low=0,
    high=1,
    definition="1 - 2 * the mean over beta = 0.01 to 1 of |share of R with a record of the beta-support of S no farther"
    " than its nearest other record of R - beta|; the beta-support is the ball around the mean of S that holds a share"
    " beta of S (where records are equally deep, the share that it does hold)." + CURVE,
    reading="Do the typical synthetic patients stand for typical real ones, and all of them for all? A perfect"
    " generator reaches about one half, since every second real patient has another one nearer than any synthetic"
    " one; copies of the training rows score best: read it between the anchors. With balls to the 5th neighbour"
    " shuffled columns beat fresh real patients, which is why they reach to the nearest.",
    paper=f"{ALAA} (integrated beta-recall, one neighbour as in its code)",
)


class Manifold(Evaluator):
    """Whether real and synthetic records lie within each other's neighbourhoods.

    Args:
        k: the neighbour that the balls reach to.
        max_rows: of each side, drawn at random; the work grows with its square.
    """

    cards = (PRECISION, RECALL, DENSITY, COVERAGE)

    def __init__(self, *, k: int = 5, max_rows: int = 10_000) -> None:
        self.k = k
        self.max_rows = max_rows

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Find the balls of R."""
        means = observed_means(real.train.values)
        train = Points.of(_drawn(real, self.k, self.max_rows, seed), means)
        key = {"work": "balls", "k": self.k, "max_rows": self.max_rows, "seed": seed}
        known = real.memory.recall(key, lambda: {"radii": manifold.kth_nearest(train, self.k).numpy()})
        radii = torch.from_numpy(known["radii"])

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            order = torch.randperm(len(synthetic), generator=torch_rng(seed, "manifold/synthetic"))
            drawn = Points.of(synthetic[order[: self.max_rows]], means)
            if len(drawn) <= self.k:
                return {
                    card.name: Undefined(f"{len(drawn)} synthetic records have no neighbour {self.k}")
                    for card in self.cards
                }
            own = manifold.kth_nearest(drawn, self.k)
            found = manifold.balls(train, radii, drawn, own, groups_of(len(drawn)))
            return {
                PRECISION.name: _share(found.hits > 0),
                RECALL.name: replicated(RECALL, manifold.shares(found.recalled)),
                DENSITY.name: Value(*t_mean(found.hits.numpy() / self.k, DENSITY.low)),
                COVERAGE.name: replicated(COVERAGE, manifold.shares(found.covered)),
            }

        return of_several(self.cards, score)


class Support(Evaluator):
    """Whether typical and untypical records are as frequent as in real data.

    Args:
        k: the neighbour that the balls around real records reach to.
        max_rows: of each side, drawn at random; the work grows with its square.
    """

    cards = (ALPHA, BETA)

    def __init__(self, *, k: int = 1, max_rows: int = 10_000) -> None:
        self.k = k
        self.max_rows = max_rows

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Find the embedding and the balls of R."""
        means = observed_means(real.train.values)
        mean, covariance = next(real_moments(real).replicates())
        axes = principal_axes(covariance)
        spread = (axes.T @ covariance @ axes).diagonal().sqrt()
        if not bool((spread > 0).all()):
            raise NotApplicableError("all training records are equal")
        axes = axes / spread

        def embedded(records: Records) -> Tensor:
            return project(records, mean, axes, means)

        train = embedded(_drawn(real, self.k, self.max_rows, seed))
        key = {"work": "embedded balls", "k": self.k, "max_rows": self.max_rows, "seed": seed}
        known = real.memory.recall(key, lambda: {"radii": manifold.kth_nearest(_points(train), self.k).numpy()})
        radii, real_depths = torch.from_numpy(known["radii"]), _depths(train).numpy()
        alphas = manifold.within(real_depths, real_depths) / len(train)

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

        return of_several(self.cards, score)


def _drawn(real: RealData, k: int, max_rows: int, seed: int) -> Records:
    train = capped(real.train, max_rows, seed, "manifold/real")
    if len(train) <= k:
        raise NotApplicableError(f"{len(train)} training rows have no neighbour {k}")
    return train


def _share(holds: Tensor) -> Value:
    count, n = int(holds.sum()), len(holds)
    return Value(count / n, wilson(count, n))


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
