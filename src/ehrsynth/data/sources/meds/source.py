"""MEDS, the Medical Event Data Standard (https://medical-event-data-standard.github.io)."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from ehrsynth.data.coverage import Coverage
from ehrsynth.data.events import EVENTS, GIVEN, LABELS, OTHER_VISITS, select
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.meds.coverage import coverage
from ehrsynth.data.sources.meds.mapping import WORDED, mapped
from ehrsynth.data.sources.meds.patterns import patterns_of
from ehrsynth.data.sources.meds.standard import standard, validated
from ehrsynth.data.store import Store, of_file, quoted, text
from ehrsynth.errors import FileError, OptionError, TableError
from ehrsynth.files import read_object

DATA, CODES, METADATA = "meds_data", "meds_codes", "meds_metadata"
WRITTEN = ("race", "ethnicity", "insurance", "language", "marital_status")  # extra columns of an admission
_STAYS = "('admission', 'discharge')"
_DIED_WORDS = r"\b(died|dead|death|deceased|expired)\b"
# The standard holds numbers as float32; the shortest decimal that is that number is the one that was written.
_NUMBER = "coalesce(numeric_value::VARCHAR::DOUBLE, TRY_CAST(text_value AS DOUBLE))"
# An attribute may have its word in the text: RACE with White.
_WORD = "CASE upper(text_value) WHEN 'FEMALE' THEN 'F' WHEN 'MALE' THEN 'M' ELSE text_value END"
_CODE = f"""coalesce(k.code, CASE WHEN k.domain IN ({", ".join(map(text, WORDED))}) THEN {_WORD} END)"""
_OTHER_VISITS = f"""SELECT subject_id, stay_id, min(time) FILTER (domain = 'visit') AS started,
    max(time) FILTER (domain = 'visit_end') AS ended, min(code) FILTER (domain = 'visit') AS kind
    FROM {EVENTS} WHERE domain IN ('visit', 'visit_end') GROUP BY ALL"""

SHARDS, CODES_FILE = "data", "metadata/codes.parquet"
SPLITS_FILE, DATASET_FILE = "metadata/subject_splits.parquet", "metadata/dataset.json"
STAY_COLUMNS = ("hadm_id", "visit_id", "encounter_id", "visit_occurrence_id", "stay_id")
_DATASET_KEYS = ("dataset_name", "dataset_version", "etl_name", "etl_version", "meds_version")


@dataclass(kw_only=True, eq=False)
class Meds(Source):
    r"""A MEDS dataset.

    A stay is what the rows have in a column ``hadm_id``, ``visit_id``, ``encounter_id``, ``visit_occurrence_id`` or
    ``stay_id``; without any, an admission with the next discharge. What a code is say patterns, else its parents, its
    own words, its description, or the shape of the codes behind its prefix (``mapping``); codes of which nothing is
    known are events of the domain ``other``. Rows without a code are no events.

    Attributes:
        root: the folder that holds ``data`` and perhaps ``metadata``.
        patterns: what the codes mean, by name, before and instead of ``patterns.PATTERNS``; such as
            ``{drug: {match: 'RX//(.+)', domain: medication, code: '\1'}}``.

    Raises:
        OptionError: no such folder, a pattern is none, or the package ``meds`` is not installed.
    """

    name = "meds"
    without_stays = (
        "source.patterns tells which codes are admissions and discharges, as +source.patterns.start="
        "'{match: \"IN_HOSPITAL.*\", domain: admission}' does, or cohort.stay=null asks for none"
    )

    root: Path | str
    patterns: Mapping[str, Mapping[str, Any] | None] | None = None

    def __post_init__(self) -> None:
        self.folder = Path(self.root)
        if not self.folder.is_dir():
            raise OptionError(f"source.root={self.root}: no such folder; one that holds a folder 'data' was expected")
        self.all_patterns = patterns_of(self.patterns)
        standard()

    def read(self, store: Store) -> None:
        """Create ``events`` and, of the metadata, ``labels`` and ``splits``.

        Raises:
            FileError: a shard is not readable.
            TableError: a shard does not keep to the standard, or no row of any has a code.
        """
        columns = self._columns
        stay = next((name for name in STAY_COLUMNS if name in columns), None)
        written = [name for name in WRITTEN if name in columns]
        store.view(DATA, self._data(stay, written))
        codes = store.frame(
            f"""SELECT code AS raw, count(*) AS events, count(DISTINCT subject_id) AS subjects,
            count({_NUMBER}) AS numbers, count(text_value) FILTER ({_NUMBER} IS NULL) AS texts
            FROM {DATA} WHERE code IS NOT NULL GROUP BY code ORDER BY code"""
        )
        if codes.empty:
            raise TableError(f"{self.folder / SHARDS}: no row of any shard has a code; at least one event was expected")
        meant = mapped(codes, self._metadata(store), self.patterns or {})
        store.register(CODES, codes.merge(meant, on="raw"))
        if stay is None:
            store.table("meds_stays", _pairs())
        store.view(EVENTS, _events(paired=stay is None, written=written))
        if (meant["domain"] == "visit").any():
            store.table(OTHER_VISITS, _OTHER_VISITS)
        self._name_codes(store)
        if (self.folder / SPLITS_FILE).is_file():
            validated(self.folder / SPLITS_FILE, "SubjectSplitSchema")
            meds = standard()
            parts = {meds.train_split: "train", meds.tuning_split: "validation", meds.held_out_split: "holdout"}
            cases = " ".join(f"WHEN {text(theirs)} THEN {text(ours)}" for theirs, ours in parts.items())
            splits = _read(self.folder / SPLITS_FILE)
            store.view(GIVEN, f"SELECT subject_id, CASE split {cases} ELSE split END AS part FROM {splits}")

    def coverage(self, store: Store) -> list[Coverage]:
        """Return by which means the events are known, and what is known of none."""
        return coverage(store, DATA, CODES)

    def options(self) -> dict[str, Any]:
        """Return the patterns that differ from the usual ones, and what the dataset says of itself."""
        patterns = self.all_patterns
        changed = {name: asdict(patterns[name]) if name in patterns else None for name in self.patterns or {}}
        about = read_object(self.folder / DATASET_FILE) if (self.folder / DATASET_FILE).is_file() else {}
        return {"patterns": changed, "dataset": {key: about[key] for key in _DATASET_KEYS if about.get(key)}}

    def inputs(self) -> dict[str, Path]:
        """Return the shards and the metadata."""
        metadata = [self.folder / name for name in (CODES_FILE, SPLITS_FILE, DATASET_FILE)]
        files = [*self._shards, *(path for path in metadata if path.is_file())]
        return {path.relative_to(self.folder).as_posix(): path for path in files}

    @cached_property
    def _shards(self) -> list[Path]:
        shards = sorted((self.folder / SHARDS).rglob("*.parquet"))
        if not shards:
            raise FileError(
                f"{self.folder / SHARDS}: no .parquet file in it; MEDS keeps its shards there, at any depth"
            )
        return shards

    @cached_property
    def _columns(self) -> dict[str, pa.DataType]:
        """The columns of all shards."""
        return {field.name: field.type for shard in self._shards for field in validated(shard, "DataSchema")}

    def _data(self, stay: str | None, written: list[str]) -> str:
        """Return the query of the rows, with the same columns whatever the shards have."""
        number = "NULL::BIGINT"
        if stay is not None:  # text is made a number; stays are only ever compared within a subject
            is_number = pa.types.is_integer(self._columns[stay]) or pa.types.is_floating(self._columns[stay])
            number = f"{quoted(stay)}::BIGINT" if is_number else f"(hash({quoted(stay)}) >> 2)::BIGINT"
            number = f"CASE WHEN {quoted(stay)} IS NOT NULL THEN {number} END"
        optional = {"numeric_value": "FLOAT", "text_value": "VARCHAR"}
        cells = [
            *(f"{name if name in self._columns else 'NULL'}::{kind} AS {name}" for name, kind in optional.items()),
            *(f"nullif({name}::VARCHAR, '') AS {name}" for name in written),
        ]
        own = "subject_id::BIGINT AS subject_id, time::TIMESTAMP AS time, nullif(code::VARCHAR, '') AS code"
        return f"SELECT {own}, {number} AS stay_id, {', '.join(cells)} FROM {_read(*self._shards)}"

    def _metadata(self, store: Store) -> pd.DataFrame:
        """Make the view of the codes' metadata and return ``raw, description, parents``; no row if there are none."""
        path = self.folder / CODES_FILE
        schema = validated(path, "CodeMetadataSchema") if path.is_file() else pa.schema([])
        there = {field.name for field in schema if not pa.types.is_null(field.type)}
        description, parents = (
            name if name in there else "NULL::VARCHAR" + "[]" * (name == "parent_codes")
            for name in ("description", "parent_codes")
        )
        rows = _read(path) if "code" in there else "(SELECT NULL::VARCHAR AS code) WHERE false"
        store.view(METADATA, f"SELECT code AS raw, {description} AS description, {parents} AS parents FROM {rows}")
        return store.frame(
            f"""SELECT raw, min(description) AS description,
            coalesce(flatten(list(parents ORDER BY parents) FILTER (parents IS NOT NULL)), []) AS parents
            FROM {METADATA} WHERE raw IS NOT NULL GROUP BY raw ORDER BY raw"""
        )

    def _name_codes(self, store: Store) -> None:
        store.view(
            LABELS,
            f"SELECT k.domain, k.vocabulary, k.code, m.description AS label FROM {METADATA} m"
            f" JOIN {CODES} k USING (raw) WHERE trim(m.description) <> '' AND k.code IS NOT NULL",
        )


