"""A matrix seen through a schema that was known without its patients, so that its columns tell nothing of them."""

import hashlib
import json
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from typing_extensions import override

from ehrsynth import constraints as rules
from ehrsynth.chunks import read_chunks
from ehrsynth.constraints import Constraint
from ehrsynth.data.cleaning import OTHER
from ehrsynth.data.encoding import Encoder, as_decoded
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.noisy_schema import NoisySchema
from ehrsynth.errors import SchemaError
from ehrsynth.layout import Records
from ehrsynth.schema import SUBJECT, Column, Schema, as_text

DECLARED = "declared"  # constraints of a recipe that come from a file, not from training rows


class PublicMatrix(Matrix):
    """The same rows in the columns of a public schema, each row by itself.

    Numbers are clipped to its bounds, levels that it does not have become ``other`` or missing, codes that only it has
    are absent, and columns that it does not have are left out. So are rules that were proposed from training rows.

    Args:
        matrix: opened.
        file: the public ``schema.json``.
        place: what a message calls the schema by; ``privacy.public`` by default.

    Raises:
        SchemaError: the rows cannot be brought under it; the message names the column.
    """

    def __init__(self, matrix: Matrix, file: Path, place: str = "") -> None:
        self._see(matrix, Schema.load(file))
        for column in self.schema.columns:
            if (why := unfit(column, matrix.schema.by_name.get(column.name))) is not None:
                raise SchemaError(f"{place or f'privacy.public={file}'}: column {column.name!r}: {why}")

    def _see(self, matrix: Matrix, schema: Schema) -> None:
        self.folder, self.parts, self.provenance = matrix.folder, matrix.parts, matrix.provenance
        self.schema, self._of_rows = schema, matrix.fingerprint
        self._records: dict[str, Records] = {}
        declared = matrix.provenance.get("constraints") == DECLARED
        self.constraints: tuple[Constraint, ...] = (
            rules.load(matrix.folder / "constraints.json", self.schema) if declared else ()
        )

    @property
    @override
    def fingerprint(self) -> str:
        schema = json.dumps(self.schema.to_dict(), sort_keys=True)
        return hashlib.sha256(f"{self._of_rows} {schema}".encode()).hexdigest()

    @cached_property
    @override
    def train(self) -> pd.DataFrame:
        return self._table("train")

    @cached_property
    @override
    def validation(self) -> pd.DataFrame:
        return self._table("validation")

    @cached_property
    @override
    def holdout(self) -> pd.DataFrame:
        return self._table("holdout")

    def _table(self, part: str) -> pd.DataFrame:
        return pd.concat([self._fitted(rows) for rows in read_chunks(self.folder / f"{part}.parquet")])

    @override
    def _encode(self, part: str) -> pd.Series:
        encoder, subjects, encoded = Encoder(self.schema), [], []
        for rows in read_chunks(self.folder / f"{part}.parquet"):
            encoded.append(encoder.encode(self._fitted(rows)))
            subjects.append(rows[SUBJECT])
        self._records[part] = Records.joined(encoded)
        return pd.concat(subjects, ignore_index=True)

    def _fitted(self, rows: pd.DataFrame) -> pd.DataFrame:
        cells = {column.name: brought_under(column, rows) for column in self.schema.columns}
        return pd.concat([as_decoded(pd.DataFrame(cells), self.schema), rows[[SUBJECT]]], axis=1)


class NoisyMatrix(PublicMatrix):
    """The same rows in the columns that noisy counts told; a gap where these know none is the middle, or ``other``.

    Args:
        matrix: opened.
        found: what was told of it.

    Attributes:
        looks: by which the columns were learned.
    """

    def __init__(self, matrix: Matrix, found: NoisySchema) -> None:
        self._see(matrix, found.schema)
        self.looks = found.looks


def unfit(column: Column, own: Column | None) -> str | None:
    """Return why cells of a column of the matrix, None if it has none, cannot be those of a public one."""
    if own is None:
        fits = column.kind == "binary" or column.missing
        return None if fits else "the matrix has no such column, and this one may not be missing"
    if own.numeric != column.numeric or (own.kind == "binary") != (column.kind == "binary"):
        return f"{column.kind}, and in the matrix {own.kind}"
    if own.missing and not column.missing:
        return "the matrix has gaps there; missing: true allows them"
    strange = set(own.levels) - set(column.levels)
    if strange and OTHER not in column.levels and not column.missing:
        return f"it lacks {len(strange)} levels of the matrix; a level {OTHER!r}, or missing: true, takes them"
    return None


def brought_under(column: Column, rows: pd.DataFrame) -> pd.Series:
    """Return the cells of a public column, from rows that may lack it."""
    if column.name not in rows:
        return pd.Series(0 if column.kind == "binary" else np.nan, index=rows.index, dtype=object)
    cells = rows[column.name]
    if column.kind == "categorical":
        text = as_text(cells)
        known = text.isin(column.levels) | cells.isna()
        rest = OTHER if OTHER in column.levels else None if column.missing else column.levels[0]
        return text.mask(~known, rest).mask(cells.isna(), None if column.missing else rest)
    if column.numeric:
        assert column.bounds is not None
        numbers = cells.clip(*column.bounds)
        numbers = numbers if column.missing else numbers.fillna(sum(column.bounds) / 2)
        return numbers.round() if column.kind == "count" else numbers
    return cells
