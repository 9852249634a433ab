"""Fidelity of rare codes, which averages over all columns hide."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehrsynth.bits import ones
from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import Evaluator, NotApplicableError, RealData, Scorer, Undefined, Value
from ehrsynth.evaluation.groups import (
    needs_two_rows,
    positives,
    real_bands,
    replicated,
    replicated_parts,
    sizes,
    synthetic_bands,
)
from ehrsynth.evaluation.subsets import code_columns
from ehrsynth.layout import Records
from ehrsynth.metrics.prevalence import prevalence
from ehrsynth.metrics.rare_codes import log_lift, rare_pairs, relative_error
from ehrsynth.metrics.replicates import replicates

LEAST_POSITIVES = 3  # of a rare code in R
LEAST_TOGETHER = 5  # records of R with both codes of a pair
CARDS = Cards.beside(__file__)


def _percent(below: float) -> str:
    return f"{below * 100:.10g}"


@dataclass(kw_only=True)
class RarePrevalence(Evaluator):
    """How often rare codes occur.

    Args:
        below: prevalence in R under which a code is rare; it names the score.
    """

    below: float = 0.01

    def __post_init__(self) -> None:
        self.cards = (CARDS["fidelity/rare_prevalence_error_{percent}pct"].filled(percent=_percent(self.below)),)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Find the rare codes of R."""
        (card,) = self.cards
        rare = _rare(real, self.below)
        expected = prevalence(real.train.bits).numpy()[rare]
        names = [real.layout.names[i] for i in rare]

        @needs_two_rows(self)
        def score(synthetic: Records, seed: int) -> dict[str, Value]:
            found = positives(real, synthetic)[:, rare] / sizes(real, synthetic)[:, None]
            errors = relative_error(expected, found)
            return {card.name: replicated(card, errors.mean(1), replicated_parts(card, "code", names, errors))}

        return score


@dataclass(kw_only=True)
class RarePairLift(Evaluator):
    """With which codes rare codes occur.

    Args:
        below: prevalence in R under which a code is rare; it names the score.
    """

    below: float = 0.01

    def __post_init__(self) -> None:
        self.cards = (CARDS["fidelity/rare_pair_lift_error_{percent}pct"].filled(percent=_percent(self.below)),)

    def fit(self, real: RealData, seed: int) -> Scorer:
        """Find the pairs of R."""
        (card,) = self.cards
        codes = np.array(code_columns(real.schema, real.layout))
        rare = np.isin(codes, _rare(real, self.below))
        found, both = [], []
        for band in real_bands(real):
            start, stop = np.searchsorted(codes, [band.first, band.first + band.gram.shape[1]])
            here, rest = codes[start:stop] - band.first, codes[start:] - band.first
            together = band.gram[0].numpy()[np.ix_(here, rest)]
            some = rare_pairs(together, rare[start:], LEAST_TOGETHER)
            found.append(some + start)
            both.append(together[tuple(some)])
        pairs = np.concatenate(found, axis=1)
        if not pairs.shape[1]:
            raise NotApplicableError(f"no rare code occurs with another one in {LEAST_TOGETHER} training records")
        counts = ones(real.train.bits).double().numpy()[codes]
        expected = log_lift(np.concatenate(both), counts, pairs, float(len(real.train)))
        first, second = codes[pairs]  # the former in ascending order

        @needs_two_rows(self)
        def score(synthetic: Records, seed: int) -> dict[str, Value | Undefined]:
            together = [
                band.gram[:, first[here] - band.first, second[here] - band.first].numpy()
                for band in synthetic_bands(real, synthetic)
                for here in [slice(*np.searchsorted(first, [band.first, band.first + band.gram.shape[1]]))]
            ]
            both = replicates(np.concatenate(together, axis=1))
            counts = positives(real, synthetic)[:, codes]
            found = log_lift(both, counts, pairs, sizes(real, synthetic)[:, None])
            return {card.name: replicated(card, np.abs(found - expected).mean(1))}

        return score


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
