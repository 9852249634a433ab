"""Dense cells beside sparse codes: picked, cut into chunks, and put together again."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from ehrsynth.data.features.base import Collected, ColumnSpec, Feature
from ehrsynth.data.store import Store
from ehrsynth.data.wide import Wide, widen
from ehrsynth.errors import OptionError, TableError

N = 5


class Numbers(Feature):
    """One number for the first two rows."""

    def __init__(self, name: str) -> None:
        self.name = name

    def collect(self, store: Store) -> Collected:
        return Collected({self.name: ColumnSpec("continuous")}, pd.DataFrame({self.name: [1.5, 2.5]}))


class Pairs(Feature):
    """Code ``i`` of three in row ``i`` and in the last."""

    def collect(self, store: Store) -> Collected:
        specs = {f"dx_{i}": ColumnSpec("binary", domain="diagnosis") for i in range(3)}
        row, column = np.array([0, 1, 2, 4, 4, 4]), np.array([0, 1, 2, 0, 1, 2])
        return Collected(specs, row=row, column=column, remarks={"codes": 3})


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(threads=1) as store:
        store.table(
            "cohort",
            f"""SELECT range AS row, 's' || range AS subject_id, TIMESTAMP '2150-01-01' + to_days(range::INT)
            AS index_time FROM range({N})""",
        )
        yield store


def wide_of(store: Store) -> Wide:
    return widen(store, [Numbers("a"), Pairs(), Numbers("b")])


def test_columns_keep_the_order_of_the_features(store: Store) -> None:
    wide = wide_of(store)
    frame = wide.frame()
    assert list(frame) == ["subject_id", "a", "dx_0", "dx_1", "dx_2", "b"]
    assert frame["subject_id"].tolist() == [f"s{i}" for i in range(N)]
    assert frame["a"].tolist()[:2] == [1.5, 2.5]
    assert frame["a"].isna().sum() == 3
    assert frame[["dx_0", "dx_1", "dx_2"]].to_numpy().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0] * 3, [1] * 3]
    assert (wide.codes.dtype, frame["dx_0"].dtype) == (np.uint8, np.int8)
    assert wide.index_time is not None
    assert wide.index_time.is_monotonic_increasing
    assert wide.given is not None
    assert wide.given.isna().all()


def test_chunks_are_the_frame(store: Store) -> None:
    wide = wide_of(store)
    for rows in (1, 2, N, 100, None):
        chunks = list(wide.chunks(rows))
        assert all(len(chunk) <= (rows or N) for chunk in chunks)
        pd.testing.assert_frame_equal(pd.concat(chunks), wide.frame())


def test_rows_and_columns_can_be_picked(store: Store) -> None:
    wide = wide_of(store)
    some = wide[np.array([4, 1])].only({name: wide.specs[name] for name in ("dx_2", "b", "dx_0")})
    assert some.frame().drop(columns="b").to_numpy().tolist() == [["s4", 1, 1], ["s1", 0, 0]]
    assert some.column("dx_2").tolist() == [1, 0]
    assert some.column("b").tolist()[1] == 2.5
    assert some.index_time is not None
    assert some.index_time.dt.day.tolist() == [5, 2]


def test_without_codes_and_without_cells(store: Store) -> None:
    assert list(widen(store, [Numbers("a")]).frame()) == ["subject_id", "a"]
    assert list(widen(store, [Pairs()]).frame()) == ["subject_id", "dx_0", "dx_1", "dx_2"]


def test_two_features_of_one_name(store: Store) -> None:
    with pytest.raises(OptionError, match="column 'a' is made twice"):
        widen(store, [Numbers("a"), Numbers("a")])


def test_the_sources_own_split(store: Store) -> None:
    store.view("splits", "SELECT 's' || range AS subject_id, 'part' || range % 2 AS part FROM range(1, 9)")
    given = wide_of(store).given
    assert given is not None
    assert [None if pd.isna(part) else part for part in given] == [None, "part1", "part0", "part1", "part0"]
    store.view("splits", "SELECT 's1' AS subject_id, 'part' || range AS part FROM range(2)")
    with pytest.raises(TableError, match="1 subjects are in two parts"):
        wide_of(store)


def test_sexes() -> None:
    specs = {"x": ColumnSpec("binary", sex="F"), "y": ColumnSpec("binary")}
    wide = Wide(pd.Series(range(2)), specs, pd.DataFrame(index=range(2)), sparse.csr_array(np.eye(2)), ["x", "y"])
    assert wide.sexes == {"x": "F"}
