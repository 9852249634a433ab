"""The files of a flat source: which they are, and what their headers say."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ehrsynth.data.table_files import CSV, PARQUET, style_of
from ehrsynth.errors import FileError, TableError
from ehrsynth.files import require

MOST_NAMES = 20


def found_files(path: str | Path | Sequence[str]) -> list[Path]:
    """Return the files of a path, a pattern, or a list of them, each once.

    Raises:
        FileError: one is missing, or a pattern finds none.
    """
    files = list[Path]()
    for given in [path] if isinstance(path, str | Path) else path:
        found = (
            sorted(map(Path, glob.glob(str(given), recursive=True))) if glob.has_magic(str(given)) else [Path(given)]
        )
        if not found:
            raise FileError(f"{given}: the pattern finds no file")
        files += map(require, found)
    if not files:
        raise FileError("source.path: an empty list; at least one file was expected")
    return list(dict.fromkeys(files))


def names_in_provenance(files: Sequence[Path]) -> dict[str, Path]:
    """Return the files by their names below the folder they share."""
    folder = os.path.commonpath([file.absolute().parent for file in files])
    return {Path(os.path.relpath(file.absolute(), folder)).as_posix(): file for file in files}


def header(path: Path) -> list[str]:
    """Return the names of the columns.

    Raises:
        FileError: of an unknown type, or not readable.
        TableError: one column only.
    """
    try:
        if path.name.endswith(PARQUET):
            names = list(pq.read_schema(path).names)
        elif path.name.endswith(CSV):
            names = style_of(path)[2]
        else:
            raise FileError(f"{path}: unknown table type; use one of {', '.join((*CSV, *PARQUET))}")
    except (OSError, pa.ArrowException) as error:
        raise FileError(f"{path}: not readable as a table ({type(error).__name__})") from None
    if len(names) < 2:
        raise TableError(
            f"{path}: {len(names)} column only; a subject and something about it were expected, between commas,"
            " semicolons, tabs or bars"
        )
    return names


def listed(names: Sequence[str]) -> str:
    """Return the names of a header for a message, not all of a long one."""
    shown = ", ".join(map(repr, names[:MOST_NAMES]))
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"


def decimal_sign(path: Path) -> str:
    """Return the decimal sign of a file whose header could be read."""
    return style_of(path)[1] if path.name.endswith(CSV) else "."
