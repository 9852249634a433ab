"""How strongly one code draws another after it, and for how long."""

from dataclasses import dataclass

import numpy as np

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.groups import needs_two_rows, replicated
from ehrsynth.evaluation.temporal.groups import summed
from ehrsynth.metrics.temporal.content import most_common
from ehrsynth.metrics.temporal.lags import NAMES, Following, following
from ehrsynth.metrics.temporal.ngrams import correlation
from ehrsynth.visits import Visits

LIFT = Cards.beside(__file__)["temporal/lagged_lift"]


@dataclass(kw_only=True)
class LaggedLift(VisitEvaluator):
    """How much more often than by chance one code follows another within a month, a season, a year.

    Args:
        codes: how many, the most common of R; memory and time grow with the square.
        least: pairs of visits of R in a window that have a then b, for a and b to be looked at there.
    """

    cards = (LIFT,)
    codes: int = 100
    least: int = 20

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Count the pairs of visits of R."""
        codes = most_common(real.train, real.width, self.codes)
        known = following(real.train, real.width, codes)
        looked_at = known.both >= self.least
        if looked_at.sum() < 3:
            raise NotApplicableError(f"fewer than three pairs of codes follow one another {self.least} times in R")
        expected = known.log_lift()

        @needs_two_rows(self)
        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            sums = summed(real, synthetic, lambda visits: _flat(following(visits, real.width, codes)))
            if not sums[0, : len(NAMES)].any():
                return self.undefined("no synthetic patient has two visits")
            lifts = [_unflat(row, len(codes)).log_lift() for row in sums]
            parts: dict[tuple[str, str], Value | Undefined] = {
                ("window", name): replicated(LIFT, [correlation(expected[w][own], lift[w][own]) for lift in lifts])
                for w, name in enumerate(NAMES)
                for own in [looked_at[w]]
                if own.sum() >= 3
            }
            parts["strength", "pairs of codes"] = Value(float(looked_at.sum()))
            whole = [correlation(expected[looked_at], lift[looked_at]) for lift in lifts]
            return {LIFT.name: replicated(LIFT, whole, parts)}

        return score


def _flat(found: Following) -> np.ndarray:
    return np.concatenate([found.visits, found.earlier.ravel(), found.later.ravel(), found.both.ravel()])


def _unflat(row: np.ndarray, k: int) -> Following:
    w = len(NAMES)
    visits, earlier, later, both = np.split(row, np.cumsum([w, w * k, w * k]))
    return Following(visits, earlier.reshape(w, k), later.reshape(w, k), both.reshape(w, k, k))
