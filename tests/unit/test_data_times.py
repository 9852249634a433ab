"""Times without a clock are days, and times with a zone are moments, wherever the machine stands."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from ehrsynth.data import parsing
from ehrsynth.data.cohort.base import Cohort
from ehrsynth.data.cohort.rules import Age, FollowUp, StayLength
from ehrsynth.data.features.outcomes import HasCode, LongStay, Readmission
from ehrsynth.data.features.utilisation import Days
from ehrsynth.data.store import Raw, Store
from ehrsynth.data.times import days_between, end_of, latest
from ehrsynth.errors import TableError
from tests.events import chosen, event, person, stay


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(threads=1) as opened:
        yield opened


def at(moment: str | None) -> str:
    return "NULL::TIMESTAMP" if moment is None else f"TIMESTAMP '{moment}'"


@pytest.mark.parametrize(
    ("one", "other", "not_after"),
    [
        ("2020-01-02 11:00", "2020-01-02", True),  # a day is over when it ends
        ("2020-01-02", "2020-01-02 11:00", True),
        ("2020-01-02", "2020-01-02", True),
        ("2020-01-02 11:00", "2020-01-02 10:59", False),
        ("2020-01-03", "2020-01-02", False),
        ("2020-01-03", "2020-01-02 23:59", False),
        (None, "2020-01-02", None),
        ("2020-01-02", None, None),
    ],
)
def test_a_day_is_compared_by_day(store: Store, one: str | None, other: str | None, not_after: bool | None) -> None:
    assert store.value(f"SELECT {at(one)} <= {end_of(at(other))}") is not_after


def test_days_between_and_the_last_of_some(store: Store) -> None:
    assert store.value(f"SELECT {days_between(at('2020-01-01 18:00'), at('2020-01-03 06:00'))}") == 1.5
    assert store.value(f"SELECT {days_between(at('2020-01-01 18:00'), at('2020-01-03'))}") == 2
    assert store.value(f"SELECT {days_between(at('2020-01-01 18:00'), at('2020-01-01'))}") == 0
    values = f"(VALUES ({at('2020-01-02 10:00')}), ({at('2020-01-02')}), ({at('2020-01-01 10:00')})) t(t)"
    assert store.value(f"SELECT {latest('t')} FROM {values}") == pd.Timestamp(2020, 1, 2)


DAY_PATIENT = [
    *person(1, birth="2002-03-01 09:00", death="2020-03-01"),
    *stay(1, 11, "2020-03-01 08:00", "2020-03-01"),
    event(1, "vital", "2020-03-01 11:00", code="bmi"),
    event(1, "vital", "2020-03-02", code="next day"),
]


def test_a_stay_that_ends_on_a_day_holds_that_day(store: Store) -> None:
    _, flow = chosen(store, Cohort(rules={"adult": Age(18), "short": StayLength(0, 0)}), DAY_PATIENT)
    assert [(step.what, step.subjects) for step in flow[-2:]] == [("18 years or older", 1), ("0 to 0 days", 1)]
    vitals = store.frame("SELECT code FROM history WHERE domain = 'vital'")["code"].tolist()
    assert vitals == ["bmi"]
    assert [line.count for line in Cohort().unused(store, {"vital"})] == [1, 0]  # after the index, before the window


@pytest.mark.parametrize("window", ["stay", 1])
def test_a_day_belongs_to_the_window_that_begins_on_it(store: Store, window: str | int) -> None:
    events = [
        *person(1),
        *stay(1, 11, "2020-03-01 08:00", "2020-03-02 07:00"),
        event(1, "vital", "2020-03-01", code="bmi"),
        event(1, "vital", "2020-02-29", code="before"),
    ]
    chosen(store, Cohort(window=window), events)
    assert store.frame("SELECT code FROM history WHERE domain = 'vital'")["code"].tolist() == ["bmi"]


def test_an_admission_without_a_clock_is_seen_from_its_begin(store: Store) -> None:
    events = [
        *person(1),
        *stay(1, 11, "2020-03-01", "2020-03-02"),
        event(1, "vital", "2020-03-01", code="that day"),
        event(1, "vital", "2020-03-01 15:00", code="in the stay"),
    ]
    chosen(store, Cohort(index="admission"), events)
    assert store.frame("SELECT code FROM history WHERE domain = 'vital'")["code"].tolist() == ["that day"]


def test_two_rows_of_a_stay_with_and_without_a_clock_agree(store: Store) -> None:
    again = [event(1, "discharge", "2020-03-01 17:00", stay_id=11, numeric_value=0)]
    assert len(chosen(store, Cohort(), [*DAY_PATIENT, *again])[0]) == 1
    other_day = [event(1, "discharge", "2020-03-02 17:00", stay_id=11, numeric_value=0)]
    with pytest.raises(TableError, match="nobody is left after 'with at least one stay'"):
        chosen(store, Cohort(), [*DAY_PATIENT, *other_day])


def test_what_comes_after_a_day(store: Store) -> None:
    events = [
        *person(1),
        *stay(1, 11, "2020-03-01 08:00", "2020-03-09"),
        *stay(1, 12, "2020-03-09 20:00", "2020-03-10"),
        event(1, "lab", "2020-03-09 09:00", code="same day"),
        event(1, "lab", "2020-03-10 09:00", code="next day"),
        event(1, "lab", "2020-03-16 09:00", code="a week later"),
    ]
    chosen(store, Cohort(stay="first", rules={"followed": FollowUp(1)}), events)
    features = {
        Readmission(days=30): 0,  # on the day of the discharge: a transfer
        LongStay(days=7): 1,
        LongStay(days=8, name="longer"): 0,
        HasCode(prefixes=["same"], domain="lab", name="same"): 0,
        HasCode(prefixes=["next"], domain="lab", name="next"): 1,
        HasCode(prefixes=["a week"], domain="lab", name="week", days=7): 1,
        Days(): 8,
    }
    for feature, expected in features.items():
        cells = feature.collect(store).cells
        assert cells is not None
        assert cells.iloc[0].tolist() == [expected]


@pytest.fixture(params=["America/New_York", "Asia/Tokyo"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A machine that stands elsewhere."""
    before = os.environ.get("TZ")
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    assert os.environ.get("TZ") == before
    time.tzset()