def _pairs() -> str:
    """Return the query that numbers the stays of a dataset without a column for them.

    An admission and the next discharge of the subject are a stay; a discharge at the minute of an admission ends the
    stay before. Every other discharge has the number NULL.
    """
    return f"""SELECT subject_id, time, domain, code,
        CASE WHEN number > 0 AND row_number() OVER (PARTITION BY subject_id, number, domain ORDER BY time, code) = 1
        THEN number END AS stay_id
        FROM (SELECT d.subject_id, d.time, k.domain, k.code, count(*) FILTER (k.domain = 'admission')
            OVER (PARTITION BY d.subject_id ORDER BY d.time, k.domain = 'admission', k.code ROWS UNBOUNDED PRECEDING)
            AS number FROM {DATA} d JOIN {CODES} k ON d.code = k.raw WHERE k.domain IN {_STAYS})"""


def _events(*, paired: bool, written: Collection[str]) -> str:
    """Return the query that turns the rows into events.

    Args:
        paired: stays were numbered by ``_pairs`` as the table ``meds_stays``.
        written: those of ``WRITTEN`` that the data have as columns.
    """
    rows = f"""(SELECT d.* EXCLUDE (code), k.domain, k.vocabulary, {_CODE} AS code, k.unit, k.first, k.second
        FROM {DATA} d JOIN {CODES} k ON d.code = k.raw)"""
    kept = {"stay_id": "stay_id", "time": "time"}
    every = {**kept, "vocabulary": "vocabulary", "unit": "unit", "text_value": "text_value"}
    stays = "meds_stays" if paired else f"(SELECT * FROM {rows} WHERE domain IN {_STAYS})"
    deaths = f"(SELECT subject_id, min(time)::DATE AS died_on FROM {rows} WHERE domain = 'death' GROUP BY ALL)"
    plain = f"domain NOT IN {_STAYS} AND first IS NULL"  # the domain is the code's alone
    branches = [
        select(rows, domain="domain", code="code", numeric_value=_NUMBER, where=plain, **every),
        select(stays, domain="'admission'", code="code", where="domain = 'admission'", **kept),
        select(
            f"{stays} LEFT JOIN {deaths} USING (subject_id)",
            domain="'discharge'",
            code="code",
            numeric_value=f"""CASE WHEN regexp_matches(lower(code), '{_DIED_WORDS}') THEN 1 WHEN code IS NOT NULL THEN 0
                ELSE coalesce(died_on <= time::DATE, false)::INT END""",
            where="domain = 'discharge' AND stay_id IS NOT NULL",
            **kept,
        ),
        *(
            select(rows, domain=text(name), code=name, where=f"domain = 'admission' AND {name} IS NOT NULL", **kept)
            for name in written
        ),
    ]
    if paired:  # nothing is lost
        branches.append(select(stays, domain="'other'", time="time", code="code", where="stay_id IS NULL"))
    high, low = (f"TRY_CAST(split_part(text_value, '/', {place}) AS DOUBLE)" for place in (1, 2))
    for half, value in (("first", high), ("second", low)):
        number = f"CASE WHEN {high} > 0 OR {low} > 0 THEN {value} END"  # 0/0 was never measured
        name = f"code || ', ' || {half}"
        branches.append(
            select(rows, domain="'vital'", code=name, numeric_value=number, where="first IS NOT NULL", **every)
        )
    return " UNION ALL ".join(branches)


def _read(*files: Path) -> str:
    """Return the relation of Parquet files, whatever their folders are called."""
    return f"read_parquet([{', '.join(map(of_file, files))}], union_by_name=true, hive_partitioning=false)"
