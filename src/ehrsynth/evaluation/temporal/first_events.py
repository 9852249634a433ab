"""Time to first events, and what hastens them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ehrsynth.evaluation.card import Cards
from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Scorer, Undefined, Value, VisitEvaluator
from ehrsynth.evaluation.groups import needs_two_rows, replicated, replicated_parts
from ehrsynth.evaluation.temporal.groups import capped, grouped
from ehrsynth.metrics.grouped import GROUPS
from ehrsynth.metrics.intervals import Z, share
from ehrsynth.metrics.replicates import jackknife
from ehrsynth.metrics.temporal.content import code_matrix, most_common
from ehrsynth.metrics.temporal.cox import Hazards, cox
from ehrsynth.metrics.temporal.reshaped import first_visits
from ehrsynth.metrics.temporal.survival import (
    FollowUp,
    departure,
    incidence,
    kaplan_meier,
    until_code,
    until_death,
)
from ehrsynth.seeding import numpy_rng
from ehrsynth.visits import DAY, UNKNOWN, Integers, Visits

CARDS = Cards.beside(__file__)
CURVES = tuple(CARDS[f"temporal/first_event_{name}"] for name in ("optimism", "absolute", "short_sightedness"))
HAZARDS = CARDS["temporal/hazard_ratio_error"], CARDS["temporal/hazard_ratio_overlap"]
DEATH = -1  # among the codes of events


def _events(visits: Visits, width: int, most: int, least: int) -> list[int]:
    """Return the codes that patients most often get after their first visit, and ``DEATH`` if enough have died."""
    counts = incidence(visits, width)
    codes = np.argsort(-counts, kind="stable")[:most]
    found = [int(code) for code in codes if counts[code] >= least]
    died = (visits.died != UNKNOWN) & (visits.per_patient > 0)
    return [*found, DEATH] if died.sum() >= least else found


def _follow(visits: Visits, width: int, event: int) -> FollowUp:
    return until_death(visits) if event == DEATH else until_code(visits, width, event)


def _seen(visits: Visits) -> Visits:
    return visits.of_patients(np.flatnonzero(visits.per_patient > 0))


def _named(real: RealVisits, events: Iterable[int]) -> list[str]:
    return ["death" if event == DEATH else real.schema.codes[event].name for event in events]


@dataclass(kw_only=True)
class FirstEvents(VisitEvaluator):
    """How soon patients first have a code, or die.

    Args:
        codes: how many, those that most patients of R get after their first visit.
        least: patients of R who get a code, for it to be looked at.
    """

    cards = CURVES
    codes: int = 10
    least: int = 50

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Draw the survival curves of R."""
        events = _events(real.train, real.width, self.codes, self.least)
        if not events:
            raise NotApplicableError(f"no code comes after the first visit of {self.least} training patients")
        curves = [kaplan_meier(*_follow(real.train, real.width, event)[1:]) for event in events]

        @needs_two_rows(self)
        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            if not synthetic.count:
                return self.undefined("no synthetic patient has a visit")
            found = np.empty((3, len(grouped(real, synthetic)) + 1, len(events)))
            for i, (event, curve) in enumerate(zip(events, curves, strict=True)):
                follows = [_follow(group, real.width, event) for group in grouped(real, synthetic)]
                for row, left_out in enumerate(range(-1, len(follows))):
                    kept = [follow for j, follow in enumerate(follows) if j != left_out]
                    days, came = (np.concatenate(column) for column in list(zip(*kept, strict=True))[1:])
                    found[:, row, i] = departure(curve, kaplan_meier(days, came))
            names = _named(real, events)
            return {
                card.name: replicated(
                    card,
                    np.abs(values).mean(1),
                    {("event", name): Value(*jackknife(own, -1, 1)) for name, own in zip(names, values.T, strict=True)},
                )
                for card, values in zip(CURVES, found, strict=True)
            }

        return score


