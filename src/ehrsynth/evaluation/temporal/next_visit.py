"""Which codes the next visit has, and when it comes: what is learned from S, tested on H."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.card import Card, Cards
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.temporal.groups import capped
from ehrsynth.metrics.classification import auprc
from ehrsynth.metrics.intervals import Estimate, t_mean
from ehrsynth.metrics.temporal.content import most_common
from ehrsynth.metrics.temporal.next_visit import (
    fit_logistic,
    fit_ridge,
    linear,
    means_by_patient,
    recall_at,
    transitions,
)
from ehrsynth.metrics.temporal.reshaped import length_matched
from ehrsynth.seeding import numpy_rng
from ehrsynth.visits import Integers, Visits, VisitSchema

CARDS = Cards.beside(__file__)
KS = (10, 20, 30)
SCORES = (*(f"next_codes_recall_at_{k}" for k in KS), "next_codes_auprc", "next_gap_error")
MOST_VISITS = 50_000  # of a side, whose features and targets are held dense
LEAST = 20  # pairs of consecutive visits to learn from, or to be tested on


def _cards(arm: str, suffix: str = "") -> tuple[Card, ...]:
    return tuple(CARDS[f"temporal/{arm}_{name}{suffix}"] for name in SCORES)


@dataclass(kw_only=True)
class NextVisit(VisitEvaluator):
    """Whether models that learned from synthetic patients know what the next visit of a real patient brings.

    Args:
        codes: how many, the most common of R; they are features and targets.
        max_patients: of R, H and S each, drawn at random; fewer where they have more than 50,000 visits.
    """

    cards = (*_cards("tstr"), *_cards("trtr"))
    uses_holdout = True
    codes: int = 100
    max_patients: int = 10_000

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Learn from R."""
        train, holdout = self._some(real.train, seed), self._some(real.holdout, seed, "test")
        codes = most_common(train, real.width, self.codes)
        own = self._learned(train, holdout, real.schema, codes)
        if isinstance(own, Undefined):
            raise NotApplicableError(f"R or H: {own.reason}")

        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            learned = self._learned(self._some(synthetic, seed), holdout, real.schema, codes)
            if isinstance(learned, Undefined):
                return self.undefined(f"S: {learned.reason}")
            found = (*learned, *own)
            return {card.name: Value(*estimate) for card, estimate in zip(self.cards, found, strict=True)}

        return score

    def _some(self, visits: Visits, seed: int, name: str = "learned from") -> Visits:
        return capped(visits, self.max_patients, seed, f"next visit/{name}", MOST_VISITS)

    @staticmethod
    def _learned(train: Visits, test: Visits, schema: VisitSchema, codes: Integers) -> tuple[Estimate, ...] | Undefined:
        """Return the scores on ``test`` of what is learned from ``train``, in the order of ``SCORES``."""
        x, has, gaps, _ = transitions(train, schema, codes)
        unseen, truth, real_gaps, patients = transitions(test, schema, codes)
        if min(len(x), len(unseen)) < LEAST or not truth.any():
            return Undefined(f"fewer than {LEAST} pairs of consecutive visits with the codes that are asked for")
        odds = linear(unseen, fit_logistic(x, has))
        off = np.abs(linear(unseen, fit_ridge(x, gaps)) - real_gaps)
        recalls: list[NDArray[np.float64]] = list(recall_at(odds, truth, KS))
        return (
            *(t_mean(means_by_patient(recall, patients), 0, 1) for recall in recalls),
            auprc(truth.ravel(), odds.ravel()),
            t_mean(means_by_patient(off, patients), 0),
        )


@dataclass(kw_only=True)
class MatchedNextVisit(NextVisit):
    """The same with equally many patients of S and of R, of the same numbers of visits.

    Longer or more records teach more: without this a generator is rewarded for being long.
    """

    cards = (*_cards("tstr", "_matched"), *_cards("trtr", "_matched"))

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Find the codes of R; what is learned from R depends on how long the synthetic records are."""
        train, holdout = self._some(real.train, seed), self._some(real.holdout, seed, "test")
        codes = most_common(train, real.width, self.codes)

        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            some = self._some(synthetic, seed)
            scores: dict[str, Value | Undefined] = {}
            pair = length_matched(some, train, numpy_rng(seed, "matched"))
            for i, (side, name) in enumerate(zip(pair, ("S", "R"), strict=True)):
                cards = self.cards[i * len(SCORES) : (i + 1) * len(SCORES)]
                found = self._learned(side, holdout, real.schema, codes)
                for j, card in enumerate(cards):
                    whole = Undefined(f"{name}: {found.reason}") if isinstance(found, Undefined) else Value(*found[j])
                    scores[card.name] = whole
            return scores

        return score
