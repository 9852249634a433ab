"""Readmission and death after a visit: what is learned from S, tested on H, and whether its risks are calibrated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.temporal.groups import capped
from ehrsynth.evaluation.temporal.next_visit import MOST_VISITS
from ehrsynth.metrics.classification import auroc
from ehrsynth.metrics.grouped import groups_of
from ehrsynth.metrics.intervals import Estimate, distance, mover_mean, normal
from ehrsynth.metrics.replicates import jackknife
from ehrsynth.metrics.temporal.content import most_common
from ehrsynth.metrics.temporal.next_visit import fit_logistic, history, linear
from ehrsynth.metrics.temporal.outcomes import calibration, calibration_error, outcomes
from ehrsynth.seeding import numpy_rng
from ehrsynth.visits import Integers, Visits, VisitSchema

CARDS = Cards.beside(__file__)
OUTCOMES = ("readmitted within 30 days", "dead within 365 days")
ARMS = ("tstr", "trtr", "trts")
CALIBRATION = ("slope", "intercept", "error")


@dataclass(frozen=True)
class _Rows:
    """One visit of each patient: what is known at it [m, p], and what came of it [m, 2]."""

    x: NDArray[np.float64]
    y: NDArray[np.bool_]

    @classmethod
    def of(cls, visits: Visits, schema: VisitSchema, codes: Integers, rng: np.random.Generator) -> "_Rows":
        drawn, *came = outcomes(visits, rng)
        return cls(history(visits, schema, codes)[drawn], np.column_stack(came))

    def both(self, least: int) -> NDArray[np.bool_]:
        """Return which outcomes have ``least`` patients with and without."""
        with_it = self.y.sum(0)
        return np.asarray(np.minimum(with_it, len(self.y) - with_it) >= least)


@dataclass(kw_only=True)
class VisitOutcomes(VisitEvaluator):
    """Whether risks learned from synthetic patients hold for real ones, in rank and in size.

    Args:
        codes: how many are looked at, the most common of R.
        least: patients with, and without, an outcome in R and in H for it to be asked for.
        max_patients: of R, H and S each, drawn at random; fewer where they have more than 50,000 visits.
    """

    cards = tuple(CARDS.values())
    uses_holdout = True
    codes: int = 100
    least: int = 10
    max_patients: int = 20_000

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Learn from R."""
        codes = most_common(real.train, real.width, self.codes)

        def rows(visits: Visits, name: str) -> _Rows:
            some = capped(visits, self.max_patients, seed, f"outcomes/{name}", MOST_VISITS)
            return _Rows.of(some, real.schema, codes, numpy_rng(seed, "outcomes/visits", name))

        train, holdout = rows(real.train, "real"), rows(real.holdout, "test")
        asked = np.flatnonzero(train.both(self.least) & holdout.both(self.least))
        if not len(asked):
            raise NotApplicableError(f"no outcome has {self.least} patients with and without it in R and in H")
        weights = fit_logistic(train.x, train.y[:, asked])
        own = linear(holdout.x, weights)

        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            learned = rows(synthetic, "synthetic")
            there = learned.both(2)[asked]
            if not there.all():
                lacking = OUTCOMES[asked[np.flatnonzero(~there)[0]]]
                return self.undefined(f"fewer than two synthetic patients are, or are not, {lacking}")
            odds = linear(holdout.x, fit_logistic(learned.x, learned.y[:, asked]))
            arms = (holdout, odds), (holdout, own), (learned, linear(learned.x, weights))
            scores: dict[str, Value | Undefined] = {}
            for arm, (tested, predicted) in zip(ARMS, arms, strict=True):
                areas = [normal(*auroc(tested.y[:, k], predicted[:, i])) for i, k in enumerate(asked)]
                scores[f"temporal/{arm}_outcome_auroc"] = _mean(areas, asked)
            for arm, predicted in (("tstr", odds), ("trtr", own)):
                found = [_calibration(holdout.y[:, k], expit(predicted[:, i])) for i, k in enumerate(asked)]
                for name, (signed, sizes) in zip(CALIBRATION, _by_name(found), strict=True):
                    scores[f"temporal/{arm}_calibration_{name}"] = _mean(sizes, asked, signed)
            return scores

        return score


def _mean(values: Sequence[Estimate], asked: Integers, told: Sequence[Estimate] | None = None) -> Value:
    """Return the mean over outcomes, with each of them (``told`` of it, if that is another number) as a part."""
    names = [OUTCOMES[k] for k in asked]
    parts = {("outcome", name): Value(*one) for name, one in zip(names, told or values, strict=True)}
    return Value(*mover_mean(*zip(*values, strict=True)), parts)


def _calibration(y: NDArray[np.bool_], risks: NDArray[np.float64]) -> list[tuple[Estimate, Estimate]]:
    """Return slope, intercept and error of one outcome, each as it is and as its distance from what is right."""
    slope, intercept = calibration(y, risks)
    order = np.arange(len(y))
    left_out = [np.delete(order, part) for part in groups_of(len(y))]
    error = jackknife([calibration_error(y[rows], risks[rows]) for rows in (order, *left_out)], 0, 1)
    return [(slope, distance(slope, 1.0)), (intercept, distance(intercept, 0.0)), (error, error)]


def _by_name(found: Sequence[list[tuple[Estimate, Estimate]]]) -> list[tuple[list[Estimate], list[Estimate]]]:
    return [([one for one, _ in column], [size for _, size in column]) for column in zip(*found, strict=True)]
