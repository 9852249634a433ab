"""Cohorts over events written by hand: index stay, rules, window, flow."""

from collections.abc import Iterator
from typing import Any

import pytest

from ehrsynth.data.cohort.base import Cohort, Rule
from ehrsynth.data.cohort.rules import (
    AdmissionKind,
    Age,
    AtLeastStays,
    Between,
    DischargedAlive,
    FollowUp,
    HasCode,
    HasNoCode,
    MinimumHistory,
    StayLength,
)
from ehrsynth.data.store import Store
from ehrsynth.errors import OptionError, TableError
from tests.events import Event, chosen, diagnosis, event, hold, person, stay

# Subject 1 has three stays, 2 dies in the second of two, 3 has none, 4 is still in hospital after a former stay,
# 5 has two stays at the same times.
HOSPITAL = [
    *[e for subject in (1, 3, 4, 5) for e in person(subject)],
    *person(2, "M", "1990-06-15", "2012-03-04"),
    *stay(1, 11, "2010-01-01 10:00", "2010-01-03 10:00"),
    *stay(1, 12, "2012-01-01 10:00", "2012-01-11 10:00", kind="ELECTIVE"),
    *stay(1, 13, "2011-01-01 10:00", "2011-01-02 22:00"),
    *stay(2, 21, "2012-02-01 00:00", "2012-02-03 00:00"),
    *stay(2, 22, "2012-03-01 00:00", "2012-03-04 12:00", died=1),
    *stay(4, 41, "2010-05-01 00:00", "2010-05-02 00:00"),
    *stay(4, 42, "2012-05-01 00:00", None),
    *stay(5, 51, "2010-05-01 00:00", "2010-05-02 00:00"),
    *stay(5, 52, "2010-05-01 00:00", "2010-05-02 00:00"),
    diagnosis(1, 11, "2010-01-03 10:00", "401.9"),
    diagnosis(1, 12, "2012-01-11 10:00", "I2109", "ICD10CM"),
    diagnosis(1, 13, "2011-01-02 22:00", "2500"),
    diagnosis(4, 42, None, "2500"),
]


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(threads=1) as opened:
        yield opened


@pytest.mark.parametrize(
    ("options", "stays"),
    [
        ({"stay": "last"}, [(1, 12), (2, 22), (4, 41), (5, 52)]),
        ({"stay": "first"}, [(1, 11), (2, 21), (4, 41), (5, 51)]),
        ({"stay": "any"}, [(1, 12), (2, 22), (4, 41), (5, 52)]),
        ({"stay": "last", "index": "admission"}, [(1, 12), (2, 22), (4, 42), (5, 52)]),
        ({"stay": "last", "rules": {"alive": DischargedAlive()}}, [(1, 12), (4, 41), (5, 52)]),
        ({"stay": "any", "rules": {"alive": DischargedAlive()}}, [(1, 12), (2, 21), (4, 41), (5, 52)]),
        ({"rules": {"adults": Age(least=22), "left_out": None}}, [(1, 12), (4, 41), (5, 52)]),
        ({"rules": {"young": Age(most=21)}}, [(2, 22)]),
        ({"rules": {"again": AtLeastStays(2)}}, [(1, 12), (2, 22), (5, 52)]),
        ({"stay": "first", "rules": {"again": AtLeastStays(2)}}, None),
        ({"stay": "any", "rules": {"third": AtLeastStays(3)}}, [(1, 12)]),
        ({"rules": {"known": MinimumHistory(730)}}, [(1, 12)]),
        ({"rules": {"known": MinimumHistory(31)}}, [(1, 12), (2, 22)]),
        ({"rules": {"followed": FollowUp(59)}}, [(1, 12), (4, 41), (5, 52)]),  # 2 leaves 58 days before the end
        ({"rules": {"followed": FollowUp(30, until="2012-02-09")}}, [(4, 41), (5, 52)]),
        ({"rules": {"followed": FollowUp(29, until="2012-02-09")}}, [(1, 12), (4, 41), (5, 52)]),
        ({"rules": {"coded": HasCode(["401", "250"])}}, [(1, 12)]),
        ({"rules": {"coded": HasCode(["i21.0"])}}, [(1, 12)]),
        ({"rules": {"coded": HasCode(["I21"], vocabulary="ICD9CM")}}, None),
        ({"rules": {"coded": HasCode(["I21"])}, "index": "admission"}, None),
        ({"stay": "first", "rules": {"coded": HasCode(["250"])}}, None),
        ({"window": "stay", "rules": {"coded": HasCode(["401"])}}, None),
        ({"window": 400, "rules": {"coded": HasCode(["401", "I21"])}}, [(1, 12)]),
        ({"window": 300, "rules": {"coded": HasCode(["2500"])}}, None),
        ({"rules": {"uncoded": HasNoCode(["401"])}}, [(2, 22), (4, 41), (5, 52)]),
        ({"rules": {"long": StayLength(least=3)}}, [(1, 12), (2, 22)]),
        ({"stay": "any", "rules": {"length": StayLength(least=1.5, most=2)}}, [(1, 13), (2, 21)]),
        ({"stay": "any", "rules": {"year": Between("2011-01-02", "2011-12-31")}}, [(1, 13)]),
        ({"rules": {"late": Between(first="2012-03-04")}}, [(2, 22)]),
        ({"rules": {"planned": AdmissionKind(["elec"])}}, [(1, 12)]),
        ({"stay": "any", "rules": {"urgent": AdmissionKind(["EMER"])}}, [(1, 13), (2, 22), (4, 41), (5, 52)]),
    ],
)
def test_who_is_chosen(store: Store, options: dict[str, Any], stays: list[tuple[int, int]] | None) -> None:
    if stays is None:
        with pytest.raises(TableError, match="nobody is left after"):
            chosen(store, Cohort(**options), HOSPITAL)
    else:
        assert chosen(store, Cohort(**options), HOSPITAL)[0] == stays


