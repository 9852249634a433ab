"""Fidelity of rare codes, which averages over all columns hide."""

import math

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.fidelity.dimension_wise import JACKKNIFE
from ehrsynth.evaluation.groups import (
    of_several,
    positives,
    real_moments,
    replicated,
    replicated_parts,
    sizes,
    synthetic_moments,
)
from ehrsynth.evaluation.subsets import code_columns
from ehrsynth.layout import Records
from ehrsynth.metrics.fidelity import prevalence
from ehrsynth.metrics.rare import log_lift, rare_pairs, relative_error
from ehrsynth.metrics.replicates import replicates

LEAST_POSITIVES = 3  # of a rare code in R
LEAST_TOGETHER = 5  # records of R with both codes of a pair
NOISE = (
    " Rare events are noisy, and the floor is far from 0: fresh real patients say how far, and copies of the training"
    " rows score best."
)


def _prevalence_card(percent: str) -> Card:
    return Card(
        name=f"fidelity/rare_prevalence_error_{percent.replace('.', '')}pct",
        direction="lower",
        low=0,
        high=math.inf,
        definition=f"Mean of |p_S - p_R| / p_R over the codes that under {percent} % of R have, and at least"
        f" {LEAST_POSITIVES} of its records." + JACKKNIFE,
        reading="Do rare diseases occur as often as in real patients? 1 is what a generator scores that has lost them"
        " all; much above 1, it invents them." + NOISE + " Shuffled columns are nearly perfect.",
        paper="-",
    )


def _lift_card(percent: str) -> Card:
    return Card(
        name=f"fidelity/rare_pair_lift_error_{percent.replace('.', '')}pct",
        direction="lower",
        low=0,
        high=math.inf,
        definition=f"Mean of |log lift_S - log lift_R| over the pairs of a code that under {percent} % of R have (and"
        f" at least {LEAST_POSITIVES} of its records) and any other code that occur together in at least"
        f" {LEAST_TOGETHER} records of R; lift = P(both) / (P(one) P(other)), half a record added to each count."
        + JACKKNIFE,
        reading="Do rare diseases come with the company they keep in real patients? 0.7 is a factor of two. The pairs"
        " were chosen because R has them, so R overstates them a little and even fresh patients are off." + NOISE,
        paper="-",
    )


def _percent(below: float) -> str:
    return f"{below * 100:.10g}"


class RarePrevalence(Evaluator):
    """How often rare codes occur.

    Args:
        below: prevalence in R under which a code is rare; it names the score.
    """

    def __init__(self, *, below: float = 0.01) -> None:
        self.below = below
        self.cards = (_prevalence_card(_percent(below)),)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Find the rare codes of R."""
        (card,) = self.cards
        rare = _rare(real, self.below)
        expected = prevalence(real.train.bits).numpy()[rare]
        names = [real.layout.names[i] for i in rare]

        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            found = positives(real, synthetic)[:, rare] / sizes(real, synthetic)[:, None]
            errors = relative_error(expected, found)
            return {card.name: replicated(card, errors.mean(1), replicated_parts(card, "code", names, errors))}

        return of_several(self.cards, score)


class RarePairLift(Evaluator):
    """With which codes rare codes occur.

    Args:
        below: prevalence in R under which a code is rare; it names the score.
    """

    def __init__(self, *, below: float = 0.01) -> None:
        self.below = below
        self.cards = (_lift_card(_percent(below)),)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Find the pairs of R."""
        (card,) = self.cards
        codes = np.array(code_columns(real.schema, real.layout))
        rare = np.isin(codes, _rare(real, self.below))
        known = real_moments(real)
        together = known.gram[0].numpy()[np.ix_(codes, codes)]
        pairs = rare_pairs(together, rare, LEAST_TOGETHER)
        if not pairs.shape[1]:
            raise NotApplicableError(f"no rare code occurs with another one in {LEAST_TOGETHER} training records")
        expected = log_lift(together[tuple(pairs)], together.diagonal(), pairs, float(len(real.train)))
        first, second = codes[pairs]

        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            both = replicates(synthetic_moments(real, synthetic).gram[:, first, second].numpy())
            counts = positives(real, synthetic)[:, codes]
            found = log_lift(both, counts, pairs, sizes(real, synthetic)[:, None])
            return {card.name: replicated(card, np.abs(found - expected).mean(1))}

        return of_several(self.cards, score)


def _rare(real: RealData, below: float) -> NDArray[np.intp]:
    """Return the encoded columns of the rare codes of R."""
    codes = np.array(code_columns(real.schema, real.layout), dtype=np.intp)
    shares = prevalence(real.train.bits).numpy()[codes]
    rare = codes[(shares >= LEAST_POSITIVES / len(real.train)) & (shares < below)]
    if not len(rare):
        raise NotApplicableError(
            f"no code with at least {LEAST_POSITIVES} positives is rarer than {_percent(below)} % of the training rows"
        )
    return rare
