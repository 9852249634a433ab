"""Which file of a folder holds a table: hospitals write them in either case, packed or not."""

from collections.abc import Iterable
from pathlib import Path

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
