"""Features by hand: attributes, measurements with units, panels, flags."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data.features.base import Collected, Feature
from ehrsynth.data.features.demographics import Age, Attribute
from ehrsynth.data.features.flags import Flag
from ehrsynth.data.features.measurements import Measurement
from ehrsynth.data.features.panels import Measurements
from ehrsynth.data.features.unknown import UnknownCodes
from ehrsynth.data.store import Store
from ehrsynth.data.wide import widen
from ehrsynth.errors import OptionError, TableError

COLUMNS = ["row", "time", "stay_id", "domain", "vocabulary", "code", "numeric_value", "text_value", "unit"]
N = 4  # rows of the cohort; nothing happens to the last


def event(row: int, day: int | None, domain: str, code: str, value: float | None = None, unit: Any = None) -> list[Any]:
    time = None if day is None else pd.Timestamp("2150-01-01") + pd.Timedelta(days=day)
    return [row, time, None, domain, None, code, value, None, unit]


WEIGHTS = [
    event(0, 1, "vital", "weight", 70, "kg"),
    event(0, 3, "vital", "weight", 72_000, "g"),
    event(0, 2, "vital", "weight", 80, "KG "),
    event(1, 1, "vital", "weight", 60, "kg"),
    event(1, 1, "vital", "weight", 61, "kg"),
    event(2, 1, "vital", "weight", None, "stone"),
    event(2, 1, "vital", "weight", float("inf"), "stone"),
]


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(threads=1) as store:
        yield store


def hold(store: Store, events: list[list[Any]]) -> None:
    """Make ``events`` the history of a cohort of ``N``."""
    frame = pd.DataFrame(events, columns=COLUMNS).astype(
        {"numeric_value": float, "unit": object, "time": "datetime64[us]"}
    )
    store.register("raw", frame)
    store.view(
        "history",
        "SELECT * REPLACE (stay_id::BIGINT AS stay_id, unit::VARCHAR AS unit) FROM raw",
    )
    store.table(
        "cohort",
        f"""SELECT range AS row, 'p' || range AS subject_id, TIMESTAMP '1900-06-15' AS birth,
        TIMESTAMP '2000-06-14' AS index_time FROM range({N})""",
    )
    store.table("training", "SELECT range AS row FROM range(12)")


def column(found: Collected) -> list[float | str | None]:
    """Return the cells of the only column, None where one is missing."""
    (name,) = found.specs
    assert found.cells is not None
    cells = found.cells[name].reindex(range(N)).astype(object)
    return [None if pd.isna(cell) else cell for cell in cells]


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        ("last", [72, 61, None, None]),
        ("first", [70, 60, None, None]),
        ("mean", [74, 60.5, None, None]),
        ("min", [70, 60, None, None]),
        ("max", [80, 61, None, None]),
        ("sum", [222, 121, None, None]),
        ("count", [3, 2, None, None]),
    ],
)
def test_measurements_in_the_first_unit(store: Store, aggregate: Any, expected: list[float | None]) -> None:
    for events in (WEIGHTS, WEIGHTS[::-1]):  # the order of rows in a file never matters
        hold(store, events)
        feature = Measurement(
            name="weight", domain="vital", codes=["weight"], aggregate=aggregate, units={"kg": 1, "g": 0.001}
        )
        assert column(feature.collect(store)) == expected


def test_whole_numbers_are_rounded(store: Store) -> None:
    hold(store, WEIGHTS)
    feature = Measurement(
        name="w", domain="vital", codes=["weight"], aggregate="mean", kind="count", units={"kg": 1, "g": 0.001}
    )
    assert column(feature.collect(store)) == [74, 61, None, None]


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (None, r"events in several units: g \(1\), kg \(4\)"),
        ({"kg": 1}, r"units that have no factor: g \(found: g \(1\), kg \(4\)\)"),
    ],
)
def test_units_that_are_mixed_up(store: Store, units: Any, words: str) -> None:
    hold(store, WEIGHTS)
    with pytest.raises(TableError, match=words):
        Measurement(name="weight", domain="vital", codes=["weight"], units=units).collect(store)


def test_a_unit_that_is_missing(store: Store) -> None:
    hold(store, [event(0, 1, "vital", "weight", 70, "kg"), event(1, 1, "vital", "weight", 60)])
    either = {"name": "weight", "domain": "vital", "codes": ["weight"]}
    assert column(Measurement(**either).collect(store)) == [70, 60, None, None]  # type: ignore[arg-type]
    assert column(Measurement(**either, units={"kg": 1, "": 1}).collect(store)) == [70, 60, None, None]  # type: ignore[arg-type]
    with pytest.raises(TableError, match="no factor: none"):
        Measurement(**either, units={"kg": 1}).collect(store)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"aggregate": "median"}, "aggregate=median"),
        ({"units": {"kg": 2}}, "the first unit, with factor 1"),
        ({"units": {"kg": 1, "g": -1}}, "units.g=-1"),
        ({"units": {}}, "the first unit"),
        ({"codes": "weight"}, "a list of codes"),
        ({"plausible": [5, 1]}, "smallest, largest"),
    ],
)
def test_impossible_measurements(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Measurement(**{"name": "w", "domain": "vital", "codes": ["weight"], **options})


QUOTES = """it's "odd" %s; --"""


