"""How a record grows from visit to visit, and which codes last."""

from dataclasses import dataclass

import numpy as np

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.groups import needs_two_rows, replicated, replicated_parts
from ehrsynth.evaluation.temporal.groups import gap_of_shares, ratios, summed
from ehrsynth.metrics.temporal.progression import (
    POSITIONS,
    SHARES,
    codes_by_position,
    persistence,
    shares,
    weighted_r2,
)
from ehrsynth.visits import Visits

CARDS = Cards.beside(__file__)
BY_NUMBER = CARDS["temporal/codes_by_visit_number"]
PERSISTENCE = CARDS["temporal/persistence_r2"], CARDS["temporal/persistence_error"]
ALONE = "no synthetic patient has two visits with codes"


class Progression(VisitEvaluator):
    """How many codes the first, second and last visit has, and how many of them are new."""

    cards = (BY_NUMBER, *(CARDS[f"temporal/codes_{name}"] for name in SHARES))

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Count the codes of R by visit."""
        positions = codes_by_position(real.train)
        counted = shares(real.train, real.width)
        if not counted[1].all():
            raise NotApplicableError("no training patient has two visits with codes")
        there = (positions[0] > 0) & (positions[1] > 0)
        means, expected = ratios(positions.astype(np.float64))[there], ratios(counted.astype(np.float64))
        names = [name for name, known in zip(POSITIONS, there, strict=True) if known]

        @needs_two_rows(self)
        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            sums = summed(real, synthetic, lambda visits: shares(visits, real.width))
            if not sums[0, 1].all():
                return self.undefined(ALONE)
            found = ratios(summed(real, synthetic, codes_by_position))[:, there]
            off = np.abs(found / means - 1)
            parts = {("side", f"{name}, R"): Value(float(mean)) for name, mean in zip(names, means, strict=True)}
            parts |= replicated_parts(BY_NUMBER, "visit", names, off)
            scores: dict[str, Value | Undefined] = {BY_NUMBER.name: replicated(BY_NUMBER, off.mean(1), parts)}
            for i, name in enumerate(SHARES):
                card = CARDS[f"temporal/codes_{name}"]
                scores[card.name] = gap_of_shares(card, float(expected[i]), ratios(sums)[:, i])
            return scores

        return score


@dataclass(kw_only=True)
class Persistence(VisitEvaluator):
    """Which codes come back at the next visit.

    Args:
        least: visits of R that have a code and a successor, for the code to be looked at.
    """

    cards = PERSISTENCE
    least: int = 20

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Find how often each code of R comes back."""
        there, kept = persistence(real.train, real.width).astype(np.float64)
        codes = np.flatnonzero(there >= self.least)
        if len(codes) < 2:
            raise NotApplicableError(f"fewer than two codes have {self.least} visits in R that another one follows")
        weights, expected = there[codes], kept[codes] / there[codes]
        names = [real.schema.codes[code].name for code in codes]
        lasting = expected >= 0.5

        @needs_two_rows(self)
        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            sums = summed(real, synthetic, lambda visits: persistence(visits, real.width))[..., codes]
            if not sums[0, 0].any():
                return self.undefined(ALONE)
            found = ratios(sums[:, ::-1])
            off = np.abs(found - expected)
            r2, error = PERSISTENCE
            bands = {
                ("recurrence", name): replicated(error, np.average(off[:, band], axis=1, weights=weights[band]))
                for name, band in (("lasting codes of R", lasting), ("passing codes of R", ~lasting))
                if band.any()
            }
            return {
                r2.name: replicated(r2, [weighted_r2(expected, row, weights) for row in found]),
                error.name: replicated(
                    error,
                    np.average(off, axis=1, weights=weights),
                    {**bands, **replicated_parts(error, "code", names, off)},
                ),
            }

        return score
