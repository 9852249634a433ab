"""The same visits in other places: order shuffled, visits drawn alone, records cut to the same length."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ehrsynth.visits import DAY, UNKNOWN, Integers, Visits


def shuffled(visits: Visits, rng: np.random.Generator) -> Visits:
    """Return the visits with what they hold permuted within each patient; their dates stay."""
    keys = rng.random(visits.count)
    return visits.with_visits_moved(np.lexsort((keys, visits.patient)))


def independent(visits: Visits, rng: np.random.Generator, patients: int | None = None) -> Visits:
    """Return patients whose visits are drawn each alone from those of any patient.

    The number of visits and the days between them are drawn from their histograms; birth, death and the first date come
    together from one patient.

    Args:
        visits: to draw from; without any they come back as they are.
        rng: draws.
        patients: how many; by default as many as there are.
    """
    if not visits.count:
        return visits
    n = len(visits) if patients is None else patients
    lengths = rng.choice(visits.per_patient, n)
    chosen = rng.integers(visits.count, size=int(lengths.sum()))
    known = visits.gaps[~np.isnan(visits.gaps)]
    dated = rng.choice(np.flatnonzero(visits.per_patient > 0), n)
    drawn = _regrouped(visits, chosen, lengths, visits.born[dated], visits.died[dated])
    steps = np.zeros(drawn.count)
    later = drawn.number > 0
    if later.any():
        steps[later] = rng.choice(known, int(later.sum()))
    passed = np.round(np.cumsum(steps) * DAY).astype(np.int64)
    first = visits.starts[visits.offsets[dated]]
    begin = np.minimum(drawn.offsets[:-1], max(drawn.count - 1, 0))
    starts = first[drawn.patient] + passed - passed[begin][drawn.patient] if drawn.count else drawn.starts
    lasted = visits.ends[chosen] - visits.starts[chosen]
    return replace(drawn, starts=starts, ends=np.where(visits.ends[chosen] == UNKNOWN, UNKNOWN, starts + lasted))


def first_visits(visits: Visits, lengths: Integers) -> Visits:
    """Return the first ``lengths`` visits of each patient [n], or all if there are fewer."""
    kept = visits.number < lengths[visits.patient]
    return _regrouped(visits, np.flatnonzero(kept), np.minimum(visits.per_patient, lengths), visits.born, visits.died)


def length_matched(left: Visits, right: Visits, rng: np.random.Generator) -> tuple[Visits, Visits]:
    """Return equally many patients of both with the same numbers of visits.

    As many patients of each as the smaller table has, drawn at random, are paired by the rank of their number of visits
    (ties at random), and both of a pair are cut to the shorter.
    """
    n = min(len(left), len(right))
    sides = []
    for table in (left, right):
        drawn = rng.permutation(len(table))[:n]
        sides.append(table.of_patients(drawn[np.argsort(table.per_patient[drawn], kind="stable")]))
    shorter = np.minimum(sides[0].per_patient, sides[1].per_patient)
    return first_visits(sides[0], shorter), first_visits(sides[1], shorter)


def _regrouped(
    visits: Visits, chosen: Integers, lengths: Integers, born: NDArray[np.int64], died: NDArray[np.int64]
) -> Visits:
    """Return ``chosen`` visits, dates and all, dealt out to patients of these numbers of visits."""
    unknown = np.full(visits.count, UNKNOWN)
    alone = replace(visits, offsets=np.arange(visits.count + 1), born=unknown, died=unknown)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return replace(alone.of_patients(chosen), offsets=offsets, born=born, died=died)
