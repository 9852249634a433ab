"""Decoding is the exact inverse of encoding, for any table that fits its schema."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ehrsynth.bits import unpack
from ehrsynth.data.encoding import Encoder, as_decoded, extremes, fill_missing, fit_bounds, rescaled
from ehrsynth.data.inference import infer_schema
from ehrsynth.errors import SchemaError, TableError
from ehrsynth.layout import Records
from ehrsynth.schema import Column, Schema
from ehrsynth.seeding import torch_rng

LEVELS = ("A", "B c", "ä", "1")


@st.composite
def tables(draw: st.DrawFn) -> tuple[Schema, pd.DataFrame]:
    n = draw(st.integers(2, 12))
    schema, cells = [], {}
    for i, kind in enumerate(
        draw(st.lists(st.sampled_from(("binary", "categorical", "continuous", "count")), min_size=1))
    ):
        name, missing = f"c{i}", kind != "binary" and draw(st.booleans())
        gap = st.none() if missing else st.nothing()
        if kind == "binary":
            column = Column(name, "binary")
            drawn = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
        elif kind == "categorical":
            column = Column(name, "categorical", LEVELS, missing=missing)
            drawn = draw(st.lists(st.sampled_from(LEVELS) | gap, min_size=n, max_size=n))
        else:
            decimals = 0 if kind == "count" else draw(st.integers(0, 6))
            steps = draw(st.lists(st.integers(-1_000_000, 1_000_000) | gap, min_size=n - 1, max_size=n - 1))
            drawn = [None if step is None else round(step / 10**decimals, decimals) for step in [*steps, 7]]
            column = Column(name, kind, bounds=(0, 0), missing=missing)
        schema.append(column)
        cells[name] = pd.Series(drawn, dtype=object if kind == "categorical" else None)
    frame = pd.DataFrame(cells)
    fitted = fit_bounds(Schema(tuple(schema)), frame)
    return fitted, as_decoded(frame, fitted)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_decode_inverts_encode(table: tuple[Schema, pd.DataFrame]) -> None:
    schema, frame = table
    schema.validate(frame, "table")
    encoder = Encoder(schema)
    records = encoder.encode(frame)
    pd.testing.assert_frame_equal(encoder.decode(records), frame)
    observed = records.values[~records.values.isnan()]
    assert ((observed >= 0) & (observed <= 1)).all()
    for group in records.layout.groups.values():
        assert (records.bits[:, group].sum(1) == 1).all()
    pd.testing.assert_frame_equal(encoder.decode(Records.of_dense(records.layout, records.dense())), frame)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(tables(), st.integers(0, 5))
def test_filling_draws_from_the_observed_and_keeps_the_rest(table: tuple[Schema, pd.DataFrame], seed: int) -> None:
    records = Encoder(table[0]).encode(table[1])
    filled = fill_missing(records, records, torch_rng(seed, "fill"))
    assert not filled.values.isnan().any()
    empty = records.values.isnan()
    assert torch.equal(filled.values[~empty], records.values[~empty])
    assert torch.equal(unpack(filled.bits), unpack(records.bits))
    for j in range(records.values.shape[1]):
        assert torch.isin(filled.values[:, j], records.values[~empty[:, j], j]).all()


def test_filling_follows_the_marginal() -> None:
    values = torch.tensor([[0.0]] * 30 + [[1.0]] * 10 + [[torch.nan]] * 4000)
    schema = Schema((Column("x", "continuous", bounds=(0, 1), missing=True),))
    records = Records(Encoder(schema).layout, values.isnan().to(torch.uint8), values)
    filled = fill_missing(records, records, torch_rng(0, "fill"))
    assert filled.values[40:].mean().item() == pytest.approx(0.25, abs=0.03)
    with pytest.raises(TableError, match="'x': no training row has a value"):
        fill_missing(records[40:], records[40:], torch_rng(0, "fill"))


def test_encoding_by_hand() -> None:
    columns = (
        Column("dx", "binary"),
        Column("sex", "categorical", ("F", "M"), missing=True),
        Column("age", "count", bounds=(20, 70)),
        Column("bmi", "continuous", bounds=(10, 60), missing=True, decimals=1),
    )
    frame = pd.DataFrame({"dx": [True, False], "sex": ["M", None], "age": [20, 95], "bmi": [np.nan, 22.5]})
    records = Encoder(Schema(columns)).encode(frame.assign(subject_id=[1, 2]))
    assert records.layout.names == ["dx", "bmi:missing", "sex=F", "sex=M", "sex:missing", "age", "bmi"]
    assert unpack(records.bits).tolist() == [[1, 1, 0, 1, 0], [0, 0, 0, 0, 1]]
    assert records.values[:, 0].tolist() == [0, 1.5]  # beyond the training maximum, and kept as it is
    assert records.values[0, 1].isnan()
    assert records.values[1, 1].item() == 0.25
    decoded = Encoder(Schema(columns)).decode(records)
    assert decoded.dtypes.astype(str).tolist() == ["int8", "str", "int64", "float64"]
    assert decoded["age"].tolist() == [20, 95]


def test_an_unknown_level_or_gap_is_refused() -> None:
    encoder = Encoder(Schema((Column("sex", "categorical", ("F", "M")),)))
    for cells in (["F", "X"], ["F", None]):
        with pytest.raises(TableError, match="'sex', row 1"):
            encoder.encode(pd.DataFrame({"sex": cells}))


def test_a_constant_column_has_width_one() -> None:
    frame = pd.DataFrame({"x": [3.5, 3.5]})
    schema = infer_schema(frame, "table")
    records = Encoder(schema).encode(frame)
    assert records.values.tolist() == [[0], [0]]
    pd.testing.assert_frame_equal(Encoder(schema).decode(records), frame)


def test_infer_schema() -> None:
    frame = pd.DataFrame(
        {
            "subject_id": [1, 2, 3],
            "flag": [True, False, True],
            "code": [0, 1, 1],
            "code_with_gap": [0, 1, None],
            "visits": [1, 2, 7],
            "bmi": [20.25, None, 30.5],
            "ward": ["B", None, "A"],
        }
    )
    schema = infer_schema(frame, "table")
    found = {c.name: (c.kind, c.missing, c.bounds, c.decimals, c.levels) for c in schema.columns}
    assert found == {
        "flag": ("binary", False, None, None, ()),
        "code": ("binary", False, None, None, ()),
        "code_with_gap": ("categorical", True, None, None, ("0", "1")),
        "visits": ("count", False, (1, 7), 0, ()),
        "bmi": ("continuous", True, (20.25, 30.5), 2, ()),
        "ward": ("categorical", True, None, None, ("A", "B")),
    }
    schema.validate(frame, "table")
    with pytest.raises(TableError, match="table: column 'empty': empty in all 2 rows"):
        infer_schema(pd.DataFrame({"empty": [None, None]}), "table")


def text_column(distinct: int, rows: int, gaps: int = 0) -> pd.DataFrame:
    return pd.DataFrame({"notes": [*(f"v{i % distinct}" for i in range(rows)), *[None] * gaps]})


@pytest.mark.parametrize(("distinct", "rows", "gaps"), [(101, 1000, 0), (11, 20, 0), (20, 20, 980)])
def test_identifiers_and_free_text_are_not_levels(distinct: int, rows: int, gaps: int) -> None:
    words = rf"t\.csv: column 'notes': looks like an .*\({distinct} distinct values in {rows} rows\); leave it out"
    with pytest.raises(TableError, match=words) as raised:
        infer_schema(text_column(distinct, rows, gaps), "t.csv")
    assert "v1" not in str(raised.value)


@pytest.mark.parametrize(("distinct", "rows"), [(100, 1000), (10, 20), (19, 19)])
def test_levels_are_not_taken_for_identifiers(distinct: int, rows: int) -> None:
    (column,) = infer_schema(text_column(distinct, rows), "t.csv").columns
    assert len(column.levels) == distinct


def test_no_columns_to_infer() -> None:
    with pytest.raises(TableError, match=r"t\.csv: no columns besides the subject"):
        infer_schema(pd.DataFrame({"subject_id": [1, 2]}), "t.csv")


def test_whole_numbers_are_levels_that_are_digits() -> None:
    encoder = Encoder(Schema((Column("code", "categorical", ("0", "1"), missing=True),)))
    records = encoder.encode(pd.DataFrame({"code": [1.0, None, 0.0]}))
    assert encoder.decode(records)["code"].fillna("gap").tolist() == ["1", "gap", "0"]


def test_fit_bounds_replaces_bounds_and_decimals_only() -> None:
    schema = Schema((Column("x", "continuous", bounds=(0, 1), label="X", domain="lab"), Column("b", "binary")))
    fitted = fit_bounds(schema, pd.DataFrame({"x": [5.0, -2.125], "b": [0, 1]}))
    assert fitted.columns == (replace(schema.columns[0], bounds=(-2.125, 5.0), decimals=3), schema.columns[1])
    with pytest.raises(SchemaError):
        Column("x", "continuous")


def test_records_under_wider_bounds_are_judged_as_those_under_their_own() -> None:
    frame = pd.DataFrame({"x": [10.5, 33.3, None, 71.2], "age": [18, 20, 91, 20], "same": [3, 3, 3, 3]})
    wide = Schema(
        (
            Column("x", "continuous", bounds=(0, 100), decimals=1, missing=True),
            Column("age", "count", bounds=(0, 120)),
            Column("same", "count", bounds=(3, 3)),
        )
    )
    records = Encoder(wide).encode(frame)
    own = extremes(wide, records)
    assert [column.bounds for column in own.columns] == [c.bounds for c in fit_bounds(wide, frame).columns]
    assert torch.equal(
        rescaled(records, wide, own).values.nan_to_num(9), Encoder(own).encode(frame).values.nan_to_num(9)
    )
    assert torch.equal(rescaled(records, wide, wide).values.nan_to_num(9), records.values.nan_to_num(9))
