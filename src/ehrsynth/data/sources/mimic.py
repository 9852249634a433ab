"""MIMIC-III and MIMIC-IV in their official layouts; ``mimic.yaml`` and the two beside it say what their rows mean."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.declared import declaration
from ehrsynth.data.store import Store
from ehrsynth.data.table_files import find_table, parts_of
from ehrsynth.errors import FileError, OptionError, TableError

TITLES = ("d_icd_diagnoses", "d_icd_procedures")


@dataclass(kw_only=True, eq=False)
class Mimic(Source):
    """A release of MIMIC, as CSV (packed or not) or Parquet; names of files and columns in either case.

    Attributes:
        root: folder of the release.
        folders: of ``root`` in which tables may lie.
        found: the file or folder of each table that is there.

    Raises:
        OptionError: there is no such folder.
        FileError: patients, admissions or diagnoses are not there.
    """

    not_options = ("root", "found")
    folders: ClassVar[tuple[str, ...]]

    root: Path | str
    found: dict[str, Path] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        root = Path(self.root)
        if not root.is_dir():
            raise OptionError(f"source.root={root}: no such folder")
        tables = declaration(self.name, "mimic").tables
        folders = [root / folder for folder in self.folders]
        self.found = {name: path for name in tables if (path := find_table(folders, name)) is not None}
        for name, table in tables.items():
            if table.required and name not in self.found:
                named = [folder for folder in self.folders if folder != "."]
                below = f" and its {', '.join(f'{folder}/' for folder in named)}" if named else ""
                raise FileError(
                    f"{root}: no table {name!r} in this folder{below};"
                    f" {name}.csv.gz, {name}.csv or {name}.parquet was expected"
                )

    def read(self, store: Store) -> None:
        """Create ``events`` and, if a table of ICD titles is there, ``labels``.

        Raises:
            TableError: a column is missing, or a required table has no rows.
        """
        declared = declaration(self.name, "mimic")
        for name, table in declared.tables.items():
            path = self.found.get(name)
            if path is None:
                store.empty(name, table.all_columns)
            else:
                store.scan(name, path, table.columns, optional=table.optional)
                if table.required and store.value(f"SELECT 1 FROM {name} LIMIT 1") is None:
                    raise TableError(f"{path}: the table has a header and no rows; at least one row was expected")
        declared.create(store, labels=any(name in self.found for name in TITLES))

    def inputs(self) -> dict[str, Path]:
        """Return the tables that are there, of those that can be read, by their paths in the release."""
        return {str(part.relative_to(self.root)): part for path in self.found.values() for part in parts_of(path)}


class MimicIII(Mimic):
    """MIMIC-III version 1.4 (Johnson et al., Scientific Data 2016): one folder, ICD-9 only.

    The births of patients older than 89 are shifted to about 300 years before; the option ``most`` of the feature
    ``Age`` gives them one age.
    """

    name = "mimic_iii"
    folders = (".",)


class MimicIV(Mimic):
    """MIMIC-IV (Johnson et al., Scientific Data 2023), versions 1 to 3.

    Version 1 keeps patients and admissions in ``core/``; from version 2 on they lie in ``hosp/``.
    """

    name = "mimic_iv"
    folders = ("hosp", "core", "icu", ".")
