"""OMOP Common Data Model, versions 5.3 and 5.4 (https://ohdsi.github.io/CommonDataModel)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ehrsynth.data.coverage import Coverage
from ehrsynth.data.events import EVENTS
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.declared import declaration
from ehrsynth.data.sources.omop_tables import OmopTables, open_tables
from ehrsynth.data.store import Store, text
from ehrsynth.data.vocabulary.base import OWN
from ehrsynth.errors import TableError, expect

INPATIENT, EMERGENCY_AND_INPATIENT = 9201, 262
VERSIONS = {"5.4": "discharged_to_concept_id", "5.3": "discharge_to_concept_id"}  # a column only this version has
CODED = {  # start of the names of the columns that tell when and what, and of another concept beside it
    "condition_occurrence": ("condition_start", "condition", None),
    "procedure_occurrence": ("procedure", "procedure", None),
    "drug_exposure": ("drug_exposure_start", "drug", None),
    "measurement": ("measurement", "measurement", "unit"),
    "observation": ("observation", "observation", "value_as"),
}


@dataclass(kw_only=True, eq=False)
class Omop(Source):
    """An OMOP CDM.

    A diagnosis is whatever was coded in ICD-9-CM or ICD-10-CM, in any table, and all other conditions; ICD codes that
    mean no condition lie in ``observation`` or ``measurement``. It counts from the discharge of its stay. Where the
    source concept of a condition is unknown, its source value stands for it if ``source_codes`` says in which
    vocabulary, else its standard concept, such as of SNOMED.

    Attributes:
        root: a folder of Parquet or CSV tables, or a DuckDB file.
        vocabulary: the folder of the table ``concept``, if it lies elsewhere.
        stays: concepts of the visits that are hospital stays; other visits have no admission and no discharge.
        source_codes: vocabulary of the source values of conditions, such as ``ICD10CM``.
        tables: what is found there.

    Raises:
        OptionError: no such folder or file, or no kind of visit is a stay.
        FileError: not a database.
        TableError: a database without a person.
    """

    name = "omop"
    not_options = ("root", "vocabulary", "tables")

    root: Path | str
    vocabulary: Path | str | None = None
    stays: Sequence[int] = (INPATIENT, EMERGENCY_AND_INPATIENT)
    source_codes: str | None = None
    tables: OmopTables = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.stays = list(self.stays)
        fits = bool(self.stays) and all(isinstance(concept, int) for concept in self.stays)
        expect(fits, "source.stays", self.stays, "a list of visit concepts such as [9201, 262]")
        self.tables = open_tables(Path(self.root), None if self.vocabulary is None else Path(self.vocabulary))

    def read(self, store: Store) -> None:
        """Create ``events`` and, with a table ``concept``, ``labels``.

        Raises:
            FileError, TableError: a table that is needed is missing or not readable, or lacks a column; nobody is in
                it; or there is neither a concept nor a source value that says what a condition is.
        """
        declared = declaration("omop")
        for name, table in declared.tables.items():
            if self.tables.columns(name) is None and not table.required:
                store.empty(name, table.all_columns)
            else:
                raw = self.tables.raw(name, table.all_columns)
                store.scan(name, raw, table.columns, optional=table.optional)
        if store.value("SELECT 1 FROM person LIMIT 1") is None:
            raise TableError(f"{self.root}: the table person has no rows; at least one was expected")
        has_concepts = self.tables.columns("concept") is not None
        if not has_concepts:
            self._require_source_values(store)
        coded = {f"coded_{name}": self._coded(name, *columns) for name, columns in CODED.items()}
        stays = ", ".join(map(str, self.stays))
        declared.with_relations(coded).create(store, labels=has_concepts, stays=stays, own=text(OWN))

    def coverage(self, store: Store) -> list[Coverage]:
        """Return which vocabularies the diagnoses and procedures are of, and how many are of none."""
        found = store.frame(
            f"""SELECT *, sum(times) OVER (PARTITION BY domain) AS n FROM (
            SELECT domain, vocabulary, code IS NULL AS nothing, count(*) AS times FROM {EVENTS}
            WHERE domain IN ('diagnosis', 'procedure') GROUP BY domain, vocabulary, code IS NULL)
            ORDER BY domain, times DESC, vocabulary"""
        )
        return [
            Coverage(f"{domain} events", _means(vocabulary, nothing=nothing), int(times), int(n))
            for domain, vocabulary, nothing, times, n in found.itertuples(index=False)
        ]

    def options(self) -> dict[str, Any]:
        """Return the options, and the version that the tables are of.

        Raises:
            TableError: of neither version.
        """
        return {"version": self.version(), **super().options()}

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
        return {name: path for table in declaration("omop").tables for name, path in self.tables.inputs(table).items()}

    def _require_source_values(self, store: Store) -> None:
        rows = "FROM condition_occurrence WHERE condition_source_value IS"
        if store.value(f"SELECT 1 {rows} NULL LIMIT 1") and not store.value(f"SELECT 1 {rows} NOT NULL LIMIT 1"):
            raise TableError(
                f"{self.root}: no table concept, and no condition has a source value; add the table concept (of OHDSI"
                " Athena), or name its folder with source.vocabulary"
            )

    def _coded(self, table: str, start: str, prefix: str, beside: str | None) -> str:
        """Return a table with the words of its concepts, its time, and its stay; a visit that is no stay is none.

        Args:
            table: of events.
            start: beginning of the names of the columns that tell when.
            prefix: and of those that tell what.
            beside: and of a further concept, if it has one: its ``further_code`` and ``further_name``.
        """
        further = "" if beside is None else f"LEFT JOIN omop_concepts f ON {beside}_concept_id = f.concept_id"
        more = "" if beside is None else ", f.code AS further_code, f.name AS further_name"
        source_is_of = "NULL::VARCHAR" if self.source_codes is None else text(self.source_codes)
        return f"""SELECT t.*, t.person_id AS subject_id, coalesce({start}_datetime, {start}_date) AS time,
            {prefix}_source_value AS source_value,
            s.vocabulary AS source_vocabulary, s.code AS source_code, c.vocabulary, c.code,
            CASE WHEN s.vocabulary = {text(OWN)} THEN s.class ELSE c.class END AS class,
            coalesce(s.vocabulary = {text(OWN)}, false) AS own, CASE WHEN own THEN s.vocabulary END AS named_in,
            CASE WHEN own THEN s.code ELSE coalesce(c.name, {prefix}_source_value) END AS named,
            coalesce(s.vocabulary IN ('ICD9CM', 'ICD10CM', 'ICD10', 'ICD10GM'), false) AS icd_diagnosis,
            coalesce(s.vocabulary IN ('ICD9PCS', 'ICD10PCS'), false) AS icd_procedure,
            {source_is_of} AS source_is_of,
            source_is_of IS NOT NULL AND s.vocabulary IS NULL AND {prefix}_source_value IS NOT NULL AS by_source,
            CASE WHEN coalesce(is_stay OR of_own, true) THEN t.visit_occurrence_id END AS stay_id, stay_ended{more}
            FROM {table} t LEFT JOIN omop_concepts s ON {prefix}_source_concept_id = s.concept_id
            LEFT JOIN omop_concepts c ON {prefix}_concept_id = c.concept_id
            LEFT JOIN (SELECT visit_occurrence_id, bool_or(is_stay) AS is_stay, bool_or(own) AS of_own,
            max(ended) FILTER (is_stay) AS stay_ended FROM omop_visits GROUP BY ALL) v
            ON t.visit_occurrence_id = v.visit_occurrence_id {further}"""


def _means(vocabulary: object, *, nothing: bool) -> str:
    """Return in words how codes of a vocabulary are known."""
    if nothing:
        return "neither a concept nor a source value"
    known = isinstance(vocabulary, str)
    return f"codes of {vocabulary}" if known else "source values of no vocabulary (see source.source_codes)"