@dataclass(kw_only=True)
class HazardRatios(VisitEvaluator):
    """Whether what hastens an event in real patients hastens it as much here.

    Args:
        codes: how many events, those that most patients of R get after their first visit; death besides.
        covariates: how many codes of the first visit; age and the number of codes besides.
        least: patients of R who get a code, for it to be an event.
        max_patients: of R and of S, drawn at random.
    """

    cards = HAZARDS
    codes: int = 5
    covariates: int = 5
    least: int = 50
    max_patients: int = 10_000

    def fit(self, real: RealVisits, seed: int) -> Scorer[Visits]:
        """Fit the hazards of R."""
        train = _seen(capped(real.train, self.max_patients, seed, "hazards/real"))
        events = _events(train, real.width, self.codes, self.least)
        if not events:
            raise NotApplicableError(f"no code comes after the first visit of {self.least} training patients")
        covariates = _Covariates.of(train, real.width, self.covariates)
        if not all(covariates.varying(event).any() for event in events):
            raise NotApplicableError("training patients do not differ in age nor in the codes of their first visit")
        expected = _fitted(_at_risk(train, real.width, events, covariates))
        names = [
            f"{event} by {covariate}"
            for event, code in zip(_named(real, events), events, strict=True)
            for covariate in covariates.names(real, code)
        ]

        @needs_two_rows(self)
        def score(synthetic: Visits, seed: int) -> dict[str, Value | Undefined]:
            some = _seen(capped(synthetic, self.max_patients, seed, "hazards/synthetic"))
            if len(some) < 2:
                return self.undefined("fewer than two synthetic patients have a visit")
            rows = _at_risk(some, real.width, events, covariates)
            found = _fitted(rows)
            group = numpy_rng(seed, "hazards/groups").permutation(len(some)) % GROUPS
            ratios = [found.log_ratios]
            for left_out in range(min(GROUPS, len(some))):
                ratios.append(_fitted(rows, group != left_out, found.log_ratios).log_ratios)
            off = np.abs(np.array(ratios) - expected.log_ratios)
            reach = Z * (found.errors + expected.errors)
            overlap = int((off[0] <= reach).sum())
            error, overlaps = HAZARDS
            return {
                error.name: replicated(error, off.mean(1), replicated_parts(error, "ratio", names, off)),
                overlaps.name: Value(*share(overlap, len(names))),
            }

        return score


@dataclass(frozen=True)
class _Covariates:
    """What is known at the first visit, on a scale on which it has mean 0 and deviation 1 in R.

    Attributes:
        codes: [k], places of codes.
        mean, deviation: [2 + k], in R, of age in years, log(1 + number of codes) and the codes.
    """

    codes: Integers
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, visits: Visits, width: int, most: int) -> "_Covariates":
        codes = most_common(first_visits(visits, np.ones(len(visits), np.int64)), width, most)
        raw = cls._raw(visits, width, codes)
        known = ~np.isnan(raw)
        mean = np.where(known, raw, 0).sum(0) / np.maximum(known.sum(0), 1)
        deviation = np.sqrt((np.where(known, raw - mean, 0) ** 2).mean(0))
        return cls(codes, mean, deviation)

    @staticmethod
    def _raw(visits: Visits, width: int, codes: Integers) -> NDArray[np.float64]:
        begin = visits.offsets[:-1]
        age = np.full(len(visits), np.nan)
        known = visits.born != UNKNOWN
        age[known] = (visits.starts[begin][known] - visits.born[known]) / (365.25 * DAY)
        has = code_matrix(visits, width)[begin][:, codes].toarray()
        return np.column_stack([age, np.log1p(visits.codes_per_visit[begin]), has])

    def at(self, visits: Visits, width: int) -> NDArray[np.float64]:
        """Return the covariates [n, 2 + k] of patients who all have a visit; an unknown age is R's mean."""
        raw = self._raw(visits, width, self.codes)
        return np.where(np.isnan(raw), 0.0, (raw - self.mean) / np.where(self.deviation > 0, self.deviation, 1))

    def varying(self, event: int) -> NDArray[np.bool_]:
        """Return which covariates an event may depend on: not on itself, nor on what is the same for all of R."""
        return np.asarray((self.deviation > 0) & (np.array([-2, -2, *self.codes]) != event))

    def names(self, real: RealVisits, event: int) -> list[str]:
        names = ["age", "number of codes", *(real.schema.codes[code].name for code in self.codes)]
        return [name for name, varies in zip(names, self.varying(event), strict=True) if varies]


class _AtRisk(NamedTuple):
    """The patients at risk of one event: their places, times, whether it came, and their covariates [m, p]."""

    patients: Integers
    days: NDArray[np.float64]
    came: NDArray[np.bool_]
    x: NDArray[np.float64]


def _at_risk(visits: Visits, width: int, events: Sequence[int], covariates: _Covariates) -> list[_AtRisk]:
    """Return who is at risk of each event, among patients who all have a visit."""
    x, found = covariates.at(visits, width), []
    for event in events:
        patients, days, came = _follow(visits, width, event)
        found.append(_AtRisk(patients, days, came, x[patients][:, covariates.varying(event)]))
    return found


def _fitted(
    rows: Sequence[_AtRisk], kept: NDArray[np.bool_] | None = None, start: NDArray[np.float64] | None = None
) -> Hazards:
    """Return the log hazard ratios of all events, one after the other.

    Args:
        rows: who is at risk of each.
        kept: which patients to take; all if None.
        start: where Newton's method begins.
    """
    found, place = list[Hazards](), 0
    for patients, days, came, x in rows:
        own = None if start is None else start[place : place + x.shape[1]]
        place += x.shape[1]
        some = np.ones(len(patients), bool) if kept is None else kept[patients]
        if some.any():
            found.append(cox(days[some], came[some], x[some], penalty=1.0, start=own))
        else:  # nobody at risk says nothing: the penalty alone
            found.append(Hazards(np.zeros(x.shape[1]), np.ones(x.shape[1])))
    return Hazards(*map(np.concatenate, zip(*found, strict=True)))
