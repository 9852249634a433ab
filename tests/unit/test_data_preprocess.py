"""Every preprocessing step is fitted on training rows only, and counted."""

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.preprocess import Prepared, Preprocess
from ehrsynth.errors import OptionError, TableError

SPECS = {
    "bmi": ColumnSpec("continuous", plausible=(10, 60)),
    "lab": ColumnSpec("continuous"),
    "ward": ColumnSpec("categorical"),
    "common": ColumnSpec("binary", domain="diagnosis"),
    "rare": ColumnSpec("binary", domain="diagnosis"),
    "dead": ColumnSpec("binary", "outcome"),
}


def tables() -> dict[str, pd.DataFrame]:
    train = pd.DataFrame(
        {
            "subject_id": range(10),
            "bmi": [20.5, 30.25, 950, 5, *[25.0] * 5, np.nan],
            "lab": [1.0, 2.0, 3.0, *[np.nan] * 7],
            "ward": ["A", "B", *["A"] * 8],
            "common": [1, 0] * 5,
            "rare": [1, *[0] * 9],
            "dead": [0, 1] * 5,
        }
    )
    other = train.iloc[:3].assign(subject_id=[20, 21, 22], bmi=[100.0, 15.0, np.nan], ward=["C", "A", "B"], rare=1)
    return {"train": train, "validation": other.copy(), "holdout": other.assign(subject_id=[30, 31, 32])}


def details(prepared: Prepared) -> dict[str, dict[str, int]]:
    return {step["step"].split(":")[0]: step["detail"] for step in prepared.steps}


def test_clipping() -> None:
    prepared = Preprocess(outliers="clip", min_prevalence=0.2).apply(tables(), SPECS)
    bmi = prepared.schema.by_name["bmi"]
    assert bmi.bounds == (10, 60)
    assert bmi.decimals == 2
    assert bmi.missing
    assert prepared.tables["train"]["bmi"].tolist()[:4] == [20.5, 30.25, 60, 10]
    assert prepared.tables["holdout"]["bmi"].tolist()[:2] == [60, 15]
    assert details(prepared)["outliers"] == {"bmi": 4}


def test_dropping_records() -> None:
    prepared = Preprocess(outliers="drop").apply(tables(), SPECS)
    assert prepared.schema.by_name["bmi"].bounds == (20.5, 30.25)
    assert {name: len(table) for name, table in prepared.tables.items()} == {"train": 8, "validation": 2, "holdout": 2}
    assert prepared.tables["holdout"]["bmi"].iloc[0] == 15  # outside the training bounds, and kept as it is


def test_columns_are_left_out_by_training_rows() -> None:
    prepared = Preprocess(min_prevalence=0.2).apply(tables(), SPECS)
    assert prepared.schema.names == ["bmi", "ward", "common", "dead"]
    assert details(prepared)["columns mostly missing"] == {"lab": 7}
    assert details(prepared)["rare codes"] == {"rare": 1}
    (code,) = prepared.rare
    assert (code.column.name, code.column.domain, code.prevalence) == ("rare", "diagnosis", 0.1)
    assert [step["columns"] for step in prepared.steps] == [6, 5, 4, 4, 4]


@pytest.mark.parametrize(("min_count", "kept"), [(1, True), (2, False)])
def test_min_count(min_count: int, kept: bool) -> None:
    prepared = Preprocess(min_count=min_count).apply(tables(), SPECS)
    assert ("rare" in prepared.schema.by_name) == kept


def test_levels_that_training_never_shows() -> None:
    prepared = Preprocess().apply(tables(), SPECS)
    assert prepared.schema.by_name["ward"].levels == ("A", "B", "other")
    assert prepared.tables["holdout"]["ward"].tolist() == ["other", "A", "B"]
    assert details(prepared)["levels that training never has"] == {"ward": 2}


def test_gaps_that_training_never_shows() -> None:
    given = tables()
    given["holdout"].loc[0, "ward"] = None
    prepared = Preprocess().apply(given, SPECS)
    assert prepared.tables["holdout"]["subject_id"].tolist() == [31, 32]
    assert details(prepared)["rows with gaps that training never has"] == {"holdout": 1}
    assert not prepared.schema.by_name["ward"].missing


def test_nothing_is_fitted_on_other_rows() -> None:
    given = tables()
    before = Preprocess().apply(given, SPECS).schema
    given["holdout"]["bmi"] = [59.123, 12.0, 13.0]
    given["validation"]["common"] = 0
    assert Preprocess().apply(given, SPECS).schema == before


def test_the_given_tables_stay_as_they_are() -> None:
    given = tables()
    Preprocess().apply(given, SPECS)
    for name, table in tables().items():
        pd.testing.assert_frame_equal(given[name], table)


def test_a_constant_outcome() -> None:
    given = tables()
    given["train"]["dead"] = 0
    with pytest.raises(TableError, match="'dead': a constant outcome"):
        Preprocess().apply(given, SPECS)


def test_no_rows_left() -> None:
    given = tables()
    given["holdout"]["bmi"] = 1000.0
    with pytest.raises(TableError, match="holdout, after preprocessing: the number of rows is 0"):
        Preprocess(outliers="drop").apply(given, SPECS)


@pytest.mark.parametrize(
    "option",
    [{"outliers": "ignore"}, {"max_missing": 2}, {"max_missing": "half"}, {"min_prevalence": -1}, {"min_count": -1}],
)
def test_impossible_options(option: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=f"preprocess.{next(iter(option))}"):
        Preprocess(**option)  # type: ignore[arg-type]
