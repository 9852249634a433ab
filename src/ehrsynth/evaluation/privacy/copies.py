"""Privacy by copies: synthetic records equal to a training record, or a few cells away from one."""

from collections.abc import Sequence
from dataclasses import dataclass

from ehrsynth.evaluation.card import Card, Cards
from ehrsynth.evaluation.columns import at_decimals
from ehrsynth.evaluation.evaluator import Evaluator, RealData, Scorer, Value
from ehrsynth.evaluation.privacy.nearness import nearness
from ehrsynth.layout import Records
from ehrsynth.metrics.copies import copied, isolated
from ehrsynth.metrics.intervals import Estimate, difference, share
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.neighbours import Points, nearest

CARDS = Cards.beside(__file__)
COPIES = tuple(CARDS[f"privacy/{name}"] for name in ("exact_copies", "exact_copies_holdout", "copies_excess"))
NEAR = tuple(CARDS[f"privacy/{name}"] for name in ("near_copies", "near_copies_holdout", "near_copies_excess"))
ISOLATED = CARDS["privacy/isolated_copies"]


class ExactCopies(Evaluator):
    """Whether synthetic records repeat training records."""

    cards = COPIES
    uses_holdout = True

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Count the copies in H, which are chance."""
        means = observed_means(real.train.values)

        def points(records: Records) -> Points:
            return Points.of(at_decimals(real.schema, records), means)

        train = points(real.train)
        chance = share(copied(points(real.holdout), train), len(real.holdout))

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            found = share(copied(points(synthetic), train), len(synthetic))
            return _beside_chance(COPIES, found, chance)

        return score


@dataclass(kw_only=True)
class NearCopies(Evaluator):
    """Whether synthetic records lie suspiciously close to training records.

    Args:
        within: largest squared distance of a near copy.
        isolated_within: the same for an isolated copy.
        gap: by how much the other real table has to be farther from an isolated copy.
    """

    cards = (*NEAR, ISOLATED)
    uses_holdout = True
    within: float = 2.0
    isolated_within: float = 3.0
    gap: float = 3.0

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Measure how near the records of H are to R, which is chance."""
        means = observed_means(real.train.values)
        holdout, train = (Points.of(table, means) for table in (real.holdout, real.train))
        distance = real.memory.array({"work": "nearest of R to H"}, lambda: nearest(holdout, train)[0].numpy())
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
            return {**_beside_chance(NEAR, found, chance), ISOLATED.name: Value(*excess, sides)}

        return score


def _beside_chance(cards: Sequence[Card], found: Estimate, chance: Estimate) -> dict[str, Value]:
    estimates = found, chance, difference(found, chance)
    return {card.name: Value(*estimate) for card, estimate in zip(cards, estimates, strict=True)}
