"""What a cell of somebody's table says: for each kind of column one function that reads it, whoever asks.

Cells are text as it stands in a file, or whatever a Parquet file or a data frame holds. A gap is an empty cell, and
among numbers and zeros and ones also a word such as NA; among levels, NA is a level.
"""

from collections.abc import Collection
from contextlib import suppress

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.types import infer_dtype, is_bool_dtype, is_numeric_dtype

from ehrsynth.schema import as_text

GAPS = {
    *("", "na", "n/a", "nan", "-nan", "none", "null", "<na>", "#na", "#n/a", "#n/a n/a"),
    *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
}
FLAGS = {  # text that means 0 or 1
    **dict.fromkeys(("true", "1", "1.0", "1,0"), "1"),
    **dict.fromkeys(("false", "0", "0.0", "0,0"), "0"),
}
WHOLE = r"0|[1-9][0-9]{0,17}"  # a whole number that is nothing but a number: no zeros before it


def is_text(cells: pd.Series) -> bool:
    """Return whether cells may be text: they are neither numbers nor times of a type of their own."""
    return not is_numeric_dtype(cells) and cells.dtype.kind not in "mM"


def gaps(cells: pd.Series) -> "pd.Series[bool]":
    """Return which cells say nothing, neither a number nor yes or no."""
    if not is_text(cells):
        return cells.isna()
    return cells.isna() | cells.astype("str").str.strip().str.lower().isin(GAPS)


def numbers(cells: pd.Series) -> pd.Series:
    """Return cells as numbers, whole ones without gaps as int64; what is no number is missing."""
    if not is_text(cells):
        return cells
    if infer_dtype(cells, skipna=True) == "string":  # much faster, for the thousands of columns that are plain numbers
        values = pa.array(cells, pa.string(), from_pandas=True)
        with suppress(pa.ArrowInvalid):  # words or spaces among them
            found = pc.cast(values, pa.float64())
            with suppress(pa.ArrowInvalid):  # fractions
                found = found if found.null_count else pc.cast(values, pa.int64())
            return pd.Series(found.to_numpy(zero_copy_only=False), index=cells.index, name=cells.name)
    return pd.to_numeric(cells.mask(gaps(cells)), errors="coerce")


def if_numbers(cells: pd.Series) -> pd.Series:
    """Return cells as numbers if each is a number or a gap, else as they are."""
    if not is_text(cells):
        return cells
    found = numbers(cells)
    return found if bool(gaps(cells[found.isna()]).all()) else cells


def typed(cells: pd.Series, decimal: str = ".") -> pd.Series:
    """Return text as what it looks like: numbers, booleans if every cell is true or false, else words and gaps.

    Where the decimal sign is a comma, a point makes no number: it may stand between thousands.
    """
    if decimal == "," and cells.str.fullmatch(r"\s*-?\d*\.\d+\s*").any():
        return cells.mask(gaps(cells))
    found = if_numbers(with_points(cells) if decimal == "," else cells)
    if not is_text(found):
        return found
    words = cells.str.lower()
    return words == "true" if words.isin(("true", "false")).all() else cells.mask(gaps(cells))


def with_points(cells: pd.Series) -> pd.Series:
    """Return text with a point in place of the decimal comma of numbers."""
    return cells.str.replace(r"^\s*(-?\d+),(\d+)\s*$", r"\1.\2", regex=True)


def stripped(cells: pd.Series) -> pd.Series:
    """Return cells without the spaces around text; text of spaces only is an empty cell."""
    if not is_text(cells) or infer_dtype(cells) not in ("string", "mixed", "mixed-integer"):
        return cells
    text = cells.map(lambda cell: cell.strip() or None if isinstance(cell, str) else cell)
    return text.astype(cells.dtype)


def flags(cells: pd.Series) -> pd.Series:
    """Return true and false as 1 and 0, whatever their case, and other cells as they are."""
    return cells.map(lambda cell: FLAGS.get(str(cell).lower(), cell)).where(cells.notna())


def levels(cells: pd.Series, known: Collection[str]) -> pd.Series:
    """Return what is a level, give or take spaces around it and ways to write 0 and 1, as that level."""
    text = as_text(cells)
    other = cells.notna() & ~text.isin(known)
    if not other.any():
        return cells
    tried = text[other].str.strip()
    tried = tried.mask(tried == "")
    if set(known) <= {"0", "1"}:
        tried = flags(tried.mask(gaps(tried)))
    return text.where(cells.notna()).where(~other, tried)


def known_flags(cells: pd.Series) -> pd.Series:
    """Return 0 and 1 as text, however they are written; everything else is missing."""
    text = as_text(cells.astype(float) if is_bool_dtype(cells) else cells)
    return text.str.lower().map(FLAGS).where(cells.notna())


def times(cells: pd.Series) -> pd.Series:
    """Return dates and times in ISO 8601, those with a zone as UTC; what is none is missing."""
    found = pd.to_datetime(cells, format="ISO8601", errors="coerce", utc=True).dt.tz_localize(None)
    return found.astype("datetime64[us]")


def keys(cells: pd.Series) -> pd.Series:
    """Return what names subjects or stays: int64 if each is a plain whole number, which sorts as such, or text."""
    text = cells.astype(str)
    return text.astype(np.int64) if text.str.fullmatch(WHOLE).all() else text
