"""Raw files, good and bad, in every packing: what is read, and the one line a bad one gives."""

import gzip
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from ehrsynth.data.store import Store
from ehrsynth.data.store_errors import plain_errors
from ehrsynth.data.table_files import find_table
from ehrsynth.errors import FileError, InputError, MachineError, TableError

COLUMNS = {"subject_id": "BIGINT", "code": "VARCHAR", "time": "TIMESTAMP", "value": "DOUBLE"}
HEADER = "subject_id,code,time,value"
ROWS = 60_000  # several of the pieces that DuckDB's threads share out
SECRET = "S3CR3T"


def lines(rows: int = 3) -> list[str]:
    return [HEADER, *(f"{10_000_000 + i},0{i % 90},2150-01-{i % 28 + 1:02d} 10:00:00,{i}.5" for i in range(rows))]


def written(path: Path, content: str | bytes) -> Path:
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


def rows_of(path: Path) -> pd.DataFrame:
    with Store(threads=4) as store:
        store.scan("raw", path, COLUMNS)
        return store.frame("SELECT * FROM raw ORDER BY ALL")


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace(HEADER, HEADER.upper()),
        lambda text: text.replace(",02,", ',"02",'),
    ],
    ids=["as it is", "byte order mark", "crlf", "semicolons", "tabs", "no last newline", "upper case", "quotes"],
)
def test_the_same_rows_however_they_are_written(tmp_path: Path, suffix: str, change: Callable[[str], str]) -> None:
    got = rows_of(written(tmp_path / f"t{suffix}", change("\n".join(lines()) + "\n")))
    assert got["subject_id"].tolist() == [10_000_000, 10_000_001, 10_000_002]
    assert got["code"].tolist() == ["00", "01", "02"]
    assert got["time"].astype(str).tolist() == [f"2150-01-0{day} 10:00:00" for day in (1, 2, 3)]
    assert got["value"].tolist() == [0.5, 1.5, 2.5]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (f"7,{SECRET}", TableError, "line 30002: 2 cells; the header has 4"),
        (f"7,{SECRET},2150-01-01 10:00:00,1,8", TableError, "line 30002: 5 cells; the header has 4"),
        (f'7,"{SECRET},2150-01-01 10:00:00,1', TableError, "line 30002: a quote is opened and never closed"),
        (f"{SECRET},02,2150-01-01 10:00:00,1", TableError, "line 30002: column 'subject_id' does not hold a BIGINT"),
        (f"7,{SECRET},2150-13-01 10:00:00,1", TableError, "line 30002: column 'time' does not hold a TIMESTAMP"),
        (f"7,{SECRET},2150-01-01 10:00:00,x", TableError, "line 30002: column 'value' does not hold a DOUBLE"),
        (f"7,{SECRET}\xe9,2150-01-01 10:00:00,1", FileError, "line 30002: not UTF-8 text"),
    ],
)
def test_a_bad_line_in_the_middle_is_named_and_not_quoted(
    tmp_path: Path, suffix: str, bad: str, error: type[InputError], message: str
) -> None:
    table = lines(ROWS)
    table[30_001] = bad
    path = written(tmp_path / f"t{suffix}", "\n".join(table).encode("latin-1"))
    with pytest.raises(error) as caught:
        rows_of(path)
    assert str(caught.value).startswith(f"{path}, {message}")
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__, "the original message quotes the line"


