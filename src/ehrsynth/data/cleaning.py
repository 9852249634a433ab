"""Implausible numbers, numbers that contradict each other, and gaps."""

import operator
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.wide import Wide
from ehrsynth.errors import OptionError, TableError
from ehrsynth.seeding import numpy_rng

Outliers = Literal["clip", "drop", "missing", "keep"]
Parts = Mapping[str, Wide]
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
        return np.asarray(both & ~_COMPARE[self.sign](one, other))

    def __str__(self) -> str:
        return f"{self.one} {self.sign} {self.other}"


def without_outliers(parts: Parts, outliers: Outliers) -> tuple[Parts, Counts]:
    """Clip, drop, empty or keep what lies outside the plausible range of its column; count the numbers by column."""
    found: Counter[str] = Counter()
    cleaned = {}
    for part, wide in parts.items():
        implausible = np.zeros(len(wide), bool)
        mended = {}
        for name, spec in wide.specs.items():
            if spec.plausible is not None:
                cells, (low, high) = wide.cells[name], spec.plausible
                outside = (cells < low) | (cells > high)
                found[name] += int(outside.sum())
                implausible |= outside.to_numpy()
                mended[name] = cells.clip(low, high) if outliers == "clip" else cells.mask(outside)
        if outliers == "drop":
            cleaned[part] = wide[np.flatnonzero(~implausible)]
        else:
            cleaned[part] = wide if outliers == "keep" else replace(wide, cells=wide.cells.assign(**mended))
    return cleaned, dict(+found)


def without_contradictions(parts: Parts, relations: list[Relation], outliers: Outliers) -> tuple[Parts, Counts]:
    """Drop rows that break a relation, or empty both numbers if outliers become missing; count rows by relation."""
    found: Counter[str] = Counter()
    cleaned = {}
    for part, wide in parts.items():
        broken = {relation: relation.broken(wide.cells) for relation in relations}
        cells = wide.cells.copy(deep=False)
        for relation, rows in broken.items():
            found[str(relation)] += int(rows.sum())
            for name in (relation.one, relation.other):
                cells[name] = cells[name].mask(rows)
        any_broken = np.logical_or.reduce([*broken.values(), np.zeros(len(wide), bool)])
        cleaned[part] = replace(wide, cells=cells) if outliers == "missing" else wide[np.flatnonzero(~any_broken)]
    return cleaned, dict(+found)


def imputed(parts: Parts, relations: Sequence[Relation], seed: int) -> tuple[Parts, Counts]:
    """Fill every gap with a value drawn from the observed ones of its column in training; count them by column.

    Columns that share a relation are drawn together from one training row, again if a number that is there contradicts
    them. Where none of ``TRIES`` draws fits, the relation stays broken.
    """
    train, found = parts["train"], Counter[str]()
    filled = {}
    for part, wide in parts.items():
        new: dict[str, pd.Series] = {}
        for names in _drawn_together(train.cells, relations):
            gaps = wide.cells[names].isna()
            todo = np.flatnonzero(gaps.any(axis=1))
            if not len(todo):
                continue
            found.update({name: int(gaps[name].sum()) for name in names})
            donors = train.cells[names].dropna()
            rng = numpy_rng(seed, "impute", part, *names)
            mine = [relation for relation in relations if {relation.one, relation.other} <= set(names)]
            cells = {name: wide.cells[name].copy() for name in names}
            for _ in range(TRIES if mine else 1):
                drawn = donors.iloc[rng.integers(len(donors), size=len(todo))]
                for name in names:
                    here = gaps[name].to_numpy()[todo]
                    cells[name].iloc[todo[here]] = drawn[name].to_numpy()[here]
                broken = [relation.broken(pd.DataFrame(cells).iloc[todo]) for relation in mine]
                todo = todo[np.logical_or.reduce([*broken, np.zeros(len(todo), bool)])]
            new |= cells
        filled[part] = replace(wide, cells=wide.cells.assign(**new))
    return filled, dict(+found)


def _drawn_together(train: pd.DataFrame, relations: Sequence[Relation]) -> list[list[str]]:
    """Return the columns, those that share a relation together if there is a training row that has them all."""
    groups = [[str(name)] for name in train]
    for relation in relations:
        joined = [group for group in groups if relation.one in group or relation.other in group]
        together = [name for group in joined for name in group]
        if len(joined) > 1 and train[together].notna().all(axis=1).any():
            groups = [*[group for group in groups if group not in joined], together]
    return groups


def mostly_missing(train: Wide, most: float) -> Counts:
    """Return the columns with a larger missing share than ``most``, or nothing else, and how many gaps they have.

    Raises:
        TableError: one of them is an outcome.
    """
    n = len(train)
    gaps = {name: int(train.cells[name].isna().sum()) for name in train.dense_names}
    found = {name: count for name, count in gaps.items() if count > most * n or count == n > 0}
    for name, count in found.items():
        if train.specs[name].role == "outcome":
            raise TableError(f"train: column {name!r}: an outcome that is missing in {count} of {n} rows")
    return found


def without_new_gaps(parts: Parts) -> tuple[Parts, Counts]:
    """Leave out validation and holdout rows with a gap in a column that is complete in training: they have no code."""
    train = parts["train"].cells
    complete = [name for name in train if not train[name].isna().any()]
    gaps = {part: wide.cells[complete].isna().any(axis=1).to_numpy() for part, wide in parts.items()}
    counts = {part: int(gap.sum()) for part, gap in gaps.items() if gap.any()}
    return {part: w[np.flatnonzero(~gaps[part])] if part in counts else w for part, w in parts.items()}, counts


def with_known_levels(parts: Parts, least: int) -> tuple[Parts, Counts]:
    """Learn undeclared levels from training, with one more, ``OTHER``, for those of fewer than ``least`` rows or none.

    An outcome keeps its rare levels. Returns how many cells became ``OTHER``, by column.
    """
    train, unseen = parts["train"], Counter[str]()
    specs = dict(train.specs)
    new: dict[str, dict[str, pd.Series]] = {part: {} for part in parts}
    for name, spec in train.specs.items():
        if spec.kind == "categorical" and not spec.levels:
            counts = train.cells[name].dropna().astype(str).value_counts()
            known = sorted(counts.index[counts >= (1 if spec.role == "outcome" else least)])
            specs[name] = replace(spec, levels=tuple(dict.fromkeys([*known, OTHER])))
            for part, wide in parts.items():
                strange = wide.cells[name].notna() & ~wide.cells[name].astype(str).isin(known)
                unseen[name] += int(strange.sum())
                new[part][name] = wide.cells[name].mask(strange, OTHER)
    done = {part: replace(wide, specs=specs, cells=wide.cells.assign(**new[part])) for part, wide in parts.items()}
    return done, dict(+unseen)
