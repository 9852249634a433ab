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
from ehrsynth.layout import Layout, Records
from ehrsynth.schema import Column, Schema, Unseen, as_text

MOST_DECIMALS = 6


class Encoder:
    """Encode tables that fit a schema, and decode records.

    Args:
        schema: the columns, with levels and bounds.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.layout = Layout.of(schema)
        self._position = {(field.column, field.kind): i for i, field in enumerate(self.layout.fields)}

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
        bits = Bits.empty(len(frame), self.layout.binary.stop)
        values = np.empty((len(frame), self.layout.width - self.layout.binary.stop), np.float32)
        for column in self.schema.columns:
            cells = frame[column.name]
            if column.kind == "binary":
                bits.put(self._position[column.name, "bit"], torch.from_numpy(cells.to_numpy(np.uint8, copy=True)))
            elif column.kind == "categorical":
                group, chosen = self.layout.groups[column.name], _level_numbers(cells, column)
                if unseen == "refuse" and (chosen < 0).any():
                    row = int(np.flatnonzero(chosen < 0)[0])
                    raise TableError(
                        f"column {column.name!r}, row {row}: not one of the {len(column.levels)} levels of the schema"
                    )
                for level, place in enumerate(range(group.start, group.stop)):
                    bits.put(place, torch.from_numpy((chosen == level).astype(np.uint8)))
            else:
                numbers = cells.to_numpy(float, na_value=np.nan)
                if column.missing:
                    gaps = torch.from_numpy(np.isnan(numbers).astype(np.uint8))
                    bits.put(self._position[column.name, "missing"], gaps)
                low, width = scale(column)
                values[:, self._position[column.name, "value"] - self.layout.binary.stop] = (numbers - low) / width
        return Records(self.layout, bits.by_rows(), torch.from_numpy(values))

    def decode(self, records: Records) -> pd.DataFrame:
        """Decode hard records to the columns of the schema, in its order.

        Returns:
            Binary columns as int8, categorical ones as text, numbers as float64, except that a count which is never
            missing is int64. Numbers are rounded to the decimals of the training data.
        """
        bits, values = unpack(records.bits).cpu().numpy(), records.values.cpu().numpy().astype(float)
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
    """Return the position [n] of each cell's indicator in its group, -1 where it has none."""
    numbers = pd.Index(column.levels).get_indexer(pd.Index(as_text(cells)))
    empty = cells.isna().to_numpy()  # the text of an empty cell, nan, may be the name of a level
    return np.where(empty, len(column.levels) if column.missing else -1, numbers).astype(np.int64)
