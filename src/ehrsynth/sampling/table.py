"""``conditions=FILE``: a table whose rows say what of each record is known; the model completes them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ehrsynth.data.table_files import cell_chunks, column_names, decimal_of_table
from ehrsynth.errors import TableError
from ehrsynth.files import require
from ehrsynth.sampling.questions import Demand, Questions, distinct_rows
from ehrsynth.sampling.wanted import MISSING, OPEN, answers, conditions
from ehrsynth.schema import SUBJECT, Schema, in_words


class ConditionTable:
    """A table of conditions, read some rows at a time.

    Its columns are those of a schema, in any order; one that is absent, and an empty cell, ask for nothing. The word
    ``missing`` asks for a cell that is to be empty. A column ``subject_id`` is passed over.

    Args:
        file: CSV or Parquet.
        schema: of the records.

    Raises:
        FileError: missing, unreadable, or without any row.
        TableError: a column that the schema does not have, none that it has, or a cell that its column cannot hold.
    """

    def __init__(self, file: Path, schema: Schema) -> None:
        self.file, self.schema = file, schema
        names = column_names(require(file))
        if extra := [name for name in names if name not in schema.by_name and name != SUBJECT]:
            raise TableError(f"{file}: extra columns {in_words(extra)}; the model's schema does not have them")
        self.columns = [column for column in schema.columns if column.name in names]
        if not self.columns:
            raise TableError(f"{file}: no column of the model's schema, which has {len(schema.columns)}")
        self.decimal = decimal_of_table(file, [column.name for column in self.columns if column.numeric])
        self.rows, asked = 0, np.zeros(len(self.columns), bool)
        for cells in self._answers():  # all of it is looked at before the first record is drawn
            self.rows += len(cells)
            asked |= ~np.isnan(cells).all(0)
        self.asked = [column.name for column, some in zip(self.columns, asked, strict=True) if some]

    def demand(self) -> Demand:
        """Return what the rows ask, in their order."""
        return Demand(frozenset(self.asked), self._windows, lambda row: f"{self.file}: row {row}")

    def _windows(self, rows: int) -> Iterator[Questions]:
        held = np.empty((0, len(self.columns)))
        for cells in self._answers():
            held = np.concatenate([held, cells])
            while len(held) >= rows:
                yield self._questions(held[:rows])
                held = held[rows:]
        if len(held):
            yield self._questions(held)

    def _questions(self, cells: NDArray[np.float64]) -> Questions:
        first, which = distinct_rows(cells)
        asked = {column.name: cells[first, i] for i, column in enumerate(self.columns)}
        return Questions(conditions(self.schema, len(first), asked), which)

    def _answers(self) -> Iterator[NDArray[np.float64]]:
        """Yield what rows of the file ask, [rows, columns]."""
        start = 0
        for frame in cell_chunks(self.file):
            found = np.full((len(frame), len(self.columns)), OPEN)
            for i, column in enumerate(self.columns):
                found[:, i], bad = answers(column, frame[column.name], self.decimal)
                if bad.any():
                    self._refuse(column.name, start + int(bad.argmax()))
            start += len(frame)
            yield found

    def _refuse(self, name: str, row: int) -> None:
        column = self.schema.by_name[name]
        if column.kind == "categorical":
            right = f"one of the schema's {len(column.levels)} levels"
        elif column.numeric:
            low, high = column.bounds or (0, 0)
            right = f"{'a whole number' if column.kind == 'count' else 'a number'} from {low:g} to {high:g}"
        else:
            right = "0 or 1"
        more = f", {MISSING}" if column.missing else ""
        raise TableError(f"{self.file}: column {name!r}, row {row}: {right}{more} or an empty cell was expected")
