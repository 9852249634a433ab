"""Tables in pieces: the same as in one, whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from ehrsynth.chunks import CELLS, ROWS, read_chunks, rows_of, write_chunks, write_table
from ehrsynth.data.table_files import read_table
from ehrsynth.errors import FileError

TABLE = pd.DataFrame(
    {
        "subject_id": [f"s{i}" for i in range(10)],
        "code": np.array([0, 1] * 5, np.int8),
        "bmi": [np.nan] * 4 + [20.5, 21.0, np.nan, 30.25, 31.0, 18.0],
        "race": [None] * 3 + ["white", "black", "white", None, "asian", "white", "black"],
    }
).astype({"race": str})
TABLE.loc[[0, 1, 2, 6], "race"] = None


def pieces(rows: int) -> Iterator[pd.DataFrame]:
    for start in range(0, len(TABLE), rows):
        yield TABLE.iloc[start : start + rows]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
@pytest.mark.parametrize("rows", [3, 10])
def test_pieces_make_the_table(tmp_path: Path, suffix: str, rows: int) -> None:
    path, whole = tmp_path / f"pieces{suffix}", tmp_path / f"whole{suffix}"
    assert write_chunks(path, pieces(rows)) == 10
    write_table(whole, TABLE)
    pd.testing.assert_frame_equal(read_table(path), read_table(whole))
    if suffix == ".csv":
        assert path.read_bytes() == whole.read_bytes()
    again = tmp_path / f"again{suffix}"
    write_chunks(again, pieces(rows))
    assert again.read_bytes() == path.read_bytes()


def test_rows_are_numbered_as_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_chunks(path, pieces(4))
    assert parquet.ParquetFile(path).num_row_groups == 3
    found = list(read_chunks(path))
    assert [list(chunk.index) for chunk in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    pd.testing.assert_frame_equal(pd.concat(found), read_table(path))


def test_a_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    def breaking() -> Iterator[pd.DataFrame]:
        yield from pieces(5)
        raise OSError("no space left on device")

    for suffix in (".csv", ".parquet"):
        with pytest.raises(OSError, match="no space"):
            write_chunks(tmp_path / f"table{suffix}", breaking())
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    with pytest.raises(FileError, match=r"table\.parquet: no such file"):
        next(read_chunks(path))
    path.write_bytes(b"no parquet at all")
    with pytest.raises(FileError, match=r"table\.parquet: not readable as a table"):
        next(read_chunks(path))
    write_chunks(path, [TABLE.head(0)])
    with pytest.raises(FileError, match=r"table\.parquet: the table is empty"):
        list(read_chunks(path))
    write_chunks(path, pieces(2))
    content = bytearray(path.read_bytes())
    content[40:200] = bytes(160)
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"table\.parquet: not readable as a table"):
        list(read_chunks(path))
    with pytest.raises(FileError, match=r"table\.txt: unknown table type"):
        write_chunks(tmp_path / "table.txt", pieces(2))


def test_wide_tables_have_fewer_rows_at_a_time() -> None:
    assert rows_of(10) == ROWS
    assert rows_of(5000) * 5000 <= CELLS
    assert rows_of(10 * CELLS) == 1
