"""MEDS, the Medical Event Data Standard (https://medical-event-data-standard.github.io)."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ehrsynth.data.events import EVENTS, LABELS
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.meds_codes import meanings, patterns_of
from ehrsynth.data.sources.meds_events import CODES, DATA, WRITTEN, meds_events, pairs
from ehrsynth.data.store import Store, quoted, text
from ehrsynth.errors import FileError, OptionError, TableError
from ehrsynth.files import read_object

SPLITS = "splits"  # a view: subject_id, part
SHARDS, CODES_FILE = "data", "metadata/codes.parquet"
SPLITS_FILE, DATASET_FILE = "metadata/subject_splits.parquet", "metadata/dataset.json"
STAY_COLUMNS = ("hadm_id", "visit_id", "encounter_id", "visit_occurrence_id", "stay_id")
_DATASET_KEYS = ("dataset_name", "dataset_version", "etl_name", "etl_version", "meds_version")
_NUMBERS = (pa.types.is_integer, pa.types.is_floating)


class Meds(Source):
    r"""A MEDS dataset.

    A stay is what the rows have in a column ``hadm_id``, ``visit_id``, ``encounter_id``, ``visit_occurrence_id`` or
    ``stay_id``; without any, an admission with the next discharge. Codes that no pattern matches are events of the
    domain ``other``.

    Args:
        root: the folder that holds ``data`` and perhaps ``metadata``.
        patterns: what the codes mean, by name, before and instead of ``meds_codes.PATTERNS``; such as
            ``{drug: {match: 'RX//(.+)', domain: medication, code: '\1'}}``.

    Raises:
        OptionError: no such folder, a pattern is none, or the package ``meds`` is not installed.
    """

    name = "meds"

    def __init__(self, *, root: Path | str, patterns: Mapping[str, Mapping[str, Any] | None] | None = None) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise OptionError(f"source.root={root}: no such folder; one that holds a folder 'data' was expected")
        self.patterns = patterns_of(patterns)
        self._changed = dict(patterns or {})
        _meds()

    def read(self, store: Store) -> None:
        """Create ``events`` and, of the metadata, ``labels`` and ``splits``.

        Raises:
            FileError: a shard is not readable.
            TableError: a shard does not keep to the standard.
        """
        columns = self._columns
        stay = next((name for name in STAY_COLUMNS if name in columns), None)
        written = [name for name in WRITTEN if name in columns]
        store.view(DATA, self._data(stay, written))
        codes = store.frame(f"SELECT DISTINCT code FROM {DATA} ORDER BY code")["code"]
        store.register(CODES, meanings(list(codes), self.patterns))
        if stay is None:
            store.table("meds_stays", pairs())
        store.view(EVENTS, meds_events(paired=stay is None, written=written))
        if (self.root / CODES_FILE).is_file():
            self._name_codes(store)
        if (self.root / SPLITS_FILE).is_file():
            _validated(self.root / SPLITS_FILE, "SubjectSplitSchema")
            meds = _meds()
            parts = {meds.train_split: "train", meds.tuning_split: "validation", meds.held_out_split: "holdout"}
            cases = " ".join(f"WHEN {text(theirs)} THEN {text(ours)}" for theirs, ours in parts.items())
            splits = f"read_parquet({text(self.root / SPLITS_FILE)})"
            store.view(SPLITS, f"SELECT subject_id, CASE split {cases} ELSE split END AS part FROM {splits}")

    def options(self) -> dict[str, Any]:
        """Return the patterns that differ from the usual ones, and what the dataset says of itself."""
        changed = {name: asdict(self.patterns[name]) if name in self.patterns else None for name in self._changed}
        about = read_object(self.root / DATASET_FILE) if (self.root / DATASET_FILE).is_file() else {}
        return {"patterns": changed, "dataset": {key: about[key] for key in _DATASET_KEYS if about.get(key)}}

    def inputs(self) -> dict[str, Path]:
        """Return the shards and the metadata."""
        metadata = [self.root / name for name in (CODES_FILE, SPLITS_FILE, DATASET_FILE)]
        files = [*self._shards, *(path for path in metadata if path.is_file())]
        return {path.relative_to(self.root).as_posix(): path for path in files}

    @cached_property
    def _shards(self) -> list[Path]:
        shards = sorted((self.root / SHARDS).rglob("*.parquet"))
        if not shards:
            raise FileError(f"{self.root / SHARDS}: no .parquet file in it; MEDS keeps its shards there, at any depth")
        return shards

    @cached_property
    def _columns(self) -> dict[str, pa.DataType]:
        """The columns of all shards."""
        return {field.name: field.type for shard in self._shards for field in _validated(shard, "DataSchema")}

    def _data(self, stay: str | None, written: list[str]) -> str:
        """Return the query of the rows, with the same columns whatever the shards have."""
        number = "NULL::BIGINT"
        if stay is not None:  # text is made a number; stays are only ever compared within a subject
            is_number = any(check(self._columns[stay]) for check in _NUMBERS)
            number = f"{quoted(stay)}::BIGINT" if is_number else f"(hash({quoted(stay)}) >> 2)::BIGINT"
            number = f"CASE WHEN {quoted(stay)} IS NOT NULL THEN {number} END"
        optional = {"numeric_value": "FLOAT", "text_value": "VARCHAR"}
        cells = [
            *(f"{name if name in self._columns else 'NULL'}::{kind} AS {name}" for name, kind in optional.items()),
            *(f"nullif({name}::VARCHAR, '') AS {name}" for name in written),
        ]
        shards = ", ".join(map(text, self._shards))
        return (
            f"SELECT subject_id, time, code, {number} AS stay_id, {', '.join(cells)}"
            f" FROM read_parquet([{shards}], union_by_name=true)"
        )

    def _name_codes(self, store: Store) -> None:
        path = self.root / CODES_FILE
        if "description" in _validated(path, "CodeMetadataSchema").names:
            store.view(
                LABELS,
                f"SELECT k.domain, k.vocabulary, k.code, c.description AS label FROM read_parquet({text(path)}) c"
                f" JOIN {CODES} k ON c.code = k.raw WHERE c.description IS NOT NULL AND k.code IS NOT NULL",
            )


def _meds() -> Any:
    """Return the package of the standard."""
    try:
        import meds
    except ImportError:
        raise OptionError("source=meds needs the package meds; pip install 'ehrsynth[meds]' brings it") from None
    return meds


def _validated(path: Path, standard: str) -> pa.Schema:
    """Return the schema of a file that keeps to the standard.

    Raises:
        FileError: not a Parquet file.
        TableError: a column is missing, or of another type.
    """
    _meds()
    from flexible_schema.exceptions import SchemaValidationError  # type: ignore[import-untyped]

    wanted = getattr(_meds(), standard)
    try:
        schema = pq.read_schema(path)
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: not readable as Parquet ({type(error).__name__})") from None
    try:
        wanted.validate(_as_long(schema, wanted.schema()))
    except SchemaValidationError as error:
        raise TableError(f"{path}: not as MEDS {standard} asks: {' '.join(str(error).split())}") from None
    return schema


def _as_long(schema: pa.Schema, wanted: pa.Schema) -> pa.Schema:
    """Return a schema with the kind of text that is wanted: Parquet does not tell long text from short."""

    def is_text(kind: pa.DataType) -> bool:
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

    kinds = {field.name: field.type for field in wanted if is_text(field.type)}
    return pa.schema(
        [
            field.with_type(kinds[field.name]) if field.name in kinds and is_text(field.type) else field
            for field in schema
        ]
    )
