"""Table 1 of a cohort: who its subjects are, before and after preprocessing.

A count below ``LEAST`` is shown as ``<10`` and cannot be had by subtraction, and no mean gives away a number that lies
far from all others, so that the table points at no patient.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.wide import Wide
from ehrsynth.disclosure import LEAST
from ehrsynth.schema import CODE_DOMAINS, Column

TOP = 10  # codes
MOST_LEVELS = 20
FAR = 3  # interquartile ranges
Row = dict[str, str]  # group, label, before, after
Columns = Mapping[str, ColumnSpec | Column]


@dataclass(frozen=True, eq=False)
class Described:
    """What Table 1 needs of a table.

    Attributes:
        n: rows.
        columns: of the table.
        cells: the columns that are no codes.
        codes: rows that have each code.
    """

    n: int
    columns: Columns
    cells: pd.DataFrame
    codes: "pd.Series[int]"

    @classmethod
    def of(cls, parts: Sequence[Wide], columns: Columns) -> "Described":
        """Describe rows in one or several parts together; codes that are counted count as there above zero."""
        names = [name for name, column in columns.items() if _is_code(column)]
        codes = pd.Series(0, index=names)
        for part in parts:
            sparse = pd.Series((part.codes > 0).sum(axis=0, dtype=int), index=list(part.code_names))
            dense = (part.cells[part.cells.columns.intersection(names)] > 0).sum()
            codes = codes.add(pd.concat([sparse, dense]).astype(int), fill_value=0)
        cells = pd.concat([part.cells[part.cells.columns.difference(names, sort=False)] for part in parts])
        return cls(len(cells), columns, cells, codes[names].astype(int))


def table_one(before: Described, after: Described) -> list[Row]:
    """Return the lines of the table, each with its texts before and after preprocessing."""
    columns = {**before.columns, **after.columns}
    rows = [
        _row("", "Subjects", *(f"{side.n:,}" for side in (before, after))),
        _row("", "Columns", *(f"{len(side.columns):,}" for side in (before, after))),
        _row("", "Columns of codes", *(f"{len(side.codes):,}" for side in (before, after))),
    ]
    for name, column in columns.items():
        if not _is_code(column):
            rows += _about(name, column, before, after)
    common = before.codes[before.codes >= LEAST].sort_values(ascending=False, kind="stable").index[:TOP]
    for name in common:
        both = (_share(int(side.codes[name]), side.n) if name in side.codes else "" for side in (before, after))
        rows.append(_row(f"The {len(common)} most prevalent codes, n (%)", f"{columns[name].label or name}", *both))
    return rows


def _about(name: str, column: ColumnSpec | Column, before: Described, after: Described) -> Iterator[Row]:
    sides = [side.cells[name] if name in side.cells else pd.Series(dtype=float) for side in (before, after)]
    label = column.label or name
    if column.kind == "binary":
        counts = (_share(int((cells == 1).sum()), len(cells)) for cells in sides)
        yield _row("", f"{label}, n (%)", *counts)
    elif column.kind == "categorical":
        levels = (column.levels or _levels(sides[0]))[:MOST_LEVELS]
        shares = [_shares(cells, levels) for cells in sides]
        for place, level in enumerate([*levels, *(["missing"] if any(cells.hasnans for cells in sides) else [])]):
            yield _row(f"{label}, n (%)", level, *(texts[place] for texts in shares))
    else:
        yield _row("", f"{label}, mean (SD)", *map(_mean, sides))
        gaps = [int(cells.isna().sum()) for cells in sides]
        if any(gaps):
            missing = (_share(gap, len(cells)) for gap, cells in zip(gaps, sides, strict=True))
            yield _row("", f"{label}, missing, n (%)", *missing)


def _levels(cells: pd.Series) -> Sequence[str]:
    """Return the levels of a column that declares none, most frequent first, of those that are frequent enough."""
    counts = cells.dropna().astype(str).value_counts()
    return [str(level) for level, count in counts.items() if count >= LEAST]


def _shares(cells: pd.Series, levels: Sequence[str]) -> list[str]:
    """Return how many cells have each level, and are missing.

    A hidden count that is the only one could be had by subtraction: the next larger one is then rounded to tens.
    """
    counts = [*(int((cells.astype(str) == level).sum()) for level in levels), int(cells.isna().sum())]
    texts = [_share(count, len(cells)) for count in counts]
    if texts.count(f"<{LEAST}") == 1 and sum(counts) == len(cells) and max(counts) >= LEAST:
        next_larger = min(count for count in counts if count >= LEAST)
        texts[counts.index(next_larger)] = f"about {_share(round(next_larger, -1), len(cells))}"
    return texts


def _is_code(column: ColumnSpec | Column) -> bool:
    return column.kind in ("binary", "count") and column.domain in CODE_DOMAINS


def _row(group: str, label: str, before: str, after: str) -> Row:
    return {"group": group, "label": label, "before": before, "after": after}


def _share(count: int, n: int) -> str:
    """Return ``count (percent)``; nothing of an empty table."""
    if not n:
        return ""
    return f"<{LEAST}" if 0 < count < LEAST else f"{count:,} ({100 * count / n:.1f})"


def _mean(cells: pd.Series) -> str:
    """Return ``mean (SD)`` of at least ``LEAST`` numbers."""
    numbers = cells.dropna().astype(float)
    if numbers.empty:
        return ""
    if len(numbers) < LEAST:
        return f"of <{LEAST}"
    numbers = _without_a_few_far_out(numbers)
    digits = 1 if abs(numbers.mean()) >= LEAST else 2
    return f"{numbers.mean():.{digits}f} ({numbers.std():.{digits}f})"


def _without_a_few_far_out(numbers: pd.Series) -> pd.Series:
    """Return the numbers with those that fewer than ``LEAST`` rows reach, far from all others, brought to where far is.

    Far is ``FAR`` interquartile ranges beyond the quartiles. A mean of 160 numbers, one of them a million, tells it.
    """
    first, third = numbers.quantile([0.25, 0.75])
    ordered, far = numbers.sort_values(ignore_index=True), FAR * (third - first)
    return numbers.clip(min(first - far, ordered.iloc[LEAST - 1]), max(third + far, ordered.iloc[-LEAST]))
