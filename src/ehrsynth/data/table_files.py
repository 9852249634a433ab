"""A table as a file: which one it is, how it is written, what its columns are called, and its cells.

Small tables are read whole, here; raw tables of a hospital are scanned by ``ehrsynth.data.store``. Both take the cells
of a CSV as text first; ``ehrsynth.data.parsing`` says what text means.
"""

import csv
import glob
import gzip
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ehrsynth.data.parsing import typed
from ehrsynth.errors import FileError, machine_fault
from ehrsynth.files import require

CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
PARQUET = (".parquet", ".pq")
DELIMITERS = (",", ";", "\t", "|")
CONVERT = "convert the file, for example with iconv -f latin1 -t utf-8"


def find_table(folders: Iterable[Path], name: str) -> Path | None:
    """Return the file of a table, or None if there is none.

    Args:
        folders: where to look, the first that has it counts; a folder may be absent.
        name: of the table, in lower case; the file may have any case.

    Returns:
        ``NAME.parquet``, else the folder ``NAME`` of Parquet parts, else ``NAME.csv``, ``NAME.csv.gz``, ...
    """
    for folder in folders:
        if folder.is_dir():
            there = {path.name.lower(): path for path in sorted(folder.iterdir())}
            for suffix in (*PARQUET, "", *CSV):
                path = there.get(name + suffix)
                if path is not None and path.is_dir() == (suffix == ""):
                    return path
    return None


def found_files(path: str | Path | Sequence[str]) -> list[Path]:
    """Return the files of a path, a pattern, or a list of them, each once.

    Raises:
        FileError: one is missing, or a pattern finds none.
    """
    files = list[Path]()
    for given in [path] if isinstance(path, str | Path) else path:
        pattern = glob.has_magic(str(given))
        found = sorted(map(Path, glob.glob(str(given), recursive=True))) if pattern else [Path(given)]
        if not found:
            raise FileError(f"{given}: the pattern finds no file")
        files += map(require, found)
    if not files:
        raise FileError("source.path: an empty list; at least one file was expected")
    return list(dict.fromkeys(files))


def parts_of(path: Path) -> list[Path]:
    """Return the Parquet files of a table that is a folder, at any depth, else the one file."""
    parts = sorted(path.rglob("*.parquet")) if path.is_dir() else [require(path)]
    if not parts:
        raise FileError(f"{path}: no .parquet file in this folder")
    return parts


def column_names(path: Path) -> list[str]:
    """Return the names of the columns of a file, or of a folder of Parquet parts.

    Raises:
        FileError: of an unknown type, or not readable.
    """
    if is_csv(path):
        return csv_style(path)[2]
    return list(parquet_schema(parts_of(path)[0]).names)


def parquet_schema(path: Path) -> pa.Schema:
    """Return the schema of a Parquet file; a ``FileError`` says that it is none."""
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise FileError(f"{path}: not readable as Parquet ({type(error).__name__})") from None


def is_csv(path: Path) -> bool:
    """Return whether a table is CSV or Parquet; a ``FileError`` says that it is neither."""
    if path.is_dir() or path.name.endswith(PARQUET):
        return False
    if not path.name.endswith(CSV):
        raise FileError(f"{require(path)}: unknown table type; use one of {', '.join((*CSV, *PARQUET))}")
    return True


def csv_style(path: Path) -> tuple[str, str, list[str]]:
    """Return delimiter, decimal sign and header of a CSV file, from its first lines.

    The delimiter is whichever of the usual ones the header has most of. Beside semicolons the decimal sign may be a
    comma. A file without any line has no header.

    Raises:
        FileError: not readable, or a header that repeats a name or lacks one.
    """
    with _readable(path), _opened(path) as stream:
        head = stream.readline()
        sample = head + "".join(islice(stream, 100))
        delimiter = max(DELIMITERS, key=re.sub('"[^"]*"', "", head).count)
        names = next(csv.reader([head], delimiter=delimiter), [])
    if "\0" in sample:
        raise FileError(f"{path}: not readable as a table (it holds binary data, not text)")
    for number, name in enumerate(names, 1):
        if not name.strip() and len(names) > 1:
            raise FileError(f"{path}: column {number} of the header has no name; name it, or leave the column out")
        if names.index(name) < number - 1:
            raise FileError(f"{path}: column {name!r} is in the header more than once; names must be unique")
    comma = delimiter == ";" and re.search(r"[;\n]-?\d+,\d+[;\r\n]", sample)
    return delimiter, "," if comma and not re.search(r"[;\n]-?\d+\.\d", sample) else ".", names


