"""Tables of any size behind SQL: one DuckDB connection that scans files lazily and spills to disk."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import duckdb
import pandas as pd

from ehrsynth.data.store_errors import OWN, plain_errors
from ehrsynth.data.table_files import csv_style, is_csv, parts_of
from ehrsynth.errors import FileError, TableError
from ehrsynth.files import require

SAME = {"BIGINT": ("TINYINT", "SMALLINT", "INTEGER", "BIGINT"), "TIMESTAMP": ("DATE", "TIMESTAMP")}  # no cell can fail
_WORDS = {"BIGINT": "whole number", "VARCHAR": "text"}


class Store:
    """The tables of one preparation, from raw files to the cohort.

    Raw files are views: a query reads what it needs of them, in pieces. What a query sorts or groups beyond ``memory``
    goes to a temporary folder, so tables may be larger than memory.

    Args:
        memory: what queries may hold, as DuckDB writes it.
        threads: None takes as many as there are cores.
    """

    def __init__(self, *, memory: str = "2GB", threads: int | None = None) -> None:
        self._memory = memory
        self._scratch = TemporaryDirectory(prefix="ehrsynth-")
        limits: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory,
            "temp_directory": self._scratch.name,
        }
        self._db = duckdb.connect(config=limits if threads is None else {**limits, "threads": threads})
        self._of_lines: dict[str, str] = {}  # by what our own message says: the query whose error names the line too

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._scratch.cleanup()

    def scan(
        self, name: str, path: Path, columns: Mapping[str, str], *, optional: Mapping[str, str] | None = None
    ) -> None:
        """Create the view ``name`` over a CSV or Parquet table.

        Args:
            name: of the view.
            path: ``.csv``, ``.csv.gz`` or ``.parquet``, or a folder of Parquet parts at any depth.
            columns: the columns that are wanted, each with its SQL type; names of the file in any case.
            optional: columns that may be absent; then they are NULL.

        Raises:
            FileError: missing, empty, or of an unknown type.
            TableError: a column is missing. Cells that do not fit raise when a query meets them.
        """
        wanted = {**columns, **(optional or {})}
        reader, typed, there, split = _csv(require(path), wanted) if is_csv(path) else self._parquet(path)
        by_lower = {column.strip().lower(): column for column in there}
        absent = [column for column in columns if column.lower() not in by_lower]
        if absent:
            missing = f"({len(absent)} of {len(columns)} are missing{split})"
            raise TableError(f"{path}: missing column {absent[0]!r} {missing}")
        cells = []
        for column, kind in wanted.items():
            here = by_lower.get(column.lower())
            cell = "NULL" if here is None else checked(path, here, there[here], kind)
            cells.append(f"CAST({cell} AS {kind}) AS {quoted(column)}")
            if here is not None and typed:
                self._of_lines[own_message(path, here)] = f"SELECT max({quoted(here)}) FROM {typed}"
        self.view(name, f"SELECT {', '.join(cells)} FROM {reader}")

    def empty(self, name: str, columns: Mapping[str, str]) -> None:
        """Create the view ``name`` of a table that the source does not have."""
        cells = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(column)}" for column, kind in columns.items())
        self.view(name, f"SELECT {cells} WHERE false")

    def register(self, name: str, frame: pd.DataFrame) -> None:
        """Make a data frame a table of that name, without a copy."""
        self._db.register(name, frame)

    def view(self, name: str, query: str) -> None:
        """Name a query; it runs whenever it is asked."""
        self._run(f"CREATE OR REPLACE VIEW {quoted(name)} AS {query}")

    def rename(self, view: str, name: str) -> None:
        """Give a view another name."""
        self._run(f"ALTER VIEW {quoted(view)} RENAME TO {quoted(name)}")

    def table(self, name: str, query: str) -> None:
        """Run a query once and keep its result."""
        self._run(f"CREATE OR REPLACE TABLE {quoted(name)} AS {query}")

    def append(self, name: str, query: str) -> None:
        """Add the rows of a query to a table."""
        self._run(f"INSERT INTO {quoted(name)} {query}")

    def has(self, name: str) -> bool:
        """Return whether there is a table or view of that name."""
        return bool(self.value(f"SELECT count(*) FROM information_schema.tables WHERE table_name = {text(name)}"))

    def frame(self, query: str) -> pd.DataFrame:
        """Return the rows of a query."""
        with self._errors():
            return self._db.execute(query).df()

    def value(self, query: str) -> Any:
        """Return the first cell of a query."""
        with self._errors():
            rows = self._db.execute(query).fetchall()  # all, or the connection would be busy with the rest
        return rows[0][0] if rows else None

    def write(self, query: str, path: Path) -> None:
        """Write the rows of a query to a ``.csv`` or ``.csv.gz`` file, in pieces."""
        packed = "gzip" if path.suffix == ".gz" else "none"
        self._run(f"COPY ({query}) TO {text(path)} (FORMAT csv, HEADER, COMPRESSION {packed})")

    def _run(self, query: str) -> None:
        with self._errors():
            self._db.execute(query)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with plain_errors(self._scratch.name, self._memory):
            try:
                yield
            except duckdb.InvalidInputException as error:
                for message, query in self._of_lines.items():
                    if message in str(error):
                        self._db.execute(query)
                raise

    def _parquet(self, path: Path) -> tuple[str, str, dict[str, str], str]:
        """Return what ``_csv`` does for a Parquet file or folder, whose columns have types of their own."""
        reader = f"read_parquet([{', '.join(map(text, parts_of(path)))}])"
        described = self.frame(f"DESCRIBE SELECT * FROM {reader}")
        return reader, "", dict(zip(described["column_name"], described["column_type"], strict=True)), ""


def _csv(path: Path, wanted: Mapping[str, str]) -> tuple[str, str, dict[str, str], str]:
    """Return how to read a CSV file, the types of its columns, and how its header was split.

    DuckDB's reader names the line of a cell that is no number, but rounds 1.5 to a whole one. So whole numbers are read
    as text, and the second reader, which types them, is for telling the line.
    """
    delimiter, decimal, header = csv_style(path)
    if not header:
        raise FileError(f"{path}: the file is empty; a header with the names of the columns was expected")
    kinds = {column.lower(): kind for column, kind in wanted.items()}
    types = {column: kinds.get(column.strip().lower(), "VARCHAR") for column in header}
    read = {column: "VARCHAR" if kind == "BIGINT" else kind for column, kind in types.items()}

    def reader(types: Mapping[str, str]) -> str:
        typed = ", ".join(f"{text(column)}: {text(kind)}" for column, kind in types.items())
        return (
            f"read_csv({text(path)}, delim={text(delimiter)}, header=true, auto_detect=false, quote='\"', escape='\"',"
            f" nullstr='', strict_mode=true, decimal_separator={text(decimal)}, columns={{{typed}}})"
        )

    split = f"; the header has {len(header)} columns when split at {delimiter!r}"
    return reader(read), reader(types), read, split


def checked(place: object, column: str, there: str, kind: str) -> str:
    """Return a column as an SQL expression that raises, naming itself, where a cell does not become a ``kind``."""
    name = quoted(column)
    if there in SAME.get(kind, (kind,)) or kind == "VARCHAR":
        return name
    cast = f"TRY_CAST({name} AS {kind})"
    fits = f"{cast} = TRY_CAST({name} AS DOUBLE)" if kind == "BIGINT" else f"{cast} IS NOT NULL"
    is_of, wanted = (_WORDS.get(type_, type_) for type_ in (there, kind))
    message = f"{own_message(place, column)} is {is_of}, and not every cell of it is a {wanted}"
    return f"CASE WHEN {name} IS NULL OR {fits} THEN {cast} ELSE error({text(message)}) END"


def own_message(place: object, column: str) -> str:
    """Return how a message of our own about a column begins."""
    return f"{OWN}{place}: column {column!r}"


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: object) -> str:
    """Return a value as an SQL string."""
    return "'" + str(value).replace("'", "''") + "'"
