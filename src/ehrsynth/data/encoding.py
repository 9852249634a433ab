"""Between decoded tables and encoded records: an exact inverse whose whole state is the schema.

Values are scaled by the bounds in the schema, which were fitted on training rows only. Records hold them in float32,
so decoding is exact as long as a column's range has fewer than some ten million steps of its last decimal.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from ehrsynth.errors import TableError
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import SUBJECT, Column, Kind, Schema, as_text

MOST_DECIMALS = 6
MOST_LEVELS = 100  # of a text column that nobody has declared; with more it would hold names, numbers or sentences
ENOUGH_ROWS = 20  # to tell from the share of distinct values


class Encoder:
    """Encode tables that fit a schema, and decode records.

    Args:
        schema: the columns, with levels and bounds.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.layout = Layout.of(schema)
        self._position = {(field.column, field.kind): i for i, field in enumerate(self.layout.fields)}

    def encode(self, frame: pd.DataFrame) -> Records:
        """Encode decoded values.

        Args:
            frame: the columns of the schema; others, such as ``subject_id``, are left out.

        Returns:
            Records with bytes [n, B] and float32 values [n, C], NaN where missing.

        Raises:
            TableError: a level that the schema does not have.
        """
        bits = np.zeros((len(frame), self.layout.binary.stop), np.uint8)
        values = np.empty((len(frame), self.layout.width - self.layout.binary.stop), np.float32)
        for column in self.schema.columns:
            cells = frame[column.name]
            if column.kind == "binary":
                bits[:, self._position[column.name, "bit"]] = cells.to_numpy(np.uint8)
            elif column.kind == "categorical":
                group = self.layout.groups[column.name]
                bits[np.arange(len(frame)), group.start + _level_numbers(cells, column)] = 1
            else:
                numbers = cells.to_numpy(float, na_value=np.nan)
                if column.missing:
                    bits[:, self._position[column.name, "missing"]] = np.isnan(numbers)
                low, width = scale(column)
                values[:, self._position[column.name, "value"] - self.layout.binary.stop] = (numbers - low) / width
        return Records(self.layout, torch.from_numpy(bits), torch.from_numpy(values))

    def decode(self, records: Records) -> pd.DataFrame:
        """Decode hard records to the columns of the schema, in its order.

        Returns:
            Binary columns as int8, categorical ones as text, numbers as float64, except that a count which is never
            missing is int64. Numbers are rounded to the decimals of the training data.
        """
        bits, values = records.bits.cpu().numpy(), records.values.cpu().numpy().astype(float)
        cells: dict[str, pd.Series] = {}
        for column in self.schema.columns:
            if column.kind == "binary":
                cells[column.name] = pd.Series(bits[:, self._position[column.name, "bit"]].astype(np.int8))
            elif column.kind == "categorical":
                chosen = bits[:, self.layout.groups[column.name]].argmax(1)
                levels = np.array([*column.levels, None] if column.missing else column.levels, dtype=object)
                cells[column.name] = pd.Series(levels[chosen], dtype=str)
            else:
                low, width = scale(column)
                scaled = values[:, self._position[column.name, "value"] - self.layout.binary.stop]
                numbers = np.round(scaled * width + low, MOST_DECIMALS if column.decimals is None else column.decimals)
                cells[column.name] = pd.Series(numbers + 0.0)  # no minus zero
        return as_decoded(pd.DataFrame(cells), self.schema)


def scale(column: Column) -> tuple[float, float]:
    """Return the lower bound and the width of a numeric column; the width of a constant one is 1."""
    assert column.bounds is not None
    low, high = column.bounds
    return low, high - low or 1.0


