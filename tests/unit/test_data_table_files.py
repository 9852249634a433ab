"""A user's table is read alike whoever asks, and the one line that a bad one gives."""

from pathlib import Path

import pandas as pd
import pytest

from ehrsynth.chunks import write_table
from ehrsynth.data import table_files
from ehrsynth.data.csv_files import csv_style
from ehrsynth.data.store import Store
from ehrsynth.data.table_files import column_names, found_files, read_table, read_text, with_cells
from ehrsynth.errors import FileError, MachineError


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_tables_round_trip(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    write_table(tmp_path / name, frame)
    pd.testing.assert_frame_equal(read_table(tmp_path / name), frame)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b"x,y\n", "empty"),
        ("a.csv", b'x,y\n1,"2\n3,4', "not readable"),
        ("a.csv", b"x\n\xff\xfe\n", "not readable"),
        ("a.csv.gz", b"no gzip", "not readable"),
        ("a.parquet", b"PAR1 no parquet", "not readable"),
        ("a.xlsx", b"?", "unknown table type"),
    ],
)
def test_unreadable_tables_are_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match=words) as raised:
        read_table(tmp_path / name)
    assert str(tmp_path / name) in str(raised.value)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_text_stays_as_it_stands(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame(
        {
            "subject_id": ["007", "08", "9"],
            "dose": [1.5, None, 2],
            "digits": ["1", None, "2"],
            "padded": ["01", "02", None],
            "words": ["None", "NA", "nan"],
        }
    ).astype({"digits": str, "padded": str})
    write_table(tmp_path / name, frame)
    text = ["words", "padded", "digits", "subject_id", "absent"]
    pd.testing.assert_frame_equal(read_table(tmp_path / name, text=text), frame)


def test_without_text_columns_words_for_missing_are_missing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("lab,code\n1,NA\nNA,x\n")
    frame = read_table(tmp_path / "a.csv", text=["code"])
    assert frame["code"].tolist() == ["NA", "x"]
    assert frame["lab"].isna().tolist() == [False, True]
    assert read_table(tmp_path / "a.csv")["code"].isna().tolist() == [True, False]


def test_a_packed_table_that_ends_too_early(tmp_path: Path) -> None:
    path = tmp_path / "cut.csv.gz"
    write_table(path, pd.DataFrame({"a": range(5000)}))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match=r"cut\.csv\.gz: not readable .*ends too early"):
        read_table(path)


@pytest.mark.parametrize(
    ("content", "cells"),
    [
        (b"a,b\n1,2\n\n3,4\n\n", [("1", "2"), ("3", "4")]),
        (b"a,b\r\n1,2\n3,4\r\n", [("1", "2"), ("3", "4")]),
        (b"a,b\r1,2\r3,4\r", [("1", "2"), ("3", "4")]),
        (b"\xef\xbb\xbfa,b\n1,2", [("1", "2")]),
        (b'a,b\n"x,\ny","say ""so"""\n', [("x,\ny", 'say "so"')]),
        (b'a,b\n5" pipe,"5" pipe\n', [('5" pipe', "5 pipe")]),
        (b'a,b\n"", 2 \n', [(None, " 2 ")]),
        (b'a,b\n1,"2\n"\n', [("1", "2\n")]),
        (b"a;b\n1,5;x\n", [("1,5", "x")]),
    ],
    ids=["blank lines", "mixed line ends", "cr", "bom", "quotes", "a quote inside", "empty", "break", "comma"],
)
def test_cells_are_the_text_that_stands_there(tmp_path: Path, content: bytes, cells: list[tuple[str, str]]) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    frame = read_text(tmp_path / "a.csv")
    assert list(frame) == ["a", "b"]
    assert list(frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None)) == cells


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'x,y\n1,"2\n3,4\n', "a quote is opened and never closed"),
        (b'x,y\n"1\n1",2\n\n3\n', "line 5 has 1 cells, the header 2"),
        (b"x,y\n1,2,\n", "line 2 has 3 cells, the header 2"),
        (b"x,y\n" + b"1,2\n" * 200 + b"1,\xff\n", "not UTF-8 text; convert the file"),
        ("x,y\n1,2\n".encode("utf-16"), "with iconv -f utf-16 -t utf-8"),
    ],
)
def test_a_row_that_is_none_is_told_and_not_quoted(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(FileError, match=words) as raised:
        read_table(tmp_path / "a.csv")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz", "a.pq"])
def test_other_suffixes_of_the_same_kinds(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"Age": [1, 2], "age": [0.5, 1.5]})
    frame.to_parquet(tmp_path / name) if name.endswith("pq") else frame.to_csv(tmp_path / name, sep="\t", index=False)
    pd.testing.assert_frame_equal(read_table(tmp_path / name), frame)


def test_the_style_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('"x;y"|z\n1|2\n')
    assert csv_style(tmp_path / "a.csv") == ("|", ".", ["x;y", "z"])


