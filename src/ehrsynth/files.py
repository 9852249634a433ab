"""Reading and writing tables and JSON so that nothing half-written ever has its final name."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa

from ehrsynth.errors import FileError

TABLE_SUFFIXES = (".csv", ".csv.gz", ".parquet")


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that is renamed to it only if the block succeeds.

    The suffix is kept, since writers choose their format by it. On any error, a full disk
    included, the temporary file is removed and ``path`` is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{uuid4().hex[:8]}.{path.name}")
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


def read_table(path: Path, *, dtype: Any = None) -> pd.DataFrame:
    """Read a CSV (``.csv``, ``.csv.gz``) or Parquet table.

    Raises:
        FileError: missing, of an unknown type, unreadable, or without any row.
    """
    require(path)
    if not path.name.endswith(TABLE_SUFFIXES):
        raise FileError(f"{path}: unknown table type; use one of {', '.join(TABLE_SUFFIXES)}")
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=dtype)
    except pd.errors.EmptyDataError:
        raise FileError(f"{path}: the table is empty; at least one row is needed") from None
    except (pd.errors.ParserError, UnicodeDecodeError, OSError, EOFError, pa.ArrowInvalid) as error:
        raise FileError(f"{path}: not readable as a table ({type(error).__name__})") from None
    if frame.empty:
        raise FileError(f"{path}: the table is empty; at least one row is needed")
    return frame


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write ``frame`` as CSV or Parquet, by the suffix of ``path``, atomically.

    Raises:
        FileError: the suffix is none of ``TABLE_SUFFIXES``.
    """
    if not path.name.endswith(TABLE_SUFFIXES):
        raise FileError(f"{path}: unknown table type; use one of {', '.join(TABLE_SUFFIXES)}")
    with written_aside(path) as aside:
        if path.suffix == ".parquet":
            frame.to_parquet(aside, index=False)
        else:
            frame.to_csv(aside, index=False)