@pytest.mark.parametrize(
    "feature",
    [
        Measurement(name=QUOTES, domain=QUOTES, codes=[QUOTES], label="x"),
        Flag(name=QUOTES, domain=QUOTES, code=QUOTES, label="x"),
        Attribute(name=QUOTES, domain=QUOTES, levels={QUOTES: [QUOTES]}, label="x"),
        Attribute(name=QUOTES, domain=QUOTES, label="x"),
        Age(name=QUOTES),
    ],
)
def test_names_and_codes_with_quotes(store: Store, feature: Feature) -> None:
    hold(store, [event(0, 1, QUOTES, QUOTES, 1.0)])
    first = column(feature.collect(store))[0]
    assert first == {"Attribute": QUOTES, "Age": 99}.get(type(feature).__name__, 1)


def test_flags(store: Store) -> None:
    hold(
        store,
        [
            event(0, 1, "outcome", "died", 1),
            event(0, 2, "outcome", "died", 0),
            event(1, 1, "outcome", "died", 0),
            event(2, 1, "outcome", "died"),
            event(3, 1, "outcome", "other", 1),
        ],
    )
    found = Flag(name="died", domain="outcome", code="died", role="outcome", label="Died").collect(store)
    assert column(found) == [1, 0, 1, 0]
    assert (found.specs["died"].kind, found.specs["died"].role) == ("binary", "outcome")


def test_attributes(store: Store) -> None:
    hold(
        store,
        [
            event(0, 1, "race", "WHITE - RUSSIAN"),
            event(0, 5, "race", "ASIAN"),
            event(1, None, "race", "MARTIAN"),
            event(2, 1, "race", "WHITE"),
        ],
    )
    levels = {"white": ["WHITE"], "asian": ["ASIAN"], "other": ["otherwise"]}
    last = Attribute(name="race", domain="race", levels=levels, role="sensitive").collect(store)
    assert column(last) == ["asian", "other", "white", None]
    assert last.specs["race"].levels == ("white", "asian", "other")
    assert last.specs["race"].role == "sensitive"
    first = Attribute(name="race", domain="race", levels={"white": ["WHITE"]}, which="first").collect(store)
    assert column(first) == ["white", None, "white", None]
    assert column(Attribute(name="race", domain="race").collect(store))[1] == "MARTIAN"
    with pytest.raises(OptionError, match="which=middle"):
        Attribute(name="race", domain="race", which="middle")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "training", "levels", "told"),
    [
        ({"white": 20, "Martian": 3}, 23, ("white", "other"), "became 'other'"),  # three are never named
        ({"white": 20, "Martian": 12, "other": 9}, 41, ("white", "other"), "became 'other', such as 'Martian'"),
        ({"white": 10, "Martian": 12, "Venusian": 3}, 25, (), "are levels, such as 'Martian'"),
        ({"white": 20, "Martian": 30}, 25, ("white", "other"), "became 'other'"),  # training rows decide
        ({"white": 20, "other": 30}, 50, ("white", "other"), ""),
        ({"white": 0, "Martian": 4}, 4, ("white", "other"), "became 'other'"),  # too few for a level
    ],
)
def test_attributes_in_words_of_their_own(
    store: Store, words: dict[str, int], training: int, levels: tuple[str, ...], told: str
) -> None:
    everyone = [word for word, n in words.items() for _ in range(n)]
    hold(store, [event(row, 1, "race", word) for row, word in enumerate(everyone)])
    store.register("training", pd.DataFrame({"row": range(training)}))
    race = Attribute(name="race", domain="race", levels={"white": ["WHITE"], "other": ["otherwise"]})
    found, lines = race.reconsidered(store)
    cells = race.collect(store) if found is None else found
    assert cells.specs["race"].levels == levels
    assert cells.cells is not None
    assert cells.cells["race"].tolist() == [word if word == "white" or not levels else "other" for word in everyone]
    assert [line.means for line in lines] == ([f"words that no level begins with {told}"] if told else [])
    if "Martian'" in told:
        assert lines[0].option == "'+features.race.levels={martian: [\"Martian\"]}'"
        assert (lines[0].count, lines[0].of) == (
            sum(words.values()) - words["white"] - words.get("other", 0),
            len(everyone),
        )