def test_decimal_commas_are_numbers_and_points_between_thousands_are_none(tmp_path: Path) -> None:
    rows = ["1,5;1,5;1,5;x", *["-2,0;2,5;;1,5"] * 200, " 3,25;1.234;NA;y"]
    (tmp_path / "a.csv").write_text("\n".join(["a;b;c;d", *rows]) + "\n")
    frame = read_table(tmp_path / "a.csv", text=["d"])
    assert frame["a"].iloc[[0, 1, -1]].tolist() == [1.5, -2.0, 3.25]
    assert frame["b"].iloc[[0, -1]].tolist() == ["1,5", "1.234"]
    assert frame["c"].isna().tolist() == [False] + [True] * 201
    assert frame["d"].iloc[[0, 1]].tolist() == ["x", "1,5"]


NAMES = ["a[1]", "a*b", "a?b", "~x", "größe", "it's", "d:1/x", "file:x", "year=2020/y", "a#b%20", "a b,c"]


@pytest.mark.parametrize("suffix", [".csv", ".CSV.GZ", ".parquet", ".PARQUET"])
@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_a_file_whatever_signs_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, suffix: str
) -> None:
    """Whoever opens it: read whole, scanned by SQL, found by its own name, written."""
    monkeypatch.chdir(tmp_path)
    path, frame = Path(name + suffix), pd.DataFrame({"subject": [1, 2], "code": ["x", "y"]})
    write_table(tmp_path / f"t{suffix.lower()}", frame)
    path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / f"t{suffix.lower()}").rename(path)
    assert found_files(str(path)) == [path]
    assert column_names(path) == ["subject", "code"]
    pd.testing.assert_frame_equal(read_table(path), frame)
    with Store() as store:
        store.scan("t", path, {"subject": "BIGINT", "code": "VARCHAR"})
        assert store.frame("SELECT * FROM t").to_numpy().tolist() == [[1, "x"], [2, "y"]]
    if suffix.islower():
        write_table(path, frame)
        pd.testing.assert_frame_equal(read_table(path), frame)


def test_a_header_with_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfid;"bmi \r\n(kg/m2)" ;"size"\r\n1;2,5;3\r\n2;3,5;4\r\n')
    assert csv_style(path)[2] == ["id", "bmi (kg/m2)", "size"]
    assert read_table(path).to_dict("list") == {"id": [1, 2], "bmi (kg/m2)": [2.5, 3.5], "size": [3, 4]}
    with Store() as store:
        store.scan("t", path, {"bmi (kg/m2)": "DOUBLE"})
        assert store.frame("SELECT * FROM t").iloc[:, 0].tolist() == [2.5, 3.5]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("a,b,", "column 3 of the header has no name"),
        (",a", "column 1 of the header has no name"),
        ("a, a", "'a' is in the header more than once"),
        ('a,"b', "a quote is opened in the header and never closed"),
    ],
)
def test_headers_that_name_no_columns(tmp_path: Path, header: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(f"{header}\n1,2\n3,4\n")
    with pytest.raises(FileError, match=words):
        read_table(tmp_path / "a.csv")


def test_other_cells_in_some_columns_leave_the_rest_as_it_is() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [0.5, 1.5]}, index=[3, 5])
    cells = {"b": pd.Series([1, 0], index=[3, 5])}
    pd.testing.assert_frame_equal(with_cells(frame, cells), frame.assign(**cells))
    pd.testing.assert_frame_equal(with_cells(frame, {}), frame)


def test_the_decimal_sign_of_columns_that_sql_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,note,value\n1,"1,5 or so","37,4"\n2,"2,5","38"\n')
    assert csv_style(path, ["value"])[1] == ","
    with Store() as store:
        store.scan("t", path, {"value": "DOUBLE"})
        assert store.frame("SELECT * FROM t")["value"].tolist() == [37.4, 38]


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz", "table.parquet"])
def test_a_table_without_memory_for_it_is_refused_with_its_size(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.DataFrame({f"c{i}": range(100, 400) for i in range(200)})
    frame.to_parquet(tmp_path / name) if name.endswith("parquet") else frame.to_csv(tmp_path / name, index=False)
    needed = table_files.least_memory(tmp_path / name)
    cells = 8 * frame.size  # packed, the file is shorter than what it holds
    assert (0 if name.endswith("gz") else 0.9 * cells) < needed < 1.1 * cells
    for free in (needed, None):  # None: the system does not say
        monkeypatch.setattr(table_files, "free_memory", lambda free=free: free)
        assert table_files.read_text(tmp_path / name).shape == frame.shape
    monkeypatch.setattr(table_files, "free_memory", lambda: needed - 1)
    with pytest.raises(MachineError, match=rf"{name}: takes 0.0 GB or more in memory, and 0.0 GB are free; leave rows"):
        table_files.read_text(tmp_path / name)
