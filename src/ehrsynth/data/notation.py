"""How a column writes its numbers: with which decimal sign, and whether they are numbers at all.

Nothing is guessed from one cell: a column, or the columns of a table together, must show it. What they do not show is
said (``unclear``), since a number that is taken for a word is lost in silence.
"""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.types import infer_dtype

MINUS = "\u2212"  # as it is typeset
_SIGN = f"[+{MINUS}-]?"
POINT = _SIGN + r"(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?"
COMMA = _SIGN + r"\d*,\d+(?:[eE][+-]?\d+)?"
WHOLE = _SIGN + r"\d+(?:[eE][+-]?\d+)?"
_EITHER = _SIGN + r"[1-9]\d{0,2}(?:[,.]\d{3})+"  # the sign may be a decimal one, or stand between thousands
_THOUSANDS = _SIGN + r"[1-9]\d{0,2}(?:(?:,\d{3})+(?:\.\d+)?|(?:[.' ]\d{3})+(?:,\d+)?)"
_BEYOND = r"[<>≤≥~≈]=?\s*" + _SIGN + r"\d[\d.,]*"  # of a laboratory: above or below what it can measure
_UNIT = _SIGN + r"\d[\d.,]*\s*(?:%|\s[^\d\s]\S*|[^\W\d_]{2,}\S*)"
_CODE = r"[A-Za-z]+[.-]?\d[\w.]*|\d+[A-Za-z][\w.]*"  # V58.1, T2, 4a
_DAYS = ("%Y%m%d", "%d%m%Y", "%m%d%Y", "%Y%m%d%H%M", "%Y%m%d%H%M%S")
FEW = 10  # whole numbers that may be the names of classes


def is_plain_text(cells: pd.Series) -> bool:
    """Return whether every cell is text or empty."""
    return cells.dtype.kind not in "iufbcmM" and infer_dtype(cells, skipna=True) == "string"


def decimal_of(cells: pd.Series, table: str = ".") -> str:
    """Return the decimal sign of a column of text: that of the ``table`` where its own cells do not show another.

    A sign is shown by a number such as ``37,4`` or ``7.35``, if half of the cells are numbers; ``1,234`` shows nothing.
    """
    sign, number = (",", COMMA) if table == "." else (".", POINT)
    if not is_plain_text(cells) or not cells.str.contains(sign, regex=False, na=False).any():
        return table
    text = cells.dropna().str.strip()
    fractions = text.str.fullmatch(number)
    shown = (fractions & ~text.str.fullmatch(_EITHER)).any()
    return sign if shown and 2 * (fractions | text.str.fullmatch(WHOLE)).sum() >= (text != "").sum() else table


def with_points(cells: pd.Series) -> pd.Series:
    """Return text with a point in place of the decimal comma of numbers; what has a point already is no number."""
    text = cells.str.strip().mask(cells.str.contains(".", regex=False), "between thousands")
    return text.str.replace(rf"^(?={COMMA}$)([^,]*),", r"\1.", regex=True)


def coded(cells: pd.Series) -> bool:
    """Return whether the numbers of a column are codes, such as postal ones: a zero stands before other digits."""
    if not is_plain_text(cells):
        return False
    text = pa.array(cells, pa.string(), from_pandas=True)  # several times faster, for thousands of columns
    longer = text.filter(pc.greater(pc.utf8_length(text), 1))
    return bool(pc.any(pc.match_substring_regex(longer, r"^\s*0\d")).as_py())


def dated(text: pd.Series) -> bool:
    """Return whether digits alone are days of the calendar, such as 20200117, with or without a time of the day."""
    if not text.str.fullmatch(r"\d{8}(?:\d{4}(?:\d\d)?)?").all():
        return False
    found = (pd.to_datetime(text, format=format_, errors="coerce") for format_ in _DAYS)
    return any(bool(((days.dt.year >= 1800) & (days.dt.year < 2300)).all()) for days in found)


def unclear(text: pd.Series) -> str | None:
    """Return why a column of text may hold quantities all the same; None if it holds words or codes.

    Args:
        text: without gaps.
    """
    text = text.str.strip()
    commas, points = text.str.fullmatch(COMMA), text.str.fullmatch(POINT)
    plain = commas | points | text.str.fullmatch(WHOLE)
    thousands = text.str.fullmatch(_THOUSANDS)
    words = ~(plain | thousands)
    near = text.str.fullmatch(f"{_BEYOND}|{_UNIT}") | thousands
    codes = text.str.fullmatch(_CODE)
    n = len(text)
    if coded(text):
        return None
    if not (plain | thousands).any():
        united = near & ~codes
        every = 2 * united.sum() > n and text[united].str.extract(r"(\d[\d.,]*)")[0].nunique() > FEW
        return f"numbers, {int(united.sum())} of {n} with a unit or a sign; write the numbers alone" if every else None
    if not words.any() and (commas | thousands).any():
        if (commas & ~thousands).any() and points.any():
            return f"numbers, {int(commas.sum())} of {n} with a comma and {int(points.sum())} with a point"
        found = int(thousands.sum())
        return f"{found} of {n} numbers have a sign before three digits, of decimals or of thousands; write none there"
    numbers = pd.to_numeric(text[plain].str.replace(",", ".").str.replace(MINUS, "-"))
    quantity = numbers.nunique() > FEW or bool((numbers % 1 != 0).any())
    if not words.any() or not quantity or 2 * (words & codes).sum() > words.sum() or 2 * (plain | near).sum() <= n:
        return None
    first = text.index[~plain][0]
    return f"numbers, but {int((~plain).sum())} of {n} cells are text (row {first} the first); empty ones would be gaps"