def as_decoded(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Cast the columns of a table that fits to the types that ``Encoder.decode`` returns."""
    types: dict[str, type] = {}
    for column in schema.columns:
        whole = column.kind == "count" and not column.missing
        types[column.name] = {"binary": np.int8, "categorical": str}.get(column.kind, np.int64 if whole else np.float64)
    return frame.astype(types)


def fill_missing(records: Records, donors: Records, generator: torch.Generator) -> Records:
    """Fill every missing value with one drawn from the observed values of its column (marginal sampling).

    The missing indicators stay set, so that missingness is still there to be learned.

    Args:
        records: may have NaN among its values.
        donors: training records to draw from.
        generator: on the CPU, like the records.

    Raises:
        TableError: the donors have no value for a column that needs one.
    """
    values = records.values.clone()
    for j, name in enumerate(records.layout.names[records.layout.values]):
        empty = values[:, j].isnan()
        if empty.any():
            observed = donors.values[:, j]
            observed = observed[~observed.isnan()]
            if not len(observed):
                raise TableError(f"column {name!r}: no training row has a value; leave the column out")
            chosen = torch.randint(len(observed), (int(empty.sum()),), generator=generator)
            values[empty, j] = observed[chosen]
    return Records(records.layout, records.bits, values)


def infer_schema(frame: pd.DataFrame, table: str) -> Schema:
    """Guess the schema of someone's training table.

    Booleans and columns of 0 and 1 are binary, text is categorical, whole numbers are counts, other numbers continuous.
    A 0/1 column with empty cells becomes a count from 0 to 1, since binary columns are never missing.

    Args:
        frame: decoded values; a ``subject_id`` column is left out.
        table: what to call it in an error, usually its file name.

    Raises:
        TableError: no columns, one that is empty in every row, or text that looks like an identifier or free text,
            which would make patients' own values the levels of a schema.
    """
    columns = []
    names = frame.columns.drop(SUBJECT, errors="ignore")
    if names.empty:
        raise TableError(f"{table}: no columns besides the subject; at least one is needed")
    for name in names:
        cells = frame[name]
        seen = cells.dropna()
        if seen.empty:
            raise TableError(f"{table}: column {name!r}: empty in all {len(cells)} rows; leave the column out")
        missing = len(seen) < len(cells)
        if not (is_numeric_dtype(cells) or is_bool_dtype(seen.infer_objects())):
            levels = seen.astype(str).unique()
            if len(levels) > MOST_LEVELS or (len(seen) >= ENOUGH_ROWS and len(levels) > len(seen) / 2):
                raise TableError(
                    f"{table}: column {name!r}: looks like an identifier or free text ({len(levels)} distinct values"
                    f" in {len(seen)} rows); leave it out or declare it in schema="
                )
            columns.append(Column(str(name), "categorical", tuple(sorted(levels)), missing=missing))
        elif not missing and seen.isin((0, 1)).all():
            columns.append(Column(str(name), "binary"))
        else:
            kind: Kind = "count" if (seen.astype(float) % 1 == 0).all() else "continuous"
            columns.append(fit_numbers(Column(str(name), kind, bounds=(0, 0), missing=missing), seen))
    return Schema(tuple(columns))


def fit_bounds(schema: Schema, train: pd.DataFrame) -> Schema:
    """Return the schema with bounds and decimals of the training rows."""
    fitted = (fit_numbers(column, train[column.name]) if column.numeric else column for column in schema.columns)
    return Schema(tuple(fitted))


def fit_numbers(column: Column, cells: pd.Series) -> Column:
    """Return a numeric column with the bounds and decimals of ``cells``.

    Raises:
        TableError: there is no value at all.
    """
    numbers = np.unique(cells.dropna().to_numpy(float))
    if not len(numbers):
        raise TableError(f"column {column.name!r}: no training row has a value; leave the column out")
    return replace(column, bounds=(float(numbers[0]), float(numbers[-1])), decimals=_decimals(numbers))


def _decimals(numbers: NDArray[np.float64]) -> int:
    for decimals in range(MOST_DECIMALS):
        if np.allclose(numbers.round(decimals), numbers, rtol=1e-12, atol=1e-9):
            return decimals
    return MOST_DECIMALS


def _level_numbers(cells: pd.Series, column: Column) -> NDArray[np.int64]:
    numbers = pd.Index(column.levels).get_indexer(pd.Index(as_text(cells)))
    empty = cells.isna().to_numpy()
    numbers = np.where(empty & column.missing, len(column.levels), numbers)
    if (numbers < 0).any():
        row = int(np.flatnonzero(numbers < 0)[0])
        raise TableError(f"column {column.name!r}, row {row}: not one of the {len(column.levels)} levels of the schema")
    return numbers.astype(np.int64)