def test_the_flow_counts_subjects_and_stays(store: Store) -> None:
    rules = {"adults": Age(least=18), "alive": DischargedAlive(), "known": MinimumHistory(100)}
    _, flow = chosen(store, Cohort(stay="last", rules=rules), HOSPITAL)
    assert [(step.what, step.subjects, step.stays) for step in flow] == [
        ("subjects in the source", 5, 9),
        ("with at least one stay", 4, 9),
        ("with a date of discharge", 4, 8),
        ("the last stay", 4, 4),
        ("18 years or older", 4, 4),
        ("discharged alive", 3, 3),
        ("known for at least 100 days", 1, 1),
    ]
    _, flow = chosen(store, Cohort(stay="any", rules={"alive": DischargedAlive()}), HOSPITAL)
    assert [(step.what, step.subjects, step.stays) for step in flow[3:]] == [
        ("discharged alive", 4, 7),
        ("the last of these stays", 4, 4),
    ]


def test_an_empty_cohort_names_the_rule(store: Store) -> None:
    with pytest.raises(TableError, match="nobody is left after '90 years or older'"):
        chosen(store, Cohort(rules={"old": Age(least=90), "alive": DischargedAlive()}), HOSPITAL)


def codes(store: Store, subject: int) -> list[str]:
    rows = store.frame(
        f"""SELECT code FROM history JOIN cohort USING (row) WHERE cohort.subject_id = {subject}
        AND domain NOT IN ('admission', 'discharge', 'birth', 'death') ORDER BY code"""
    )
    return rows["code"].tolist()


MEASURED: list[Event] = [
    event(1, "vital", "2009-12-31 00:00", code="before"),
    event(1, "vital", "2011-12-31 00:00", code="home"),
    event(1, "vital", "2012-01-05 00:00", code="ward"),
    event(1, "lab", "2012-01-12 00:00", code="late", stay_id=12),
    event(1, "race", code="WHITE"),
]


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({}, ["2500", "401.9", "F", "I2109", "WHITE", "before", "home", "ward"]),
        ({"stay": "first"}, ["401.9", "F", "WHITE", "before"]),
        ({"index": "admission"}, ["2500", "401.9", "F", "WHITE", "before", "home"]),
        ({"window": "stay"}, ["F", "I2109", "WHITE", "ward"]),
        ({"window": 365}, ["F", "I2109", "WHITE", "home", "ward"]),
        ({"window": 375}, ["2500", "F", "I2109", "WHITE", "home", "ward"]),
        ({"stay": None}, ["2500", "401.9", "F", "I2109", "WHITE", "before", "home", "late", "ward"]),
    ],
)
def test_what_the_window_holds(store: Store, options: dict[str, Any], seen: list[str]) -> None:
    chosen(store, Cohort(**options), [*HOSPITAL, *MEASURED])
    assert codes(store, 1) == seen


def test_what_an_undated_event_of_a_later_stay_says_is_not_known_before(store: Store) -> None:
    chosen(store, Cohort(), HOSPITAL)
    assert codes(store, 4) == ["F"]


