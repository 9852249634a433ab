"""Between decoded tables and encoded records: an exact inverse whose whole state is the schema.

Values are scaled by the bounds in the schema, which were fitted on training rows only. Records hold them in float32,
so decoding is exact as long as a column's range has fewer than some ten million steps of its last decimal.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ehrsynth.bits import Bits, unpack
from ehrsynth.errors import TableError
from ehrsynth.kinds import MOST_DECIMALS, decoded, dtype_of, encoded, scaled, unscaled
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import Column, Schema, Unseen


class Encoder:
    """Encode tables that fit a schema, and decode records.

    Args:
        schema: the columns, with levels and bounds.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.layout = Layout.of(schema)

    def encode(self, frame: pd.DataFrame, unseen: Unseen = "refuse") -> Records:
        """Encode decoded values.

        Args:
            frame: the columns of the schema; others, such as ``subject_id``, are left out.
            unseen: ``zero`` gives a level that the schema does not have, and a gap it does not allow, an
                indicator group of zeros: no level. A model would learn from it, so training refuses.

        Returns:
            Records with packed bits [n, B] and float32 values [n, C], NaN where missing.

        Raises:
            TableError: a level that the schema does not have, unless ``unseen`` is ``zero``.
        """
        start = self.layout.values.start
        bits = Bits.empty(len(frame), start)
        values = np.empty((len(frame), self.layout.width - start), np.float32)
        for column in self.schema.columns:
            parts = encoded(column, frame[column.name], unseen)
            for place, cells in zip(self.layout.places[column.name], parts, strict=True):
                if place < start:
                    bits.put(place, torch.from_numpy(cells))
                else:
                    values[:, place - start] = cells
        return Records(self.layout, bits.by_rows(), torch.from_numpy(values))

    def decode(self, records: Records) -> pd.DataFrame:
        """Decode hard records to the columns of the schema, in its order.

        Returns:
            Binary columns as int8, categorical ones as text, numbers as float64, except that a count which is never
            missing is int64. Numbers are rounded to the decimals of the training data.
        """
        bits, values = unpack(records.bits).cpu().numpy(), records.values.cpu().numpy()
        cells = {}
        for column in self.schema.columns:
            first, last = self.layout.places[column.name][0], self.layout.places[column.name][-1]
            value = last - self.layout.values.start
            cells[column.name] = decoded(column, values[:, [value]] if column.numeric else bits[:, first : last + 1])
        return pd.DataFrame(cells)


def as_decoded(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Cast the columns of a table that fits to the types that ``Encoder.decode`` returns."""
    return frame.astype({column.name: dtype_of(column) for column in schema.columns})


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


def rescaled(records: Records, own: Schema, wanted: Schema) -> Records:
    """Return the records of ``own`` with their numbers scaled by the bounds of ``wanted``."""
    values = records.values.clone()
    for i, field in enumerate(records.layout.fields[records.layout.values]):
        column, other = own.by_name[field.column], wanted.by_name[field.column]
        if column.bounds != other.bounds:
            values[:, i] = torch.from_numpy(scaled(other, unscaled(column, values[:, i])))
    return replace(records, values=values)


def extremes(schema: Schema, train: Records) -> Schema:
    """Return the schema with the smallest and largest training values as bounds, as ``fit_bounds`` gives of a table."""
    fitted = dict(schema.by_name)
    for i, field in enumerate(train.layout.fields[train.layout.values]):
        column, cells = schema.by_name[field.column], train.values[:, i].numpy()
        if column.bounds is not None and not np.isnan(cells).all():
            reached = dict(zip((0.0, 1.0), column.bounds, strict=True))  # as they are, however many decimals they have
            ends = (float(np.nanmin(cells)), float(np.nanmax(cells)))
            low, high = (reached.get(end, float(unscaled(column, end))) for end in ends)
            fitted[column.name] = replace(column, bounds=(low, high))
    return Schema(tuple(fitted.values()))


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
