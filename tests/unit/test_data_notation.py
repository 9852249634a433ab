"""How columns write their numbers: signs, zeros, words among them, and what is said of those that do not tell."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data import parsing
from ehrsynth.data.inference import DATES, Unclear, _column
from ehrsynth.data.notation import coded, dated, decimal_of, unclear
from ehrsynth.data.table_files import read_table
from ehrsynth.data.tables import Reading, Source, read_schema
from ehrsynth.errors import TableError
from ehrsynth.schema import Column
from tests import matrices

N = 60
RNG = np.random.default_rng(0)
LAB = [f"{value:.1f}" for value in RNG.uniform(3, 6, N)]


def text(*cells: str | None) -> pd.Series:
    return pd.Series(cells, dtype=str)


@pytest.mark.parametrize(
    ("cells", "sign"),
    [
        (["37,4", "38"], ","),
        (["0,123", None], ","),
        (["1,234", "2,500"], "."),  # decimals or thousands
        (["1,234", "37,4"], ","),
        (["-,5", "+1,5e3"], ","),
        (["37.4"], "."),
        (["1,5", "see, 2", "a", "b"], "."),  # words with a number among them
        (["x", None], "."),
    ],
)
def test_a_column_shows_its_decimal_sign_or_does_not(cells: list[str | None], sign: str) -> None:
    assert decimal_of(text(*cells)) == sign


def test_what_a_column_does_not_show_its_table_may() -> None:
    assert parsing.quantities(text("1,234", "2,5"), ",").tolist() == [1.234, 2.5]
    assert parsing.quantities(text("1,234", "2,500"), ",").tolist() == [1.234, 2.5]
    assert parsing.quantities(text("250.83", "401.9"), ",").tolist() == ["250.83", "401.9"]
    assert parsing.quantities(text("1,234", "2,500")).tolist() == ["1,234", "2,500"]
    assert decimal_of(text("7.35", "7.4", "1,234"), ",") == "."  # its own cells show a point
    assert decimal_of(text("1.234", "2.500"), ",") == ","
    assert parsing.quantities(text("\u22121,5", "2"), ",").tolist() == [-1.5, 2]
    assert parsing.quantities(text("1.5", ".", "#NV", "k.A.")).fillna(0).tolist() == [1.5, 0, 0, 0]
    assert parsing.decimal_sign([text("a"), text("37,4"), pd.Series([1.5])]) == ","


@pytest.mark.parametrize(
    ("cells", "codes"),
    [(["01067", "4109"], True), (["038.9"], True), ([" 07"], True), (["0", "0.5", "-0.1", "10"], False)],
)
def test_zeros_before_digits_make_codes(cells: list[str], codes: bool) -> None:
    assert coded(text(*cells)) == codes
    assert parsing.is_text(parsing.quantities(text(*cells))) == codes
    assert not parsing.is_text(parsing.numbers(text(*cells)))  # of a column that is known to hold numbers


@pytest.mark.parametrize(
    ("cells", "days"),
    [
        (["20200117", "19991231"], True),
        (["17012020", "31121999"], True),
        (["202001171030", "202001172359"], True),
        (["20200157", "20200117"], False),
        (["12345678", "20200117"], False),
    ],
)
def test_digits_that_are_days(cells: list[str], days: bool) -> None:
    assert dated(text(*cells)) == days
    assert (_column("x", pd.Series(list(map(int, cells)))) == DATES) == days


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([*LAB, ">8.0", ">8.0"], "numbers, but 2 of 62 cells are text (row 60 the first)"),
        ([*LAB, "<0,1"], "numbers, but 1 of 61"),
        ([*LAB, "hemolyzed"], "numbers, but 1 of 61"),
        ([*LAB, *["5.5 mmol/l"] * 20], "numbers, but 20 of 80"),
        ([*map(str, range(40)), "?"], "numbers, but 1 of 41"),
        (["1,234", "2,500"], "2 of 2 numbers have a sign before three digits"),
        (["1,234.5", "2,500"], "2 of 2 numbers have a sign before three digits"),
        (["1.234,5", "2.500"], "2 of 2 numbers have a sign before three digits"),
        (["1,5", "2.5"], "numbers, 1 of 2 with a comma and 1 with a point"),
        (["1", "2", "3", "4a", "unknown"], None),
        (["0", "1", "2", ">2"], None),
        (["250.83", "401.9", "V58.1"], None),
        (["<18", "18-65", ">65"], None),
        (["038.9", "427.31", "none"], None),
        (["5 mg", "10 mg"], None),
        ([f"{lab} mmol/l" for lab in LAB], "numbers, 60 of 60 with a unit or a sign"),
        ([f"{80 + i}%" for i in range(20)], "numbers, 20 of 20 with a unit or a sign"),
        ([f"{i}DT{i}" for i in range(10, 40)], None),
        (["yes", "no"], None),
    ],
)
def test_numbers_that_are_none_are_said(cells: list[str], said: str | None) -> None:
    found = unclear(text(*cells))
    assert (found or "").startswith(said or "")
    assert (found is None) == (said is None)
    assert isinstance(_column("x", text(*cells)), Unclear) == (said is not None)
    assert isinstance(_column("x", text(*cells * 3).astype("category")), Column | str)  # a declared category is one


def table(**columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"patient": [f"P{i}" for i in range(N)], "died": ["0", "1"] * (N // 2), **columns})


COMMAS = [value.replace(".", ",") for value in LAB]


@pytest.mark.parametrize(
    ("frame", "sep"),
    [
        (table(lab=COMMAS, day=["31.12.2020"] * N), ";"),
        (table(lab=COMMAS, dx=["250.83", "401.9"] * (N // 2)), ";"),
        (table(lab=[*[""] * 30, *COMMAS[:30]]), ";"),
        (table(lab=COMMAS), ","),
        (table(lab=COMMAS), "\t"),
    ],
    ids=["dates with points", "codes with points", "late", "quoted", "tabs"],
)
def test_decimal_commas_are_seen_in_any_dress(tmp_path: Path, frame: pd.DataFrame, sep: str) -> None:
    path = tmp_path / "table.csv"
    frame.to_csv(path, sep=sep, index=False)
    expected = frame["lab"].str.replace(",", ".").replace("", None).astype(float)
    np.testing.assert_array_equal(read_table(path)["lab"], expected)
    options = ("source=flat", f"source.path={path}", "source.subject=patient", "source.outcomes=[died]")
    matrix = matrices.make(tmp_path / "out", *options, "preprocess.bounds=exact")
    lab = matrix.schema.by_name["lab"]
    assert (lab.kind, lab.decimals) == ("continuous", 1)
    if "dx" in frame:
        assert matrix.schema.by_name["dx"].levels == ("250.83", "401.9")


def test_a_column_of_points_in_a_table_of_commas(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    ph = [f"{value:.2f}" for value in RNG.normal(7.35, 0.08, N)]
    table(lab=COMMAS, ph=ph).to_csv(path, sep=";", index=False)
    matrix = matrices.make(tmp_path / "out", "source=flat", f"source.path={path}", "source.subject=patient")
    schema = read_schema(Source.of("train", path), Reading(subject="patient"))
    for found in (matrix.schema, schema):
        assert (found.by_name["ph"].kind, found.by_name["ph"].decimals) == ("continuous", 2)
    cells = [f"{1 + i % 9}.{100 + i}" if i % 2 else str(900 + i) for i in range(N)]  # thousands, without any comma
    table(lab=COMMAS, cells=cells).to_csv(path, sep=";", index=False)
    with pytest.raises(TableError, match=r"column 'cells': 30 of 60 numbers have a sign before three digits"):
        read_schema(Source.of("train", path), Reading(subject="patient"))


def test_what_does_not_tell_is_refused_by_name_in_both_verbs(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    table(kalium=[*LAB[2:], ">8.0", ">8.0"]).to_csv(path, index=False)
    with pytest.raises(TableError, match=r"column 'kalium': numbers, but [12] of \d+ cells.*source\.drop=\[kalium\]"):
        matrices.make(tmp_path / "out", "source=flat", f"source.path={path}", "source.subject=patient")
    with pytest.raises(TableError, match=r"column 'kalium': numbers, but 2 of 60 cells.* drop=\[kalium\]"):
        read_schema(Source.of("train", path), Reading(subject="patient"))


def test_codes_and_days_are_no_quantities(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    columns = {
        "ward": [f"0{i % 4 + 1}" for i in range(N)],
        "plz": [f"0{i % 3}067" for i in range(N)],
        "admitted": ["20200117", "20201003"] * (N // 2),
    }
    table(**columns).to_csv(path, index=False)
    matrix = matrices.make(tmp_path / "out", "source=flat", f"source.path={path}", "source.subject=patient")
    kinds = {column.name: column.kind for column in matrix.schema.columns}
    assert kinds == {"died": "binary", "ward": "categorical", "plz": "categorical"}
    assert set(matrix.train["ward"]) <= {"01", "02", "03", "04", "other"}


@pytest.mark.parametrize(
    ("cells", "width"),
    [
        ([37.4, 38.1], "short"),
        (np.array([37.4, 38.1], np.float32), "narrow"),
        (np.array([37.4, 38.1], np.float32).astype(float), "upcast"),
        (np.random.default_rng(0).normal(size=50), "long"),
        (pd.Series(np.random.default_rng(0).normal(size=50).astype(np.float32)).astype(str).astype(float), "narrow"),
        ([2**25 + 1, 2**26 + 1], "long"),
        ([45, 46], "short"),
    ],
)
def test_in_how_many_bits_numbers_came(cells: list[float], width: str) -> None:
    assert parsing.width_of(pd.Series(cells)) == width


@pytest.mark.parametrize("kind", ["float32", "Float32", "float16"])
def test_floats_of_fewer_bits_are_what_they_stand_for(kind: str) -> None:
    given = pd.Series([37.4, 0.1, -2.25, 45, 0])
    assert parsing.numbers(given.astype(kind)).tolist() == given.tolist()
    gap = pd.Series([37.4, None]).astype(kind)
    assert parsing.numbers(gap).isna().tolist() == [False, True]