UNDATED = [
    *[event(subject, "sex", code="F") for subject in (1, 2)],
    *[e for number in (7, 8, 9) for e in stay(1, number, None, None)],
    *[diagnosis(1, number, None, f"00{number}") for number in (7, 8, 9)],
]


@pytest.mark.parametrize(
    ("options", "row", "seen"),
    [
        ({"stay": "last"}, (1, 9), ["007", "008", "009", "F"]),
        ({"stay": "first"}, (1, 7), ["007", "F"]),
        ({"stay": "last", "window": "stay"}, (1, 9), ["009", "F"]),
        ({"stay": "any", "rules": {"coded": HasCode(["007"])}, "window": "stay"}, (1, 7), ["007", "F"]),
    ],
)
def test_without_dates_the_number_of_the_stay_orders(
    store: Store, options: dict[str, Any], row: tuple[int, int], seen: list[str]
) -> None:
    assert chosen(store, Cohort(**options), UNDATED)[0] == [row]
    assert codes(store, 1) == seen


def test_a_window_of_days_needs_dates(store: Store) -> None:
    with pytest.raises(TableError, match=r"cohort\.window=30: the source has no dates"):
        chosen(store, Cohort(window=30), UNDATED)


def test_no_stay_is_asked_for(store: Store) -> None:
    rows, flow = chosen(store, Cohort(stay=None), UNDATED)
    assert [row[0] for row in rows] == [1, 2]
    assert [(step.what, step.subjects) for step in flow] == [("subjects in the source", 2)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stay": "second"}, r"cohort\.stay=second"),
        ({"index": "death"}, r"cohort\.index=death"),
        ({"window": 0}, r"cohort\.window=0"),
        ({"window": "stay", "index": "admission"}, r"cohort\.window=stay: nothing"),
        ({"faults": "ignore"}, r"cohort\.faults=ignore: one of exclude, refuse, keep"),
        ({"faults": {"typo": "keep"}}, r"cohort\.faults\.typo: no such fault; one of subject_twice"),
        ({"faults": {"no_stay": "drop"}}, r"cohort\.faults\.no_stay=drop"),
    ],
)
def test_unknown_choices(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Cohort(**options)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Age(least=-1), r"least=-1: a number of years"),
        (Age(least=18, most=17), r"most=17: null or a number of years from 18"),
        (AtLeastStays(0), r"n=0: a whole number above zero"),
        (MinimumHistory("x"), r"days=x: a number of days"),  # type: ignore[arg-type]
        (FollowUp(-3), r"days=-3"),
        (FollowUp(3, until="soon"), r"until=soon: a day as YYYY-MM-DD"),
        (HasCode([]), r"prefixes=\[\]: a list of beginnings"),
        (HasNoCode([401]), r"prefixes=\[401\]"),  # type: ignore[list-item]
        (HasCode("I21"), r"prefixes=I21"),
        (StayLength(least=-1), r"least=-1"),
        (StayLength(least=3, most=2), r"most=2"),
        (Between(first="2012-13-01"), r"first=2012-13-01"),
        (Between(last="2012"), r"last=2012"),
        (AdmissionKind([]), r"codes=\[\]"),
    ],
)
def test_an_option_out_of_range_is_named_with_its_rule(rule: Rule, words: str) -> None:
    with pytest.raises(OptionError, match=rf"cohort\.rules\.mine\.{words}"):
        Cohort(rules={"mine": rule})


def test_rules_speak_plainly() -> None:
    rules = {
        "18 to 65 years old": Age(18, 65),
        "with diagnosis I21, 410": HasCode(["I21", "410"]),
        "without cancer": HasNoCode(["C"], label="cancer"),
        "a stay of 2 days or more": StayLength(2),
        "2 to 9 days": StayLength(2, 9),
        "from 2012-01-01": Between("2012-01-01"),
        "any time": Between(),
        "at least 2 stays by then": AtLeastStays(2),
        "followed for at least 30 days": FollowUp(30),
        "admission EMER or URGENT": AdmissionKind(["EMER", "URGENT"]),
    }
    assert {words: rule.describe() for words, rule in rules.items()} == {words: words for words in rules}


def test_the_options_are_plain_data() -> None:
    options = Cohort(rules={"adults": Age(18)}, faults={"no_stay": "refuse"}).options()
    assert options["rules"] == {"adults": {"rule": "Age", "least": 18, "most": None}}
    assert options["faults"]["no_stay"] == "refuse"
    assert options["faults"]["stay_twice"] == "exclude"


def test_no_subject_at_all(store: Store) -> None:
    with pytest.raises(TableError, match="no subjects"):
        hold(store, [])
