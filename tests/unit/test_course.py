"""Patients through time who are kept so that together they have the shares of the training patients."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ehrsynth.data.encoding import Encoder
from ehrsynth.disclosure import LEAST
from ehrsynth.errors import OptionError
from ehrsynth.layout import Layout, Records
from ehrsynth.models.visits.independent_visits import IndependentVisits
from ehrsynth.models.visits.markov import Markov
from ehrsynth.sampling import Calibration, calibrated
from ehrsynth.sampling.course import CODES, DAYS, DIES, CourseView, calibrated_patients
from ehrsynth.sampling.patients import Patients, drawn_patients
from ehrsynth.sampling.targets import Targets
from ehrsynth.visits import Visits
from tests.unit.test_row_view import PEOPLE, STATIC
from tests.unit.test_visits import SCHEMA as THREE
from tests.unit.test_visits import three
from tests.visits import SCHEMA, simulated, visit_schema

MADE = visit_schema(12)


def test_a_row_says_what_the_course_of_visits_is() -> None:
    view, visits = CourseView(STATIC, THREE, 2), three()
    told = Encoder(view.schema).decode(view.rows(Encoder(STATIC).encode(PEOPLE), visits))
    assert told["visits"].tolist() == [2, 0, 1]
    first, second = (f"a visit of the kind {kind}" for kind in THREE.kinds)
    assert told[[first, second]].to_numpy().tolist() == [[1, 1], [0, 0], [1, 0]]
    assert told[DIES].tolist() == [0, 0, 1]
    np.testing.assert_allclose(told[CODES], [1.0, np.nan, 1.0], atol=0.01)
    np.testing.assert_array_equal(told[DAYS], [30.0, np.nan, np.nan])
    again = [f"{code.name} at the next visit too" for code in THREE.codes]
    assert not told[again].to_numpy().any()
    stays = replace(visits, codes=np.array([0, 2, 2], np.int32), code_offsets=np.array([0, 2, 3, 3]))
    told = Encoder(view.schema).decode(view.rows(Encoder(STATIC).encode(PEOPLE), stays))
    assert told[again].to_numpy().tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


@pytest.fixture(scope="module")
def train() -> tuple[torch.Tensor, Visits]:
    return simulated(1500, 0, 12)


@pytest.fixture(scope="module")
def model(train: tuple[torch.Tensor, Visits]) -> Markov:
    fitted = Markov(schema=SCHEMA, visit_schema=MADE, seed=0)
    fitted.observe(*train)
    return fitted.eval()


@pytest.fixture(scope="module")
def view(model: Markov) -> CourseView:
    return CourseView(SCHEMA, MADE, float(model.calendar.most))


@pytest.fixture(scope="module")
def targets(train: tuple[torch.Tensor, Visits], view: CourseView) -> Targets:
    static = Records.of_dense(Layout.of(SCHEMA), train[0])
    return Targets.of(view.rows(static, train[1]), view.schema, 0)


def test_targets_tell_of_ten_patients_or_more(targets: Targets) -> None:
    assert (targets.counts >= LEAST).all()
    names = {targets.features.name(place) for place in range(len(targets))}
    assert {"code0 at the next visit too", "a visit of the kind clinic", "code0", DIES} <= names
    assert any(name.startswith(DAYS) for name in names)
    assert any(name.startswith(CODES) for name in names)


def records(visits: Visits) -> list[tuple[int, bytes, bytes]]:
    """Return birth, dates and codes of each patient."""
    each = (visits.of_patients(np.array([patient])) for patient in range(len(visits)))
    return [(int(one.born[0]), one.starts.tobytes(), one.codes.tobytes()) for one in each]


def test_what_is_kept_has_the_shares_and_is_as_it_was_drawn(
    model: Markov, view: CourseView, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrated, "PER_TARGET", 3)
    monkeypatch.setattr(calibrated, "LEAST_WORTH", 0.05)
    n, how = 1200, Calibration(targets, 3.0, held=500)
    assert how.pools(n) == [1200] * 3
    pool = Patients.joined(drawn_patients(model, how.drawn(n), 5))
    kept = Patients.joined(calibrated_patients(drawn_patients(model, how.drawn(n), 5), how, view, n, 5))
    assert len(kept.visits) == len(kept.static) == n
    kept.visits.check(MADE, "kept")

    def off(patients: Patients) -> float:
        found = targets.features.of(view.rows(*patients)).mean(0) - targets.shares
        return float(np.sqrt((found**2 / (targets.shares * (1 - targets.shares))).mean()))

    assert off(kept) < 0.5 * off(pool)
    assert off(kept) == pytest.approx(np.sqrt((np.square(how.after) / targets.shares / (1 - targets.shares)).mean()))
    rest = iter(records(pool.visits))
    assert all(record in rest for record in records(kept.visits))  # in their order, and none twice


def test_a_model_without_any_order_is_refused(
    train: tuple[torch.Tensor, Visits], view: CourseView, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrated, "PER_TARGET", 3)
    floor = IndependentVisits(schema=SCHEMA, visit_schema=MADE, seed=0)
    floor.observe(*train)
    how = Calibration(targets)
    with pytest.raises(OptionError, match="calibrate=true: weighted so that they have the shares"):
        list(calibrated_patients(drawn_patients(floor.eval(), how.drawn(1000), 0), how, view, 1000, 0))
    lenient = Calibration(targets, required=False)
    kept = Patients.joined(calibrated_patients(drawn_patients(floor, lenient.drawn(1000), 0), lenient, view, 1000, 0))
    assert lenient.refused is not None
    plain = Patients.joined(drawn_patients(floor, lenient.drawn(1000), 0)).of(np.arange(1000))
    np.testing.assert_array_equal(kept.visits.codes, plain.visits.codes)
