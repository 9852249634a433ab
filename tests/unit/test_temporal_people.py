"""Copies, distances, the tree of codes, next visits, outcomes and reshaped records."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, Ridge

from ehrsynth.evaluation.temporal.groups import capped
from ehrsynth.metrics.membership import membership_accuracy
from ehrsynth.metrics.temporal.copied import lone_runs, longest_prefixes, runs
from ehrsynth.metrics.temporal.distances import bag_nearest, hamming_nearest
from ehrsynth.metrics.temporal.hierarchy import Tree, hierarchy_sums, icd_path
from ehrsynth.metrics.temporal.next_visit import (
    fit_logistic,
    fit_ridge,
    history,
    linear,
    means_by_patient,
    recall_at,
    transitions,
)
from ehrsynth.metrics.temporal.outcomes import calibration, calibration_error, outcomes
from ehrsynth.metrics.temporal.reshaped import first_visits, independent, length_matched, shuffled
from ehrsynth.metrics.temporal.summaries import summaries
from ehrsynth.visits import DAY, UNKNOWN, Code, Visits, VisitSchema
from tests.unit.test_temporal_ngrams import as_sets
from tests.visit_toy import SCHEMA, simulated, visits_of

WIDTH = len(SCHEMA.codes)


def test_longest_copied_prefix_by_hand() -> None:
    real = visits_of([[(0, [1, 2]), (1, [3]), (2, [4])], [(0, [5]), (1, [6])], [(0, []), (1, [7])]])
    synthetic = visits_of(
        [
            [(9, [1, 2]), (11, [3]), (12, [5])],
            [(0, [3]), (1, [4])],  # a middle is no prefix
            [(0, [1]), (1, [2])],  # the same codes in other visits
            [(0, [1, 2]), (1, [6])],  # of two patients
            [(0, []), (1, [7])],  # the empty visit does not count
            [(0, [5]), (1, [6]), (2, [7])],
            [],
        ]
    )
    assert longest_prefixes(synthetic, real).tolist() == [2, 0, 0, 1, 1, 2, 0]


def test_runs_that_one_patient_has() -> None:
    """1 then 2 of two patients, one of whom twice; 2 then 3 of one, twice; what touches an empty visit is none."""
    visits = visits_of(
        [[(0, [1]), (1, [2]), (2, [3]), (3, [2]), (4, [3])], [(0, [1]), (1, [2])], [(0, [1]), (1, []), (2, [2])]]
    )
    found, patients = runs(visits, 2)
    assert patients.tolist() == [0, 0, 0, 0, 1]
    assert found[0] == found[4]
    assert found[1] == found[3]
    assert sorted(lone_runs(visits, 2).tolist()) == sorted({int(found[1]), int(found[2])})
    assert lone_runs(visits_of([]), 2).tolist() == []


def naive_hamming(left: list[list[int]], right: list[list[int]]) -> int:
    longest = max(len(left), len(right))
    padded = [visits + [[]] * (longest - len(visits)) for visits in (left, right)]
    return (len(left) != len(right)) + sum(len(set(a) ^ set(b)) for a, b in zip(*padded, strict=True))


def naive_bag(left: list[list[int]], right: list[list[int]]) -> int:
    flat = [[code for visit in visits for code in visit] for visits in (left, right)]
    return sum(abs(flat[0].count(code) - flat[1].count(code)) for code in range(WIDTH))


def test_distances_are_those_of_loops_over_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehrsynth.metrics.temporal.distances.BLOCK", 100)
    some, others = Visits.joined([simulated(30, 0), visits_of([[], [(0, [])]])]), simulated(25, 1)
    lists = as_sets(some), as_sets(others)
    assert hamming_nearest(some, others, WIDTH).tolist() == [
        min(naive_hamming(a, b) for b in lists[1]) for a in lists[0]
    ]
    assert bag_nearest(some, others).tolist() == [min(naive_bag(a, b) for b in lists[1]) for a in lists[0]]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("dx_250.83", ("9:chapter 3", "9:250", "9:2508", "9:25083")),
        ("dx_008", ("9:chapter 1", "9:008")),
        ("dx_V58.1", ("9:chapter 19", "9:V58", "9:V581")),
        ("dx_E885", ("9:chapter 18", "9:E885")),
        ("dx_icd10_V58", ("10:chapter 21", "10:V58")),
        ("dx_icd10_E11.9", ("10:chapter 4", "10:E11", "10:E119")),
        ("icd10_D49", ("10:chapter 2", "10:D49")),
        ("icd10_D50", ("10:chapter 3", "10:D50")),
        ("icd10_H60", ("10:chapter 8", "10:H60")),
        ("ICD10CM/Z99.2", ("10:chapter 22", "10:Z99", "10:Z992")),
        ("I10", ("10:chapter 9", "10:I10")),
        ("dx_asthma", None),
        ("dx_unmapped_o'clock", None),
        ("dx_289", ("9:chapter 4", "9:289")),
        ("dx_999.9", ("9:chapter 17", "9:999", "9:9999")),
    ],
)
def test_where_a_code_hangs(name: str, path: tuple[str, ...] | None) -> None:
    assert icd_path(name) == path


def test_the_tree_by_hand() -> None:
    """Depths 3, 3 and 2 in two chapters; 250.0 and 250.1 are two steps apart, either and 401 five; x has no place."""
    tree = Tree.of([icd_path(name) for name in ("dx_250.0", "dx_250.1", "dx_401", "x")])
    assert tree.depth.tolist() == [3, 3, 2, 0]
    sums = hierarchy_sums(visits_of([[(0, [0, 1, 2, 3]), (1, [2])], [(0, [])]]), tree)
    assert sums.tolist() == [[3 + 3 + 2 + 2, 4], [2 + 5 + 5, 3], [2 / 3, 1]]


def test_history_by_hand() -> None:
    visits = visits_of([[(0, [1]), (3, [1, 2]), (4, [])], [(0, [2])]])
    visits = replace(visits, kinds=np.array([0, 1, 0, 0], np.int16), born=np.array([UNKNOWN, -round(3652.5 * DAY)]))
    schema = VisitSchema(("a", "b"), tuple(Code(str(i), "diagnosis") for i in range(3)))
    found = history(visits, schema, np.array([1, 2]))
    np.testing.assert_allclose(found[:, :2], [[1, 0], [1.5, 1], [0.75, 0.5], [0, 1]])
    np.testing.assert_allclose(found[:, 2:4], [[1, 0], [0, 1], [1, 0], [1, 0]])
    np.testing.assert_allclose(np.expm1(found[:, 4:7]), [[0, 0, 1], [1, 3, 2], [2, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(found[:, 7], [0, 0, 0, 1])
    before, has, gaps, patients = transitions(visits, schema, np.array([1, 2]))
    np.testing.assert_array_equal(before, found[:2])
    assert has.tolist() == [[True, True], [False, False]]
    np.testing.assert_allclose(np.expm1(gaps), [3, 1])
    assert patients.tolist() == [0, 0]


def test_linear_models_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(300, 4)), rng.normal(size=300)
    y = np.stack([x[:, 0] + noise > 1, x[:, 1] - noise > 0], axis=1)
    weights = fit_logistic(x, y)
    for k in range(2):
        model = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(x, y[:, k])
        np.testing.assert_allclose(weights[:, k], [*model.coef_[0], model.intercept_[0]], atol=5e-3)
    ridge = Ridge(1.0).fit(x, noise + 3)
    np.testing.assert_allclose(linear(x, fit_ridge(x, noise + 3)), ridge.predict(x), atol=1e-6)


def test_recall_by_hand() -> None:
    scores = np.array([[0.9, 0.5, 0.1], [0.1, 0.2, 0.3], [1, 2, 3]])
    truth = np.array([[True, False, True], [True, True, False], [False, False, False]])
    np.testing.assert_array_equal(recall_at(scores, truth, (1, 2)), [[0.5, 0, np.nan], [0.5, 0.5, np.nan]])
    assert means_by_patient(np.array([1, 0, np.nan, 0.5]), np.array([3, 3, 3, 5])).tolist() == [0.5, 0.5]


def test_outcomes_by_hand() -> None:
    """Back 31 days after the start but 30 after the end; after 40 days; never, dead after 364 days; dead after 366."""
    visits = visits_of([[(0, [])], [(0, [])], [(0, [])], [(0, [])], []])
    died = np.array([UNKNOWN, UNKNOWN, 364 * DAY, 366 * DAY, UNKNOWN])
    found = outcomes(replace(visits, died=died), np.random.default_rng(0))
    assert found.died.tolist() == [False, False, True, False]
    assert not found.readmitted.any()
    two = visits_of([[(0, []), (31, [])], [(0, []), (40, [])]])
    two = replace(two, ends=np.array([DAY, 32 * DAY, UNKNOWN, UNKNOWN]))
    told = set()
    for seed in range(20):
        drawn = outcomes(two, np.random.default_rng(seed))
        told |= set(zip(drawn.visits.tolist(), drawn.readmitted.tolist(), strict=True))
    assert told == {(0, True), (1, False), (2, False), (3, False)}


def test_calibration_finds_what_was_done_to_the_risks() -> None:
    rng = np.random.default_rng(1)
    odds = rng.normal(-1, 1.5, 20_000)
    y = rng.random(20_000) < expit(odds)
    right = calibration(y, expit(odds))
    assert right.slope[1][0] < 1 < right.slope[1][1]
    assert right.intercept[1][0] < 0 < right.intercept[1][1]
    assert calibration(y, expit(2 * odds)).slope[0] == pytest.approx(0.5, abs=0.02)
    assert calibration(y, expit(odds - 0.7)).intercept[0] == pytest.approx(0.7, abs=0.05)
    model = LogisticRegression(C=np.inf, tol=1e-8).fit(odds[:, None], y)
    assert right.slope[0] == pytest.approx(model.coef_[0, 0], abs=1e-3)
    assert calibration_error(y, expit(odds)) < 0.015
    assert calibration_error(np.repeat([True, False], 10), np.full(20, 0.5)) == pytest.approx(0.5)


def test_shuffled_visits_stay_with_their_patient_and_dates() -> None:
    visits = simulated(200, 0)
    moved = shuffled(visits, np.random.default_rng(0))
    moved.check(SCHEMA, "shuffled")
    assert moved.starts is visits.starts
    assert [sorted(map(tuple, a)) for a in as_sets(moved)] == [sorted(map(tuple, a)) for a in as_sets(visits)]
    assert as_sets(moved) != as_sets(visits)


def test_independent_visits_keep_the_histograms() -> None:
    visits = simulated(400, 0)
    drawn = independent(visits, np.random.default_rng(0), 5000)
    drawn.check(SCHEMA, "independent")
    assert set(drawn.per_patient.tolist()) <= set(visits.per_patient.tolist())
    assert drawn.per_patient.mean() == pytest.approx(visits.per_patient.mean(), rel=0.05)
    assert np.nanmedian(drawn.gaps) == pytest.approx(np.nanmedian(visits.gaps), rel=0.05)
    assert np.isin(np.round(drawn.gaps[drawn.number > 0] * 1440), np.round(visits.gaps * 1440)).mean() > 0.99
    assert drawn.codes_per_visit.mean() == pytest.approx(visits.codes_per_visit.mean(), rel=0.05)
    alone = independent(visits_of([[(0, [1])], []]), np.random.default_rng(0))
    alone.check(SCHEMA, "alone")
    assert set(alone.per_patient.tolist()) <= {0, 1}


def test_records_of_matched_length() -> None:
    left, right = simulated(150, 0), simulated(100, 1).of_patients(np.arange(100))
    long = visits_of([[(day, [0]) for day in range(9)]] * 30)
    for a, b in ((left, right), (long, right)):
        pair = length_matched(a, b, np.random.default_rng(0))
        assert pair[0].per_patient.tolist() == pair[1].per_patient.tolist()
        assert len(pair[0]) == min(len(a), len(b))
    assert first_visits(long, np.arange(30)).per_patient.tolist() == [min(i, 9) for i in range(30)]
    assert as_sets(first_visits(left, np.full(150, 2))) == [visits[:2] for visits in as_sets(left)]


def test_summaries_by_hand() -> None:
    schema = VisitSchema(("a",), tuple(Code(f"c{i}", "diagnosis") for i in range(3)))
    visits = visits_of([[(0, [0]), (7, [0, 1])], [], [(2, [2])]])
    names, rows = summaries(visits, schema, np.array([0, 2]))
    table = dict(zip(names, rows.T.tolist(), strict=True))
    assert table["number of visits"] == [2, 0, 1]
    assert table["mean log gap"][0] == pytest.approx(np.log(8))
    assert np.isnan(table["mean log gap"][1:]).all()
    assert table["codes of the last visit"] == [2, 0, 1]
    assert table["share of codes the visit before had"][0] == 0.5
    assert table["times: c0"] == [2, 0, 0]
    assert table["at the first visit: c2"] == [0, 0, 1]
    assert table["at the last visit: c0"] == [1, 0, 0]
    assert "times: c1" not in table


def test_as_many_patients_as_their_visits_allow() -> None:
    visits = simulated(100, 0)
    some = capped(visits, 50, 0, "some", 60)
    assert 50 < some.count <= 60
    assert len(capped(visits, 50, 0, "some")) == 50
    assert capped(visits, None, 0, "all") is visits


@pytest.mark.parametrize(
    ("members", "others", "right"),
    [
        ([0, 1, 2, 3], [4, 5, 6, 7], 1.0),
        ([0, 1, 6, 7], [2, 3, 4, 5], 0.5),  # the four nearest are two members and two others
        ([0, 1, 2, 9], [3, 4, 5, 6], 0.75),
        ([1, 1, 1, 1], [1, 1, 1, 1], 0.5),
        ([0, 2, 2, 9], [2, 9, 9, 9], (3 + 3) / 8),  # 0 and three tied: no coin to toss
        ([0, 2, 2, 9], [2, 2, 9, 9], (1 + 2 * 0.75 + 2 + 2 * 0.25) / 8),  # 0, and three of four tied
        ([0, 1], [2, 3, 4, 5], 1.0),
    ],
)
def test_accuracy_at_the_median_by_hand(members: list[float], others: list[float], right: float) -> None:
    value, (low, high) = membership_accuracy(torch.tensor(members), torch.tensor(others))
    assert value == pytest.approx(right)
    assert low <= value <= high


def test_the_interval_of_the_accuracy_is_as_wide_as_chance() -> None:
    draws = torch.rand(400, 2, 50, generator=torch.Generator().manual_seed(0))
    values, ends = zip(*(membership_accuracy(*both) for both in draws), strict=True)
    assert np.mean([low <= 0.5 <= high for low, high in ends]) == pytest.approx(0.95, abs=0.03)
    assert np.mean(values) == pytest.approx(0.5, abs=0.01)
