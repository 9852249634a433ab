"""Rows of patients through time against what can be read off three of them."""

import numpy as np
import pandas as pd

from ehrsynth.data.encoding import Encoder
from ehrsynth.data.row_view import RowView
from ehrsynth.schema import Column, Schema
from tests.unit.test_visits import SCHEMA, three

STATIC = Schema(
    (
        Column("sex", "categorical", levels=("F", "M"), missing=True, domain="demographics"),
        Column("age", "continuous", bounds=(20.0, 90.0), missing=True, decimals=0, domain="demographics"),
        Column("died", "binary", role="outcome", domain="outcome"),
    )
)
PEOPLE = pd.DataFrame({"sex": ["F", None, "M"], "age": [40.0, np.nan, 71.0], "died": [0, 0, 1]})


def test_a_row_says_what_any_visit_has_and_the_latest_values() -> None:
    visits = three()
    view = RowView(STATIC, SCHEMA, 2)
    rows = view.rows(Encoder(STATIC).encode(PEOPLE), visits)
    told = Encoder(view.schema).decode(rows)
    pd.testing.assert_frame_equal(told[["sex", "age", "died"]], PEOPLE.astype({"died": np.int8}), check_dtype=False)
    assert told["visits"].tolist() == [2, 0, 1]
    assert told[["dx_a", "dx_b", "rx_c"]].to_numpy().tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    np.testing.assert_array_equal(told["glucose"], [100.0, np.nan, 140.0])
    later = visits.with_visits_moved(np.array([2, 0, 1]))  # the third patient's 140 comes first, then nobody's
    told = Encoder(view.schema).decode(view.rows(Encoder(STATIC).encode(PEOPLE), later))
    np.testing.assert_array_equal(told["glucose"], [140.0, np.nan, 100.0])


def test_a_table_of_visits_alone_has_no_second_count() -> None:
    static = Schema((Column("visits", "count", bounds=(0.0, 9.0), decimals=0),))
    view = RowView(static, SCHEMA, 2)
    people = Encoder(static).encode(pd.DataFrame({"visits": [2, 0, 1]}))
    assert Encoder(view.schema).decode(view.rows(people, three()))["visits"].tolist() == [2, 0, 1]
    assert [column.name for column in view.schema.columns] == ["visits", "dx_a", "dx_b", "rx_c", "glucose"]