def truncated(path: Path) -> None:
    whole = gzip.compress("\n".join(lines(ROWS)).encode())
    path.write_bytes(whole[: len(whole) // 2])


BAD_FILES: list[tuple[str, Callable[[Path], object], type[InputError], str]] = [
    ("t.csv.gz", lambda path: None, FileError, "no such file"),
    ("t.xlsx", lambda path: written(path, "x"), FileError, "unknown table type"),
    ("t.csv.gz", truncated, FileError, "the file is truncated"),
    ("t.csv.gz", lambda path: path.write_bytes(gzip.compress(b"x" * 99)[:12]), FileError, "not readable"),
    ("t.csv.gz", lambda path: path.write_text("\n".join(lines())), FileError, "not readable .*[Nn]ot a gzip"),
    ("t.csv", lambda path: written(path, ""), FileError, "the file is empty; a header"),
    ("t.csv.gz", lambda path: written(path, ""), FileError, "the file is empty; a header"),
    ("t.csv", lambda path: written(path, HEADER.encode("utf-16")), FileError, "not UTF-8 text; convert the file"),
    ("t.csv", lambda path: written(path, "a,b\n1,2\n"), TableError, "missing column 'subject_id' .4 of 4"),
    (
        "t.csv",
        lambda path: written(path, "\n".join(lines()).replace(",", "^")),
        TableError,
        "missing column 'subject_id' .* the header has 1 columns when split at ','",
    ),
    ("t.parquet", lambda path: path.write_text("no parquet at all"), FileError, "t.parquet: .*not a whole Parquet"),
    ("t.parquet", lambda path: path.write_bytes(b""), FileError, "t.parquet: .*not a whole Parquet"),
    ("t", lambda path: path.mkdir(), FileError, "no .parquet file in this folder"),
]


@pytest.mark.parametrize(("name", "make", "error", "message"), BAD_FILES)
def test_a_bad_file_is_named(
    tmp_path: Path, name: str, make: Callable[[Path], object], error: type[InputError], message: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(error, match=message) as caught:
        rows_of(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def frame(**cells: object) -> pd.DataFrame:
    usual = {"subject_id": [1, 2], "code": ["01", "02"], "time": pd.to_datetime(["2150-01-01"] * 2), "value": [1, 2]}
    return pd.DataFrame({**usual, **cells})


def test_parquet_of_other_types_is_read_where_every_cell_fits(tmp_path: Path) -> None:
    frame(subject_id=["1", "2"], time=["2150-01-01", None], value=["1.5", "2"]).to_parquet(tmp_path / "t.parquet")
    got = rows_of(tmp_path / "t.parquet")
    assert got["subject_id"].tolist() == [1, 2]
    assert got["value"].tolist() == [1.5, 2]
    assert got["time"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    "cells",
    [
        {"subject_id": ["1", SECRET]},
        {"time": ["2150-01-01", SECRET]},
        {"time": [1, 2]},
        {"value": [[1.0], [2.0]]},
        {"subject_id": pd.to_datetime(["2150-01-01"] * 2)},
    ],
)
def test_parquet_of_another_type_is_refused(tmp_path: Path, cells: dict[str, object]) -> None:
    frame(**cells).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(TableError, match=f"t.parquet: column '{next(iter(cells))}' is ") as caught:
        rows_of(tmp_path / "t.parquet")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_fraction_is_no_whole_number(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    for numbers in ([7.0, None], [7.0, 7.5]):  # pandas writes whole numbers so, if one is missing
        table = frame(subject_id=numbers)
        table.to_parquet(path) if suffix == ".parquet" else table.to_csv(path, index=False)
        if numbers[1] is None:
            assert rows_of(path)["subject_id"].tolist()[0] == 7
    kind = "DOUBLE" if suffix == ".parquet" else "text"
    with pytest.raises(TableError, match=f"column 'subject_id' is {kind}, and not every cell of it is a whole number"):
        rows_of(path)


def test_whole_numbers_of_nineteen_digits_are_kept(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n-9223372036854775807\n9007199254740993\n")
    with Store() as store:
        store.scan("t", tmp_path / "t.csv", {"a": "BIGINT"})
        assert store.frame("FROM t")["a"].tolist() == [-9223372036854775807, 9007199254740993]


def test_a_folder_of_parquet_parts_is_one_table(tmp_path: Path) -> None:
    (tmp_path / "t" / "deep").mkdir(parents=True)
    frame().to_parquet(tmp_path / "t" / "0.parquet")
    frame(subject_id=[3, 4]).to_parquet(tmp_path / "t" / "deep" / "1.parquet")
    assert rows_of(tmp_path / "t")["subject_id"].tolist() == [1, 2, 3, 4]


def test_optional_columns_and_absent_tables_are_empty(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "a\n1\n2\n")
    with Store() as store:
        store.scan("raw", path, {"a": "BIGINT"}, optional={"b": "VARCHAR"})
        assert store.frame("SELECT a, b FROM raw").isna().sum().tolist() == [0, 2]
        store.empty("nothing", {"a": "BIGINT"})
        assert store.value("SELECT count(*) FROM nothing") == 0


def test_tables_are_found_in_any_case_and_packing(tmp_path: Path) -> None:
    assert find_table([tmp_path / "absent", tmp_path], "admissions") is None
    (tmp_path / "ADMISSIONS.csv.gz").touch()
    assert find_table([tmp_path / "absent", tmp_path], "admissions") == tmp_path / "ADMISSIONS.csv.gz"
    (tmp_path / "admissions.csv").touch()
    assert find_table([tmp_path], "admissions") == tmp_path / "admissions.csv"
    (tmp_path / "admissions.parquet").mkdir()  # a folder of that name is no file
    (tmp_path / "admissions").mkdir()
    assert find_table([tmp_path], "admissions") == tmp_path / "admissions"


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    with Store() as store:
        store.table("kept", "SELECT 1 AS subject_id, '01' AS code, TIMESTAMP '2150-01-01' AS time, 0.5 AS value")
        store.append("kept", "SELECT 2, NULL, NULL, NULL")
        for name in ("t.csv", "t.csv.gz"):
            store.write("SELECT * FROM kept", tmp_path / name)
    for name in ("t.csv", "t.csv.gz"):
        got = rows_of(tmp_path / name)
        assert got["code"].tolist()[:1] == ["01"]
        assert got.isna().sum().sum() == 3


def test_a_full_disk_is_said_so() -> None:
    for error in (
        duckdb.IOException("IO Error: Could not write file: No space left on device"),
        duckdb.OutOfMemoryException("Out of Memory Error: failed to offload data block"),
    ):
        with (
            pytest.raises(MachineError, match=r"/spill: 2GB of memory and the free space .* TMPDIR"),
            plain_errors("/spill", "2GB"),
        ):
            raise error


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with Store() as store, pytest.raises(FileError, match=r"absent/t\.csv: cannot be used"):
        store.write("SELECT 1", tmp_path / "absent" / "t.csv")


def test_our_own_mistakes_are_not_blamed_on_the_user() -> None:
    with Store() as store, pytest.raises(duckdb.ParserException):
        store.frame("SELEKT 1")


def test_queries_spill_to_disk_beyond_their_memory() -> None:
    with Store(memory="100MB", threads=1) as store:
        store.table("big", "SELECT i, hash(i)::VARCHAR || hash(i + 1)::VARCHAR AS h FROM range(3000000) r(i)")
        assert store.value("SELECT count(*) FROM (SELECT h FROM big ORDER BY h)") == 3_000_000


def test_an_interrupted_query_is_an_interruption() -> None:
    with pytest.raises(KeyboardInterrupt), plain_errors("scratch", "1GB"):
        raise RuntimeError("Query interrupted")
    with pytest.raises(RuntimeError, match="another"), plain_errors("scratch", "1GB"):
        raise RuntimeError("another")
