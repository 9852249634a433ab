"""Time to the first event after the first visit, and how far the survival curve of S lies from that of R."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ehrsynth.metrics.temporal.content import first_seen
from ehrsynth.visits import DAY, UNKNOWN, Integers, Visits

Numbers = NDArray[np.float64]


class FollowUp(NamedTuple):
    """Patients who are followed from their first visit until an event or their last visit.

    Attributes:
        patients: [m], places of the patients at risk.
        days: [m], until the event, or until they were last seen.
        events: [m], whether the event came.
    """

    patients: Integers
    days: Numbers
    events: NDArray[np.bool_]


class Curve(NamedTuple):
    """A survival curve: 1 at first, constant between the times, and after the last of them.

    Attributes:
        times: [k] days, rising, at which events came.
        survival: [k], just after each.
        last: the longest observed time, of an event or not.
    """

    times: Numbers
    survival: Numbers
    last: float

    def at(self, times: Numbers) -> Numbers:
        """Return the survival at each time, the events at that very time counted."""
        return np.append(1.0, self.survival)[np.searchsorted(self.times, times, side="right")]


class Departure(NamedTuple):
    """How the curve of S lies to that of R (Norcliffe et al., AISTATS 2023, SurvivalGAN).

    Attributes:
        optimism: mean of S_S(t) - S_R(t) from 0 to T, the longest time of both; in [-1, 1], above 0 too few events.
        absolute: mean of the absolute difference, in [0, 1].
        short_sightedness: (T_R - T_S) / T, in [-1, 1], above 0 where S follows its patients for a shorter time.
    """

    optimism: float
    absolute: float
    short_sightedness: float


def incidence(visits: Visits, width: int) -> Integers:
    """Return how many patients first have each code at a later visit than their first, [width]."""
    new = first_seen(visits, width) & (visits.number > 0)[visits.visit_of_code]
    return np.bincount(visits.codes[new], minlength=width)


def until_code(visits: Visits, width: int, code: int) -> FollowUp:
    """Follow patients until they first have a code; those who have it at their first visit are not at risk."""
    found = first_seen(visits, width) & (visits.codes == code)
    place = np.full(len(visits), -1, np.int64)
    place[visits.patient[visits.visit_of_code[found]]] = visits.visit_of_code[found]
    seen = np.flatnonzero(visits.per_patient > 0)
    begin = visits.offsets[seen]
    at_risk = place[seen] != begin
    patients, begin = seen[at_risk], begin[at_risk]
    came = place[patients] >= 0
    end = np.where(came, place[patients], visits.offsets[patients + 1] - 1)
    return FollowUp(patients, (visits.starts[end] - visits.starts[begin]) / DAY, came)


def until_death(visits: Visits) -> FollowUp:
    """Follow patients until they die, or until the start of their last visit."""
    patients = np.flatnonzero(visits.per_patient > 0)
    begin, last = visits.starts[visits.offsets[patients]], visits.starts[visits.offsets[patients + 1] - 1]
    died = visits.died[patients]
    came = died != UNKNOWN
    return FollowUp(patients, np.maximum(np.where(came, died, last) - begin, 0) / DAY, came)


def kaplan_meier(days: Numbers, events: NDArray[np.bool_]) -> Curve:
    """Return the product-limit estimate (Kaplan and Meier 1958).

    S(t) is the product over event times u <= t of 1 - d_u / n_u, with d_u events among n_u patients of time u or more.
    Of no patient at risk, who all had the event before, it is 0 from the start.
    """
    if not len(days):
        return Curve(np.zeros(1), np.zeros(1), 0.0)
    times, deaths = np.unique(days[events], return_counts=True)
    at_risk = len(days) - np.searchsorted(np.sort(days), times, side="left")
    return Curve(times, np.asarray(np.cumprod(1 - deaths / at_risk), np.float64), float(days.max()))


def departure(real: Curve, synthetic: Curve) -> Departure:
    """Return how the curve of S lies to that of R; the integrals of the steps are exact."""
    longest = max(real.last, synthetic.last)
    if longest == 0:
        return Departure(0.0, 0.0, 0.0)
    edges = np.unique(np.concatenate([[0.0, longest], real.times, synthetic.times]))
    gap, width = synthetic.at(edges[:-1]) - real.at(edges[:-1]), np.diff(edges) / longest
    return Departure(float(gap @ width), float(np.abs(gap) @ width), (real.last - synthetic.last) / longest)
