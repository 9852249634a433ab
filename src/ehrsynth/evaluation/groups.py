"""Random groups of the synthetic records, and the intervals that leaving one group out gives."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ehrsynth.bits import ones
from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import Evaluator, Parts, RealData, Scorer, Undefined, Value
from ehrsynth.layout import Records
from ehrsynth.metrics.bands import Band, bands
from ehrsynth.metrics.grouped import GROUPS, groups_of
from ehrsynth.metrics.missing import observed_means
from ehrsynth.metrics.moments import WHOLE, Moments, grouped_moments
from ehrsynth.metrics.replicates import half_width, jackknife, replicates
from ehrsynth.seeding import torch_rng

WIDE_GROUPS = 10
WIDE = 1000  # columns from which fewer groups are kept, so that their Gram matrices take no more memory


def grouped(real: RealData, synthetic: Records) -> tuple[Records, ...]:
    """Return S in 20 random groups (10 if the table is wide), the same for every evaluator."""

    def split() -> tuple[Records, ...]:
        shuffled = synthetic[torch.randperm(len(synthetic), generator=torch_rng(real.seed, "jackknife groups"))]
        parts = groups_of(len(synthetic), GROUPS if real.layout.width < WIDE else WIDE_GROUPS)
        return tuple(shuffled[part] for part in parts)

    return real.shared.once(synthetic, "groups", split)


def positives(real: RealData, synthetic: Records) -> NDArray[np.float64]:
    """Return how many records of S have each 0/1 column [1 + g, B], all of them and without each group."""
    return real.shared.once(
        synthetic,
        "positives",
        lambda: replicates([ones(group.bits).numpy() for group in grouped(real, synthetic)]),
    )


def sizes(real: RealData, synthetic: Records) -> NDArray[np.float64]:
    """Return how many records S has [1 + g], all of them and without each group."""
    return replicates([len(group) for group in grouped(real, synthetic)])


def synthetic_moments(real: RealData, synthetic: Records) -> Moments:
    """Return the moments of the groups of S, missing values filled with the means of R."""
    return real.shared.latest(
        synthetic,
        "moments",
        lambda: grouped_moments(grouped(real, synthetic), observed_means(real.train.values)),
    )


def real_moments(real: RealData) -> Moments:
    """Return the moments of R, missing values filled with its means."""
    return real.shared.once(
        real.train, "real moments", lambda: grouped_moments([real.train], observed_means(real.train.values))
    )


def synthetic_bands(real: RealData, synthetic: Records) -> Iterator[Band]:
    """Yield the products of the columns of S by its groups, as ``synthetic_moments`` has them if all fit at once."""
    if real.layout.width <= WHOLE:
        yield Band.whole(synthetic_moments(real, synthetic))
    else:
        yield from bands(grouped(real, synthetic), observed_means(real.train.values))


def real_bands(real: RealData) -> Iterator[Band]:
    """Yield the products of the columns of R, in the same bands."""
    if real.layout.width <= WHOLE:
        yield Band.whole(real_moments(real))
    else:
        yield from bands([real.train], observed_means(real.train.values))


def replicated(card: Card, values: ArrayLike, parts: Parts | None = None) -> Value:
    """Return the score of all records with the jackknife interval, clipped to the range of the card.

    Args:
        card: of the score.
        values: [1 + g], the score of all records, then without each group.
        parts: finer results.
    """
    return Value(*jackknife(values, card.low, card.high), parts or {})


def replicated_parts(card: Card, kind: str, names: Sequence[str], values: ArrayLike) -> dict[tuple[str, str], Value]:
    """Return one part of a score per name, each with its jackknife interval.

    Args:
        card: of the score.
        kind: of the parts.
        names: m of them.
        values: [1 + g, m].
    """
    x = np.asarray(values, dtype=np.float64)
    halves = half_width(x)
    lows, highs = np.maximum(x[0] - halves, card.low), np.minimum(x[0] + halves, card.high)
    ends = zip(x[0].tolist(), lows.tolist(), highs.tolist(), strict=True)
    return {(kind, name): Value(value, (low, high)) for name, (value, low, high) in zip(names, ends, strict=True)}


def needs_two_rows(evaluator: Evaluator) -> Callable[[Scorer], Scorer]:
    """Decorate the scorer of an evaluator: a single record cannot be left out, so it has no interval and no score."""

    def decorate(score: Scorer) -> Scorer:
        def guarded(synthetic: Records, seed: int) -> Mapping[str, Value | Undefined]:
            if len(synthetic) < 2:
                return evaluator.undefined("a single synthetic record; at least 2 are needed")
            return score(synthetic, seed)

        return guarded

    return decorate
