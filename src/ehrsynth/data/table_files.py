"""Which file of a folder holds a table: hospitals write them in either case, packed or not; how a CSV is written."""

import csv
import zlib
from collections.abc import Iterable
from pathlib import Path

from ehrsynth.errors import FileError
from ehrsynth.files import csv_style

CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
PARQUET = (".parquet", ".pq")
CONVERT = "convert the file, for example with iconv -f latin1 -t utf-8"


def style_of(path: Path) -> tuple[str, str, list[str]]:
    """Return delimiter, decimal sign and header of a CSV file, from its first lines.

    Raises:
        FileError: it cannot be read.
    """
    try:
        return csv_style(path)
    except UnicodeError:
        raise FileError(f"{path}: not UTF-8 text; {CONVERT}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path}: not readable ({error if path.suffix == '.gz' else type(error).__name__})") from None
    except csv.Error as error:
        raise FileError(f"{path}: not readable as CSV ({type(error).__name__} in the first lines)") from None


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
