"""Reading and writing tables and JSON so that nothing half-written ever has its final name."""

import csv
import gzip
import hashlib
import json
import os
import platform
import re
import shutil
import time
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import pandas as pd
import pyarrow as pa

from ehrsynth.errors import FileError

TABLE_SUFFIXES = (".csv", ".csv.gz", ".parquet")
DELIMITERS = (",", ";", "\t", "|")
ABANDONED = 86_400  # seconds after which nobody is still writing

_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_ASIDE = re.compile(r"\.(?P<host>[0-9a-f]{8})-(?P<process>\d{1,7})-[0-9a-f]{8}\.(?P<name>.+)")


def aside_of(path: Path) -> Path:
    """Return a hidden name beside ``path`` to write under; it tells the machine and the process that write."""
    return path.with_name(f".{_HOST}-{os.getpid()}-{uuid4().hex[:8]}.{path.name}")


def sweep_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes have left under names of ``aside_of``.

    A leftover is a file or folder whose process is gone from this machine, or that nobody has touched for a day: the
    process may have run on another machine, or its number may be in use again.

    Args:
        folder: where to look, at any depth.
        name: only what was to become ``folder / name``.
    """
    for path in list(folder.rglob(".*") if name is None else folder.glob(".*")):
        aside = _ASIDE.fullmatch(path.name)
        if aside is not None and name in (None, aside["name"]):
            with suppress(FileNotFoundError):  # another process sweeps too
                here = aside["host"] == _HOST
                if (here and not _runs(int(aside["process"]))) or time.time() - path.stat().st_mtime > ABANDONED:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that is renamed to it only if the block succeeds.

    The suffix is kept, since writers choose their format by it. On any error, a full disk
    included, the temporary file is removed and ``path`` is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(path)
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON; NaN and infinity are refused, they are not JSON."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; a JSON file was expected here") from None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise FileError(f"{path}: not readable as JSON ({type(error).__name__})") from None


def read_object(path: Path, **wanted: type) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: of the file.
        wanted: keys that must be there, with the type of their values (``list`` or ``dict``).

    Raises:
        FileError: the file is missing or not JSON, no object, or without one of the keys.
    """
    content = read_json(path)
    for key, kind in wanted.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), kind):
            raise FileError(f"{path}: no {key!r} in it; a JSON object with a {kind.__name__} of that name was expected")
    return dict(content)


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require(path: Path) -> Path:
    """Return ``path`` if it is an existing file, else raise a ``FileError`` that names it."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing there"
        raise FileError(f"{path}: no such file (found {found})")
    return path


def read_table(path: Path, *, text: Collection[str] = ()) -> pd.DataFrame:
    """Read a CSV (``.csv``, ``.csv.gz``) or Parquet table.

    A CSV may be delimited by commas, semicolons, tabs or bars: whichever its header has most of. Beside semicolons the
    decimal sign may be a comma.

    Args:
        path: of the table.
        text: columns of a CSV to read as the text that stands there, ``01``, ``NA`` and ``None`` included; only an
            empty cell is missing. A Parquet file knows its types. Columns that the table lacks are passed over.

    Raises:
        FileError: missing, of an unknown type, unreadable, without any row, with a header that repeats a name or
            lacks one, or with a row that has more or fewer cells than the header.
    """
    require(path)
    if not path.name.endswith(TABLE_SUFFIXES):
        raise FileError(f"{path}: unknown table type; use one of {', '.join(TABLE_SUFFIXES)}")
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path, text)
    except pd.errors.EmptyDataError:
        raise FileError(f"{path}: the table is empty; at least one row is needed") from None
    except (pd.errors.ParserError, csv.Error, UnicodeError, zlib.error, OSError, EOFError, pa.ArrowException) as error:
        raise FileError(f"{path}: not readable as a table ({type(error).__name__}{_where(error)})") from None
    if frame.empty:
        raise FileError(f"{path}: the table is empty; at least one row is needed")
    return frame


def _read_csv(path: Path, text: Collection[str]) -> pd.DataFrame:
    sep, decimal, header = csv_style(path)
    types = {name: str for name in header if name.strip() in text}  # spaces around a name are no part of it
    frame: pd.DataFrame = pd.read_csv(path, dtype=types, low_memory=False, sep=sep, decimal=decimal)
    if not isinstance(frame.index, pd.RangeIndex) or frame.iloc[:, -1].isna().any():  # too many cells, or too few?
        _require_rectangle(path, sep)
    here = list(types)
    if here:  # which words mean missing is an option of the whole table, so these columns are read apart
        apart = pd.read_csv(path, usecols=here, dtype=str, keep_default_na=False, na_values=[""], sep=sep)
        frame[here] = apart[here]
    return frame


def csv_style(path: Path) -> tuple[str, str, list[str]]:
    """Return delimiter, decimal sign and header of a CSV file, from its first lines."""
    with _opened(path) as stream:
        head = stream.readline()
        sample = head + "".join(islice(stream, 100))
    if "\0" in sample:
        raise FileError(f"{path}: not readable as a table (it holds binary data, not text)")
    unquoted = re.sub('"[^"]*"', "", head)
    sep = max(DELIMITERS, key=unquoted.count)
    names = next(csv.reader([head], delimiter=sep), [])
    for number, name in enumerate(names, 1):
        if not name.strip() and len(names) > 1:
            raise FileError(f"{path}: column {number} of the header has no name; name it, or leave the column out")
        if names.index(name) < number - 1:
            raise FileError(f"{path}: column {name!r} is in the header more than once; names must be unique")
    comma = sep == ";" and re.search(r"[;\n]-?\d+,\d+[;\r\n]", sample) and not re.search(r"[;\n]-?\d+\.\d", sample)
    return sep, "," if comma else ".", names


def _require_rectangle(path: Path, sep: str) -> None:
    """Raise a ``FileError`` that names the first row with more or fewer cells than the header."""
    with _opened(path) as stream:
        rows = csv.reader(stream, delimiter=sep)
        width = len(next(rows))
        for row in rows:
            if len(row) not in (width, 0):
                raise FileError(f"{path}: line {rows.line_num} has {len(row)} cells, the header {width}")


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _where(error: Exception) -> str:
    """Return the line that pandas names, if it does, or what is known; never the rest, which may quote a cell."""
    if isinstance(error, EOFError):
        return ": the file ends too early; copy it again"
    found = re.search(r"Expected \d+ fields in line \d+, saw \d+", str(error))
    return f": {found[0]}" if found else ""
