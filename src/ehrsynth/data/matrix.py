"""The matrix folder: the boundary between ``prepare`` and everything after it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path

import pandas as pd

from ehrsynth import constraints as rules
from ehrsynth.chunks import read_chunks
from ehrsynth.constraints import Constraint
from ehrsynth.data.encoding import Encoder, extremes, rescaled
from ehrsynth.data.rare_codes import LOW_PREVALENCE
from ehrsynth.data.split import SPLITS, require_rows
from ehrsynth.data.table_files import read_table
from ehrsynth.errors import FileError, TableError
from ehrsynth.files import read_object, require, sha256
from ehrsynth.layout import Records
from ehrsynth.schema import SUBJECT, Schema

OUTPUTS = (*[f"{name}.parquet" for name in SPLITS], "schema.json", "constraints.json", LOW_PREVALENCE)
PROVENANCE = "provenance.json"


class Matrix:
    """An opened matrix folder.

    Attributes:
        folder: where it lies.
        schema: the columns.
        constraints: rules that hold in the training rows.
        provenance: source, options, versions, rows and columns after each step, hashes.
        parts: of its rows that may be looked at.
    """

    def __init__(self, folder: Path, parts: Sequence[str] = SPLITS) -> None:
        self.folder = folder
        self.parts = parts
        self.schema = Schema.load(folder / "schema.json")
        self.constraints: tuple[Constraint, ...] = rules.load(folder / "constraints.json", self.schema)
        self.provenance = read_object(folder / PROVENANCE, outputs=dict)
        self._records: dict[str, Records] = {}

    @classmethod
    def open(cls, folder: Path, parts: Sequence[str] = SPLITS) -> "Matrix":
        """Open and check a folder that ``prepare`` wrote.

        Args:
            folder: where it lies.
            parts: to be read; the others stay closed, and nothing is known of them.

        Raises:
            FileError: the folder or a file is missing, or a file is not the one that was written.
            SchemaError: ``schema.json`` is malformed, or a constraint names a column that is not in it.
            TableError: a subject is in two parts, a table does not fit the schema or has less than two rows, or an
                outcome is constant.
        """
        if not folder.is_dir():
            raise FileError(f"{folder}: no such folder; a matrix folder, written by prepare, was expected")
        for name in (*OUTPUTS, PROVENANCE):
            require(folder / name)
        matrix = cls(folder, parts)
        check_subjects({folder / f"{part}.parquet": matrix._encode(part) for part in parts})
        closed = {f"{part}.parquet" for part in SPLITS if part not in parts}
        for name in (name for name in OUTPUTS if name not in closed):
            if sha256(folder / name) != matrix.provenance["outputs"].get(name):
                raise FileError(f"{folder / name}: changed since prepare wrote it (sha256 differs); prepare it again")
        return matrix

    def __repr__(self) -> str:
        """Say where it lies and how large it is."""
        rows = ", ".join(f"{count:,} {part}" for part, count in self.provenance["rows"].items())
        return f"<Matrix {self.folder}: {rows} rows, {len(self.schema.columns):,} columns>"

    @property
    def name(self) -> str:
        """The folder's name, which names the study."""
        return self.folder.name

    @cached_property
    def train(self) -> pd.DataFrame:
        """R, the rows to train on, with ``subject_id``."""
        return read_table(self.folder / "train.parquet")

    @cached_property
    def validation(self) -> pd.DataFrame:
        """The rows that checkpoints are chosen on."""
        return read_table(self.folder / "validation.parquet")

    @cached_property
    def holdout(self) -> pd.DataFrame:
        """H, the rows no model and no choice has seen."""
        return read_table(self.folder / "holdout.parquet")

    @property
    def fingerprint(self) -> str:
        """Hash of the contents: the same wherever the folder lies and whenever it was made."""
        return hashlib.sha256(json.dumps(self.provenance["outputs"], sort_keys=True).encode()).hexdigest()

    def records(self, part: str) -> Records:
        """Return a part encoded, which takes an eighth of a byte a code."""
        assert part in self.parts, f"{part} was left closed"
        if part not in self._records:
            self._encode(part)
        return self._records[part]

    @cached_property
    def scale(self) -> Schema:
        """The columns as records are judged: scaled by what training rows hold, as the tables of ``evaluate`` are.

        The bounds of ``schema`` are wider where they must point at no patient. These here stay with the rows.
        """
        return extremes(self.schema, self.records("train"))

    def judged(self, part: str) -> Records:
        """Return a part encoded under ``scale``."""
        return rescaled(self.records(part), self.schema, self.scale)

    def _encode(self, part: str) -> pd.Series:
        """Check a part and encode it; return its subjects."""
        self._records[part], subjects = read_records(self.folder / f"{part}.parquet", self.schema, part == "train")
        return subjects


def read_records(file: Path, schema: Schema, training: bool) -> tuple[Records, pd.Series]:
    """Check rows and encode them, some at a time; return them with their subjects.

    Raises:
        FileError: the file is missing or not readable.
        TableError: the rows do not fit the schema, are less than two, or name no subject; an outcome of ``training``
            rows is constant.
    """
    encoder, encoded, subjects, outcomes = Encoder(schema), [], [], []
    for frame in read_chunks(file):
        if SUBJECT not in frame:
            raise TableError(f"{file}: no column {SUBJECT!r}; it must name the subject of each row")
        table = schema.validate(frame, str(file), first_row=int(frame.index[0]))
        encoded.append(encoder.encode(table))
        subjects.append(frame[SUBJECT].reset_index(drop=True))
        outcomes.append(table[[column.name for column in schema.outcomes]].drop_duplicates())
    everyone = pd.concat(subjects, ignore_index=True)
    require_rows(everyone.to_frame(), str(file))
    if training:
        schema.require_outcomes(pd.concat(outcomes), str(file))
    return Records.joined(encoded), everyone


def check_subjects(subjects: Mapping[Path, pd.Series]) -> None:
    """Raise a ``TableError`` if a subject is in two of the files."""
    for one, other in combinations(subjects, 2):
        shared = subjects[other].isin(subjects[one])
        if shared.any():
            raise TableError(
                f"{other}: the subject of row {int(shared.argmax())} is also in {one.name}"
                f" ({int(shared.sum())} subjects are in both); a subject must be in one part only"
            )
