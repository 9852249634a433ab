"""A schema file is written by people: each mistake is named, and no message tells a patient's value."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ehrsynth.errors import SchemaError, TableError
from ehrsynth.files import write_json
from ehrsynth.schema import Column, Schema, as_text

AGE = {"name": "age", "kind": "count", "bounds": [0, 99]}
SEX = {"name": "sex", "kind": "categorical", "levels": ["F", "M"]}


def load(path: Path, content: Any) -> Schema:
    write_json(path / "schema.json", content)
    return Schema.load(path / "schema.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1], "an object"),
        ("text", "an object"),
        ({"version": 1}, "list of columns"),
        ({"version": 1, "columns": None}, "list of columns"),
        ({"version": 1, "columns": {"age": AGE}}, "list of columns"),
        ({"version": 1, "columns": []}, "no columns"),
        ({"version": 2, "columns": [AGE]}, "version 2"),
        ({"version": 1, "columns": [AGE, AGE]}, "duplicate columns 'age'"),
    ],
)
def test_a_file_that_is_no_schema(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(SchemaError, match=rf"schema\.json: .*{words}"):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("a", "column 1: an object"),
        (None, "column 1: an object"),
        ({"kind": "binary"}, "column 1: needs name and kind"),
        ({"name": None, "kind": "binary"}, "needs name and kind"),
        ({"name": 3, "kind": "binary"}, "column 3: name: text"),
        (SEX | {"kind": ["categorical"]}, "column 'sex': kind: text"),
        (SEX | {"kind": "text"}, "column 'sex': kind 'text' is none of"),
        (SEX | {"colour": "red"}, r"column 'sex': .*\['colour'\]"),
        (SEX | {"levels": "FM"}, "column 'sex': levels: a list"),
        (SEX | {"levels": ["F", None]}, "column 'sex': levels: a list"),
        (SEX | {"levels": [1.5]}, "column 'sex': levels: a list"),
        (SEX | {"levels": [1, "1"]}, "column 'sex': .*distinct levels"),
        (SEX | {"missing": "no"}, "column 'sex': missing: true or false"),
        (SEX | {"label": 1}, "column 'sex': label: text"),
        (AGE | {"bounds": [0]}, "column 'age': bounds"),
        (AGE | {"bounds": 0}, "column 'age': bounds"),
        (AGE | {"bounds": ["x", "y"]}, "column 'age': bounds"),
        (AGE | {"bounds": [2, 1]}, "column 'age': .*bounds"),
        (AGE | {"bounds": None}, "column 'age': .*bounds"),
        (AGE | {"decimals": "2"}, "column 'age': decimals"),
    ],
)
def test_a_malformed_column(tmp_path: Path, column: Any, words: str) -> None:
    first = {"name": "dx", "kind": "binary"}
    with pytest.raises(SchemaError, match=rf"schema\.json: .*{words}"):
        load(tmp_path, {"version": 1, "columns": [first, column]})


def test_integer_levels_become_text_and_nulls_the_defaults(tmp_path: Path) -> None:
    column = {**SEX, "levels": [1, 2], "bounds": None, "decimals": None, "label": None}
    schema = load(tmp_path, {"version": 1, "columns": [column]})
    assert schema.columns == (Column("sex", "categorical", ("1", "2")),)
    assert Schema.from_dict(schema.to_dict()) == schema


def test_a_level_that_is_not_in_the_schema_is_not_told() -> None:
    schema = Schema((Column("town", "categorical", ("Lourdes", "Vittel")),))
    with pytest.raises(TableError, match=r"t\.csv: column 'town', row 1: .*2 levels; see schema\.json") as raised:
        schema.validate(pd.DataFrame({"town": ["Vittel", "Bath"]}), "t.csv")
    assert not any(town in str(raised.value) for town in ("Lourdes", "Vittel", "Bath"))


@pytest.mark.parametrize(
    "cells", [[1, 0, 1], [1.0, None, 0.0], pd.array([1, None, 0], "Int64"), ["1", None, "0"], ["0", "1", "1"]]
)
def test_whole_numbers_fit_levels_that_are_digits(cells: Any) -> None:
    frame = pd.DataFrame({"code": cells})
    assert Schema((Column("code", "categorical", ("0", "1"), missing=True),)).validate(frame, "t").equals(frame)


def test_fractions_do_not_become_whole() -> None:
    assert as_text(pd.Series([1.5, 2.0])).tolist() == ["1.5", "2"]
    assert as_text(pd.Series(["1.0", "01"])).tolist() == ["1.0", "01"]
    with pytest.raises(TableError, match="row 1"):
        Schema((Column("code", "categorical", ("1",)),)).validate(pd.DataFrame({"code": [1.0, 1.5]}), "t")


def test_columns_to_read_as_text() -> None:
    columns = (Column("dx", "binary"), Column("sex", "categorical", ("F",)), Column("age", "count", bounds=(0, 1)))
    assert Schema(columns).text_columns == ["subject_id", "sex"]
