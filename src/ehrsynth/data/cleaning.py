"""Implausible numbers, numbers that contradict each other, gaps and strange words: each step on its own.

A step returns the rows and counts of what it found, by column, relation or part. Nothing is learned here.
"""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.wide import Wide
from ehrsynth.errors import OptionError
from ehrsynth.seeding import numpy_rng

Outliers = Literal["clip", "drop", "missing", "keep"]
Counts = dict[str, int]

OTHER = "other"  # the level that takes what training rows have rarely or never shown
TRIES = 20  # draws from training rows until the numbers of a record are in order
_COMPARE: dict[str, Any] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class Relation:
    """Two numbers of a record in a fixed order, such as ``diastolic < systolic``.

    Attributes:
        one, sign, other: a column, ``<``, ``<=``, ``>`` or ``>=``, and a column.
    """

    one: str
    sign: str
    other: str

    @classmethod
    def read(cls, words: str) -> Self:
        """Read ``COLUMN < COLUMN``.

        Raises:
            OptionError: it is written in another way.
        """
        found = re.fullmatch(r"\s*(\S+)\s*(<=|>=|<|>)\s*(\S+)\s*", words) if isinstance(words, str) else None
        if found is None:
            raise OptionError(f"preprocess.relations: {words!r}: two columns with <, <=, > or >= between was expected")
        return cls(*found.groups())

    def check(self, specs: Mapping[str, ColumnSpec]) -> None:
        """Raise an ``OptionError`` unless both columns are numbers of the matrix."""
        for name in (self.one, self.other):
            if name not in specs or specs[name].kind not in ("continuous", "count"):
                what = f"a {specs[name].kind} column" if name in specs else "no such column"
                raise OptionError(f"preprocess.relations: {self}: {name!r} is {what}; a column of numbers was expected")

    def broken(self, cells: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which rows have both numbers in the wrong order; a gap breaks nothing."""
        one, other = cells[self.one].astype(float), cells[self.other].astype(float)
        both = one.notna() & other.notna()
        return np.asarray(both & ~self.kept_by(one, other))

    def kept_by(self, one: Any, other: Any) -> Any:
        """Return where two numbers, or arrays of them, are in order."""
        return _COMPARE[self.sign](one, other)

    def __str__(self) -> str:
        return f"{self.one} {self.sign} {self.other}"


def between(names: Iterable[str], relations: Sequence[Relation]) -> list[Relation]:
    """Return the relations whose columns are both among ``names``."""
    here = set(names)
    return [relation for relation in relations if {relation.one, relation.other} <= here]


def without_outliers(
    rows: Wide, plausible: Mapping[str, tuple[float, float]], outliers: Outliers
) -> tuple[Wide, Counts]:
    """Clip, drop, empty or keep what lies outside the plausible range of its column; count the numbers by column."""
    implausible, mended, found = np.zeros(len(rows), bool), {}, dict[str, int]()
    for name, (low, high) in plausible.items():
        cells = rows.cells[name]
        outside = (cells < low) | (cells > high)
        found[name] = int(outside.sum())
        implausible |= outside.to_numpy()
        mended[name] = cells.clip(low, high) if outliers == "clip" else cells.mask(outside)
    if outliers == "keep":
        return rows, found
    return rows[np.flatnonzero(~implausible)] if outliers == "drop" else _with(rows, mended), found


def without_contradictions(rows: Wide, relations: Sequence[Relation], outliers: Outliers) -> tuple[Wide, Counts]:
    """Drop rows that break a relation, or empty both numbers if outliers become missing; count rows by relation."""
    if not relations:
        return rows, {}
    broken = {relation: relation.broken(rows.cells) for relation in relations}
    found = {str(relation): int(where.sum()) for relation, where in broken.items()}
    if outliers != "missing":
        return rows[np.flatnonzero(~np.logical_or.reduce(list(broken.values())))], found
    mended: dict[str, pd.Series] = {}
    for relation, where in broken.items():
        for name in (relation.one, relation.other):
            mended[name] = mended.get(name, rows.cells[name]).mask(where)
    return _with(rows, mended), found


def imputed(
    rows: Wide,
    donors: pd.DataFrame,
    together: Sequence[Sequence[str]],
    relations: Sequence[Relation],
    seed: int,
    part: str,
) -> tuple[Wide, Counts]:
    """Fill every gap with a value drawn from the observed ones of its column in training; count them by column.

    Where none of ``TRIES`` draws puts numbers that share a relation in order, the relation stays broken.

    Args:
        rows: to be filled.
        donors: the cells of the training rows.
        together: columns that are drawn from one training row, again if a number that is there contradicts them.
        relations: between them.
        seed: of the draw.
        part: likewise, the name of the rows.
    """
    alone = [[name] for name in rows.dense_names if not any(name in names for names in together)]
    filled, found = dict[str, pd.Series](), dict[str, int]()
    for names in [*alone, *map(list, together)]:
        gaps = rows.cells[names].isna()
        todo = np.flatnonzero(gaps.any(axis=1))
        if not len(todo):
            continue
        observed = donors[names].dropna()
        rng = numpy_rng(seed, "impute", part, *names)
        mine = between(names, relations)
        cells = {name: rows.cells[name].copy() for name in names}
        for _ in range(TRIES if mine else 1):
            drawn = observed.iloc[rng.integers(len(observed), size=len(todo))]
            for name in names:
                here = gaps[name].to_numpy()[todo]
                cells[name].iloc[todo[here]] = drawn[name].to_numpy()[here]
            broken = [relation.broken(pd.DataFrame(cells).iloc[todo]) for relation in mine]
            todo = todo[np.logical_or.reduce([*broken, np.zeros(len(todo), bool)])]
        filled |= cells
        found |= {name: int(gaps[name].sum()) for name in names}
    return _with(rows, filled), found


def without_gaps(rows: Wide, complete: Set[str], part: str) -> tuple[Wide, Counts]:
    """Leave out rows with a gap in a column that is complete in training: there is no code for it."""
    gaps = rows.cells[[name for name in rows.cells if name in complete]].isna().any(axis=1).to_numpy()
    return (rows[np.flatnonzero(~gaps)], {part: int(gaps.sum())}) if gaps.any() else (rows, {})


def with_known_levels(
    rows: Wide, levels: Mapping[str, Sequence[str]], closed: Set[str] = frozenset()
) -> tuple[Wide, Counts]:
    """Turn every word that is not among the levels of its column to ``OTHER``; count the cells by column.

    Of a ``closed`` column training knows no other level, so there is no code for one: the cell is emptied.
    """
    mended, found = {}, dict[str, int]()
    for name, known in levels.items():
        cells = rows.cells[name]
        strange = cells.notna() & ~cells.astype(str).isin(known)
        mended[name], found[name] = cells.mask(strange, None if name in closed else OTHER), int(strange.sum())
    return _with(rows, mended), found


def _with(rows: Wide, cells: Mapping[str, pd.Series]) -> Wide:
    return replace(rows, cells=rows.cells.assign(**cells))
