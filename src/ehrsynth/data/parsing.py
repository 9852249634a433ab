"""What a cell of somebody's table says: for each kind of column one function that reads it, whoever asks.

Cells are text as it stands in a file, or whatever a Parquet file or a data frame holds. A gap is an empty cell, and
among numbers and zeros and ones also a word such as NA; among levels, NA is a level.
"""

from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.types import infer_dtype, is_bool_dtype, is_numeric_dtype

from ehrsynth.data.notation import FEW, MINUS, coded, decimal_of, is_plain_text, with_points
from ehrsynth.kinds import MOST_DECIMALS
from ehrsynth.schema import as_text

GAPS = {
    *("", "na", "n/a", "nan", "-nan", "none", "null", "<na>", "#na", "#n/a", "#n/a n/a"),
    *(".", "#nv", "k.a.", "k. a."),  # of SAS and Stata, and of German spreadsheets
    *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
}
FLAGS = {  # text that means 0 or 1
    **dict.fromkeys(("true", "1", "1.0", "1,0"), "1"),
    **dict.fromkeys(("false", "0", "0.0", "0,0"), "0"),
}
NARROW = ("float16", "float32")
Width = Literal["narrow", "upcast", "long", "short"]
WHOLE = r"0|[1-9][0-9]{0,17}"  # a whole number that is nothing but a number: no zeros before it


def is_text(cells: pd.Series) -> bool:
    """Return whether cells may be text: they are neither numbers nor times of a type of their own."""
    return not is_numeric_dtype(cells) and cells.dtype.kind not in "mM"


def is_nested(cells: pd.Series) -> bool:
    """Return whether cells are no single values: lists, structures, bytes."""
    first = cells.dropna().head(1) if cells.dtype == object else cells[:0]
    return cells.dtype.kind == "c" or any(isinstance(cell, list | tuple | dict | np.ndarray | bytes) for cell in first)


def gaps(cells: pd.Series) -> "pd.Series[bool]":
    """Return which cells say nothing, neither a number nor yes or no."""
    if not is_text(cells):
        return cells.isna()
    return cells.isna() | cells.astype("str").str.strip().str.lower().isin(GAPS)


def numbers(cells: pd.Series, decimal: str = ".") -> pd.Series:
    """Return cells as numbers, whole ones without gaps as int64; what is no number is missing."""
    if not is_text(cells):
        return _in_decimals(cells)
    if is_plain_text(cells):  # much faster, for the thousands of columns that are plain numbers
        cells = with_points(cells) if decimal == "," else cells
        values = pa.array(cells, pa.string(), from_pandas=True)
        with suppress(pa.ArrowInvalid):  # words or spaces among them
            found = pc.cast(values, pa.float64())
            with suppress(pa.ArrowInvalid):  # fractions
                found = found if found.null_count else pc.cast(values, pa.int64())
            return pd.Series(found.to_numpy(zero_copy_only=False), index=cells.index, name=cells.name)
        cells = cells.str.replace(MINUS, "-", regex=False)
    return pd.to_numeric(cells.mask(gaps(cells)), errors="coerce")


def _in_decimals(cells: pd.Series) -> pd.Series:
    """Return floats of fewer bits as what they stand for: 37.4 in 32 bits is 37.40000153, and equal to no other."""
    kind = str(cells.dtype).lower()
    if kind not in NARROW:
        return cells
    found, bits = cells.to_numpy(np.float64, na_value=np.nan), np.dtype(kind)
    narrow, left = found.astype(bits), np.isfinite(found)
    for decimals in range(-9, MOST_DECIMALS + 1):
        rounded = found.round(decimals)
        same = left & (rounded.astype(bits) == narrow)
        found, left = np.where(same, rounded, found), left & ~same
    found[left] = narrow[left].astype(str).astype(np.float64)  # the shortest that stands for no other
    return pd.Series(found, index=cells.index, name=cells.name)


def narrowed(cells: pd.Series) -> pd.Series:
    """Return numbers as they would have come in 32 bits."""
    return _in_decimals(cells.astype(np.float32))


def width_of(cells: pd.Series) -> Width:
    """Return in how many bits numbers came, as the first of them show it.

    ``narrow`` are 32 bits or fewer, ``upcast`` those with all the digits of 64, ``long`` what no 32 bits hold, and
    ``short`` what any do, such as 37.4.
    """
    if str(cells.dtype).lower() in NARROW:
        return "narrow"
    if cells.dtype.kind not in "iuf":
        return "short"
    some = cells.dropna().head(1000).astype(np.float64)
    if (narrowed(some) == some).all():  # eight digits are in 32 bits only if they came from there
        return "narrow" if some.map(lambda number: float(f"{number:.7g}") != number).any() else "short"
    return "upcast" if (some.astype(np.float32) == some).all() else "long"


def if_numbers(cells: pd.Series, table: str = ".") -> pd.Series:
    """Return cells as numbers if each is a number or a gap, else as they are.

    Args:
        cells: of one column.
        table: the decimal sign of its table, where the column does not show one.
    """
    found = numbers(cells, decimal_of(cells, table))
    return found if not is_text(cells) or bool(gaps(cells[found.isna()]).all()) else cells


def quantities(cells: pd.Series, table: str = ".") -> pd.Series:
    """Return cells as numbers as ``if_numbers`` does, unless they are of a category or look like codes of digits.

    Zeros before other digits make codes, and so do a few points, such as that of 250.83, in a table of decimal commas.
    """
    if isinstance(cells.dtype, pd.CategoricalDtype | pd.PeriodDtype):
        return cells
    found = if_numbers(cells, table)
    pointed = found is not cells and table == "," and decimal_of(cells, table) == "."
    return cells if found is not cells and (coded(cells) or (pointed and found.nunique() <= FEW)) else found


def decimal_sign(columns: Iterable[pd.Series]) -> str:
    """Return the decimal sign of a table: a comma if one of its columns shows one."""
    return "," if any(decimal_of(cells) == "," for cells in columns) else "."


def typed(cells: pd.Series, table: str = ".") -> pd.Series:
    """Return text as what it looks like: numbers, booleans if every cell is true or false, else words and gaps.

    Where the decimal sign of the ``table`` is a comma, a point that may stand between thousands makes no number.
    """
    found = quantities(cells, table)
    if not is_text(found):
        return found
    words = cells.str.lower()
    return words == "true" if words.isin(("true", "false")).all() else cells.mask(gaps(cells))


def zeros_and_ones(cells: pd.Series) -> pd.Series | None:
    """Return what ``typed`` does for text of 0 and 1 alone, else None: quick, for there may be thousands of columns."""
    if not is_text(cells) or not isinstance(cells.dtype, pd.StringDtype):
        return None
    values = pa.array(cells, pa.string(), from_pandas=True)
    if not {"0", "1"}.issuperset(pc.unique(values).to_pylist()):
        return None
    return pd.Series(pc.cast(values, pa.int64()).to_numpy(zero_copy_only=False), index=cells.index, name=cells.name)


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
    words = {level.lower(): level for level in known if level.lower() in ("true", "false")}  # TRUE in R, true in JSON
    tried = tried.str.lower().map(words).fillna(tried) if words else tried
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
