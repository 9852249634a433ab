"""The calendar of a private training: what ``Calendar.learn`` takes of visits, by two noisy sums over patients.

First they vote, each once at most: who has no visit, whose death and birth are known, between which times, whether
stays overlap, which number of a row is an age. Then histograms, over ranges that are known without them: each patient
adds to that of a number how the values of it lie, as shares that add up to one. What comes after looks at noisy sums
alone. The most visits of a record are for a model to say.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.models.noisy_looks import BINS, BLOCK, NoisySums, norm_sub, public_edges, within
from ehrsynth.models.visits.calendar import BIRTH, DIES, FIRST, GAP, MEASURED, SELDOM, STAY, TICKS, TOGETHER, Calendar
from ehrsynth.models.visits.numbers import Observed
from ehrsynth.schema import Column
from ehrsynth.visit_batch import days_between, days_to_death
from ehrsynth.visits import DAY, UNKNOWN, Integers, Visits

YEARS = (1900, 2220)  # of first visits; those of MIMIC lie beyond 2100
WHOLE = (*range(1, 8), 14, 21, 30, 45, 60, 90, 120, 180, 270, 365, 545, 730, 1095, 1825, 3650, 7300)  # days
HOURS = (1, 6, 12)
AGES = 5  # years, of which ages are told where no number of the row is one
QUARTERS = 17  # ends of the ranges of what lies beyond the age of the row
LABS = 16  # measurements of a patient that count in full
AN_AGE = 0.75  # of those whose birth is known, that must have a number as their age
PLAIN = 2  # deviations of the noise, that a count must exceed to be more than that
VALUES = 2000  # that stand for the law of a number

Floats = NDArray[np.float64]
NOISY_LOOKS = 2


def learn_noisily(calendar: Calendar, static: Tensor, visits: Visits, noisy: NoisySums) -> None:
    """Take shares, ticks and laws from noisy sums over the training patients, whose number is known."""
    numbers = len(calendar.spans)
    most = (3 + 4 + 2 * numbers) ** 0.5  # see ``votes``
    empty = torch.zeros(4 + 4 * len(TICKS) + 2 * numbers, dtype=torch.float64)
    parts = (votes(calendar, *some) for some in _blocks(static, visits))
    counts = noisy.told("shares of patients, ticks, ages", parts, empty, most, "of visits; each patient votes once")
    _decide(calendar, counts, len(visits), PLAIN * most * noisy.noise_multiplier)
    edges = public_ranges(calendar)
    most = (MEASURED + min(len(calendar.measurements), LABS)) ** 0.5
    parts = (within(histograms(calendar, edges, *some), most) for some in _blocks(static, visits))
    empty = torch.zeros(len(edges), max(map(len, edges)) - 1, dtype=torch.float64)
    told = noisy.told("ranges of dates and measurements", parts, empty, most, "of visits; shares within each patient")
    calendar.numbers.learn([_observed(calendar, number, edges[number], row) for number, row in enumerate(told)])


def _blocks(static: Tensor, visits: Visits) -> Iterator[tuple[Tensor, Visits]]:
    """Yield some patients at a time."""
    for start in range(0, len(visits), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(visits)))
        yield static[start : start + BLOCK], visits.of_patients(rows)


def _ends(visits: Visits) -> tuple[Integers, Integers]:
    """Return when the first and the last visit of each patient began [n]."""
    some = visits.per_patient > 0
    found = np.full((2, len(visits)), UNKNOWN)
    found[0, some], found[1, some] = (
        visits.starts[visits.offsets[:-1][some]],
        visits.starts[visits.offsets[1:][some] - 1],
    )
    return found[0], found[1]


def _ages(calendar: Calendar, static: Tensor, visits: Visits) -> Floats:
    """Return years from birth [n, 1 + 2 C]; NaN where nobody knows.

    To the first visit; to the first beyond each number of the row; to the last beyond each of these.
    """
    numbers = [calendar.age_in(static, column).cpu().numpy() for column in range(len(calendar.spans))]
    years = [
        np.where((when != UNKNOWN) & (visits.born != UNKNOWN), calendar.years(visits.born, when), np.nan)
        for when in _ends(visits)
    ]
    return np.stack([years[0], *(when - number for when in years for number in numbers)], axis=1)


def votes(calendar: Calendar, static: Tensor, visits: Visits) -> Tensor:
    """Return the votes [n, v] of patients: whole numbers of 0 or 1.

    Of the first two shares one is 0 at least, and of the ticks of each kind of time all but one: so the norm is that of
    3 votes, of 4 ticks and of each number of the row, twice, at most.
    """
    n, some, ages = len(visits), visits.per_patient > 0, _ages(calendar, static, visits)
    stays, later = days_between(visits.starts, visits.ends), np.flatnonzero(visits.number > 0)
    overlaps = np.zeros(n, bool)
    overlaps[visits.patient[later][stays[later - 1] > visits.gaps[later]]] = True
    times = [(visits.starts, visits.patient), (visits.ends, visits.patient)]
    times += [(visits.born, np.arange(n)), (visits.died, np.arange(n))]
    ticks = [_ticks(when, whose, n) for when, whose in times]
    shares = [~some, some & (visits.died != UNKNOWN), ~np.isnan(ages[:, 0]), overlaps]
    agree = np.abs(ages[:, 1:]) <= TOGETHER
    return torch.from_numpy(np.concatenate([np.stack(shares, axis=1), *ticks, agree], axis=1)).double()


def _ticks(times: Integers, whose: Integers, n: int) -> NDArray[np.bool_]:
    """Return the coarsest tick [n, ticks] that all known times of each patient keep; none of a patient without one."""
    known = times != UNKNOWN
    left = np.bincount(whose[known], minlength=n) > 0
    found = np.zeros((n, len(TICKS)), bool)
    for place, tick in enumerate(TICKS):
        broken = np.bincount(whose[known & (times % tick != 0)], minlength=n) > 0
        found[:, place] = left & ~broken
        left = left & broken
    return found


def _decide(calendar: Calendar, counts: Tensor, n: int, plain: float) -> None:
    """Set shares, ticks and which number is an age, by noisy counts; one that is not ``plain`` is none."""
    counts = counts.where(counts > plain, 0.0)
    empty, died, born, overlaps = counts[:4].tolist()
    calendar.empty.fill_(min(empty / n, 1.0))
    calendar.died.fill_(min(died / max(n - empty, 1.0), 1.0))
    calendar.overlaps.fill_(overlaps > SELDOM * n)
    ticks = counts[4 : 4 + 4 * len(TICKS)].view(4, len(TICKS)).argmax(1)  # of none known a day
    calendar.ticks.copy_(torch.tensor(TICKS)[ticks])
    agree = counts[4 + 4 * len(TICKS) :]
    calendar.age.fill_(-1 if born else -2)
    if born and len(agree) and float(agree.max()) > AN_AGE * born:
        calendar.age.fill_(int(agree.argmax()))


def public_ranges(calendar: Calendar) -> list[Floats]:
    """Return where the ranges of each number meet, by what is known without a patient, or was told with noise."""
    starts, ends, _, deaths = calendar.ticks.tolist()
    first = np.array([np.datetime64(str(year), "D").astype(int) for year in range(YEARS[0], YEARS[1] + 1)], float)
    birth = np.linspace(-TOGETHER, TOGETHER, QUARTERS) if int(calendar.age) >= 0 else np.arange(0.0, 121.0, AGES)
    found = [first, _days(starts), _days(ends), _days(deaths), birth]
    for measurement in calendar.measurements:
        low, high = measurement.bounds
        column = Column("number", "continuous" if measurement.decimals else "count", bounds=(low, high))
        found.append(low + (high - low) * np.append(public_edges(column, BINS).double().numpy(), 1.0))
    return found


def _days(tick: int) -> Floats:
    """Return where ranges of days meet; of whole days each range has its own."""
    if tick == DAY:
        return np.array([0.0, *(day + 0.5 for day in (0, *WHOLE))])
    return np.array([0.0, *(hours / 24 for hours in HOURS), *WHOLE])


def histograms(calendar: Calendar, edges: list[Floats], static: Tensor, visits: Visits) -> Tensor:
    """Return how the values of each patient lie [n, numbers, ranges].

    The shares of a number add up to one, so that it has a norm of one at most, however many visits there are.
    """
    n, patients, (first, _) = len(visits), np.arange(len(visits)), _ends(visits)
    later, whose = visits.number > 0, visits.patient[visits.visit_of_value]
    birth = _ages(calendar, static, visits)[:, 1 + int(calendar.age) if int(calendar.age) >= 0 else 0]
    values = [
        (np.where(first == UNKNOWN, np.nan, first / DAY), patients),
        (visits.gaps[later], visits.patient[later]),
        (days_between(visits.starts, visits.ends), visits.patient),
        (days_to_death(visits), patients),
        (birth, patients),
    ]
    for place in range(len(calendar.measurements)):
        mine = visits.measured == place
        values.append((visits.values[mine].astype(float), whose[mine]))
    width = max(map(len, edges)) - 1
    found = np.zeros((n, len(edges), width))
    for number, (value, patient) in enumerate(values):
        known, ranges = np.isfinite(value), len(edges[number]) - 1
        at = (np.searchsorted(edges[number], value[known], side="right") - 1).clip(0, ranges - 1)
        counts = np.bincount(patient[known] * width + at, minlength=n * width).reshape(n, width)
        found[:, number] = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return torch.from_numpy(found)


def _observed(calendar: Calendar, number: int, edges: Floats, counts: Tensor) -> Observed:
    """Return values that stand for the law of a number, even within its ranges, each of a patient that nobody is."""
    counts = counts[: len(edges) - 1]
    kept = norm_sub(counts, max(float(counts.sum()), 1.0)).numpy()
    up_to = np.concatenate([np.zeros(1), kept.cumsum() / kept.sum()])
    values, decimals, bounds = np.interp((np.arange(VALUES) + 0.5) / VALUES, up_to, edges), 3, None
    if number >= MEASURED:
        measurement = calendar.measurements[number - MEASURED]
        decimals, bounds = measurement.decimals, measurement.bounds
    elif number != BIRTH:
        tick = calendar.ticks[{FIRST: 0, GAP: 0, STAY: 1, DIES: 3}[number]]
        decimals = calendar.decimals_of(int(tick))
    return Observed(values.round(decimals), np.arange(VALUES), decimals, bounds)
