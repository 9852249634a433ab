"""What a cell says, kind by kind."""

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data import parsing


def text(*cells: str | None) -> pd.Series:
    return pd.Series(cells, dtype=str)


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["1", "007", "-5"], [1, 7, -5]),
        (["1", "1.5", ".5"], [1, 1.5, 0.5]),
        (["1e3", "inf", "-inf"], [1000, np.inf, -np.inf]),
        ([" 1", "2 ", "+3"], [1, 2, 3]),
        (["1", None, "NA"], [1, np.nan, np.nan]),
        (["0.1", "none", "#N/A"], [0.1, np.nan, np.nan]),
        (["1", "0x1A", "1_0"], [1, np.nan, np.nan]),
        (["1,5", "x", "true"], [np.nan, np.nan, np.nan]),
    ],
)
def test_numbers(cells: list[str | None], found: list[float]) -> None:
    np.testing.assert_array_equal(parsing.numbers(text(*cells)), found)
    all_numbers = not (np.isnan(found) & ~parsing.gaps(text(*cells))).any()
    assert parsing.is_text(parsing.if_numbers(text(*cells))) != all_numbers


def test_whole_numbers_stay_whole_and_numbers_exact() -> None:
    assert parsing.numbers(text("1", str(2**62 + 1))).tolist() == [1, 2**62 + 1]
    drawn = np.random.default_rng(0).normal(0, 1, 1000) * 10.0 ** np.random.default_rng(1).integers(-200, 200, 1000)
    assert parsing.numbers(text(*map(str, drawn))).tolist() == drawn.tolist()
    typed = pd.Series([True, False])
    assert parsing.numbers(typed) is typed


def test_gaps_are_words_in_any_case_and_empty_cells() -> None:
    assert parsing.gaps(text("", " ", "NA", "n/a", "Null", None, "x", "0")).tolist() == [True] * 6 + [False] * 2
    assert parsing.gaps(pd.Series([1.0, np.nan])).tolist() == [False, True]


def test_flags_and_levels() -> None:
    cells = text("TRUE", "0.0", "maybe", None, "1,0")
    assert parsing.flags(cells).fillna("").tolist() == ["1", "0", "maybe", "", "1"]
    assert parsing.known_flags(cells).fillna("").tolist() == ["1", "0", "", "", "1"]
    assert parsing.known_flags(pd.Series([True, False])).tolist() == ["1", "0"]
    assert parsing.levels(text(" F", "M ", "X", " "), ("F", "M")).fillna("").tolist() == ["F", "M", "X", ""]
    assert parsing.levels(text("yes", "NA"), ("NA", "yes")).tolist() == ["yes", "NA"]
    assert parsing.levels(text("true", "NA"), ("0", "1")).fillna("").tolist() == ["1", ""]


def test_times_and_keys() -> None:
    found = parsing.times(text("2020-01-31", "2020-01-31T10:00", "2020-01-31 10:00+02:00", "31.1.2020"))
    assert found.astype(str).tolist()[:3] == ["2020-01-31 00:00:00", "2020-01-31 10:00:00", "2020-01-31 08:00:00"]
    assert found.isna().tolist() == [False, False, False, True]
    assert parsing.keys(text("7", "10")).tolist() == [7, 10]
    assert parsing.keys(text("07", "10")).tolist() == ["07", "10"]


def test_spaces_around_text() -> None:
    assert parsing.stripped(text(" a ", " ", "b")).fillna("").tolist() == ["a", "", "b"]
    mixed = pd.Series([" a", 1, None], dtype=object)
    assert parsing.stripped(mixed).tolist() == ["a", 1, None]


def test_what_text_looks_like() -> None:
    assert parsing.typed(text("True", "FALSE")).tolist() == [True, False]
    assert parsing.typed(text("True", None)).fillna("").tolist() == ["True", ""]
    assert parsing.typed(text("x", "NA")).fillna("").tolist() == ["x", ""]
    assert parsing.typed(text("1", "NA")).fillna(0).tolist() == [1, 0]


@pytest.mark.parametrize("cells", [["0", "1", "1"], ["0", "0"], ["0", None], ["0", "2"], ["00", "1"], ["0 ", "1"]])
def test_zeros_and_ones_are_read_at_once_as_they_are_one_by_one(cells: list[str | None]) -> None:
    text = pd.Series(cells, dtype="str", name="c")
    found = parsing.zeros_and_ones(text)
    assert (found is not None) == (set(cells) <= {"0", "1"})
    if found is not None:
        pd.testing.assert_series_equal(found, parsing.typed(text))
