"""The trajectories folder: the boundary between ``prepare form=trajectories`` and everything after it.

schema.json         what is said of a patient once, as in a matrix
visits.json         what visits are made of: kinds, codes, measurements (``ehrsynth.visits.VisitSchema``)
train/, validation/, holdout/
    static.parquet  a row for each patient, with ``subject_id``
    offsets.npy, starts.npy, ...    the arrays of ``ehrsynth.visits.Visits``, in the order of these rows
constraints.json    rules that the static rows of training keep, and those that the visits do, over time
provenance.json     how it was made, with the SHA-256 of every file
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth import constraints as rules
from ehrsynth.constraints import Constraint
from ehrsynth.constraints.over_time import RuleOverTime, load_over_time
from ehrsynth.data.matrix import PROVENANCE, check_subjects, read_records
from ehrsynth.data.split import SPLITS
from ehrsynth.data.table_files import read_table
from ehrsynth.errors import FileError, SchemaError, TableError
from ehrsynth.files import read_json, read_object, require, sha256
from ehrsynth.layout import Records
from ehrsynth.schema import Schema
from ehrsynth.visits import Visits, VisitSchema

STATIC, VISITS_JSON = "static.parquet", "visits.json"
NARROW = {"kinds": np.int16, "codes": np.int32, "measured": np.int32, "values": np.float32}
ARRAYS: dict[str, np.dtype[Any]] = {field.name: np.dtype(NARROW.get(field.name, np.int64)) for field in fields(Visits)}
OUTPUTS = (
    "schema.json",
    VISITS_JSON,
    "constraints.json",
    *[f"{part}/{name}" for part in SPLITS for name in (STATIC, *[f"{array}.npy" for array in ARRAYS])],
)


class Trajectories:
    """An opened trajectories folder.

    Attributes:
        folder: where it lies.
        schema: the columns of what is said of a patient once.
        visit_schema: what visits are made of.
        constraints: rules that the static rows of training keep.
        over_time: rules that the visits of training patients keep.
        provenance: source, options, versions, counts after each step, hashes.
        parts: of its patients that may be looked at.
    """

    def __init__(self, folder: Path, parts: Sequence[str] = SPLITS) -> None:
        self.folder = folder
        self.parts = parts
        self.schema = Schema.load(folder / "schema.json")
        self.visit_schema = load_visit_schema(folder / VISITS_JSON)
        self.constraints: tuple[Constraint, ...] = rules.load(folder / "constraints.json", self.schema)
        self.over_time: tuple[RuleOverTime, ...] = load_over_time(folder / "constraints.json", self.visit_schema)
        self.provenance = read_object(folder / PROVENANCE, outputs=dict)
        self._records: dict[str, Records] = {}
        self._visits: dict[str, Visits] = {}

    @classmethod
    def open(cls, folder: Path, parts: Sequence[str] = SPLITS) -> "Trajectories":
        """Open and check a folder that ``prepare`` wrote.

        Args:
            folder: where it lies.
            parts: to be read; the others stay closed, and nothing is known of them.

        Raises:
            FileError: the folder or a file is missing, or a file is not the one that was written.
            SchemaError: ``schema.json`` or ``visits.json`` is malformed, or a constraint names an unknown column.
            TableError: a subject is in two parts, a table or an array does not fit, or an outcome is constant.
        """
        if not folder.is_dir():
            raise FileError(f"{folder}: no such folder; one written by prepare form=trajectories was expected")
        if (folder / "train.parquet").is_file():
            raise FileError(f"{folder}: a matrix; a folder written by prepare form=trajectories was expected")
        for name in (*OUTPUTS, PROVENANCE):
            require(folder / name)
        opened = cls(folder, parts)
        check_subjects({folder / part / STATIC: opened._encode(part) for part in parts})
        for part in parts:
            patients, rows = len(opened.visits(part)), len(opened.records(part))
            if patients != rows:
                raise TableError(f"{folder / part}: visits of {patients:,} patients beside {rows:,} rows in {STATIC}")
        closed = tuple(f"{part}/" for part in SPLITS if part not in parts)
        for name in (name for name in OUTPUTS if not name.startswith(closed)):
            if sha256(folder / name) != opened.provenance["outputs"].get(name):
                raise FileError(f"{folder / name}: changed since prepare wrote it (sha256 differs); prepare it again")
        return opened

    def __repr__(self) -> str:
        """Say where it lies and how large it is."""
        rows = ", ".join(f"{count:,} {part}" for part, count in self.provenance["rows"].items())
        return f"<Trajectories {self.folder}: {rows} patients, {len(self.visit_schema.codes):,} codes>"

    @property
    def name(self) -> str:
        """The folder's name, which names the study."""
        return self.folder.name

    @property
    def fingerprint(self) -> str:
        """Hash of the contents: the same wherever the folder lies and whenever it was made."""
        return hashlib.sha256(json.dumps(self.provenance["outputs"], sort_keys=True).encode()).hexdigest()

    def static(self, part: str) -> pd.DataFrame:
        """Return what is said once of the patients of a part, with ``subject_id``."""
        assert part in self.parts, f"{part} was left closed"
        return read_table(self.folder / part / STATIC)

    def records(self, part: str) -> Records:
        """Return what is said once of the patients of a part, encoded."""
        assert part in self.parts, f"{part} was left closed"
        if part not in self._records:
            self._encode(part)
        return self._records[part]

    def visits(self, part: str) -> Visits:
        """Return the visits of a part, memory-mapped, in the order of its static rows.

        Raises:
            FileError: an array is not one that was written.
            TableError: they do not fit the schema of visits.
        """
        assert part in self.parts, f"{part} was left closed"
        if part not in self._visits:
            folder = self.folder / part
            visits = Visits(**{name: load_array(folder / f"{name}.npy", kind) for name, kind in ARRAYS.items()})
            visits.check(self.visit_schema, str(folder))
            self._visits[part] = visits
        return self._visits[part]

    def _encode(self, part: str) -> pd.Series:
        """Check the static rows of a part and encode them; return the subjects."""
        self._records[part], subjects = read_records(self.folder / part / STATIC, self.schema, part == "train")
        return subjects


def save_visits(folder: Path, visits: Visits) -> None:
    """Write the arrays of visits into a folder that is not under its final name yet."""
    for name, kind in ARRAYS.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(getattr(visits, name), kind), allow_pickle=False)


def load_visit_schema(path: Path) -> VisitSchema:
    """Read what visits are made of.

    Raises:
        FileError: missing, or not JSON.
        SchemaError: something else.
    """
    try:
        return VisitSchema.from_dict(read_json(path))
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None


def load_array(path: Path, kind: np.dtype[Any]) -> NDArray[Any]:
    """Return a one-dimensional array of a ``.npy`` file, memory-mapped.

    Raises:
        FileError: missing, or not such an array.
    """
    try:
        mapped = np.load(require(path), mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise FileError(f"{path}: not readable as an array ({type(error).__name__})") from None
    if mapped.ndim != 1 or mapped.dtype != kind:
        raise FileError(f"{path}: {mapped.ndim} dimensions of {mapped.dtype}; one of {kind} was expected")
    array: NDArray[Any] = np.asarray(mapped)  # a plain view of the same file
    return array
