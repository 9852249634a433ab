"""Tables that are larger than memory may be: written and read some rows at a time."""

import gzip
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from math import ceil
from pathlib import Path
from typing import BinaryIO

import pandas as pd
import pyarrow as pa
from pandas.api.types import is_numeric_dtype
from pyarrow import parquet

from ehrsynth.errors import FileError, machine_fault
from ehrsynth.files import TABLE_SUFFIXES, require, written_aside

FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d.]+$)")  # of texts that a spreadsheet computes; a number is one in any case
ROWS = 50_000  # of a row group
CELLS = 100_000_000  # of a row group at most, a byte each where they are codes


def rows_of(columns: int) -> int:
    """Return how many rows of that many columns to hold at a time: ``ROWS``, or fewer if they are wide."""
    return max(1, min(ROWS, CELLS // max(columns, 1)))


def windows(n: int, columns: int, most: int = ROWS) -> list[int]:
    """Return ``n`` rows of that many columns in parts of like size to hold at a time, of so many rows at most."""
    size = ceil(n / ceil(n / min(rows_of(columns), most)))
    return [min(size, n - start) for start in range(0, n, size)]


def write_chunks(path: Path, chunks: Iterable[pd.DataFrame], *, quote_formulas: bool = False) -> int:
    """Write one or more tables of the same columns as one, atomically; CSV or Parquet, by the suffix of ``path``.

    Args:
        path: of the file; each chunk is a row group of a Parquet file.
        chunks: asked for one after another.
        quote_formulas: in a CSV, put an apostrophe before texts that a spreadsheet would take for a formula.

    Returns:
        Number of rows written.

    Raises:
        FileError: the suffix is none of ``TABLE_SUFFIXES``.
    """
    rows = 0
    with chunk_writer(path) as add:
        for chunk in map(_quoted_formulas, chunks) if quote_formulas else chunks:
            add(chunk)
            rows += len(chunk)
    return rows


@contextmanager
def chunk_writer(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Yield what takes the chunks of a table one by one; the file has its name when the block ends without an error.

    Raises:
        FileError: the suffix is none of ``TABLE_SUFFIXES``.
    """
    if not path.name.endswith(TABLE_SUFFIXES):
        raise FileError(f"{path}: unknown table type; use one of {', '.join(TABLE_SUFFIXES)}")
    with written_aside(path) as aside, (_parquet if path.suffix == ".parquet" else _csv)(aside) as add:
        yield add


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write one table atomically; CSV or Parquet, by the suffix of ``path`` (see ``write_chunks``)."""
    write_chunks(path, [frame])


@contextmanager
def _parquet(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    writer: parquet.ParquetWriter | None = None
    with path.open("wb") as file, ExitStack() as opened:

        def add(chunk: pd.DataFrame) -> None:
            nonlocal writer
            table = pa.Table.from_pandas(chunk, writer.schema if writer else None, preserve_index=False)
            if writer is None:
                writer = opened.enter_context(parquet.ParquetWriter(file, table.schema, compression="zstd"))
            writer.write_table(table, row_group_size=max(len(table), 1))

        yield add


@contextmanager
def _csv(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    begun = False
    with path.open("wb") as file, _squeezed(file) if path.suffix == ".gz" else nullcontext(file) as stream:

        def add(chunk: pd.DataFrame) -> None:
            nonlocal begun
            chunk.to_csv(stream, mode="wb", index=False, header=not begun, lineterminator="\n")
            begun = True

        yield add


def _quoted_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as a spreadsheet can open it; numbers, those below zero too, stay what they are."""
    columns = [cells if is_numeric_dtype(cells) else _quoted_texts(cells) for _, cells in table.items()]
    return pd.concat(columns, axis=1).set_axis(_quoted_texts(pd.Series(table.columns, dtype=object)), axis=1)


def _quoted_texts(cells: pd.Series) -> pd.Series:
    return cells.map(lambda cell: f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell)


def _squeezed(file: BinaryIO) -> gzip.GzipFile:
    """Return a stream into ``file`` that keeps neither name nor time: the same table is the same bytes."""
    return gzip.GzipFile("", "wb", fileobj=file, mtime=0)


def read_chunks(path: Path) -> Iterator[pd.DataFrame]:
    """Yield the row groups of a Parquet file as tables whose index is the number of the row in the file.

    Raises:
        FileError: missing, unreadable, or without any row.
    """
    require(path)
    start = 0
    try:
        with path.open("rb") as stream, parquet.ParquetFile(stream) as file:
            for group in range(file.num_row_groups):  # several times faster than batches of any size
                frame = file.read_row_group(group).to_pandas()
                frame.index = pd.RangeIndex(start, start := start + len(frame))
                yield frame
    except (pa.ArrowException, OSError) as error:
        if (fault := machine_fault(error)) is not None:
            raise fault from None
        raise FileError(f"{path}: not readable as a table ({type(error).__name__})") from None
    if not start:
        raise FileError(f"{path}: the table is empty; at least one row is needed")
