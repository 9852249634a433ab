"""Singling out, linkability and inference against hand-computed cases and slow loops."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from ehrsynth.metrics import inference, singling_out
from ehrsynth.metrics.gower import Gower, Mixed
from ehrsynth.metrics.linkability import linked
from ehrsynth.metrics.rates import Attempts, excess, risk
from ehrsynth.metrics.singling_out import AT_LEAST, AT_MOST, EQUAL, MISSING, Columns, Predicates
from ehrsynth.seeding import numpy_rng

RNG = np.random.default_rng(0)


def mixed(n: int, seed: int) -> Mixed:
    """Three bits, a category of four levels, two values, the second with gaps; coarse, so that ties occur."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 5, (n, 2)) / 4
    values[rng.random(n) < 0.3, 1] = np.nan
    bits = np.column_stack([rng.integers(0, 2, (n, 3)), np.isnan(values[:, 1])])
    levels = np.eye(4)[rng.integers(0, 4, n)]
    return Mixed(
        torch.from_numpy(bits.astype(np.uint8)),
        torch.from_numpy(levels.astype(np.uint8)),
        torch.from_numpy(values.astype(np.float32)),
    )


def slow_gower(a: Mixed, i: int, b: Mixed, j: int) -> float:
    total = float((a.bits[i] != b.bits[j]).sum()) + float((a.levels[i] != b.levels[j]).any())
    gaps = (a.values[i] - b.values[j]).abs()
    return total + float(gaps[~gaps.isnan()].sum())


def test_gower_gives_every_column_the_same_weight() -> None:
    left, right = mixed(15, 1), mixed(20, 2)
    slow = [[slow_gower(left, i, right, j) for j in range(20)] for i in range(15)]
    np.testing.assert_allclose(Gower(right).distances(left), slow, atol=1e-6)


def test_the_shrunk_rate_is_the_middle_of_the_wilson_interval() -> None:
    tried = Attempts(30, 200)
    interval = binomtest(30, 200).proportion_ci(method="wilson")
    centre, error = tried.shrunk
    assert (centre - error, centre + error) == pytest.approx((interval.low, interval.high))
    assert tried.rate[1] == pytest.approx((interval.low, interval.high))


def test_the_risk_is_the_excess_over_what_the_control_leaves() -> None:
    attack, control = Attempts(600, 1000), Attempts(200, 1000)
    value, (low, high) = risk(attack, control)
    assert value == pytest.approx(0.5, abs=2e-3)
    errors = attack.shrunk[1] / 0.8, control.shrunk[1] * 0.4 / 0.64
    assert high - low == pytest.approx(2 * np.hypot(*errors), rel=1e-2)
    assert risk(control, attack)[0] == 0
    assert excess(attack, control)[0] == pytest.approx(0.4)


def table() -> Columns:
    levels = np.array([[0, 1, 1, 0, 0], [2, 2, 0, 1, 0]], dtype=np.uint16)
    values = np.array([[5.0, 5.0, 7.0, np.nan, 9.0]], dtype=np.float32)
    return Columns(levels, values, np.array([True, False]))


def test_predicates_by_hand() -> None:
    columns = np.array([[0, 1], [0, 2], [2, 2], [2, 1], [1, 2]])
    operators = np.array([[EQUAL, EQUAL], [EQUAL, AT_LEAST], [AT_LEAST, AT_MOST], [MISSING, EQUAL], [EQUAL, AT_MOST]])
    operands = np.array([[1, 2], [1, 5], [7, 8], [0, 1], [2, 5]], dtype=np.float32)
    found = singling_out.isolated(Predicates(columns, operators, operands), table())
    assert found.tolist() == [True, False, True, True, False]  # the 2nd holds for records 1 and 2, the 5th for 0 and 1


def test_univariate_predicates_are_the_values_that_occur_once_and_extremes() -> None:
    found = singling_out.univariate(table(), 100, numpy_rng(0))
    listed = sorted(zip(found.columns[:, 0], found.operators[:, 0], found.operands[:, 0].tolist(), strict=True))
    assert listed == [(1, EQUAL, 1.0), (2, EQUAL, 7.0), (2, EQUAL, 9.0), (2, AT_LEAST, 9.0), (2, MISSING, 0.0)]
    assert singling_out.isolated(found, table()).all()
    assert len(singling_out.univariate(table(), 2, numpy_rng(0))) == 2


