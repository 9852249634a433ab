"""Gaps, lags, values, survival and hazards, by hand and against other implementations."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import ks_2samp, spearmanr, wasserstein_distance

from ehrsynth.evaluation.temporal.groups import distances
from ehrsynth.metrics.temporal.cox import cox
from ehrsynth.metrics.temporal.lags import FURTHEST, following
from ehrsynth.metrics.temporal.order import order_faults
from ehrsynth.metrics.temporal.pathways import pathways, spelled
from ehrsynth.metrics.temporal.shape import codes_per_record, gap_number, kind_before, log_gaps, log_spans
from ehrsynth.metrics.temporal.survival import Curve, departure, incidence, kaplan_meier, until_code, until_death
from ehrsynth.metrics.temporal.values import neighbours, share_within, spearman, sums_within
from ehrsynth.visits import DAY, UNKNOWN, ragged
from tests.visit_toy import simulated, visits_of


def test_gaps_by_hand() -> None:
    visits = visits_of([[(0, []), (2, [0]), (2, []), (10, [1])], [(5, [])], [], [(1, [0, 1]), (4, [])]])
    visits = replace(visits, kinds=np.array([0, 1, 0, 1, 0, 1, 0], np.int16))
    np.testing.assert_allclose(np.expm1(log_gaps(visits)), [2, 0, 8, 3])
    assert gap_number(visits).tolist() == [0, 1, 2, 0]
    assert kind_before(visits).tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(np.expm1(log_spans(visits)), [10, 3])
    assert codes_per_record(visits).tolist() == [2, 0, 0, 2]


def test_distances_are_those_of_scipy() -> None:
    real, synthetic = log_gaps(simulated(80, 0)), log_gaps(simulated(70, 1))
    ks, wasserstein = distances(real, [synthetic[:50], synthetic[50:]], "gap")
    assert ks[0] == pytest.approx(ks_2samp(real, synthetic).statistic)
    assert wasserstein[0] == pytest.approx(wasserstein_distance(real, synthetic))
    assert ks[1] == pytest.approx(ks_2samp(real, synthetic[50:]).statistic)


def test_what_follows_what_within_which_time() -> None:
    """0 then 1 after 10 days, 1 then 2 after 50, 0 then 2 after 60; another patient 0 then 1 after 400."""
    visits = visits_of([[(0, [0]), (10, [1]), (60, [2])], [(0, [0]), (400, [1])]])
    found = following(visits, 3, np.array([0, 1, 2]))
    assert found.visits.tolist() == [1, 2, 0, 1]
    assert [tuple(map(int, place)) for place in np.argwhere(found.both)] == [(0, 0, 1), (1, 0, 2), (1, 1, 2), (3, 0, 1)]
    assert found.earlier[1].tolist() == [1, 1, 0]
    assert found.later[1].tolist() == [0, 0, 2]
    # One of two pairs of the second window has 0 then 2, where 1 x 2 / 2 = 1 is expected, each with half a pair more.
    assert found.log_lift()[1, 0, 2] == pytest.approx(np.log(1.5 / (1.5 * 2.5 / 3 + 0.5)))


def test_lags_end_somewhere() -> None:
    many = visits_of([[(day, [0]) for day in range(FURTHEST + 5)]])
    assert following(many, 1, np.array([0])).visits.sum() == sum(FURTHEST + 5 - lag for lag in range(1, FURTHEST + 1))


def test_values_of_neighbouring_visits() -> None:
    """Measurement 0 at visits 1, 2 and 4, measurement 1 at 2 and 3 of a patient; 0 at the visit of another."""
    visits = visits_of([[(day, []) for day in range(4)], [(0, [])]])
    value_offsets, measured = ragged([[0], [0, 1], [1], [0], [0]])
    visits = replace(
        visits, value_offsets=value_offsets, measured=measured, values=np.array([1, 2, 30, 40, 5, 7], np.float32)
    )
    own, before, after = neighbours(visits, 2)
    assert [own.tolist(), before.tolist(), after.tolist()] == [[0, 1], [1, 30], [2, 40]]
    # Measurement 0: 1, 2, 5 of one patient, 7 of another. Within: (1 + 4 + 25 - 64 / 3) / (4 - 2); all: variance of 4.
    within = share_within(sums_within(visits, 2, np.array([3.0, 0.0])))
    assert within[0] == pytest.approx((30 - 64 / 3) / 2 / np.var([1, 2, 5, 7], ddof=1))
    assert within[1] == 1  # a single patient
    assert np.isnan(share_within(np.zeros((5, 1)))).all()


def test_rank_correlation_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, (2, 200)).astype(float)
    assert spearman(x, y) == pytest.approx(spearmanr(x, y)[0])
    assert spearman(np.ones(5), y[:5]) == 0


def naive_survival(days: np.ndarray, events: np.ndarray, t: float) -> float:
    survival = 1.0
    for u in sorted(set(days[events])):
        if u <= t:
            survival *= 1 - ((days == u) & events).sum() / (days >= u).sum()
    return survival


def test_kaplan_meier_is_the_product_over_event_times() -> None:
    rng = np.random.default_rng(1)
    days, events = rng.integers(0, 30, 80).astype(float), rng.random(80) < 0.4
    curve = kaplan_meier(days, events)
    for t in (0.0, 3.0, 7.5, 29.0, 100.0):
        assert curve.at(np.array([t]))[0] == pytest.approx(naive_survival(days, events, t))
    # Freireich's remission times (6-MP arm), a textbook case: 0.857 after 6 weeks, 0.448 after 23.
    weeks = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35], float)
    relapsed = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0], bool)
    np.testing.assert_allclose(kaplan_meier(weeks, relapsed).at(np.array([6.0, 23.0])), [0.857, 0.448], atol=5e-4)


def test_departures_of_curves() -> None:
    """R falls to 1/2 at day 2 of 10; S to 0 at day 4 of 8: the gap is 0, 1/2, then -1/2."""
    real, synthetic = Curve(np.array([2.0]), np.array([0.5]), 10.0), Curve(np.array([4.0]), np.array([0.0]), 8.0)
    found = departure(real, synthetic)
    assert found.optimism == pytest.approx((0.5 * 2 - 0.5 * 6) / 10)
    assert found.absolute == pytest.approx((0.5 * 2 + 0.5 * 6) / 10)
    assert found.short_sightedness == pytest.approx(0.2)


def test_who_is_followed_until_when() -> None:
    """Had it at first; gets it on day 7; never, last seen on day 9; one visit; no visit; dead on day 3."""
    visits = visits_of(
        [[(0, [1]), (5, [1])], [(1, [0]), (8, [0, 1]), (9, [1])], [(1, []), (10, [0])], [(4, [])], [], [(2, [0])]]
    )
    visits = replace(visits, died=np.array([UNKNOWN] * 5 + [5 * DAY]))
    patients, days, came = until_code(visits, 2, 1)
    assert patients.tolist() == [1, 2, 3, 5]
    assert days.tolist() == [7, 9, 0, 0]
    assert came.tolist() == [True, False, False, False]
    patients, days, came = until_death(visits)
    assert patients.tolist() == [0, 1, 2, 3, 5]
    assert days.tolist() == [5, 8, 9, 0, 3]
    assert came.tolist() == [False] * 4 + [True]
    assert incidence(visits, 2).tolist() == [1, 1]


def naive_partial_likelihood(beta: np.ndarray, days: np.ndarray, events: np.ndarray, x: np.ndarray) -> float:
    total = 0.0
    for i in np.flatnonzero(events):
        total += x[i] @ beta - np.log(sum(np.exp(x[j] @ beta) for j in range(len(days)) if days[j] >= days[i]))
    return total


def test_cox_maximises_breslows_likelihood() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 2))
    days = np.ceil(rng.exponential(np.exp(-x @ [0.8, -0.4]) * 10))  # with ties
    events = rng.random(60) < 0.7
    found = cox(days, events, x)
    best = minimize(lambda b: -naive_partial_likelihood(b, days, events, x), np.zeros(2), method="BFGS", tol=1e-8)
    np.testing.assert_allclose(found.log_ratios, best.x, atol=1e-4)
    step, hessian = 1e-4, np.zeros((2, 2))
    for i, j in np.ndindex(2, 2):
        ends = [(a, b, a * b) for a in (1, -1) for b in (1, -1)]
        hessian[i, j] = sum(
            sign
            * naive_partial_likelihood(found.log_ratios + step * (a * np.eye(2)[i] + b * np.eye(2)[j]), days, events, x)
            for a, b, sign in ends
        ) / (4 * step**2)
    np.testing.assert_allclose(found.errors, np.sqrt(np.diag(np.linalg.inv(-hessian))), rtol=1e-3)


def test_cox_by_hand_of_four_patients() -> None:
    """Events 1, 2, 3 with x = 1, 0, 1 and a censored 4 with x = 0, r = exp(b).

    The slope is 1 - 2r/(2r + 2), - r/(r + 2) and 1 - r/(r + 1): zero where r^2 - r - 4 is.
    """
    found = cox(np.array([1.0, 2, 3, 4]), np.array([True, True, True, False]), np.array([[1.0], [0], [1], [0]]))
    r = np.exp(found.log_ratios[0])
    assert r == pytest.approx((1 + np.sqrt(17)) / 2)


def test_a_ridge_keeps_hazards_finite() -> None:
    """All events have x = 1, so that without it the ratio would be infinite."""
    days, events, x = np.arange(1.0, 9), np.arange(8) < 4, (np.arange(8) < 4)[:, None] * 1.0
    found = cox(days, events, x, penalty=1.0)
    assert 0.5 < found.log_ratios[0] < 5
    assert np.isfinite(found.errors).all()
    none = cox(days, np.zeros(8, bool), x, penalty=1.0)
    assert none.log_ratios[0] == 0


def test_cox_finds_a_planted_ratio() -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 2, (4000, 1)).astype(float)
    days = rng.exponential(1 / (0.01 * 3.0 ** x[:, 0]))
    end = rng.uniform(0, 200, 4000)
    found = cox(np.minimum(days, end), days <= end, x)
    assert abs(found.log_ratios[0] - np.log(3)) < 3 * found.errors[0]
    assert found.errors[0] < 0.06


def test_paths_by_hand() -> None:
    """1 and 2 together, then 3, then 4 and, too late, 5; the same drug again is no new line; 9 is no drug."""
    visits = visits_of(
        [
            [(0, [1, 2]), (1, [1, 3, 9]), (2, [9]), (3, [4]), (4, [5])],
            [(0, [9])],
            [(0, [3]), (1, [3]), (2, [1, 2])],
            [(0, [3])],
        ]
    )
    found = pathways(visits, 10, np.array([1, 2, 3, 4, 5]))
    words = {spelled(int(key), ["a", "b", "c", "d", "e"]): int(n) for key, n in zip(*found, strict=True)}
    assert words == {"a+b then c then d": 1, "c then a+b": 1, "c": 1}


def test_impossible_orders() -> None:
    """In turn: fine; dead before the second visit; dead on its day; ends before it starts; unborn; overlap."""
    visits = visits_of([[(0, []), (5, [])]] * 5 + [[(0, []), (2, []), (8, [])]])
    ends = visits.starts + DAY
    ends[6] = visits.starts[6] - 1
    ends[10] = 9 * DAY  # the first stay of the last patient, which outlasts the second
    died = np.array([5, 3, 5, UNKNOWN, UNKNOWN, UNKNOWN])
    died = np.where(died == UNKNOWN, UNKNOWN, died * DAY)
    born = np.array([UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 1, UNKNOWN])
    found = order_faults(replace(visits, ends=ends, died=died, born=born))
    assert found.astype(int).tolist() == [
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
    ]
    assert not order_faults(simulated(50, 0)).any()
