"""Outcomes and utilisation over events written by hand."""

from collections.abc import Iterator

import pytest

from ehrsynth.data.cohort.base import Cohort
from ehrsynth.data.features.base import Feature
from ehrsynth.data.features.outcomes import Death, HasCode, LongStay, Readmission
from ehrsynth.data.features.utilisation import Days, Stays
from ehrsynth.data.store import Store
from ehrsynth.errors import OptionError
from tests.events import chosen, diagnosis, event, person, stay

# Seen from the first stay: 1 dies on day 30 and comes back on day 30; 2 is transferred in the same minute and comes
# back on day 31; 3 dies on day 31 and never comes back; 4 neither, with a stay of 7 days to the minute.
HOSPITAL = [
    *person(1, death="2012-02-01"),
    *stay(1, 11, "2012-01-01 12:00", "2012-01-02 12:00:30"),
    *stay(1, 12, "2012-02-01 12:00", "2012-02-02 12:00"),
    *person(2),
    *stay(2, 21, "2012-01-01 12:00", "2012-01-02 12:00:10"),
    *stay(2, 22, "2012-01-02 12:00:50", "2012-01-12 12:00"),
    *stay(2, 23, "2012-02-02 12:01", "2012-02-03 12:00"),
    *person(3, death="2012-02-02"),
    *stay(3, 31, "2012-01-01 12:00", "2012-01-02 23:00"),
    *person(4),
    *stay(4, 41, "2012-01-01 12:00", "2012-01-08 12:00"),
    diagnosis(1, 11, "2012-01-02 12:00:30", "4019"),
    diagnosis(1, 12, "2012-02-02 12:00", "250.00"),
    diagnosis(2, 22, "2012-01-12 12:00", "I10", "ICD10CM"),
    diagnosis(3, None, None, "25000"),
    event(4, "medication", "2012-03-01", code="Insulin"),
]


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(threads=1) as opened:
        yield opened


@pytest.mark.parametrize(
    ("feature", "cohort", "expected"),
    [
        (Death(days=30), {}, [1, 0, 0, 0]),
        (Death(days=31), {}, [1, 0, 1, 0]),
        (Death(days=31), {"index": "admission"}, [1, 0, 0, 0]),
        (Readmission(days=29), {}, [0, 0, 0, 0]),
        (Readmission(days=30), {}, [1, 0, 0, 0]),
        (Readmission(days=32), {}, [1, 1, 0, 0]),
        (Readmission(days=32), {"index": "admission"}, [1, 1, 0, 0]),
        (Readmission(days=365), {"stay": "last"}, [0, 0, 0, 0]),
        (HasCode(prefixes=["250"], name="diabetes"), {}, [1, 0, 0, 0]),
        (HasCode(prefixes=["250"], name="diabetes", days=30), {}, [0, 0, 0, 0]),
        (HasCode(prefixes=["250"], name="diabetes", days=31), {}, [1, 0, 0, 0]),
        (HasCode(prefixes=["250", "i1.0"], name="either"), {}, [1, 1, 0, 0]),
        (HasCode(prefixes=["I10"], name="other", vocabulary="ICD9CM"), {}, [0, 0, 0, 0]),
        (HasCode(prefixes=["401"], name="in_the_window"), {}, [0, 0, 0, 0]),
        (HasCode(prefixes=["401"], name="in_the_stay"), {"index": "admission"}, [1, 0, 0, 0]),
        (HasCode(prefixes=["insu"], name="insulin", domain="medication"), {}, [0, 0, 0, 1]),
        (LongStay(days=7), {}, [0, 0, 0, 0]),
        (LongStay(days=6.9), {"index": "admission"}, [0, 0, 0, 1]),
        (LongStay(days=1), {}, [1, 1, 1, 1]),
        (Stays(), {}, [1, 1, 1, 1]),
        (Stays(), {"stay": "last"}, [2, 3, 1, 1]),
        (Stays(), {"stay": "last", "index": "admission"}, [2, 3, 1, 1]),
        (Days(), {}, [1, 1, 1, 7]),
        (Days(), {"stay": "last"}, [2, 12, 1, 7]),
        (Days(), {"stay": "last", "index": "admission"}, [1, 11, 0, 0]),
    ],
)
def test_by_hand(store: Store, feature: Feature, cohort: dict[str, str], expected: list[int]) -> None:
    chosen(store, Cohort(**{"stay": "first", **cohort}), HOSPITAL)  # type: ignore[arg-type]
    found = feature.collect(store)
    assert found.cells is not None
    (name,) = found.specs
    assert found.cells[name].sort_index().tolist() == expected
    if not isinstance(feature, Stays | Days):
        assert (found.specs[name].role, found.specs[name].kind) == ("outcome", "binary")


def test_stays_are_counted_without_dates(store: Store) -> None:
    undated = [event(1, "sex", code="F"), *[e for number in (1, 2, 3) for e in stay(1, number, None, None)]]
    chosen(store, Cohort(), undated)
    found = Stays().collect(store)
    assert found.cells is not None
    assert found.cells["admissions"].tolist() == [3]


def test_options_out_of_range() -> None:
    with pytest.raises(OptionError, match="feature died_within_year: days=0: a number above zero"):
        Death(days=0)
    with pytest.raises(OptionError, match="feature readmitted: days=x"):
        Readmission(days="x")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"feature flu: prefixes=\[\]"):
        HasCode(prefixes=[], name="flu")
