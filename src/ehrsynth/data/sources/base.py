"""The seam between a provider's raw tables and everything after it."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from ehrsynth.data.store import Store


class Source(ABC):
    """A provider of patients. It reads and renames; it never filters.

    Attributes:
        name: short name, as in provenance.
        not_options: attributes that name files or are kept for later, not options.
    """

    name: ClassVar[str]
    not_options: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def read(self, store: Store) -> None:
        """Create the view ``events`` (see ``ehrsynth.data.events``), and ``labels`` if the provider has any.

        Raises:
            FileError: a file is missing or not readable.
            TableError: a table lacks a column.
        """

    def options(self) -> dict[str, Any]:
        """Return the options that decide what the tables hold, as plain data; files are known by their hashes."""
        return {name: value for name, value in vars(self).items() if name not in self.not_options}

    def inputs(self) -> dict[str, Path]:
        """Return the files that are read, by the name they have in provenance, such as ``hosp/patients.csv.gz``."""
        return {}
