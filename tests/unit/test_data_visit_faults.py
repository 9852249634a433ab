"""Which visit everything belongs to, and what becomes of what cannot be: against records written by hand."""

from pathlib import Path

import pytest

from ehrsynth.data.cohort.base import Cohort
from ehrsynth.data.features.codes import Codes
from ehrsynth.data.visit_faults import VISIT_FAULTS
from ehrsynth.data.vocabulary.icd import AsIs
from ehrsynth.errors import OptionError, TableError
from ehrsynth.visits import UNKNOWN
from tests.events import Event, diagnosis, event, person, stay
from tests.trajectories import FEATURES, Told, found_in, made_by_hand, moment, plain_patient, told


def lab(subject: int, stay_id: int | None, time: str | None, value: float) -> Event:
    return event(subject, "lab", time, stay_id=stay_id, code="glucose", numeric_value=value, unit="mg/dL")


RECORD = [
    *person(1, death="2012-09-01"),
    *stay(1, 11, "2012-01-01 22:00", "2012-01-02 04:00", kind="EW"),  # across midnight, one visit
    diagnosis(1, 11, "2012-01-02 04:00", "4280"),
    diagnosis(1, 11, "2012-01-02 04:00", "25000"),
    diagnosis(1, 11, "2012-01-02 04:00", "25000"),  # once
    lab(1, 11, "2012-01-01 23:00", 90),
    lab(1, 11, "2012-01-02 02:00", 120),  # the last
    lab(1, None, "2012-01-02 03:00", 130),  # names no stay, but lies in one, and is later
    *stay(1, 12, "2012-03-05 10:00", "2012-03-09 10:00", kind="URGENT"),  # no codes
    diagnosis(1, None, "2012-02-01 09:00", "4019"),  # two on one day of no stay
    diagnosis(1, None, "2012-02-01 17:00", "I10", "ICD10CM"),
    lab(1, None, "2012-02-01 18:00", 99),
    lab(1, None, "2012-03-05", 77),  # a day without a clock: that of an admission
    lab(1, None, "2012-03-04", 66),  # the day before
    *stay(1, 13, "2012-08-01 10:00", "2012-08-02 10:00", kind="EW"),
    *plain_patient(2),
]
WANTED: list[Told] = [
    ("EW", "2012-01-01 22:00", "2012-01-02 04:00", ["dx_250.00", "dx_428.0"], {"glucose": 130}),
    ("outpatient", "2012-02-01 09:00", None, ["dx_401.9", "dx_icd10_I10"], {"glucose": 99}),
    ("outpatient", "2012-03-04 00:00", None, [], {"glucose": 66}),
    ("URGENT", "2012-03-05 10:00", "2012-03-09 10:00", [], {"glucose": 77}),
    ("EW", "2012-08-01 10:00", "2012-08-02 10:00", [], {}),
]


def test_a_record_visit_by_visit(tmp_path: Path) -> None:
    made = made_by_hand(tmp_path / "t", RECORD)
    visits = made.visits("train")
    assert told(visits, made.visit_schema, 0) == WANTED
    assert made.visit_schema.ambulatory == ("outpatient",)
    assert moment(visits.born[0]) == "1960-01-01 00:00"
    assert moment(visits.died[0]) == "2012-09-01 00:00"
    assert moment(visits.died[1]) is None
    assert made.schema.names == ["sex"]
    assert made.static("train")["sex"].tolist() == ["F", "F"]


def test_a_record_up_to_the_index(tmp_path: Path) -> None:
    made = made_by_hand(tmp_path / "first", RECORD, cohort_stay="first")
    assert told(made.visits("train"), made.visit_schema, 0) == WANTED[:1]
    made = made_by_hand(tmp_path / "days", RECORD, cohort_window=200)
    assert told(made.visits("train"), made.visit_schema, 0) == WANTED[1:]
    made = made_by_hand(tmp_path / "stay", RECORD, cohort_window="stay")
    assert told(made.visits("train"), made.visit_schema, 0) == WANTED[4:]


def test_five_hundred_visits_and_one(tmp_path: Path) -> None:
    days = [f"{1980 + number // 12}-{1 + number % 12:02}-05 10:00" for number in range(500)]
    many = [
        row
        for number, day in enumerate(days, start=1000)
        for row in (*stay(1, number, day, None), diagnosis(1, number, day, "4019"))
    ]
    events = [*person(1), *many, *stay(1, 9, "2029-01-01 00:00", "2029-01-02 00:00"), *plain_patient(2)]
    made = made_by_hand(tmp_path / "t", events)
    visits = made.visits("train")
    assert visits.per_patient.tolist() == [501, 1]
    assert (visits.ends[:500] == UNKNOWN).all()
    assert visits.codes_per_visit[:501].tolist() == [1] * 500 + [0]
    assert found_in(made) == {}