def read_table(path: Path, *, text: Collection[str] = ()) -> pd.DataFrame:
    """Read a table whole: columns of a CSV are what they look like, as ``parsing.typed`` says.

    Args:
        path: CSV, packed or not, with any of the usual delimiters, or Parquet.
        text: columns of a CSV that are text whatever they hold, ``01`` and ``NA`` included; only an empty cell is
            missing. A Parquet file knows its types. Columns that the table lacks are passed over.

    Raises:
        FileError: missing, of an unknown type, unreadable, without any row, with a header that repeats a name or
            lacks one, or with a row that has more or fewer cells than the header.
    """
    frame = read_text(path)
    if not is_csv(path):
        return frame
    decimal = csv_style(path)[1]
    return frame.assign(**{name: typed(frame[name], decimal) for name in map(str, frame) if name.strip() not in text})


def read_text(path: Path) -> pd.DataFrame:
    """Read a table whole: the cells of a CSV as the text that stands there, those of Parquet in their types.

    Raises:
        FileError: as ``read_table``.
    """
    require(path)
    with _readable(path):
        frame = _csv_text(path) if is_csv(path) else pd.read_parquet(path)
    if frame.empty:
        raise FileError(f"{path}: the table is empty; at least one row is needed")
    return frame


def _csv_text(path: Path) -> pd.DataFrame:
    delimiter, _, names = csv_style(path)
    if not names:
        return pd.DataFrame()
    with _unpacked(path) as stream:
        try:
            table = pyarrow.csv.read_csv(
                stream,
                pyarrow.csv.ReadOptions(column_names=names, skip_rows_after_names=1, block_size=1 << 22),
                pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
                ),
            )
        except pa.ArrowInvalid:
            _require_rectangle(path, delimiter)
            raise
    last = table.slice(max(table.num_rows - 1, 0)).to_pylist()  # where an open quote would lead
    if any("\n" in (cell or "") for row in last for cell in row.values()) and _odd_quotes(path):
        raise FileError(f"{path}: not readable as a table (a quote is opened and never closed)")
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _require_rectangle(path: Path, delimiter: str) -> None:
    """Raise a ``FileError`` that names the first row with more or fewer cells than the header."""
    with _opened(path) as stream:
        rows = csv.reader(stream, delimiter=delimiter)
        width = len(next(rows))
        for row in rows:
            if len(row) not in (width, 0):
                raise FileError(f"{path}: line {rows.line_num} has {len(row)} cells, the header {width}")


def _odd_quotes(path: Path) -> bool:
    with _opened(path) as stream:
        return sum(line.count('"') for line in stream) % 2 == 1


def _opened(path: Path) -> TextIO:
    return TextIOWrapper(_unpacked(path), encoding="utf-8-sig", newline="")


def _unpacked(path: Path) -> "BinaryIO | gzip.GzipFile":
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what is raised about a file into a ``FileError`` that names it and never quotes a cell."""
    try:
        yield
    except (pa.ArrowException, csv.Error, UnicodeError, zlib.error, OSError, EOFError) as error:
        kind = type(error).__name__
        if (fault := machine_fault(error)) is not None:
            raise fault from None
        if isinstance(error, UnicodeError):
            raise FileError(f"{path}: not UTF-8 text; {CONVERT} (not readable as a table: {kind})") from None
        about = {EOFError: ": the file ends too early; copy it again", gzip.BadGzipFile: ": not a gzip file"}
        raise FileError(f"{path}: not readable as a table ({kind}{about.get(type(error), '')})") from None
