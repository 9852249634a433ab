"""OMOP Common Data Model, versions 5.3 and 5.4 (https://ohdsi.github.io/CommonDataModel)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ehrsynth.data.events import EVENTS, LABELS
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.omop_columns import TABLES
from ehrsynth.data.sources.omop_events import concepts, labels, omop_events, visits
from ehrsynth.data.sources.omop_tables import open_tables
from ehrsynth.data.store import Store
from ehrsynth.errors import OptionError, TableError

REQUIRED = ("person", "visit_occurrence")
INPATIENT, EMERGENCY_AND_INPATIENT = 9201, 262
VERSIONS = {"5.4": "discharged_to_concept_id", "5.3": "discharge_to_concept_id"}  # a column only this version has


class Omop(Source):
    """An OMOP CDM.

    A diagnosis is whatever was coded in ICD-9-CM or ICD-10-CM, in any table, and all other conditions; ICD codes that
    mean no condition lie in ``observation`` or ``measurement``. It counts from the discharge of its stay. Where the
    source concept of a condition is unknown, its source value stands for it if ``source_codes`` says in which
    vocabulary, else its standard concept, such as of SNOMED.

    Args:
        root: a folder of Parquet or CSV tables, or a DuckDB file.
        vocabulary: the folder of the table ``concept``, if it lies elsewhere.
        stays: concepts of the visits that are hospital stays; other visits have no admission and no discharge.
        source_codes: vocabulary of the source values of conditions, such as ``ICD10CM``.

    Raises:
        OptionError: no such folder or file, or no kind of visit is a stay.
        FileError: not a database.
        TableError: a database without a person.
    """

    name = "omop"

    def __init__(
        self,
        *,
        root: Path | str,
        vocabulary: Path | str | None = None,
        stays: Sequence[int] = (INPATIENT, EMERGENCY_AND_INPATIENT),
        source_codes: str | None = None,
    ) -> None:
        if not stays or not all(isinstance(concept, int) for concept in stays):
            raise OptionError(f"source.stays={list(stays)}: a list of visit concepts such as [9201, 262] was expected")
        self.root = Path(root)
        self.tables = open_tables(self.root, None if vocabulary is None else Path(vocabulary))
        self.stays = list(stays)
        self.source_codes = source_codes

    def read(self, store: Store) -> None:
        """Create ``events`` and, with a table ``concept``, ``labels``.

        Raises:
            FileError, TableError: a table that is needed is missing or not readable, or lacks a column; or there is
                neither a concept nor a source value that says what a condition is.
        """
        for name, (needed, optional) in TABLES.items():
            if self.tables.columns(name) is None and name not in REQUIRED:
                store.empty(name, {**needed, **optional})
            else:
                self.tables.scan(store, name, needed, optional)
        has_concepts = self.tables.columns("concept") is not None
        if not has_concepts:
            self._require_source_values(store)
        store.table("omop_concepts", concepts())
        store.table("omop_visits", visits(self.stays))
        store.view(EVENTS, omop_events(self.source_codes))
        if has_concepts:
            store.view(LABELS, labels())

    def options(self) -> dict[str, Any]:
        """Return the options, and the version that the tables are of.

        Raises:
            TableError: of neither version.
        """
        return {"version": self.version(), "stays": self.stays, "source_codes": self.source_codes}

    def version(self) -> str:
        """Return the version of the CDM, told by the columns of ``visit_occurrence``."""
        there = self.tables.columns("visit_occurrence")
        if there is None:
            raise TableError(f"{self.root}: no table visit_occurrence; OMOP CDM requires it")
        for version, column in VERSIONS.items():
            if column in there:
                return version
        raise TableError(
            f"{self.root}, visit_occurrence: neither OMOP CDM 5.3 nor 5.4; a column {VERSIONS['5.3']!r} (5.3) or"
            f" {VERSIONS['5.4']!r} (5.4) was expected among its columns ({len(there)} found)"
        )

    def inputs(self) -> dict[str, Path]:
        """Return the files of the tables that are there, of those that can be read."""
        return {name: path for table in TABLES for name, path in self.tables.inputs(table).items()}

    def _require_source_values(self, store: Store) -> None:
        rows = "FROM condition_occurrence WHERE condition_source_value IS"
        if store.value(f"SELECT 1 {rows} NULL LIMIT 1") and not store.value(f"SELECT 1 {rows} NOT NULL LIMIT 1"):
            raise TableError(
                f"{self.root}: no table concept, and no condition has a source value; add the table concept (of OHDSI"
                " Athena), or name its folder with source.vocabulary"
            )
