"""The raw tables of a MIMIC release: which of them are there, and under what name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ehrsynth.data.store import Store
from ehrsynth.data.table_files import find_table
from ehrsynth.errors import FileError, OptionError, TableError


@dataclass(frozen=True)
class RawTable:
    """What is read of a raw table.

    Attributes:
        columns: that must be there, each with its SQL type.
        optional: that may be absent.
        required: whether the table must be there, with at least one row.
    """

    columns: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)
    required: bool = False

    @property
    def all_columns(self) -> dict[str, str]:
        """Every column that is read if it is there."""
        return {**self.columns, **self.optional}


class MimicFiles:
    """The files of a release, looked up once.

    Args:
        root: folder of the release.
        folders: of ``root`` in which tables may lie.
        tables: by name.

    Raises:
        OptionError: ``root`` is no folder.
        FileError: a required table is not there.
    """

    def __init__(self, root: Path | str, folders: Sequence[str], tables: Mapping[str, RawTable]) -> None:
        self.root = Path(root)
        self._tables = tables
        if not self.root.is_dir():
            raise OptionError(f"source.root={root}: no such folder")
        places = [self.root / folder for folder in folders]
        found = {name: find_table(places, name) for name in tables}
        self._found = {name: path for name, path in found.items() if path is not None}
        for name, table in tables.items():
            if table.required and name not in self._found:
                named = [folder for folder in folders if folder != "."]
                below = f" and its {', '.join(f'{folder}/' for folder in named)}" if named else ""
                raise FileError(
                    f"{self.root}: no table {name!r} in this folder{below};"
                    f" {name}.csv.gz, {name}.csv or {name}.parquet was expected"
                )

    def has(self, table: str) -> bool:
        """Return whether a table is there."""
        return table in self._found

    def scan(self, store: Store) -> None:
        """Create a view for each table; one that is not there is empty.

        Raises:
            TableError: a column is missing, or a required table has no rows.
        """
        for name, table in self._tables.items():
            path = self._found.get(name)
            if path is None:
                store.empty(name, table.all_columns)
            else:
                store.scan(name, path, table.columns, optional=table.optional)
                if table.required and store.value(f"SELECT 1 FROM {name} LIMIT 1") is None:
                    raise TableError(f"{path}: the table has a header and no rows; at least one row was expected")

    def inputs(self) -> dict[str, Path]:
        """Return every file that is there, by its path in the release."""
        return {
            str(part.relative_to(self.root)): part
            for path in self._found.values()
            for part in (sorted(path.rglob("*.parquet")) if path.is_dir() else [path])
        }
