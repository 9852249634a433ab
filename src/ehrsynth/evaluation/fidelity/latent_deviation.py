"""Fidelity of whole records: do synthetic records fall into the same clusters as real ones?"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.groups import needs_two_rows, real_moments, synthetic_moments
from ehrsynth.evaluation.subsets import capped
from ehrsynth.layout import Records
from ehrsynth.metrics import latent_deviation as metric
from ehrsynth.metrics.latent_space import space_memory
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.moments import WHOLE, pooled
from ehrsynth.seeding import derive, numpy_rng

CARDS = Cards.beside(__file__)
DRAWS = 1000  # of the bootstrap of cluster counts
MOST_CLUSTERS = 10  # among which the elbow is looked for
ELBOW_ROWS = 10_000  # of R, drawn to find it


@dataclass(kw_only=True)
class LatentDeviation(Evaluator):
    """Whether synthetic records live where real records live.

    Args:
        k: number of clusters; the papers use 3, 4 or 5 and 20, or ``elbow``. Other than 5 they are part of the name
            of the score.
        max_rows: of each side, drawn at random; None takes all of R, and of S at most as many. The floor of
            the score falls by one bit for each doubling of both sides.
    """

    k: int | Literal["elbow"] = 5
    max_rows: int | None = None

    def __post_init__(self) -> None:
        suffix = {5: "", "elbow": "_elbow"}.get(self.k, "_k{k}")
        names = (f"fidelity/latent_deviation{suffix}", f"fidelity/latent_deviation_ln{suffix}")
        self.cards = tuple(CARDS[name].filled(k=self.k) for name in names)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Draw the real rows, and look for the elbow if asked to."""
        means = observed_means(real.train.values)
        train = capped(real.train, self.max_rows, seed, "latent/real")
        k = self._elbow(real, means, seed) if self.k == "elbow" else self.k
        bits, nats = self.cards

        @needs_two_rows(self)
        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            drawn = capped(synthetic, len(train), seed, "latent/synthetic")  # as the anchors, which have no more
            if len(train) + len(drawn) < k:
                return self.undefined(f"fewer records than the {k} clusters")
            space = None
            if train is real.train and drawn is synthetic and real.layout.width <= WHOLE:
                space = pooled(real_moments(real), synthetic_moments(real, synthetic))  # as known from the correlations
            counts = metric.cluster_counts(train, drawn, space, means, k, derive(seed, "k-means") % 2**32)
            value = float(metric.deviation(counts))
            draws = metric.deviation(metric.resampled(counts, DRAWS, numpy_rng(seed, "clusters")))
            ends = np.quantile(draws, [0.025, 0.975]) - np.median(draws) + value  # resampling adds noise of its own
            low, high = float(ends[0]), min(float(ends[1]), bits.high)
            parts = {("clusters", "k"): Value(float(k))}
            return {
                bits.name: Value(value, (low, high), parts),
                nats.name: Value(value * math.log(2), (low * math.log(2), high * math.log(2)), parts),
            }

        return score

    def peak_memory(self, real: RealData, rows: int) -> int:
        """The axes are eigenvectors of a matrix of columns, or of rows if they are fewer."""
        return space_memory(real.layout.width, 2 * min(rows, self.max_rows or rows))

    def _elbow(self, real: RealData, means: Tensor, seed: int) -> int:
        rows = capped(real.train, ELBOW_ROWS, seed, "latent/elbow")
        if len(rows) <= MOST_CLUSTERS:
            raise NotApplicableError(f"{len(rows)} training rows; an elbow among {MOST_CLUSTERS} clusters needs more")
        return metric.elbow(rows, means, MOST_CLUSTERS, derive(seed, "elbow") % 2**32)
