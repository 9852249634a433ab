"""What a schema that was inferred from somebody's table tells of its rows: nothing that fewer than ten of them share.

It is written beside the report, and its levels name parts of the scores.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from ehrsynth.data.cleaning import OTHER
from ehrsynth.disclosure import shared_bounds
from ehrsynth.errors import TableError
from ehrsynth.schema import Column, Schema, as_text


def disclosed(schema: Schema, train: pd.DataFrame, table: str, min_level: int) -> Schema:
    """Return the schema without rare levels, which become ``other``, and with bounds that point at no row.

    Bounds are only told: whoever scores a table scales by what its training rows hold.

    Args:
        schema: inferred from ``train``.
        train: decoded values.
        table: what to call it in an error.
        min_level: training rows that a level needs; 1 keeps all.

    Raises:
        TableError: an outcome is left with one level.
    """
    return Schema(tuple(_disclosed(column, train[column.name].dropna(), table, min_level) for column in schema.columns))


def _disclosed(column: Column, seen: pd.Series, table: str, min_level: int) -> Column:
    if column.numeric:
        values, rows = np.unique(seen.to_numpy(float), return_counts=True)
        return replace(column, bounds=shared_bounds(pd.Series(rows, index=values)))
    if set(column.levels) <= {"0", "1"}:
        return column
    rows_of = as_text(seen).value_counts()
    kept = [level for level in column.levels if rows_of[level] >= min_level]
    if len(kept) == len(column.levels):
        return column
    levels = tuple(dict.fromkeys([*kept, OTHER]))
    if column.role == "outcome" and len(levels) < 2:
        raise TableError(
            f"{table}: column {column.name!r}: a constant outcome once levels of fewer than {min_level} rows become"
            f" one; min_level=1 keeps them"
        )
    return replace(column, levels=levels)


def undisclosed(train: pd.DataFrame, columns: Iterable[Column]) -> dict[str, frozenset[str]]:
    """Return, by column, the words of training rows that stand under ``other`` in a schema that has this level."""
    words = {}
    for column in columns:
        if OTHER in column.levels and isinstance(train.get(column.name), pd.Series):
            seen = as_text(train[column.name].dropna())
            words[column.name] = frozenset(seen.unique()) - set(column.levels)
    return {name: found for name, found in words.items() if found}


def as_other(frame: pd.DataFrame, words: dict[str, frozenset[str]]) -> pd.DataFrame:
    """Return a table with ``other`` in place of these words, by column."""
    cells = {}
    for name, rare in words.items():
        if isinstance(frame.get(name), pd.Series):
            text = as_text(frame[name])
            cells[name] = text.where(frame[name].notna()).mask(text.isin(rare), OTHER)
    return frame.assign(**cells)