WRITTEN = ["2020-01-31 10:00:00+02:00", "2020-01-31T08:00:00Z", "2020-01-31 08:00", "2020-01-31T03:00:00-0500"]


def written(form: str, folder: Path) -> "Path | Raw":
    """Write the times in a form that a store can read."""
    moments, path = pd.DataFrame({"moment": WRITTEN}), folder / f"times.{form}"
    zoned = moments.assign(moment=pd.to_datetime(moments["moment"], utc=True, format="ISO8601"))
    if form == "csv":
        moments.to_csv(path, index=False)
    elif form == "text.parquet":
        moments.to_parquet(path)
    elif form == "zoned.parquet":
        zoned["moment"] = zoned["moment"].dt.tz_convert("Europe/Berlin")
        zoned.to_parquet(path)
    else:
        with duckdb.connect(str(path)) as database:
            database.execute("CREATE TABLE times AS SELECT * FROM zoned")
        return Raw("times", f"read_duckdb('{path}', table_name='times')", {"moment": "TIMESTAMP WITH TIME ZONE"})
    return path


@pytest.mark.parametrize("form", ["csv", "text.parquet", "zoned.parquet", "duckdb"])
def test_a_zone_is_read_in_one_way_wherever_the_machine_stands(zone: str, form: str, tmp_path: Path) -> None:
    with Store(threads=1) as store:
        store.scan("times", written(form, tmp_path), {"moment": "TIMESTAMP"})
        found = store.frame("SELECT moment FROM times")["moment"]
    assert found.tolist() == parsing.times(pd.Series(WRITTEN)).tolist() == [pd.Timestamp(2020, 1, 31, 8)] * 4


def test_a_time_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,moment\n1,2020-01-31\n2,soon\n")
    with Store(threads=1) as store:
        store.scan("t", tmp_path / "t.csv", {"id": "BIGINT", "moment": "TIMESTAMP"})
        with pytest.raises(TableError, match=r"t\.csv, line 3: column 'moment' does not hold a T"):
            store.frame("SELECT max(moment) FROM t")
