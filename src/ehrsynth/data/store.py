"""Tables of any size behind SQL: one DuckDB connection that scans files lazily and spills to disk."""

import glob
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import duckdb
import pandas as pd

from ehrsynth.data.csv_files import csv_style
from ehrsynth.data.store_errors import OWN, plain_errors
from ehrsynth.data.table_files import is_csv, parts_of
from ehrsynth.errors import FileError, TableError
from ehrsynth.files import require, scratch_folder

SAME = {"BIGINT": ("TINYINT", "SMALLINT", "INTEGER", "BIGINT"), "TIMESTAMP": ("DATE", "TIMESTAMP")}  # no cell can fail
_WORDS = {"BIGINT": "whole number", "VARCHAR": "text"}
Columns = Mapping[str, str]  # SQL types by name


@dataclass(frozen=True)
class Raw:
    """A raw table that SQL can read.

    Attributes:
        place: what messages call it.
        reader: of its rows, in SQL.
        types: of its columns, in SQL.
        typed: reads them in the types that are wanted and names the line of a cell that does not fit; empty if nothing
            does.
        header: what a message about a missing column adds.
    """

    place: str
    reader: str
    types: Columns
    typed: str = ""
    header: str = ""


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
        self._open = ExitStack()
        self._scratch = str(self._open.enter_context(scratch_folder()))
        limits: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory,
            "temp_directory": self._scratch,
        }
        self._db = duckdb.connect(config=limits if threads is None else {**limits, "threads": threads})
        self._db.execute("SET TimeZone = 'UTC'")  # what has a zone is read in this one, not in the machine's
        self._of_lines: dict[str, str] = {}  # by what our own message says: the query whose error names the line too

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._open.close()

    def scan(self, name: str, table: "Path | Raw", columns: Columns, *, optional: Columns | None = None) -> None:
        """Create the view ``name`` over a raw table.

        Args:
            name: of the view.
            table: a CSV or Parquet file, a folder of Parquet parts at any depth, or whatever else SQL can read.
            columns: the columns that are wanted, each with its SQL type; names of the file in any case.
            optional: columns that may be absent; then they are NULL.

        Raises:
            FileError: missing, empty, or of an unknown type.
            TableError: a column is missing. Cells that do not fit raise when a query meets them.
        """
        wanted = {**columns, **(optional or {})}
        if isinstance(table, Path):
            table = raw_csv(table, wanted) if is_csv(table) else self._parquet(table)
        by_lower = {column.strip().lower(): column for column in table.types}
        absent = [column for column in columns if column.lower() not in by_lower]
        if absent:
            missing = f"({len(absent)} of {len(columns)} are missing{table.header})"
            raise TableError(f"{table.place}: missing column {absent[0]!r} {missing}")
        cells = []
        for column, kind in wanted.items():
            here = by_lower.get(column.lower())
            cell = "NULL" if here is None else _checked(table.place, here, table.types[here], kind)
            cells.append(f"CAST({cell} AS {kind}) AS {quoted(column)}")
            if here is not None and table.typed:
                self._of_lines[_own_message(table.place, here)] = f"SELECT max({quoted(here)}) FROM {table.typed}"
        self.view(name, f"SELECT {', '.join(cells)} FROM {table.reader}")

    def empty(self, name: str, columns: Columns) -> None:
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
        with plain_errors(self._scratch, self._memory):
            try:
                yield
            except duckdb.InvalidInputException as error:
                for message, query in self._of_lines.items():
                    if message in str(error):
                        self._db.execute(query)
                raise

    def _parquet(self, path: Path) -> Raw:
        hive = "" if path.is_dir() else ", hive_partitioning=false"  # of one file, no folder above tells a column
        reader = f"read_parquet([{', '.join(map(of_file, parts_of(path)))}]{hive})"
        described = self.frame(f"DESCRIBE SELECT * FROM {reader}")
        return Raw(str(path), reader, dict(zip(described["column_name"], described["column_type"], strict=True)))


def raw_csv(path: Path, wanted: Columns, *, quote: str = '"') -> Raw:
    """Return how to read a CSV file.

    DuckDB's reader names the line of a cell that is no number, but rounds 1.5 to a whole one, and passes over the zone
    of a time. So whole numbers and times are read as text, and the second reader, which types them, tells the line.

    Args:
        path: of the file.
        wanted: columns with their SQL types; the others are not looked at.
        quote: around cells; empty if quotes quote nothing.
    """
    measured = [column.lower() for column, kind in wanted.items() if kind == "DOUBLE"]
    delimiter, decimal, header = csv_style(require(path), measured)
    if not header:
        raise FileError(f"{path}: the file is empty; a header with the names of the columns was expected")
    kinds = {column.lower(): kind for column, kind in wanted.items()}
    types = {column: kinds.get(column.strip().lower(), "VARCHAR") for column in header}
    read = {column: "VARCHAR" if kind in ("BIGINT", "TIMESTAMP") else kind for column, kind in types.items()}

    def reader(types: Columns) -> str:
        typed = ", ".join(f"{text(column)}: {text(kind)}" for column, kind in types.items())
        return (
            f"read_csv({of_file(path)}, delim={text(delimiter)}, header=true, auto_detect=false, quote={text(quote)},"
            f" escape={text(quote)}, nullstr='', strict_mode=true, decimal_separator={text(decimal)},"
            f" hive_partitioning=false, compression={text('gzip' if path.name.lower().endswith('.gz') else 'none')},"
            f" columns={{{typed}}})"
        )

    split = f"; the header has {len(header)} columns when split at {delimiter!r}"
    return Raw(str(path), reader(read), read, reader(types), split)


def _checked(place: str, column: str, there: str, kind: str) -> str:
    """Return a column as an SQL expression that raises, naming itself, where a cell does not become a ``kind``."""
    name = quoted(column)
    if there in SAME.get(kind, (kind,)) or kind == "VARCHAR":
        return name
    with_zone = kind == "TIMESTAMP" and there == "VARCHAR"
    cast = f"TRY_CAST({name} AS TIMESTAMPTZ)::TIMESTAMP" if with_zone else f"TRY_CAST({name} AS {kind})"
    fits = f"{cast} = TRY_CAST({name} AS DOUBLE)" if kind == "BIGINT" else f"{cast} IS NOT NULL"
    is_of, wanted = (_WORDS.get(type_, type_) for type_ in (there, kind))
    message = f"{_own_message(place, column)} is {is_of}, and not every cell of it is a {wanted}"
    return f"CASE WHEN {name} IS NULL OR {fits} THEN {cast} ELSE error({text(message)}) END"


def _own_message(place: str, column: str) -> str:
    return f"{OWN}{place}: column {column!r}"


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def of_file(path: Path) -> str:
    """Return a path as an SQL string that means this one file, whatever signs of a pattern or an address it holds."""
    return text(glob.escape(str(path.absolute())))


def text(value: object) -> str:
    """Return a value as an SQL string."""
    return "'" + str(value).replace("'", "''") + "'"
