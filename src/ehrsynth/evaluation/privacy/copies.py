"""Privacy by copies: synthetic records equal to a training record, or a few cells away from one."""

from dataclasses import dataclass

import numpy as np

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, RealData, Scorer, Value
from ehrsynth.evaluation.privacy.nearness import nearness
from ehrsynth.layout import Records
from ehrsynth.metrics.copies import copied, isolated
from ehrsynth.metrics.intervals import difference, share
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points, nearest

CARDS = Cards.beside(__file__)
COPIES, COPIES_HOLDOUT = CARDS["privacy/exact_copies"], CARDS["privacy/exact_copies_holdout"]
NEAR, NEAR_HOLDOUT = CARDS["privacy/near_copies"], CARDS["privacy/near_copies_holdout"]
COPIES_EXCESS, NEAR_EXCESS = CARDS["privacy/copies_excess"], CARDS["privacy/near_copies_excess"]
ISOLATED = CARDS["privacy/isolated_copies"]


class ExactCopies(Evaluator):
    """Whether synthetic records repeat training records."""

    cards = (COPIES, COPIES_HOLDOUT, COPIES_EXCESS)
    uses_holdout = True

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Count the copies in H, which are chance."""
        means = observed_means(real.train.values)
        train = Points.of(real.train, means)
        chance = share(copied(Points.of(real.holdout, means), train), len(real.holdout))

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            found = share(copied(Points.of(synthetic, means), train), len(synthetic))
            return {
                COPIES.name: Value(*found),
                COPIES_HOLDOUT.name: Value(*chance),
                COPIES_EXCESS.name: Value(*difference(found, chance)),
            }

        return score


@dataclass(kw_only=True)
class NearCopies(Evaluator):
    """Whether synthetic records lie suspiciously close to training records.

    Args:
        within: largest squared distance of a near copy.
        isolated_within: the same for an isolated copy.
        gap: by how much the other real table has to be farther from an isolated copy.
    """

    cards = (NEAR, NEAR_HOLDOUT, NEAR_EXCESS, ISOLATED)
    uses_holdout = True
    within: float = 2.0
    isolated_within: float = 3.0
    gap: float = 3.0

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Measure how near the records of H are to R, which is chance."""
        means = observed_means(real.train.values)

        def measure() -> dict[str, np.ndarray]:
            table, train = (Points.of(part, means) for part in (real.holdout, real.train))
            return {"distance": nearest(table, train)[0].numpy()}

        distance = real.memory.cached({"work": "nearest of R to H"}, measure)["distance"]
        chance = share(float((distance <= self.within).sum()), len(distance))

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            near = nearness(real, synthetic)
            found = share(float((near.train.from_all <= self.within).sum()), len(synthetic))
            excess, train, holdout = isolated(
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
                NEAR_EXCESS.name: Value(*difference(found, chance)),
                ISOLATED.name: Value(*excess, sides),
            }

        return score
