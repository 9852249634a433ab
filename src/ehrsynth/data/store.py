"""Tables of any size behind SQL: one DuckDB connection that scans files lazily and spills to disk."""

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import duckdb
import pandas as pd

from ehrsynth.errors import FileError, TableError
from ehrsynth.files import csv_style, require

CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
PARQUET = (".parquet", ".pq")


class Store:
    """The tables of one preparation, from raw files to the cohort.

    Raw files are views: a query reads what it needs of them, in pieces. What a query sorts or groups beyond ``memory``
    goes to a temporary folder, so tables may be larger than memory.

    Args:
        memory: what queries may hold, as DuckDB writes it.
        threads: None takes as many as there are cores.
    """

    def __init__(self, *, memory: str = "2GB", threads: int | None = None) -> None:
        self._scratch = TemporaryDirectory(prefix="ehrsynth-")
        limits = {"memory_limit": memory, "temp_directory": self._scratch.name}
        self._db = duckdb.connect(config=limits if threads is None else {**limits, "threads": str(threads)})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._scratch.cleanup()

    def scan(self, name: str, path: Path, columns: Mapping[str, str]) -> None:
        """Create the view ``name`` over a CSV or Parquet file.

        Args:
            name: of the view.
            path: ``.csv``, ``.csv.gz`` or ``.parquet``.
            columns: the columns that are wanted, each with its SQL type; names of the file in any case.

        Raises:
            FileError: missing, or of an unknown type.
            TableError: a column is missing. Cells that do not fit raise when a query meets them.
        """
        require(path)
        if path.name.endswith(PARQUET):
            there = [str(row[0]) for row in self._run(f"DESCRIBE SELECT * FROM read_parquet({text(path)})").fetchall()]
            reader = f"read_parquet({text(path)})"
        elif path.name.endswith(CSV):
            delimiter, _, there = csv_style(path)
            wanted = {column.lower(): kind for column, kind in columns.items()}
            types = ", ".join(f"{text(column)}: {text(wanted.get(column.lower(), 'VARCHAR'))}" for column in there)
            reader = (
                f"read_csv({text(path)}, delim={text(delimiter)}, header=true, auto_detect=false, quote='\"',"
                f" escape='\"', nullstr='', strict_mode=true, columns={{{types}}})"
            )
        else:
            raise FileError(f"{path}: unknown table type; use one of {', '.join((*CSV, *PARQUET))}")
        by_lower = {column.lower(): column for column in there}
        absent = [column for column in columns if column.lower() not in by_lower]
        if absent:
            raise TableError(f"{path}: missing column {absent[0]!r} ({len(absent)} of {len(columns)} are missing)")
        chosen = ", ".join(
            f"CAST({quoted(by_lower[column.lower()])} AS {kind}) AS {quoted(column)}"
            for column, kind in columns.items()
        )
        self.view(name, f"SELECT {chosen} FROM {reader}")

    def register(self, name: str, frame: pd.DataFrame) -> None:
        """Make a data frame a table of that name, without a copy."""
        self._db.register(name, frame)

    def view(self, name: str, query: str) -> None:
        """Name a query; it runs whenever it is asked."""
        self._run(f"CREATE OR REPLACE VIEW {quoted(name)} AS {query}")

    def table(self, name: str, query: str) -> None:
        """Run a query once and keep its result."""
        self._run(f"CREATE OR REPLACE TABLE {quoted(name)} AS {query}")

    def has(self, name: str) -> bool:
        """Return whether there is a table or view of that name."""
        return bool(self.value(f"SELECT count(*) FROM information_schema.tables WHERE table_name = {text(name)}"))

    def frame(self, query: str) -> pd.DataFrame:
        """Return the rows of a query."""
        try:
            return self._run(query).df()
        except duckdb.Error as error:
            raise _users_fault(error) from None

    def value(self, query: str) -> Any:
        """Return the first cell of a query."""
        row = self._run(query).fetchone()
        return None if row is None else row[0]

    def _run(self, query: str) -> duckdb.DuckDBPyConnection:
        try:
            return self._db.execute(query)
        except (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.IOException) as error:
            raise _users_fault(error) from None


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: object) -> str:
    """Return a value as an SQL string."""
    return "'" + str(value).replace("'", "''") + "'"


def _users_fault(error: duckdb.Error) -> FileError | TableError:
    """Say where the trouble is, and never quote the row that DuckDB quotes."""
    message = str(error)
    file = re.search(r"file = (\S.*)", message)
    line = re.search(r"CSV Error on Line: (\d+)", message)
    where = f"{file[1] if file else 'a table'}{f', line {line[1]}' if line else ''}"
    column = re.search(r'Error when converting column "([^"]*)".*to \'(\w+)\'', message, re.DOTALL)
    if column:
        return TableError(f"{where}: column {column[1]!r} does not hold a {column[2]}")
    return FileError(f"{where}: not readable ({message.splitlines()[0].split(':')[0]})")
