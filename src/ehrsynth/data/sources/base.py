"""The seam between a provider's raw tables and everything after it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from ehrsynth.data.coverage import Coverage
from ehrsynth.data.store import Store


@dataclass(kw_only=True, eq=False)
class Source(ABC):
    """A provider of patients. It reads and renames; it never filters. Subclasses are dataclasses of their options.

    Attributes:
        name: short name, as in provenance.
        without_stays: what to do about a source that has no stay.
        not_options: fields that are no option of their own, such as files, which provenance knows by their hashes.
    """

    name: ClassVar[str]
    without_stays: ClassVar[str] = "cohort.stay=null asks for none"
    not_options: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def read(self, store: Store) -> None:
        """Create the view ``events`` (see ``ehrsynth.data.events``), and ``labels`` if the provider has any.

        Raises:
            FileError: a file is missing or not readable.
            TableError: a table lacks a column.
        """

    def coverage(self, store: Store) -> Sequence[Coverage]:
        """Return what was understood of the events and by which means, once they are read; nothing if all is."""
        return ()

    def options(self) -> dict[str, Any]:
        """Return the options that decide what the tables hold, as plain data."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in self.not_options}

    def inputs(self) -> dict[str, Path]:
        """Return the files that are read, by the name they have in provenance, such as ``hosp/patients.csv.gz``."""
        return {}
