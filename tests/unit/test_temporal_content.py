"""What visits record by domain, against counts by hand and scipy's Jensen-Shannon distance."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from ehrsynth.evaluation.evaluator import NotApplicableError, RealVisits, Undefined, Value
from ehrsynth.evaluation.temporal.content import Content
from ehrsynth.metrics.temporal.cells import KIND, VisitCells
from ehrsynth.visits import Code, Measurement, Visits, VisitSchema
from tests.visit_toy import SCHEMA, real_visits, simulated, visits_of

NAME = "temporal/content_js"
SMALL = VisitSchema(
    ("stay", "walk-in"),
    (*(Code(f"dx_{i}", "diagnosis") for i in range(2)), Code("rx_0", "medication")),
    (Measurement("glucose", "lab", "mg/dL", (0.0, 100.0), 0), Measurement("sodium", "lab", "", (0.0, 9.0), 0)),
    ambulatory=("walk-in",),
)


def written(patients: list[list[tuple[float, list[int]]]], kinds: list[int], values: list[dict[int, float]]) -> Visits:
    """Visits with kinds and values as they are told."""
    flat = [(place, value) for visit in values for place, value in sorted(visit.items())]
    return replace(
        visits_of(patients),
        kinds=np.array(kinds, np.int16),
        value_offsets=np.cumsum([0, *map(len, values)]),
        measured=np.array([place for place, _ in flat], np.int32),
        values=np.array([value for _, value in flat], np.float32),
    )


REAL = written([[(0, [0, 1]), (5, [0])], [(0, []), (3, [2])]], [0, 0, 1, 0], [{0: 10}, {0: 50}, {}, {0: 30}])
FOUND = written([[(0, [0])], [(0, [2]), (3, [1, 2])]], [0, 1, 1], [{0: 10, 1: 4}, {0: 51}, {}])


def bits(one: list[float], other: list[float]) -> float:
    return float(jensenshannon(one, other, base=2) ** 2)


def test_by_hand() -> None:
    """Ranges of R: glucose from 10 to 50, so 10, 30 and 50 are in the bins 0, 10 and 19; sodium was never measured."""
    score = Content().fit(RealVisits(SMALL, REAL, REAL), 0)(FOUND, 0)[NAME]
    assert isinstance(score, Value)
    # cells: dx_0, dx_1, none; rx_0, none; bins 0, 10, 19, not measured, outside; not measured, outside
    expected = {
        KIND: bits([3, 1], [1, 2]),
        "diagnosis": bits([2, 1, 2], [1, 1, 1]),
        "medication": bits([1, 3], [2, 1]),
        "lab": (bits([1, 1, 1, 1, 0], [1, 0, 0, 1, 1]) + bits([4, 0], [2, 1])) / 2,
    }
    for domain, value in expected.items():
        assert score.parts["domain", domain].value == pytest.approx(value), domain
    assert score.parts["measurement", "sodium"].value == pytest.approx(bits([4, 0], [2, 1]))
    assert score.value == pytest.approx(np.mean(list(expected.values())))


def test_every_visit_is_in_one_cell_of_each_measurement_and_of_the_kinds() -> None:
    visits = simulated(200, 3)
    cells = VisitCells.of(simulated(100, 4), SCHEMA)
    counts = np.add.reduceat(cells.count(visits), cells.starts)
    whole = [i for i, name in enumerate(cells.names) if name not in SCHEMA.domains]
    assert counts[whole].tolist() == [visits.count] * len(whole)
    assert cells.domains == {KIND: [0], "diagnosis": [1], "medication": [2], "lab": [3, 4]}


def test_it_is_zero_of_a_copy_one_of_nothing_in_common_and_blind_to_order() -> None:
    real = real_visits(300, 300)
    score = Content().fit(real, 0)
    assert score(real.train, 0)[NAME].value == 0  # type: ignore[union-attr]
    fresh = score(real.holdout, 0)[NAME]
    assert isinstance(fresh, Value)
    assert fresh.ci is not None
    assert fresh.ci[0] <= fresh.value <= fresh.ci[1]
    assert 0 < fresh.value < 0.02
    moved = real.holdout.with_visits_moved(np.random.default_rng(0).permutation(real.holdout.count))
    assert score(moved, 0)[NAME].value == pytest.approx(fresh.value)  # type: ignore[union-attr]
    other = Content().fit(RealVisits(SMALL, visits_of([[(0, [0])]] * 3), REAL), 0)(visits_of([[(0, [1])]] * 3), 0)[NAME]
    assert isinstance(other, Value)
    assert other.parts["domain", "diagnosis"].value == pytest.approx(1)
    assert other.parts["domain", "medication"].value == 0


def test_without_visits_nothing_is_said() -> None:
    empty = visits_of([[], []])
    with pytest.raises(NotApplicableError, match="no training patient has a visit"):
        Content().fit(RealVisits(SMALL, empty, REAL), 0)
    score = Content().fit(RealVisits(SMALL, REAL, REAL), 0)
    assert score(empty, 0)[NAME] == Undefined("no synthetic patient has a visit")
    alone = score(visits_of([[], [], [(0, [0])]]), 0)[NAME]  # whose group cannot be left out
    assert isinstance(alone, Value)
    assert alone.ci == pytest.approx((alone.value, alone.value))
