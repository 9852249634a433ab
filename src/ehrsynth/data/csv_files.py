"""A CSV file: how it is written, what its columns are called, and its cells as text.

Files are opened here and handed over open, since libraries take ``d:1/x.csv`` for the address of a server.
"""

import csv
import gzip
import re
import zlib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import StringIO, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from ehrsynth.data.parsing import decimal_sign
from ehrsynth.errors import FileError, machine_fault

DELIMITERS = (",", ";", "\t", "|")
SAMPLE = 1000  # lines that show how a CSV is written
FEW = 50  # lines that show how long they are
CONVERT = "convert the file, for example with iconv -f latin1 -t utf-8"


def csv_style(path: Path, of: Collection[str] = ()) -> tuple[str, str, list[str]]:
    """Return delimiter, decimal sign and header of a CSV file, from its first lines.

    The delimiter is whichever of the usual ones makes the most columns of the header. A file without any line has no
    header.

    Args:
        path: of the file.
        of: names, in lower case, of the columns that show the decimal sign; without them it is a point.

    Raises:
        FileError: not readable, or a header that repeats a name or lacks one.
    """
    with readable(path), _opened(path) as stream:
        sample = "".join(islice(stream, SAMPLE))
        if "\0" in sample:
            raise FileError(f"{path}: not readable as a table (it holds binary data, not text)")
        delimiter = max(DELIMITERS, key=lambda sign: len(next(csv.reader(StringIO(sample, ""), delimiter=sign), [])))
        rows = csv.reader(StringIO(sample, ""), delimiter=delimiter)
        names = [plain_name(name) for name in next(rows, [])]
        lines = rows.line_num
        shown = [place for place, name in enumerate(names) if name.lower() in of]
        cells = [[row[place] for place in shown] for row in rows if len(row) == len(names)] if shown else []
    if lines > 1 and "".join(sample.splitlines()[:lines]).count('"') % 2:
        raise FileError(f"{path}: not readable as a table (a quote is opened in the header and never closed)")
    seen = set[str]()
    for number, name in enumerate(names, 1):
        if not name and len(names) > 1:
            raise FileError(f"{path}: column {number} of the header has no name; name it, or leave the column out")
        if name in seen:
            raise FileError(f"{path}: column {name!r} is in the header more than once; names must be unique")
        seen.add(name)
    return delimiter, decimal_sign(pd.Series(column, dtype=str) for column in zip(*cells, strict=True)), names


def plain_name(name: object) -> str:
    """Return the name of a column without spaces around it, and without the line breaks of a spreadsheet's header."""
    return re.sub(r"\s*[\r\n]+\s*", " ", str(name).strip())


def csv_text(path: Path) -> pd.DataFrame:
    """Return the cells of a CSV file as the text that stands there; a file without any line has no columns.

    Raises:
        FileError: a header as of ``csv_style``, a row with more or fewer cells than the header, or an open quote.
    """
    delimiter, _, names = csv_style(path)
    if not names:
        return pd.DataFrame()
    with _unpacked(path) as stream:
        try:
            table = pyarrow.csv.read_csv(stream, *_as_text(delimiter, names))
        except pa.ArrowInvalid:
            _require_rectangle(path, delimiter)
            raise
    last = table.slice(max(table.num_rows - 1, 0)).to_pylist()  # where an open quote would lead
    if any("\n" in (cell or "") for row in last for cell in row.values()) and _odd_quotes(path):
        raise FileError(f"{path}: not readable as a table (a quote is opened and never closed)")
    frame: pd.DataFrame = table.to_pandas()
    return frame


def csv_text_chunks(path: Path) -> Iterator[pd.DataFrame]:
    """Yield the cells of a CSV file as ``csv_text`` returns them, some rows at a time."""
    delimiter, _, names = csv_style(path)
    if not names:
        return
    with _unpacked(path) as stream:
        try:
            with pyarrow.csv.open_csv(stream, *_as_text(delimiter, names)) as reader:
                yield from (batch.to_pandas() for batch in reader if batch.num_rows)
        except pa.ArrowInvalid:
            _require_rectangle(path, delimiter)
            raise


def _as_text(
    delimiter: str, names: list[str]
) -> tuple[pyarrow.csv.ReadOptions, pyarrow.csv.ParseOptions, pyarrow.csv.ConvertOptions]:
    """Return how a CSV file is read as the text that stands there."""
    return (
        pyarrow.csv.ReadOptions(column_names=names, skip_rows_after_names=1, block_size=1 << 22),
        pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
        ),
    )


def csv_memory(path: Path) -> int:
    """Return about how many bytes a CSV takes in memory at least: eight a cell, of as many as its first rows show."""
    size = path.stat().st_size
    delimiter, _, names = csv_style(path)
    with readable(path), _opened(path) as stream:
        lines = list(islice(stream, 1, FEW))
        rows = sum(1 for _ in csv.reader(lines, delimiter=delimiter))
    return max(size, 8 * len(names) * rows * size // max(sum(map(len, lines)), 1))


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


def _utf16(path: Path) -> bool:
    with _unpacked(path) as stream:
        return stream.read(2) in (BOM_UTF16_LE, BOM_UTF16_BE)


def _opened(path: Path) -> TextIO:
    return TextIOWrapper(_unpacked(path), encoding="utf-8-sig", newline="")


def _unpacked(path: Path) -> "BinaryIO | gzip.GzipFile":
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what is raised about a file into a ``FileError`` that names it and never quotes a cell."""
    try:
        yield
    except (pa.ArrowException, csv.Error, UnicodeError, zlib.error, OSError, EOFError) as error:
        kind = type(error).__name__
        if (fault := machine_fault(error)) is not None:
            raise fault from None
        if isinstance(error, UnicodeError):
            convert = CONVERT.replace("latin1", "utf-16") if _utf16(path) else CONVERT
            raise FileError(f"{path}: not UTF-8 text; {convert} (not readable as a table: {kind})") from None
        about = {EOFError: ": the file ends too early; copy it again", gzip.BadGzipFile: ": not a gzip file"}
        raise FileError(f"{path}: not readable as a table ({kind}{about.get(type(error), '')})") from None
