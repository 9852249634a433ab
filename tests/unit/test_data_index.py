"""Subjects who are seen from no stay: what dates them, who has no such date, what is known of nobody."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from ehrsynth.data.cohort.base import Cohort, FlowStep
from ehrsynth.data.cohort.rules import AdmissionKind, Age, AtLeastStays, DischargedAlive, MinimumHistory
from ehrsynth.data.events import OBSERVED, VISITS
from ehrsynth.data.features.demographics import Age as AgeColumn
from ehrsynth.data.features.utilisation import Days, Stays
from ehrsynth.data.store import Store
from ehrsynth.errors import OptionError, TableError
from tests.events import Event, chosen, diagnosis, event, hold, person, stay

# Subject 1 is an outpatient, 2 was in hospital once and died, 3 has a measurement alone, 4 nothing that is dated.
CLINIC: list[Event] = [
    *person(1, birth="1990-06-15"),
    *person(2, birth="2010-01-01", death="2015-02-01"),
    event(3, "sex", code="F"),
    *person(4),
    *stay(2, 21, "2014-05-01 08:00", "2014-05-03"),
    diagnosis(1, None, "2012-03-01", "E11.9", "ICD10CM"),
    diagnosis(1, None, "2011-01-01 12:00", "E10", "ICD10CM"),
    diagnosis(2, 21, "2014-05-03", "E119", "ICD10CM"),
    event(1, "lab", "2013-07-09 10:00", code="late"),
    event(3, "lab", "2012-01-01 10:00", code="glucose"),
]
SEEN = pd.DataFrame(
    {
        "subject_id": [1, 1, 1, 2],
        "started": pd.to_datetime(["2010-02-01", "2012-03-01", "2013-07-09", "2014-05-01"]),
        "ended": pd.to_datetime(["2010-02-01", None, "2013-07-09", "2014-05-03"]),
    }
)
PERIODS = pd.DataFrame(
    {
        "subject_id": [1, 2, 3],
        "started": pd.to_datetime(["2010-01-01", "2013-01-01", "2011-01-01"]),
        "ended": pd.to_datetime(["2012-12-31", "2015-02-01", None]),
    }
)


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(threads=1) as opened:
        yield opened


def seen(
    store: Store, cohort: Cohort, *views: str, events: list[Event] = CLINIC
) -> tuple[dict[int, str], list[FlowStep]]:
    """Return the index of each subject in the cohort, and the flow."""
    hold(store, events)
    for name in views:
        store.register(name, {VISITS: SEEN, OBSERVED: PERIODS}[name])
    flow = cohort.choose(store)
    rows = store.frame("SELECT subject_id, coalesce(index_time::VARCHAR, '') AS at_ FROM cohort ORDER BY row")
    return dict(zip(rows["subject_id"], rows["at_"], strict=True)), flow


@pytest.mark.parametrize(
    ("index", "views", "found"),
    [
        ("last_visit", (), {2: "2014-05-03 00:00:00"}),
        ("last_visit", (VISITS,), {1: "2013-07-09 00:00:00", 2: "2014-05-03 00:00:00"}),
        (
            "end_of_observation",
            (),
            {1: "2013-07-09 10:00:00", 2: "2014-05-03 00:00:00", 3: "2012-01-01 10:00:00"},
        ),
        (
            "end_of_observation",
            (VISITS, OBSERVED),
            {1: "2012-12-31 00:00:00", 2: "2015-02-01 00:00:00", 3: "2012-01-01 10:00:00"},
        ),
        ("2012-06-30", (VISITS,), {1: "2012-06-30 00:00:00"}),
        ("2012-06-30", (VISITS, OBSERVED), {1: "2012-06-30 00:00:00", 3: "2012-06-30 00:00:00"}),
        ({"first": ["e11", "E10"]}, (), {1: "2011-01-01 12:00:00", 2: "2014-05-03 00:00:00"}),
        ({"first": ["E11"], "vocabulary": "ICD10CM"}, (), {1: "2012-03-01 00:00:00", 2: "2014-05-03 00:00:00"}),
        ({"first": "gluc", "domain": "lab"}, (), {3: "2012-01-01 10:00:00"}),
        ("discharge", (VISITS,), {1: "2013-07-09 00:00:00", 2: "2014-05-03 00:00:00", 3: "2012-01-01 10:00:00", 4: ""}),
    ],
)
def test_every_choice_of_the_index(store: Store, index: Any, views: tuple[str, ...], found: dict[int, str]) -> None:
    assert seen(store, Cohort(stay=None, index=index), *views)[0] == found


@pytest.mark.parametrize(
    ("index", "views", "words", "subjects"),
    [
        ("last_visit", (VISITS,), "with a dated visit", 2),
        ("end_of_observation", (), "with a known end of observation", 3),
        ("2012-06-30", (VISITS,), "seen by 2012-06-30", 1),
        ("2012-06-30", (OBSERVED,), "under observation on 2012-06-30", 2),
        ({"first": ["E11"]}, (), "with a dated diagnosis E11", 2),
    ],
)
def test_who_cannot_be_dated_is_counted(
    store: Store, index: Any, views: tuple[str, ...], words: str, subjects: int
) -> None:
    _, flow = seen(store, Cohort(stay=None, index=index), *views)
    assert [(step.what, step.subjects) for step in flow] == [("subjects in the source", 4), (words, subjects)]


def test_what_is_not_known_is_no_failed_rule(store: Store) -> None:
    rules = {"alive": DischargedAlive(), "adult": Age(least=18), "known": MinimumHistory(365)}
    _, flow = seen(store, Cohort(stay=None, index="end_of_observation", rules=rules), VISITS, OBSERVED)
    assert [(step.what, step.subjects) for step in flow[1:]] == [
        ("with a known end of observation", 3),
        ("alive at the index", 2),  # 2 is under observation until the day of its death
        ("of known age", 1),  # 3 has no date of birth
        ("18 years or older", 1),
        ("known for at least 365 days", 1),
    ]
    kinds = Cohort(stay=None, rules={"urgent": AdmissionKind(["EMER"])})
    assert [(step.what, step.subjects) for step in seen(store, kinds)[1][1:]] == [
        ("with an admission of known kind", 1),
        ("admission EMER", 1),
    ]
    with pytest.raises(TableError, match="nobody is left after 'at least 2 stays by then'"):
        seen(store, Cohort(stay=None, rules={"again": AtLeastStays(2)}))


def test_a_window_reaches_back_from_the_index(store: Store) -> None:
    def codes(**options: Any) -> list[str]:
        seen(store, Cohort(stay=None, rules={"adult": Age(least=18)}, **options), VISITS)
        rows = store.frame("SELECT code FROM history WHERE domain IN ('diagnosis', 'lab') ORDER BY code")
        return rows["code"].tolist()

    assert codes() == ["E10", "E11.9", "late"]
    assert codes(index="last_visit") == ["E10", "E11.9", "late"]  # of the day of the visit, which has no clock
    assert codes(index="last_visit", window=365) == ["late"]
    assert codes(index="2012-06-30") == ["E10", "E11.9"]
    assert codes(index="2012-06-30", window=365) == ["E11.9"]


def test_columns_are_of_the_index(store: Store) -> None:
    seen(store, Cohort(stay=None, index="end_of_observation"), VISITS)
    collected = [feature.collect(store).cells for feature in (AgeColumn(), Stays(), Days())]
    cells = pd.concat([cells for cells in collected if cells is not None], axis=1).sort_index()
    assert cells["age"].iloc[:2].tolist() == [23, 4]
    assert cells["age"].isna().tolist() == [False, False, True]
    assert cells["admissions"].tolist() == [0, 1, 0]
    assert cells["days"].tolist() == [0, 2, 0]


def test_what_lies_outside_the_window_is_counted(store: Store) -> None:
    cohort = Cohort(stay=None, index="2012-06-30", window=365)
    seen(store, cohort, VISITS)
    told = {(line.what, line.means): (line.count, line.of) for line in cohort.unused(store, {"diagnosis", "lab"})}
    before, after = "before the window or of another stay, not used", "after the index, not used"
    assert told == {
        ("diagnosis events of the cohort", after): (0, 2),
        ("diagnosis events of the cohort", before): (1, 2),
        ("lab events of the cohort", after): (1, 1),
        ("lab events of the cohort", before): (0, 1),
    }


@pytest.mark.parametrize("index", ["last_visit", "end_of_observation"])
def test_a_source_without_dates(store: Store, index: str) -> None:
    undated = [*stay(1, 1, None, None), event(1, "sex", code="F"), diagnosis(1, 1, None, "E11")]
    with pytest.raises(TableError, match=rf"^cohort\.index={index}: the source (dates no visit|has no dates)"):
        chosen(store, Cohort(stay=None, index=index), undated)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"index": "last_visit"}, r"cohort\.index=last_visit: it is none of a stay; add cohort\.stay=null"),
        ({"stay": None, "index": "admission"}, r"cohort\.index=admission: cohort\.stay=null asks for no stay"),
        ({"stay": None, "window": "stay"}, r"cohort\.window=stay: cohort\.stay=null asks for no stay"),
        (
            {"stay": None, "index": "2020-13-01"},
            r"cohort\.index=2020-13-01: discharge or admission of a stay, last_vis",
        ),
        ({"stay": None, "index": {"first": []}}, r"cohort\.index=\{'first': \[\]\}: \{first: \[beginnings of codes"),
        ({"stay": None, "index": {"first": [11]}}, r"in quotes\]"),
        ({"stay": None, "index": {"last": ["E11"]}}, r"cohort\.index=\{'last'"),
    ],
)
def test_choices_that_do_not_go_together(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Cohort(**options)


def test_the_index_is_plain_data() -> None:
    options = Cohort(stay=None, index={"first": ["E11"]}).options()
    assert options["index"] == {"first": ["E11"]}
    assert Cohort().options()["index"] == "discharge"
