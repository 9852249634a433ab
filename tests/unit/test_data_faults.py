"""Faults inside readable tables: each is found, counted, and left out or refused as the user chose."""

from collections.abc import Iterator

import pytest

from ehrsynth.data.cohort.base import Cohort
from ehrsynth.data.faults import FAULTS, policies, settle
from ehrsynth.data.store import Store
from ehrsynth.errors import TableError
from tests.events import Event, chosen, diagnosis, event, hold, person, stay

SOUND = [
    *person(1, death="2012-06-02"),
    *stay(1, 11, "2012-01-01 10:00", "2012-01-03 10:00"),
    *stay(1, 12, "2012-06-01 10:00", "2012-06-03 10:00", died=1),  # discharged within a day of death
    diagnosis(1, 11, "2012-01-03 10:00", "4019"),
    diagnosis(1, 12, "2012-06-03 10:00", "I10", "ICD10CM"),
    diagnosis(1, None, "2012-06-01 10:00", "A01", "SNOMED"),
    *person(2, "M", birth="2012-02-02"),
    *stay(2, 21, "2012-02-02 00:00", "2012-02-02 00:00"),
    event(2, "lab", "2012-02-02 00:00", code="glucose", numeric_value=90, unit="mg/dL"),
    event(1, "lab", "2012-01-02 00:00", code="glucose", numeric_value=91, unit="MG/DL"),
    event(1, "lab", "2012-01-02 00:00", code="glucose", numeric_value=92, unit="mg/dL"),
    event(1, "lab", "2012-01-02 00:00", code="glucose", numeric_value=93),
    event(1, "lab", "2012-01-02 00:00", code="lactate", numeric_value=1, unit="mmol/L"),
    *person(3, birth="1690-01-01"),  # how MIMIC-III writes an age over 89
    *stay(3, 31, "1999-01-01", "1999-01-02"),
]
FAULTY: dict[str, tuple[list[Event], int, list[int]]] = {  # events, how often, the stays that go
    "subject_twice": ([event(1, "sex", code="M"), event(1, "birth", "1961-01-01")], 1, [11, 12]),
    "death_before_birth": ([event(3, "death", "1689-12-30")], 1, [31]),
    "unknown_subject": ([*stay(9, 91, "2012-01-01", "2012-01-02"), diagnosis(8, 81, "2012-01-01", "4019")], 2, []),
    "stay_twice": ([event(1, "discharge", "2012-01-04 10:00", stay_id=11, numeric_value=0)], 1, [11]),
    "subject_repeated": ([event(2, "birth", "2012-02-02")], 1, []),
    "stay_repeated": (2 * stay(2, 21, "2012-02-02 00:00", "2012-02-02 00:00"), 2, []),
    "discharge_before_admission": (stay(1, 13, "2012-03-02", "2012-03-01"), 1, []),
    "admission_before_birth": (stay(2, 22, "2012-02-01", "2012-02-03"), 1, []),
    "implausible_age": (
        [
            *stay(2, 23, "2133-02-02", "2133-02-03"),
            *stay(2, 24, "3012-02-02", "3012-02-03"),  # a thousand years is no age over 89 either
        ],
        2,
        [],
    ),
    "death_before_discharge": (stay(1, 14, "2012-06-01", "2012-06-04"), 1, []),
    "unknown_stay": (
        [
            diagnosis(1, 99, None, "5"),
            diagnosis(1, 99, None, "6"),
            event(2, "procedure", None, stay_id=11, vocabulary="ICD9PCS", code="7"),
        ],
        3,
        [],
    ),
    "unknown_version": (
        [
            diagnosis(1, 11, "2012-01-03 10:00", "x", "ICD11CM"),
            event(1, "diagnosis", "2012-01-03 10:00", stay_id=11, code="y"),
        ],
        2,
        [],
    ),
    "mixed_units": (
        [event(1, "lab", "2012-01-02", code="glucose", numeric_value=5, unit=unit) for unit in ("mmol/L", "MMOL/L ")],
        2,
        [],
    ),
    "no_stay": (person(7), 1, []),
}


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(threads=1) as opened:
        yield opened


def everything(store: Store) -> list[tuple[object, ...]]:
    table = store.frame("SELECT * FROM events ORDER BY ALL").astype(object)
    return [tuple(row) for row in table.where(table.notna(), None).to_numpy()]


def test_every_fault_is_tried() -> None:
    assert list(FAULTY) == [fault.name for fault in FAULTS]


def test_sound_tables_stay_as_they_are(store: Store) -> None:
    hold(store, SOUND)
    before = everything(store)
    assert settle(store, policies("exclude")) == {}
    assert everything(store) == before
    assert store.value("SELECT count(*) FROM stays") == 4


@pytest.mark.parametrize("name", FAULTY)
def test_what_is_excluded(store: Store, name: str) -> None:
    events, times, gone = FAULTY[name]
    hold(store, SOUND)
    sound = everything(store)
    hold(store, [*SOUND, *events])
    assert settle(store, policies(None) | {name: "exclude"}) == {name: times}
    kept = store.frame("SELECT stay_id FROM stays ORDER BY stay_id")["stay_id"].tolist()
    assert kept == [number for number in (11, 12, 21, 31) if number not in gone]
    left = everything(store)
    if not gone:  # the smallest thing went, so that what is left is what was there before; or that more than once
        assert sorted(set(left), key=left.index) == sound
    else:
        subjects = {row[0] for row in left}
        assert subjects == (
            {2, 3} if name == "subject_twice" else {1, 2} if name == "death_before_birth" else {1, 2, 3}
        )
        assert not {row[1] for row in left} & set(gone)


@pytest.mark.parametrize("name", FAULTY)
def test_what_is_refused_and_what_is_kept(store: Store, name: str) -> None:
    events, times, _ = FAULTY[name]
    words = next(fault.words for fault in FAULTS if fault.name == name)
    everyone_keeps = policies("keep")
    hold(store, [*SOUND, *events])
    with pytest.raises(TableError, match=rf"^source: {words}: {times}; .*cohort\.faults\.{name}=exclude$"):
        settle(store, everyone_keeps | {name: "refuse"})
    before = everything(store)
    assert settle(store, everyone_keeps) == {}
    assert everything(store) == before


def test_faults_stand_in_the_flow(store: Store) -> None:
    events = [e for more, _, _ in FAULTY.values() for e in more]
    rows, flow = chosen(store, Cohort(faults="exclude"), [*SOUND, *events])
    assert rows == [(2, 21)]
    assert flow[0].what == "subjects in the source"
    assert flow[1].what == "without faults in the data"
    assert set(flow[1].faults) == set(FAULTY)
    assert (flow[0].subjects, flow[1].subjects) == (5, 1)


def test_nothing_is_unknown_to_a_source_without_rows_of_its_own_for_subjects_or_stays(store: Store) -> None:
    hold(store, [*stay(1, 11, "2012-01-01", "2012-01-02"), diagnosis(1, 11, "2012-01-02", "4019")])
    assert settle(store, policies("exclude")) == {}
    hold(store, [event(1, "sex", code="F"), event(1, "diagnosis", stay_id=3, code="250", vocabulary=None)])
    assert settle(store, policies("exclude") | {"no_stay": "keep"}) == {}