FAULTY: dict[str, tuple[list[Event], int]] = {  # events beside a record of one visit, and how often
    "undated_visit": ([*stay(1, 12, None, "2011-01-01 10:00"), diagnosis(1, 12, None, "25000")], 1),
    "undated_event": ([diagnosis(1, None, None, "25000"), lab(1, None, None, 90)], 2),
    "visit_before_birth": ([lab(1, None, "1959-12-30 10:00", 90)], 1),
    "visit_after_death": ([event(1, "death", "2012-06-01"), lab(1, None, "2012-06-03 10:00", 90)], 1),
    "equal_times": (stay(1, 12, "2012-01-01 10:00", "2012-01-04 12:00"), 1),
}


def test_every_fault_has_a_case() -> None:
    assert set(FAULTY) == {fault.name for fault in VISIT_FAULTS}


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_is_counted_left_out_or_refused(name: str, tmp_path: Path) -> None:
    extra, times = FAULTY[name]
    fault = next(fault for fault in VISIT_FAULTS if fault.name == name)
    events = [*plain_patient(1), *extra, *plain_patient(2), *plain_patient(3)]
    seen = {"cohort_stay": None, "cohort_index": "2013-01-01"}
    made = made_by_hand(tmp_path / "t", events, cohort_faults={name: "exclude"}, **seen)
    assert found_in(made)[fault.words] == times
    assert made.visits("train").per_patient.tolist() == [1, 1, 1]
    assert told(made.visits("train"), made.visit_schema, 0)[0][3] == ["dx_401.9"]  # what was there is as it was
    with pytest.raises(TableError, match=rf"{fault.words}: {times}; .*cohort\.faults\.{name}=exclude"):
        made_by_hand(tmp_path / "refused", events, cohort_faults={name: "refuse"}, **seen)
    assert Cohort(faults="keep").visit_faults[name] == ("keep" if fault.can_stay else "exclude")
    if not fault.can_stay:
        with pytest.raises(OptionError, match=rf"cohort\.faults\.{name}=keep: a visit has a date"):
            Cohort(faults={name: "keep"})
    else:
        kept = made_by_hand(tmp_path / "kept", events, cohort_faults={name: "keep"}, **seen)
        assert kept.visits("train").per_patient.tolist() == [2, 1, 1]
        assert found_in(kept)[f"{fault.words}, kept"] == times


def test_visits_at_one_time_have_an_order(tmp_path: Path) -> None:
    extra = stay(1, 5, "2012-01-01 10:00", "2012-01-04 10:00", kind="LONGER")
    made = made_by_hand(tmp_path / "t", [*plain_patient(1), *extra, *plain_patient(2)])
    assert [line[0] for line in told(made.visits("train"), made.visit_schema, 0)] == ["EMERGENCY", "LONGER"]


def test_a_death_in_hospital_is_at_the_discharge(tmp_path: Path) -> None:
    events = [
        *person(1, death="2012-01-03"),
        *stay(1, 11, "2012-01-01 10:00", "2012-01-03 10:00", died=1),
        *plain_patient(2),
    ]
    made = made_by_hand(tmp_path / "t", events)
    assert moment(made.visits("train").died[0]) == "2012-01-03 10:00"


def test_patients_without_a_visit_stay_and_visits_may_be_of_two_vocabularies(tmp_path: Path) -> None:
    features = {**FEATURES, "rx": Codes(domain="medication", vocabulary=AsIs(), prefix="rx_")}
    features["dx2"] = Codes(domain="diagnosis", vocabulary=AsIs(), prefix="all_", unmapped="drop")
    drug = event(1, "medication", "2012-01-02 10:00", stay_id=10, code="Aspirin")
    events = [*plain_patient(1), drug, *plain_patient(2), *person(3)]
    made = made_by_hand(tmp_path / "t", events, features=features, cohort_stay=None, cohort_faults={"no_stay": "keep"})
    assert made.visits("train").per_patient.tolist() == [1, 1, 0]
    assert [code.name for code in made.visit_schema.codes] == ["dx_401.9", "all_401.9", "rx_Aspirin"]
    assert made.visit_schema.domains == {"diagnosis": slice(0, 2), "medication": slice(2, 3)}
    assert told(made.visits("train"), made.visit_schema, 0)[0][3] == ["dx_401.9", "all_401.9", "rx_Aspirin"]
