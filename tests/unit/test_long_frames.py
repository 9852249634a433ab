"""Long tables of other tools, written and read."""

import numpy as np
import pandas as pd
import pytest

from ehrsynth.data.long_frames import long_frame, visits_of
from ehrsynth.errors import TableError
from ehrsynth.visits import DAY
from tests.trajectories import assert_equal, told
from tests.unit.test_visits import SCHEMA, three


def test_a_row_for_each_code() -> None:
    frame = long_frame(three(), SCHEMA)
    assert frame.to_dict("list") == {"id": ["0", "0", "2"], "time": [0, 0, 0], "visit_codes": ["dx_a", "rx_c", "dx_b"]}
    dated = long_frame(three(), SCHEMA, dated=True)
    assert dated["time"].astype(str).tolist() == ["1970-01-01", "1970-01-01", "1970-01-06"]


def test_rows_in_any_order_become_visits() -> None:
    rows = [("b", 1, "y"), ("a", 2, "x"), ("b", 0, "z"), ("a", 0, "y"), ("a", 2, "x"), ("a", 2, "a")]
    frame = pd.DataFrame(rows, columns=["id", "time", "visit_codes"])
    visits, schema, people = visits_of(frame)
    visits.check(schema, "here")
    assert [code.name for code in schema.codes] == ["a", "x", "y", "z"]
    assert people["subject_id"].tolist() == ["a", "b"]
    assert [[line[3] for line in told(visits, schema, patient)] for patient in (0, 1)] == [
        [["y"], ["a", "x"]],
        [["z"], ["y"]],
    ]
    assert (visits.starts // DAY).tolist() == [0, 2, 0, 1]
    again, _, _ = visits_of(long_frame(visits, schema, dated=True), schema=schema)
    assert_equal(again, visits)


def test_dates_and_names_of_ones_own() -> None:
    frame = pd.DataFrame({"who": [7, 7], "when": ["2020-01-02T10:00", "2020-01-02"], "what": [250, 401]})
    visits, schema, people = visits_of(frame, columns={"id": "who", "time": "when", "code": "what"})
    assert [line[1] for line in told(visits, schema, 0)] == ["2020-01-02 00:00", "2020-01-02 10:00"]
    assert people["subject_id"].tolist() == [7]
    assert visits.codes.dtype == np.int32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": ["x", "2020-01-01"]}, r"mine: column 'time', row 0: no number of a visit and no date"),
        ({"id": [None, "a"]}, r"mine: column 'id', row 0: the cell is empty"),
        ({"visit_codes": ["dx_a", "dx_q"]}, r"mine: column 'visit_codes', row 1: none of the 3 codes of the schema"),
    ],
)
def test_what_it_refuses(change: dict[str, list[str]], message: str) -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "time": [0, 1], "visit_codes": ["dx_a", "dx_b"]}).assign(**change)
    with pytest.raises(TableError, match=message):
        visits_of(frame, schema=SCHEMA, table="mine")


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(TableError, match=r"mine: no column 'visit_codes'; id, time, visit_codes were expected"):
        visits_of(pd.DataFrame({"id": ["a"], "time": [0]}), table="mine")
