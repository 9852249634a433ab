"""How measured values go on from visit to visit."""

from dataclasses import dataclass

import numpy as np

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.groups import needs_two_rows, replicated, replicated_parts
from ehrsynth.evaluation.temporal.groups import grouped, summed
from ehrsynth.metrics.temporal.values import neighbours, share_within, spearman, sums_within
from ehrsynth.visits import Visits

CARDS = Cards.beside(__file__)
CORRELATION, WITHIN = CARDS["temporal/autocorrelation_error"], CARDS["temporal/variance_within_error"]


@dataclass(kw_only=True)
class ValueCourse(VisitEvaluator):
    """Whether a value says as much of the next one as in real patients.

    Args:
        least: pairs of consecutive values in R for a measurement to be looked at.
    """

    cards = (CORRELATION, WITHIN)
    least: int = 200

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Correlate the values of R."""
        width = len(real.schema.measurements)
        measured, before, after = neighbours(real.train, width)
        places = np.flatnonzero(np.bincount(measured, minlength=width) >= self.least)
        if not len(places):
            raise NotApplicableError(f"no measurement has {self.least} pairs of consecutive values in R")
        names = [real.schema.measurements[place].name for place in places]
        expected = np.array([spearman(before[measured == place], after[measured == place]) for place in places])
        counts = np.maximum(np.bincount(real.train.measured, minlength=width), 1)
        centre = np.bincount(real.train.measured, real.train.values, minlength=width) / counts
        within = np.nan_to_num(share_within(sums_within(real.train, width, centre)))[places]

        @needs_two_rows(self)
        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            pairs = [neighbours(group, width) for group in grouped(real, synthetic)]
            rows = []
            for left_out in range(-1, len(pairs)):
                columns = zip(*(pair for i, pair in enumerate(pairs) if i != left_out), strict=True)
                own, first, second = map(np.concatenate, columns)
                rows.append([spearman(first[own == place], second[own == place]) for place in places])
            off = np.abs(np.array(rows) - expected)
            shares = share_within(summed(real, synthetic, lambda visits: sums_within(visits, width, centre)))[:, places]
            # A measurement that S never repeats varies between patients alone.
            apart = np.abs(np.nan_to_num(shares) - within)
            return {
                card.name: replicated(card, values.mean(1), replicated_parts(card, "measurement", names, values))
                for card, values in ((CORRELATION, off), (WITHIN, apart))
            }

        return score
