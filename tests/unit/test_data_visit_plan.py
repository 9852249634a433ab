"""What is learned of visits from training patients: kinds, bounds, and what is left out; against hand-made arrays."""

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.preprocess import Preprocess
from ehrsynth.data.visit_plan import Values, clean_values, fold_kinds
from ehrsynth.data.visit_tables import Concept
from ehrsynth.visits import VisitSchema


def of_visits(numbers: list[tuple[int, int, float]]) -> Values:
    """Return values of (visit, measurement, value)."""
    visit, place, value = zip(*numbers, strict=True)
    return Values(np.array(visit), np.array(place, np.int32), np.array(value, float))


def lab(name: str, plausible: tuple[float, float] | None = None, kind: str = "continuous") -> Concept:
    return Concept(name, ColumnSpec(kind, domain="lab", label=name, plausible=plausible), "mg/dL")  # type: ignore[arg-type]


def test_who_is_measured_often_counts_once() -> None:
    patient = np.concatenate([np.repeat(0, 100), np.arange(1, 31)])  # a hundred visits of one, one of thirty
    value = np.concatenate([np.full(100, 999.0), 50 + np.arange(30)])
    values = of_visits([(visit, 0, number) for visit, number in enumerate(value)])
    (measurement,), cleaned, found = clean_values(values, patient, 25, [lab("x")], Preprocess())
    # training: 999 and 50 to 73; the tenth smallest is 59, the tenth largest 65: rounded outwards
    assert measurement.bounds == (59, 65)
    assert (measurement.unit, measurement.decimals) == ("mg/dL", 0)
    assert cleaned.value.max() == 65
    assert cleaned.value.min() == 59
    assert found == {"x: beyond its bounds": 100 + 9 + 14}


def test_exact_bounds_are_those_of_training() -> None:
    values = of_visits([(0, 0, 1.25), (1, 0, 7), (2, 0, 99)])
    exact = Preprocess(bounds="exact", min_count=1)
    (measurement,), cleaned, _ = clean_values(values, np.arange(3), 2, [lab("x")], exact)
    assert (measurement.bounds, measurement.decimals) == ((1.25, 7.0), 2)
    assert cleaned.value.tolist() == [1.25, 7, 7]


@pytest.mark.parametrize(
    ("outliers", "left"), [("clip", [10, 5, 7]), ("missing", [5, 7]), ("drop", [5, 7]), ("keep", [500, 5, 7])]
)
def test_implausible_values(outliers: str, left: list[float]) -> None:
    values = of_visits([(0, 0, 500), (1, 0, 5), (2, 0, 7)])
    preprocess = Preprocess(outliers=outliers, bounds="exact", min_count=1)  # type: ignore[arg-type]
    _, cleaned, found = clean_values(values, np.arange(3), 3, [lab("x", (0, 10))], preprocess)
    assert cleaned.value.tolist() == left
    assert found.get("x: implausible", 0) == (outliers != "keep")


def test_rare_measurements_go_and_whole_numbers_are_rounded() -> None:
    rows = [(visit, 0, 1.4) for visit in range(3)] + [(visit, 1, 2.6) for visit in range(12)]
    rows.sort()
    concepts = [lab("rare"), lab("often", kind="count")]
    measurements, cleaned, found = clean_values(of_visits(rows), np.arange(12), 12, concepts, Preprocess())
    assert [measurement.name for measurement in measurements] == ["often"]
    assert set(cleaned.place) == {0}
    assert set(cleaned.value) == {3}
    assert found["measurements of too few training patients"] == 1


def test_a_visit_that_breaks_a_relation_loses_both_numbers() -> None:
    values = of_visits([(0, 0, 80), (0, 1, 120), (1, 0, 130), (1, 1, 120), (2, 0, 200), (3, 1, 90)])
    rules = Preprocess(relations=["low < high", "low < unknown"], bounds="exact", min_count=1)
    _, cleaned, found = clean_values(values, np.zeros(4, np.int64), 1, [lab("low"), lab("high")], rules)
    assert cleaned.visit.tolist() == [0, 0, 2, 3]
    assert found["low < high"] == 1


def test_rare_kinds_are_folded() -> None:
    rows = [(0, p, "EW", False) for p in range(3)] + [(0, 0, "ODD", False)] * 5  # one patient, five times
    rows += [(1, 9, "NEW", False), (0, 0, "clinic", True), (0, 1, "clinic", True), (0, 2, "rare clinic", True)]
    rows += [(0, p, "clinic", False) for p in range(2)]  # a stay that is called as a visit
    visits = pd.DataFrame(rows, columns=["part", "patient", "kind", "ambulatory"])
    kinds, ambulatory, places, folded = fold_kinds(visits, 2)
    assert kinds == ("EW", "clinic (stay)", "other", "clinic", "outpatient")
    assert ambulatory == ("clinic", "outpatient")
    assert [kinds[place] for place in places] == [
        *["EW"] * 3,
        *["other"] * 6,
        *["clinic"] * 2,
        "outpatient",
        *["clinic (stay)"] * 2,
    ]
    assert folded == 3
    VisitSchema(kinds, (), (), ambulatory)
