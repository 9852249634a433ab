"""How long between visits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.card import Card, Cards
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.groups import needs_two_rows, replicated
from ehrsynth.evaluation.temporal.groups import distances, gap_of_shares, grouped, ratios, summed
from ehrsynth.metrics.temporal.shape import NUMBERS, gap_number, kind_before, log_gaps, log_spans
from ehrsynth.visits import Integers, Visits

CARDS = Cards.beside(__file__)
LEAST = 20  # gaps of R of a kind, or at a number, below which it is not looked at alone


class Gaps(VisitEvaluator):
    """How many days lie between visits, at which number and after which kind of visit."""

    cards = tuple(CARDS.values())

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Measure the gaps of R."""
        known, spans = log_gaps(real.train), log_spans(real.train)
        if not len(known):
            raise NotApplicableError("no training patient has two visits")
        at_once = float((known == 0).mean())
        numbers, kinds = gap_number(real.train), kind_before(real.train)

        @needs_two_rows(self)
        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            groups = grouped(real, synthetic)
            gaps = [log_gaps(group) for group in groups]
            found = distances(known, gaps, "gap")
            if isinstance(found, Undefined):
                return self.undefined("no synthetic patient has two visits")
            ks, wasserstein, zero = (CARDS[f"temporal/gaps_{name}"] for name in ("ks", "wasserstein", "zero"))
            number, kind, span = (CARDS[f"temporal/{name}"] for name in ("gaps_by_number", "gaps_by_kind", "span_ks"))
            between = distances(spans, [log_spans(group) for group in groups], "span")
            shares = ratios(summed(real, synthetic, _zeros))[:, 0]
            by_number = [gap_number(group) for group in groups]
            by_kind = [kind_before(group) for group in groups]
            return {
                ks.name: replicated(ks, found[0]),
                wasserstein.name: replicated(wasserstein, found[1]),
                zero.name: gap_of_shares(zero, at_once, shares),
                number.name: _by_class(number, "visit", NUMBERS, (known, numbers), (gaps, by_number)),
                kind.name: _by_class(kind, "kind", real.schema.kinds, (known, kinds), (gaps, by_kind)),
                span.name: between if isinstance(between, Undefined) else replicated(span, between[0]),
            }

        return score


def _zeros(visits: Visits) -> NDArray[np.float64]:
    gaps = log_gaps(visits)
    return np.array([[(gaps == 0).sum()], [len(gaps)]], dtype=np.float64)


def _by_class(
    card: Card,
    what: str,
    names: Sequence[str],
    real: tuple[NDArray[np.float64], Integers],
    synthetic: tuple[list[NDArray[np.float64]], list[Integers]],
) -> Value | Undefined:
    """Return the KS statistic within each class of gaps, weighted by the gaps of R; 1 where S has none."""
    values, weights, parts = [], [], {}
    for i, name in enumerate(names):
        known = real[0][real[1] == i]
        if len(known) < LEAST:
            continue
        own = [gaps[classes == i] for gaps, classes in zip(*synthetic, strict=True)]
        found = distances(known, own, "gap")
        ks = np.ones(len(own) + 1) if isinstance(found, Undefined) else found[0]
        values.append(ks)
        weights.append(len(known))
        parts[what, name] = replicated(card, ks)
    if not values:
        return Undefined(f"no class of gaps has {LEAST} in R")
    return replicated(card, np.average(values, axis=0, weights=weights), parts)
