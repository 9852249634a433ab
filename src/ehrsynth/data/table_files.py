"""A table as a file: which one it is, what its columns are called, and its cells.

Small tables are read whole, here; raw tables of a hospital are scanned by ``ehrsynth.data.store``. Both take the cells
of a CSV as text first; ``ehrsynth.data.parsing`` says what text means.

Files are opened here and handed over open, since libraries take ``d:1/x.parquet`` for the address of a server.
"""

import glob
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ehrsynth.chunks import ROWS
from ehrsynth.data.csv_files import csv_memory, csv_style, csv_text, csv_text_chunks, readable
from ehrsynth.data.parsing import decimal_sign, typed, zeros_and_ones
from ehrsynth.errors import FileError, MachineError
from ehrsynth.files import require
from ehrsynth.free_memory import free_memory

CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
PARQUET = (".parquet", ".pq")


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
        pattern = glob.has_magic(str(given)) and not Path(given).exists()  # a name may have brackets
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
    schema = parquet_schema(parts_of(path)[0])
    named, unnamed = _index_of(schema)
    return [*named, *(name for name in schema.names if name not in (*named, *unnamed))]


def parquet_schema(path: Path) -> pa.Schema:
    """Return the schema of a Parquet file; a ``FileError`` says that it is none."""
    try:
        with path.open("rb") as stream:
            return pq.read_schema(stream)
    except (OSError, pa.ArrowException) as error:
        raise FileError(f"{path}: not readable as Parquet ({type(error).__name__})") from None


def _index_of(schema: pa.Schema) -> tuple[list[str], list[str]]:
    """Return the names of what pandas kept as the index of a table: those people gave, and those of fields without."""
    kept = (schema.pandas_metadata or {}).get("index_columns", [])
    names = [one if isinstance(one, str) else one["name"] for one in kept]  # an object tells of a range
    given = [str(name) for name in names if name is not None]
    unnamed = [name for name in given if re.fullmatch(r"__index_level_\d+__", name)]
    return [name for name in given if name not in unnamed], unnamed


def is_csv(path: Path) -> bool:
    """Return whether a table is CSV or Parquet; a ``FileError`` says that it is neither."""
    name = path.name.lower()
    if path.is_dir() or name.endswith(PARQUET):
        return False
    if not name.endswith(CSV):
        raise FileError(f"{require(path)}: unknown table type; use one of {', '.join((*CSV, *PARQUET))}")
    return True


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
    return read_with_sign(path, text=text)[0]


def read_with_sign(path: Path, *, text: Collection[str] = ()) -> tuple[pd.DataFrame, str | None]:
    """Read a table as ``read_table`` does, with the decimal sign of a CSV, which numbers no longer show."""
    frame = read_text(path)
    if not is_csv(path):
        return frame, None
    columns = {name: frame[name] for name in map(str, frame)}
    plain = {name: found for name, cells in columns.items() if (found := zeros_and_ones(cells)) is not None}
    table = decimal_sign(cells for name, cells in columns.items() if name not in plain)
    read = {name: plain.get(name, cells) for name, cells in columns.items() if name not in text}
    cells = {name: cells if name in plain else typed(cells, table) for name, cells in read.items()}
    return with_cells(frame, cells), table


def with_cells(frame: pd.DataFrame, cells: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Return a table with other cells in some columns; the time of ``assign`` grows with the square of their number."""
    every = {name: cells[name] if name in cells else frame[name] for name in frame.columns}
    return pd.DataFrame(every, index=frame.index, copy=False)


def read_text(path: Path) -> pd.DataFrame:
    """Read a table whole: the cells of a CSV as the text that stands there, those of Parquet in their types.

    Raises:
        FileError: as ``read_table``.
        MachineError: there is no memory for it.
    """
    require(path)
    free, needed = free_memory(), least_memory(path)
    if free is not None and needed > free:
        raise MachineError(
            f"{path}: takes {needed / 1e9:.1f} GB or more in memory, and {free / 1e9:.1f} GB are free; leave rows or"
            " columns out, or take a larger machine"
        )
    with readable(path):
        frame = csv_text(path) if is_csv(path) else _parquet_cells(path)
    if frame.empty:
        raise FileError(f"{path}: the table is empty; at least one row is needed")
    return frame


def cell_chunks(path: Path) -> Iterator[pd.DataFrame]:
    """Yield a table some rows at a time, with cells as ``read_text`` has them.

    Raises:
        FileError: as ``read_text``.
    """
    require(path)
    rows = 0
    with readable(path):
        for frame in csv_text_chunks(path) if is_csv(path) else _parquet_chunks(path):
            rows += len(frame)
            yield frame
    if not rows:
        raise FileError(f"{path}: the table is empty; at least one row is needed")


def decimal_of_table(path: Path, numbers: Collection[str]) -> str:
    """Return the decimal sign that the first rows of a table show in columns of ``numbers``; Parquet has a point."""
    return csv_style(path, [name.lower() for name in numbers])[1] if is_csv(path) and numbers else "."


def least_memory(path: Path) -> int:
    """Return the bytes that a table takes in memory at least."""
    if is_csv(path):
        return csv_memory(path)
    with readable(path), path.open("rb") as stream:
        about = pq.read_metadata(stream)
    widths = (kind.bit_width if pa.types.is_primitive(kind) else 64 for kind in about.schema.to_arrow_schema().types)
    return int(about.num_rows * sum(widths) // 8)


def _parquet_cells(path: Path) -> pd.DataFrame:
    """Read a Parquet file; what pandas kept as a named index is columns again."""
    with path.open("rb") as stream:
        table = pq.read_table(stream)
    frame: pd.DataFrame = table.to_pandas()
    return with_index(frame)


def _parquet_chunks(path: Path) -> Iterator[pd.DataFrame]:
    with path.open("rb") as stream, pq.ParquetFile(stream) as file:
        for batch in file.iter_batches(ROWS):
            frame: pd.DataFrame = batch.to_pandas()
            yield with_index(frame)


def with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose named index is columns again; one without a name only counts the rows.

    Columns in the types of Arrow, which some write on purpose, come in those that any other Parquet file has.
    """
    named = [name for name in frame.index.names if name is not None and name not in frame.columns]
    frame = (frame.reset_index(named) if named else frame).reset_index(drop=True)
    for place, kind in enumerate(frame.dtypes):
        if isinstance(kind, pd.ArrowDtype):
            frame.isetitem(place, pa.array(frame.iloc[:, place].array).to_pandas())
    return frame
