"""Privacy by near copies: synthetic records a few cells away from a training record."""

import numpy as np

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, RealData, Scorer, Value
from ehrsynth.evaluation.privacy.nearness import nearness
from ehrsynth.layout import Records
from ehrsynth.metrics.copies import excess, isolated, share
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points, nearest

MEEHAN = "Meehan et al., AISTATS 2020 (three-sample test), on shares of near records"
NEAR = Card(
    name="privacy/near_copies",
    direction="lower",
    low=0,
    high=1,
    definition="Share of S within a squared L2 distance of 2 of some record of R, equal records included; Wilson"
    " interval.",
    reading="Two cells or fewer apart. In sparse records most patients have such a neighbour by chance (40 % of unseen"
    " real patients in a table of 401 columns and 50,063 training rows): read near_copies_excess.",
    paper=MEEHAN,
)
NEAR_HOLDOUT = Card(
    name="privacy/near_copies_holdout",
    direction="lower",
    low=0,
    high=1,
    definition="Share of H within a squared L2 distance of 2 of some record of R; Wilson interval.",
    reading="The null for near_copies. A property of the real data, the same for every synthetic table.",
    paper=MEEHAN,
)
NEAR_EXCESS = Card(
    name="privacy/near_copies_excess",
    direction="lower",
    low=-1,
    high=1,
    definition="near_copies minus near_copies_holdout; interval: Newcombe's for a difference of shares.",
    reading="At most 0: S is no nearer to training records than unseen patients are. A generator of too simple records"
    " is above 0 without copying anybody; copies among noise cancel out; and where most patients have a near neighbour"
    " by chance, one copy in a hundred drowns. isolated_copies has none of these faults.",
    paper=MEEHAN,
)
ISOLATED = Card(
    name="privacy/isolated_copies",
    direction="lower",
    low=-1,
    high=1,
    definition="Share of S within a squared L2 distance of 3 of a record of a part of R while every record of H is"
    " farther by at least 3, minus the share with R and H exchanged; R (or H, if larger) is cut at random into as many"
    " parts of equal size as fit, and the shares are averaged over them. Interval: Wilson for each share, combined by"
    " Newcombe.",
    reading="0: no leak. A synthetic patient who resembles one real patient and nobody else can only be known from that"
    " patient; by chance this happens as often with patients never seen. The only one of these scores that finds a few"
    " copies among thousands also when cells were changed. It says nothing about patients whose like is common, and a"
    " lone patient whom S repeats many times makes the interval too narrow.",
    paper="Meehan et al., AISTATS 2020 (copying judged by a held-out sample), with isolation as in nearest-neighbour"
    " adversarial accuracy (Yale et al., Neurocomputing 2020)",
)


class NearCopies(Evaluator):
    """Whether synthetic records lie suspiciously close to training records.

    Args:
        within: largest squared distance of a near copy.
        isolated_within: the same for an isolated copy.
        gap: by how much the other real table has to be farther from an isolated copy.
    """

    cards = (NEAR, NEAR_HOLDOUT, NEAR_EXCESS, ISOLATED)
    uses_holdout = True

    def __init__(self, *, within: float = 2.0, isolated_within: float = 3.0, gap: float = 3.0) -> None:
        self.within = within
        self.isolated_within = isolated_within
        self.gap = gap

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Measure how near the records of H are to R, which is chance."""
        means = observed_means(real.train.values)

        def measure() -> dict[str, np.ndarray]:
            table, train = (Points.of(part, means) for part in (real.holdout, real.train))
            return {"distance": nearest(table, train)[0].numpy()}

        distance = real.memory.recall({"work": "nearest of R to H"}, measure)["distance"]
        chance = share(float((distance <= self.within).sum()), len(distance))

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            near = nearness(real, synthetic)
            found = share(float((near.train.from_all <= self.within).sum()), len(synthetic))
            difference, train, holdout = isolated(
                near.train.from_parts, near.holdout.from_parts, self.isolated_within, self.gap
            )
            sides = {
                ("side", "R"): Value(*train),
                ("side", "H"): Value(*holdout),
                ("strength", "squared distance at most"): Value(self.isolated_within),
                ("strength", "others farther by"): Value(self.gap),
                ("strength", "parts of R"): Value(float(len(near.train.from_parts))),
            }
            return {
                NEAR.name: Value(*found),
                NEAR_HOLDOUT.name: Value(*chance),
                NEAR_EXCESS.name: Value(*excess(found, chance)),
                ISOLATED.name: Value(*difference, sides),
            }

        return score