@pytest.mark.parametrize("absent", [True, False])
def test_multivariate_predicates_hold_for_one_record_and_differ(absent: bool) -> None:
    rng = np.random.default_rng(3)
    levels = np.vstack([rng.random((6, 80)) < 0.2, rng.integers(0, 3, (1, 80))]).astype(np.uint16)
    many = Columns(levels, rng.normal(size=(2, 80)).astype(np.float32), np.array([True] * 6 + [False]))
    found = singling_out.multivariate(many, 50, 3, 5000, absent, numpy_rng(1))
    assert len(found) == 50
    rows = [
        list(zip(found.columns[i].tolist(), found.operators[i].tolist(), found.operands[i].tolist(), strict=True))
        for i in range(50)
    ]
    assert len({tuple(row) for row in rows}) == 50
    for row in rows:
        assert len({column for column, _, _ in row}) == 3
        holds = np.ones(80, dtype=bool)
        for column, operator, operand in row:
            cells = levels[column] if column < 7 else many.values[column - 7]
            holds &= {EQUAL: cells == operand, AT_LEAST: cells >= operand, AT_MOST: cells <= operand}[operator]
            assert absent or column > 5 or operand == 1
        assert holds.sum() == 1


def test_records_without_enough_columns_to_name_give_no_predicate() -> None:
    empty = Columns(np.zeros((4, 10), np.uint16), np.empty((0, 10), np.float32), np.ones(4, dtype=bool))
    assert not len(singling_out.multivariate(empty, 10, 3, 2000, False, numpy_rng(0)))


def test_links_by_a_slow_loop() -> None:
    targets, source = (mixed(12, 4), mixed(12, 5)), (mixed(30, 6), mixed(30, 7))
    for k in (1, 3, 40):
        slow = []
        for i in range(12):
            near = []
            for known, records in zip(targets, source, strict=True):
                distances = [round(slow_gower(known, i, records, j), 5) for j in range(30)]
                near.append(set(np.argsort(distances, kind="stable")[:k].tolist()))
            slow.append(bool(near[0] & near[1]))
        assert linked(targets, source, k).tolist() == slow


def test_halves_of_a_synthetic_record_are_linked_unless_an_earlier_one_ties() -> None:
    rows = mixed(40, 8), mixed(40, 9)
    distinct = {
        tuple(map(str, half.bits[i].tolist() + half.levels[i].tolist() + half.values[i].tolist()))
        for half in rows
        for i in range(40)
    }
    assert len(distinct) < 80
    assert linked(rows, rows)[0]


def test_the_nearest_record_without_a_secret_by_a_slow_loop() -> None:
    targets, source = mixed(25, 10), mixed(35, 11)

    def secrets(x: Mixed) -> np.ndarray:
        return np.column_stack([x.bits[:, 0], x.levels.argmax(1), x.values[:, 1]]).astype(np.float32)

    found = inference.nearest_without(
        targets, source, (secrets(targets), secrets(source)), np.array([True, True, False])
    )
    for secret in range(3):
        cut = []
        for x in (targets, source):
            bits, levels, values = x.bits.clone(), x.levels.clone(), x.values.clone()
            if secret == 0:
                bits[:, 0] = 0
            elif secret == 1:
                levels[:] = 0
            else:
                bits[:, 3], values[:, 1] = 0, 0
            cut.append(Mixed(bits, levels, values))
        for i in range(25):
            slow = [round(slow_gower(cut[0], i, cut[1], j), 5) for j in range(35)]
            assert found[i, secret] == int(np.argmin(slow))


def test_guesses_are_right_within_five_percent_or_if_both_are_missing() -> None:
    guess = np.array([[1, 105.0], [2, 106.0], [1, np.nan], [1, np.nan], [0, -96.0]])
    truth = np.array([[1, 100.0], [1, 100.0], [1, np.nan], [1, 3.0], [0, -100.0]])
    found = inference.right(guess, truth, np.array([True, False]))
    assert found.tolist() == [[True, True], [False, False], [True, True], [True, False], [True, True]]
