"""Where the tables of an OMOP CDM lie: files of a folder, or a DuckDB database."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import duckdb

from ehrsynth.data.store import Store, checked, quoted, text
from ehrsynth.data.table_files import column_names, csv_style, find_table, is_csv, parts_of
from ehrsynth.errors import FileError, OptionError, TableError

DATABASES = (".duckdb", ".db", ".ddb")


class OmopTables(ABC):
    """Tables by name, in any letter case."""

    @abstractmethod
    def columns(self, table: str) -> list[str] | None:
        """Return the columns of a table in lower case, or None if there is no such table."""

    @abstractmethod
    def scan(self, store: Store, table: str, needed: Mapping[str, str], optional: Mapping[str, str]) -> None:
        """Create the view ``table``; both kinds of columns with their SQL types, optional ones NULL where absent.

        Raises:
            FileError: it is not readable.
            TableError: a needed column is missing.
        """

    @abstractmethod
    def inputs(self, table: str) -> dict[str, Path]:
        """Return the files of a table, by the name they have in provenance."""


class FolderTables(OmopTables):
    """A folder of Parquet or CSV tables; a table is a file, or a folder of Parquet parts.

    Args:
        root: the folder.
        vocabulary: another folder, looked into first for the tables of the vocabulary.
    """

    def __init__(self, root: Path, vocabulary: Path | None = None) -> None:
        self.folders = [root] if vocabulary is None else [vocabulary, root]

    def columns(self, table: str) -> list[str] | None:
        """Return the columns of a table in lower case."""
        path = self._find(table)
        if path is None:
            return None
        return [name.strip().lower() for name in column_names(path)]

    def scan(self, store: Store, table: str, needed: Mapping[str, str], optional: Mapping[str, str]) -> None:
        """Create the view ``table``."""
        path = self._find(table)
        if path is None:
            raise FileError(f"{self.folders[-1]}: no table {table}, as .parquet, .csv or .csv.gz; OMOP CDM requires it")
        if table == "concept" and is_csv(path) and csv_style(path)[0] == "\t":
            _athena(store, path, needed, optional)
        else:
            store.scan(table, path, needed, optional=optional)

    def inputs(self, table: str) -> dict[str, Path]:
        """Return the files of a table."""
        path = self._find(table)
        if path is None:
            return {}
        parts = parts_of(path)
        return {str(part.relative_to(path.parent)): part for part in parts}

    def _find(self, table: str) -> Path | None:
        return find_table(self.folders, table)


class DatabaseTables(OmopTables):
    """The tables of a DuckDB file, in whichever of its schemas ``person`` is.

    Args:
        path: of the file, which is only read.

    Raises:
        FileError: not a DuckDB database.
        TableError: no table ``person`` in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with duckdb.connect(str(path), read_only=True) as database:
                found = database.execute(
                    "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
                    " ORDER BY schema_name <> 'main', schema_name, column_index"
                ).fetchall()
        except duckdb.Error as error:
            raise FileError(f"{path}: not readable as a DuckDB database ({type(error).__name__})") from None
        schema = next((schema for schema, table, *_ in found if table.lower() == "person"), None)
        if schema is None:
            raise TableError(f"{path}: no table 'person' in any schema of it; OMOP CDM tables were expected")
        self.schema = schema
        self.tables: dict[str, dict[str, str]] = {}
        self.names: dict[str, str] = {}
        self.types: dict[str, dict[str, str]] = {}
        for there, table, column, kind in found:
            if there == schema:
                self.types.setdefault(table.lower(), {})[column.lower()] = kind
                self.names[table.lower()] = table
                self.tables.setdefault(table.lower(), {})[column.lower()] = column

    def columns(self, table: str) -> list[str] | None:
        """Return the columns of a table in lower case."""
        return list(self.tables[table]) if table in self.tables else None

    def scan(self, store: Store, table: str, needed: Mapping[str, str], optional: Mapping[str, str]) -> None:
        """Create the view ``table``."""
        if table not in self.tables:
            raise TableError(f"{self.path}: no table {table} in schema {self.schema}; OMOP CDM requires it")
        there = self.tables[table]
        absent = [column for column in needed if column not in there]
        if absent:
            raise TableError(
                f"{self.path}, {table}: missing column {absent[0]!r} ({len(absent)} of {len(needed)} are missing)"
            )
        where = f"schema_name={text(self.schema)}, table_name={text(self.names[table])}"
        place, types = f"{self.path}, {table}", self.types[table]
        cells = {
            column: checked(place, there[column], types[column], kind)
            for column, kind in {**needed, **optional}.items()
            if column in there
        }
        store.view(table, _picked(f"read_duckdb({text(self.path)}, {where})", cells, {**needed, **optional}))

    def inputs(self, table: str) -> dict[str, Path]:
        """Return the database."""
        return {self.path.name: self.path} if table in self.tables else {}


def open_tables(root: Path, vocabulary: Path | None) -> OmopTables:
    """Return the tables of a folder or of a database.

    Raises:
        OptionError: there is neither, or a vocabulary is named beside a database or is no folder.
        FileError, TableError: the database is none.
    """
    if root.is_file():
        if not root.name.lower().endswith(DATABASES):
            raise OptionError(f"source.root={root}: a folder of tables, or a file ending in .duckdb, was expected")
        if vocabulary is not None:
            raise OptionError("source.vocabulary: only for a folder of tables; a database has its own table concept")
        return DatabaseTables(root)
    for name, folder in (("root", root), ("vocabulary", vocabulary)):
        if folder is not None and not folder.is_dir():
            raise OptionError(f"source.{name}={folder}: no such folder; the folder of OMOP tables was expected")
    return FolderTables(root, vocabulary)


def _athena(store: Store, path: Path, needed: Mapping[str, str], optional: Mapping[str, str]) -> None:
    """Scan the vocabulary as OHDSI's Athena writes it: tabs between cells, and quotes that quote nothing."""
    header = csv_style(path)[2]
    there = {column.strip().lower(): quoted(column) for column in header}
    absent = [column for column in needed if column not in there]
    if absent:
        raise TableError(f"{path}: missing column {absent[0]!r} ({len(absent)} of {len(needed)} are missing)")
    wanted = {**needed, **optional}
    types = ", ".join(f"{text(column)}: {text(wanted.get(column.strip().lower(), 'VARCHAR'))}" for column in header)
    reader = f"read_csv({text(path)}, delim='\t', header=true, auto_detect=false, quote='', columns={{{types}}})"
    store.view("concept", _picked(reader, there, wanted))


def _picked(reader: str, cells: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    picked = (f"CAST({cells.get(column, 'NULL')} AS {kind}) AS {column}" for column, kind in wanted.items())
    return f"SELECT {', '.join(picked)} FROM {reader}"
