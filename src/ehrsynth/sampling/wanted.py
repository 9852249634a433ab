"""What people may ask of a column, and how it is encoded: a level, 0 or 1, a number, a range of numbers, or missing.

An answer is a number: 0 or 1, the place of a level, a number in the column's own units, ``GAP`` where the cell is to be
missing, ``OPEN`` where nothing is asked. A range is a pair of numbers.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ehrsynth.data import parsing
from ehrsynth.data.notation import decimal_of
from ehrsynth.errors import OptionError
from ehrsynth.kinds import decimals_of, scaled, span
from ehrsynth.layout import Layout
from ehrsynth.models.condition import Condition
from ehrsynth.schema import Column, Schema, as_text

Answers = NDArray[np.float64]  # [m], of one column
Range = tuple[float, float]

MISSING = "missing"  # the word for a cell that is to be empty
GAP, OPEN = math.inf, math.nan
MARGIN = 2.0**-22  # float32 keeps a scaled number to 2**-25


def wanted(schema: Schema, asked: Mapping[str, object]) -> dict[str, Answers | Range]:
    """Return what a condition asks of each of its columns.

    Args:
        schema: of the records.
        asked: by column a level, 0 or 1, a number, a pair of numbers (None leaves an end open), or the word
            ``missing``; all of it may be text, a pair then as ``[60, 80]``.

    Raises:
        OptionError: no such column, or nothing that it could hold.
    """
    found: dict[str, Answers | Range] = {}
    for name, value in asked.items():
        if name not in schema.by_name:
            raise OptionError(f"condition.{name}: no such column; the model's schema has {len(schema.columns)}")
        column = schema.by_name[name]
        pair = _pair(value) if column.numeric else None
        answer = _answer(column, value) if pair is None else _range(column, pair)
        if answer is None:
            raise OptionError(f"condition.{name}={_shown(value)}: {expected(column)} was expected")
        found[name] = answer if isinstance(answer, tuple) else np.array([answer])
    return found


def answers(column: Column, cells: pd.Series, decimal: str) -> tuple[Answers, NDArray[np.bool_]]:
    """Return what the cells [n] of a table ask of a column, and which of them it cannot hold.

    Args:
        column: of the schema.
        cells: text as it stands in a CSV, or of any type; an empty one asks nothing.
        decimal: sign of the table.
    """
    plain = parsing.stripped(cells)
    gap = (plain == MISSING).to_numpy(bool, na_value=False) & column.missing & (MISSING not in column.levels)
    empty = (plain.isna() if column.kind == "categorical" else parsing.gaps(plain)).to_numpy(bool)
    cells = cells.mask(gap) if gap.any() else cells
    if column.kind == "categorical":
        places = pd.Index(column.levels).get_indexer(pd.Index(as_text(parsing.levels(cells, column.levels))))
        found = np.where(places < 0, OPEN, places.astype(float))
    elif column.kind == "binary":
        found = parsing.known_flags(cells).to_numpy(float, na_value=OPEN, copy=True)
    else:
        numbers = parsing.numbers(cells, decimal_of(cells, decimal)).to_numpy(float, na_value=np.nan)
        found = np.where(_fits(column, numbers), np.round(numbers, decimals_of(column)), OPEN)
    bad = np.isnan(found) & ~empty
    found[empty], found[gap], bad[gap] = OPEN, _gap(column), False
    return found, bad


def expected(column: Column) -> str:
    """Return in words what a column can be asked for."""
    if column.kind == "binary":
        return "0 or 1"
    if column.kind == "categorical":
        more = [MISSING] if column.missing and MISSING not in column.levels else []
        return f"one of {', '.join([*column.levels, *more])}"
    assert column.bounds is not None
    low, high = column.bounds
    whole = "a whole number" if column.kind == "count" else "a number"
    return f"{whole} from {low:g} to {high:g}, a range of them such as [{low:g}, null]{', or missing' * column.missing}"


def conditions(schema: Schema, m: int, asked: Mapping[str, Answers | Range]) -> Condition:
    """Encode ``m`` conditions from the answers of each column, one for all or one a condition."""
    layout = Layout.of(schema)
    low, high = torch.zeros(m, layout.width), torch.zeros(m, layout.width)
    given = torch.zeros_like(low, dtype=torch.bool)
    for name, answer in asked.items():
        column, places = schema.by_name[name], layout.places[name]
        if isinstance(answer, tuple):
            low[:, places[-1]], high[:, places[-1]] = encoded_range(column, answer)
            given[:, places] = True
            continue
        cells = torch.from_numpy(np.broadcast_to(_cells(column, answer), (m, len(places))).astype(np.float32))
        given[:, places] = ~cells.isnan()
        low[:, places] = high[:, places] = cells.nan_to_num(0.0)
    return Condition(layout, low, high, given)


def encoded_range(column: Column, ends: Range) -> Range:
    """Return the scaled numbers that a table shows as numbers between two ends: half a step of the decimals beyond."""
    start, width = span(column)
    step = 10.0 ** -decimals_of(column) / width
    beyond = max(step / 2 - max(step / 1000, MARGIN), 0.0)  # not quite half: its own rounding must not lead out
    return max((ends[0] - start) / width - beyond, 0.0), min((ends[1] - start) / width + beyond, 1.0)


def _cells(column: Column, answer: Answers) -> NDArray[np.float64]:
    """Return the encoded cells [m, k] of a column, NaN where nothing is asked."""
    if column.kind == "binary":
        return answer[:, None]
    if column.kind == "categorical":
        indicators = (answer[:, None] == np.arange(len(column.levels) + column.missing)).astype(float)
        return np.where(np.isnan(answer)[:, None], np.nan, indicators)
    gap = np.isinf(answer)
    value = np.where(gap, np.nan, scaled(column, np.where(gap, np.nan, answer)))
    missing = np.where(np.isnan(answer), np.nan, gap)
    return np.stack([missing, value], axis=1) if column.missing else value[:, None]


def _answer(column: Column, value: object) -> float | None:
    """Return what one value asks, None if the column cannot hold it."""
    cells = pd.Series([str(value)], dtype="str" if value != "" else object)
    (found,), (bad,) = answers(column, cells, ".")
    return None if bad or math.isnan(found) else float(found)


def _range(column: Column, pair: tuple[float | None, float | None]) -> float | Range | None:
    """Return a range within the bounds of a column, None if it is none."""
    assert column.bounds is not None
    low, high = (bound if end is None else end for end, bound in zip(pair, column.bounds, strict=True))
    if low == high and _fits(column, np.array([low]))[0]:
        return low
    return (low, high) if column.bounds[0] <= low < high <= column.bounds[1] else None


def _pair(value: object) -> tuple[float | None, float | None] | None:
    """Return two ends of a range, open ones as None, NaN for what is no number; None if the value is no pair."""
    if isinstance(value, str):
        text = value.strip()
        value = text[1:-1].split(",") if text.startswith("[") and text.endswith("]") else None
    if not isinstance(value, Sequence | np.ndarray) or len(value) != 2:
        return None
    low, high = map(_end, value)
    return low, high


def _end(value: object) -> float | None:
    text = str(value).strip()
    if value is None or text.lower() in ("null", "none", ""):
        return None
    try:
        return float(text)
    except ValueError:
        return math.nan


def _fits(column: Column, numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which numbers a column can hold: those within its bounds, whole ones if it counts."""
    assert column.bounds is not None
    fits = (numbers >= column.bounds[0]) & (numbers <= column.bounds[1])
    return fits & (numbers % 1 == 0) if column.kind == "count" else fits


def _gap(column: Column) -> float:
    return float(len(column.levels)) if column.kind == "categorical" else GAP


def _shown(value: object) -> str:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return str(value)
    return f"[{', '.join('null' if end is None else str(end) for end in value)}]"
