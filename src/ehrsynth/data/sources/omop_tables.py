"""Where the tables of an OMOP CDM lie: files of a folder, or a DuckDB database."""

from collections.abc import Mapping
from pathlib import Path

import duckdb

from ehrsynth.data.csv_files import csv_style
from ehrsynth.data.store import Raw, raw_csv, text
from ehrsynth.data.table_files import column_names, find_table, is_csv, parts_of
from ehrsynth.errors import FileError, OptionError, TableError

DATABASES = (".duckdb", ".db", ".ddb")
VOCABULARY = "concept"


class FolderTables:
    """A folder of Parquet or CSV tables by name, in any letter case; a table is a file, or a folder of Parquet parts.

    Args:
        root: the folder.
        vocabulary: another folder, looked into first for the tables of the vocabulary.
    """

    def __init__(self, root: Path, vocabulary: Path | None = None) -> None:
        self.folders = [root] if vocabulary is None else [vocabulary, root]

    def columns(self, table: str) -> list[str] | None:
        """Return the columns of a table in lower case, or None if there is no such table."""
        path = find_table(self.folders, table)
        return None if path is None else [name.strip().lower() for name in column_names(path)]

    def raw(self, table: str, wanted: Mapping[str, str]) -> "Path | Raw":
        """Return a table for ``Store.scan``; an ``InputError`` says that it is missing.

        In the vocabulary as OHDSI's Athena writes it, quotes between tabs quote nothing.
        """
        path = find_table(self.folders, table)
        if path is None:
            raise FileError(f"{self.folders[-1]}: no table {table}, as .parquet, .csv or .csv.gz; OMOP CDM requires it")
        athena = table == VOCABULARY and is_csv(path) and csv_style(path)[0] == "\t"
        return raw_csv(path, wanted, quote="") if athena else path

    def inputs(self, table: str) -> dict[str, Path]:
        """Return the files of a table, by the name they have in provenance."""
        path = find_table(self.folders, table)
        return {} if path is None else {str(part.relative_to(path.parent)): part for part in parts_of(path)}


class DatabaseTables:
    """The tables of a DuckDB file, in whichever of its schemas ``person`` is; asked in the same ways as a folder.

    The vocabulary may have a schema of its own.

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
        place = {table.lower(): there for there, table, *_ in reversed(found) if table.lower() == VOCABULARY}
        place |= {table.lower(): there for there, table, *_ in found if there == schema}
        # schema, name, and types of columns, by the name in lower case
        self.tables: dict[str, tuple[str, str, dict[str, str]]] = {}
        for there, table, column, kind in found:
            if place.get(table.lower()) == there:
                self.tables.setdefault(table.lower(), (there, table, {}))[2][column] = kind

    def columns(self, table: str) -> list[str] | None:
        """Return the columns of a table in lower case."""
        return [column.lower() for column in self.tables[table][2]] if table in self.tables else None

    def raw(self, table: str, wanted: Mapping[str, str]) -> "Path | Raw":
        """Return a table."""
        if table not in self.tables:
            raise TableError(f"{self.path}: no table {table} in schema {self.schema}; OMOP CDM requires it")
        schema, name, types = self.tables[table]
        reader = f"read_duckdb({text(self.path)}, schema_name={text(schema)}, table_name={text(name)})"
        return Raw(f"{self.path}, {table}", reader, types)

    def inputs(self, table: str) -> dict[str, Path]:
        """Return the database."""
        return {self.path.name: self.path} if table in self.tables else {}


OmopTables = FolderTables | DatabaseTables


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
