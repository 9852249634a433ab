"""How often codes, pairs of a visit and pairs of consecutive visits occur."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ehrsynth.errors import expect
from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.groups import needs_two_rows, replicated
from ehrsynth.evaluation.temporal.groups import grouped
from ehrsynth.metrics.replicates import jackknife, replicates
from ehrsynth.metrics.temporal.ngrams import (
    FORMS,
    Counts,
    aligned,
    asymmetry,
    correlation,
    count,
    frequent_sequences,
    r2,
    size_of,
)
from ehrsynth.visits import Visits

CARDS = Cards.beside(__file__)
PAIRS = {"visit_bigram": "pairs", "sequential_bigram": "sequences"}


@dataclass(kw_only=True)
class NGrams(VisitEvaluator):
    """How often codes, pairs of a visit and ordered pairs of consecutive visits occur, as HALO is judged.

    Args:
        least: count in R from which a pair is not left to chance.
        frequent: count in R from which a pair is no longer rare.
    """

    cards = tuple(
        CARDS[f"temporal/{name}"]
        for name in (
            *(f"halo_{form}_r2" for form in FORMS),
            *(f"{kind}_{what}" for what in ("rare_r2", "missed", "novel") for kind in PAIRS.values()),
        )
    )
    least: int = 10
    frequent: int = 100

    def __post_init__(self) -> None:
        expect(
            1 <= self.least < self.frequent, "least", self.least, f"a count from 1 to below frequent={self.frequent}"
        )

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Count the n-grams of R."""
        if not real.train.count:
            raise NotApplicableError("no training patient has a visit")
        known = {form: (count(form, real.train, real.width), size_of(form, real.train)) for form in FORMS}

        @needs_two_rows(self)
        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            groups, scores = grouped(real, synthetic), dict[str, Value | Undefined]()
            for form, (expected, size) in known.items():
                sizes = replicates([size_of(form, group) for group in groups])
                if not len(expected.keys) or sizes.min() < 1:
                    side = "training" if not len(expected.keys) else "synthetic"
                    scores |= {name: Undefined(f"no {side} {form.replace('_', ' ')}") for name in _names(form)}
                    continue
                found = [count(form, group, real.width) for group in groups]
                scores |= self._scores(form, expected, size, found, sizes)
            return scores

        return score

    def _scores(
        self, form: str, expected: Counts, size: int, found: Sequence[Counts], sizes: np.ndarray
    ) -> dict[str, Value | Undefined]:
        counts, synthetic = aligned(expected, found)
        solid, rare = counts >= self.least, (counts >= self.least) & (counts < self.frequent)
        rows = []
        for there, n in zip(synthetic, sizes, strict=True):
            r, s = counts / size, there / n
            rows.append(
                [
                    r2(r, s),
                    correlation(r, s),
                    r2(r[rare], s[rare]) if rare.any() else 0.0,
                    float((there[solid] == 0).mean()) if solid.any() else 0.0,
                    float((counts[there > 0] == 0).mean()) if there.any() else 0.0,
                ]
            )
        whole, pearson, band, missed, novel = np.transpose(rows)
        card = CARDS[f"temporal/halo_{form}_r2"]
        parts = {("form", "Pearson r"): Value(*jackknife(pearson, -1, 1))}
        if rare.any():
            parts["band", f"{self.least} to {self.frequent - 1} in R"] = replicated(card, band)
        scores: dict[str, Value | Undefined] = {card.name: replicated(card, whole, parts)}
        if form in PAIRS:
            told = f"no pair is in R {self.least} times or more"
            for name, values, defined in (
                ("rare_r2", band, rare.any()),
                ("missed", missed, solid.any()),
                ("novel", novel, True),
            ):
                own = CARDS[f"temporal/{PAIRS[form]}_{name}"]
                scores[own.name] = replicated(own, values) if defined else Undefined(told)
        return scores


def _names(form: str) -> list[str]:
    more = [f"temporal/{PAIRS[form]}_{name}" for name in ("rare_r2", "missed", "novel")] if form in PAIRS else []
    return [f"temporal/halo_{form}_r2", *more]


@dataclass(kw_only=True)
class Asymmetry(VisitEvaluator):
    """Which of two codes comes first.

    Args:
        least: consecutive visits of R with both codes, in either order, for a pair to be looked at.
    """

    cards = (CARDS["temporal/asymmetry"],)
    least: int = 20

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Find the pairs of R."""
        (card,) = self.cards
        counts = count("sequential_bigram", real.train, real.width)
        pairs = frequent_sequences(counts, real.width, self.least)
        if len(pairs) < 3:
            raise NotApplicableError(f"fewer than three pairs of codes follow one another {self.least} times in R")
        expected = asymmetry(counts, real.width, pairs).astype(np.float64)

        @needs_two_rows(self)
        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            found = replicates(
                [
                    asymmetry(count("sequential_bigram", group, real.width), real.width, pairs)
                    for group in grouped(real, synthetic)
                ]
            )
            strength = {("strength", "pairs of codes"): Value(float(len(pairs)))}
            return {card.name: replicated(card, [correlation(expected, row) for row in found], strength)}

        return score