def test_age_is_counted_in_whole_years(store: Store) -> None:
    hold(store, WEIGHTS)
    assert column(Age().collect(store)) == [99] * N  # a day before the birthday
    assert column(Age(most=90).collect(store)) == [90] * N


def panel(store: Store) -> None:
    """Ten subjects have sodium, eleven potassium, one a rare test."""
    events = [event(row, day, "lab", "Na+", 130 + row + day, "mmol/L") for row in range(10) for day in (1, 2)]
    events += [event(row, 1, "lab", "K'", 4.0 + row) for row in range(11)]
    events += [event(0, 1, "lab", "rare", 1.0), event(0, 1, "vital", "weight", 1.0)]
    hold(store, events)
    store.register(
        "labels", pd.DataFrame({"domain": ["lab"], "vocabulary": [""], "code": ["Na+"], "label": ["Sodium"]})
    )


def test_a_panel_of_the_most_frequent_tests(store: Store) -> None:
    panel(store)
    found = Measurements(domain="lab", aggregate=["last", "count"]).collect(store)
    assert list(found.specs) == ["lab_K'_last", "lab_K'_count", "lab_Na+_last", "lab_Na+_count"]
    assert [spec.label for spec in found.specs.values()] == [
        *("K', last", "K', count"),
        *("Sodium (mmol/L), last", "Sodium, count"),
    ]
    assert found.specs["lab_Na+_count"].kind == "count"
    assert found.cells is not None
    assert found.cells["lab_Na+_last"].loc[3] == 135
    assert found.cells["lab_Na+_count"].loc[3] == 2
    assert np.isnan(found.cells["lab_Na+_last"].loc[10])
    top = Measurements(domain="lab", top=1, prefix="x_").collect(store)
    assert list(top.specs) == ["x_K'"]


def test_training_rows_choose_the_codes_of_a_panel(store: Store) -> None:
    panel(store)
    store.table("training", "SELECT range AS row FROM range(10)")
    assert list(Measurements(domain="lab", top=1).collect(store).specs) == ["lab_K'"]  # ten each: by name
    store.table("training", "SELECT range AS row FROM range(1, 12)")
    found = Measurements(domain="lab").collect(store)
    assert list(found.specs) == ["lab_K'"]  # nine training rows have sodium
    assert found.cells is not None
    assert found.cells["lab_K'"].loc[0] == 4.0  # the other rows have values all the same


def test_a_panel_of_nothing(store: Store) -> None:
    hold(store, WEIGHTS)
    wide = widen(store, [Measurements(domain="lab"), Age()])
    assert list(wide.specs) == ["age"]
    assert len(wide.frame()) == N


def test_a_panel_with_mixed_units(store: Store) -> None:
    unit = ["mg/dL", "mmol/L"]
    hold(store, [event(row, 1, "lab", "glucose", 5.0, unit[row % 2]) for row in range(12)])
    with pytest.raises(TableError, match="1 codes come in several units, 'glucose' first"):
        Measurements(domain="lab").collect(store)


@pytest.mark.parametrize(
    "options",
    [{"top": 0}, {"aggregate": "last"}, {"aggregate": []}, {"aggregate": ["last", "last"]}, {"aggregate": ["x"]}],
)
def test_impossible_panels(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="feature of lab"):
        Measurements(domain="lab", **options)


def test_codes_of_their_own(store: Store) -> None:
    events = [event(row, 1, "other", "often", 1.0) for row in range(14)]
    events += [event(row, 1, "other", "seldom", 1.0) for row in range(10, 20)]
    events += [event(row, 1, "other", "word") for row in range(10)] + [event(0, 1, "other", "rare")]
    events += [event(row, 1, "other", "holdout") for row in range(20, 40)] + [event(0, 1, "lab", "often")]
    hold(store, events)
    store.register("training", pd.DataFrame({"row": range(25)}))
    found = UnknownCodes().collect(store)  # numbers of most training rows are for a column of measurements
    assert list(found.specs) == ["code_seldom", "code_word"]
    assert {spec.domain for spec in found.specs.values()} == {"code"}
    assert sorted(found.row[found.column == 0]) == list(range(10, 20))
    assert list(UnknownCodes(sparse=0.9).collect(store).specs) == ["code_often", "code_seldom", "code_word"]
    assert list(UnknownCodes(sparse=0).collect(store).specs) == ["code_word"]
