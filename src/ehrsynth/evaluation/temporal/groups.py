"""Random groups of synthetic patients, and what adds up over them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ehrsynth.evaluation.card import Card
from ehrsynth.evaluation.evaluator import RealVisits, Undefined, Value
from ehrsynth.evaluation.groups import replicated
from ehrsynth.metrics.distributions import ecdf_distances
from ehrsynth.metrics.grouped import GROUPS, groups_of
from ehrsynth.metrics.replicates import replicates
from ehrsynth.seeding import numpy_rng
from ehrsynth.visits import Integers, Visits


def grouped(real: RealVisits, synthetic: Visits) -> tuple[Visits, ...]:
    """Return S in 20 random groups of patients, the same for every evaluator."""

    def split() -> tuple[Visits, ...]:
        order = numpy_rng(real.seed, "jackknife groups").permutation(len(synthetic))
        return tuple(synthetic.of_patients(order[part]) for part in groups_of(len(synthetic), GROUPS))

    return real.shared.once(synthetic, "groups", split)


def summed(real: RealVisits, synthetic: Visits, count: Callable[[Visits], ArrayLike]) -> NDArray[np.float64]:
    """Return [1 + g, ...], what ``count`` finds in all of S, then without each group; it must add up over patients."""
    return replicates([np.asarray(count(group), dtype=np.float64) for group in grouped(real, synthetic)])


def ratios(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [..., 0, :] over [..., 1, :]; 0 where nothing was counted."""
    return np.asarray(sums[..., 0, :] / np.maximum(sums[..., 1, :], 1))


def gap_of_shares(
    card: Card,
    expected: float,
    found: NDArray[np.float64],
    more: dict[tuple[str, str], Value | Undefined] | None = None,
) -> Value:
    """Return |S - R| with its interval, and both sides as parts.

    Args:
        card: of the score.
        expected: what R has.
        found: [1 + g], what S has, then without each group.
        more: other parts.
    """
    sides = {("side", "R"): Value(expected), ("side", "S"): Value(float(found[0]))}
    return replicated(card, np.abs(found - expected), {**sides, **(more or {})})


def capped(visits: Visits, patients: int | None, seed: int, name: str, most_visits: int | None = None) -> Visits:
    """Return at most so many patients, of so many visits together, drawn at random from the stream ``(seed, name)``."""
    drawn = chosen(visits, patients, seed, name, most_visits)
    return visits if drawn is None else visits.of_patients(drawn)


def chosen(
    visits: Visits, patients: int | None, seed: int, name: str, most_visits: int | None = None
) -> Integers | None:
    """Return the patients that ``capped`` draws; None if all are."""
    most = len(visits) if patients is None else patients
    if len(visits) <= most and (most_visits is None or visits.count <= most_visits):
        return None
    drawn = numpy_rng(seed, name).permutation(len(visits))[:most]
    if most_visits is not None:
        upto = np.cumsum(visits.per_patient[drawn])
        drawn = drawn[: max(int(np.searchsorted(upto, most_visits, side="right")), 1)]
    return drawn


def distances(
    real: NDArray[np.float64], groups: list[NDArray[np.float64]], what: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | Undefined:
    """Return Kolmogorov-Smirnov statistic and Wasserstein distance, [1 + g] each, or why there are none."""
    found = ecdf_distances(real, groups)
    return Undefined(f"no {what} on one side") if found is None else (found.ks, found.wasserstein)
