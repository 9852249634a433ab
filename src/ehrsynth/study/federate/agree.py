"""Columns for several sites, from sums of counts: what each tells of its rows, and the plan of the sums.

A site tells no count of fewer than ten of its patients, or than ``preprocess.min_count``, and no value that fewer
share: a code is not named, a level becomes ``other``, an end of a number is one that ten share, and a rest too small to
be told is told as that many, at the cost of the commonest value. So what is known at each of several sites by a few
patients is lost. The counts that are told are summed under masks.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from ehrsynth.data.cleaning import OTHER
from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.preprocess import Preprocess
from ehrsynth.data.statistics import Statistics
from ehrsynth.disclosure import LEAST, shared_bounds
from ehrsynth.errors import SchemaError
from ehrsynth.schema import CODE_DOMAINS, Column, Schema
from ehrsynth.study.federate.masks import secure_sum

Key = tuple[str, float | str]  # a column, and a value of it
ONE = 1.0


@dataclass(frozen=True)
class Told:
    """What a site tells of its training rows.

    Attributes:
        rows: how many there are.
        columns: all but codes of too few; of levels, bounds and the rest of them nothing is used but their decimals.
        counts: rows that have a value; each zero or large enough.
    """

    rows: int
    columns: tuple[Column, ...]
    counts: Mapping[Key, int]

    @classmethod
    def of(cls, matrix: Matrix, least: int) -> "Told":
        """Count the training rows of a site; no count that is told is of fewer than ``least`` patients."""
        table, counts, columns = matrix.train, dict[Key, int](), []
        for column in matrix.schema.columns:
            found = _told(column, table[column.name], least)
            if found or not _is_code(column):
                columns.append(column)
                counts |= {(column.name, value): count for value, count in found.items()}
        return cls(len(table), tuple(columns), counts)


def _is_code(column: Column) -> bool:
    return column.kind in ("binary", "count") and column.domain in CODE_DOMAINS


def _told(column: Column, cells: pd.Series, least: int) -> dict[float | str, int]:
    there = cells.dropna()
    gaps = len(cells) - len(there)
    n = len(cells) if gaps < least else len(there)  # a few gaps are not told
    if len(there) < least:
        return {}
    if _is_code(column):
        having = int((there > 0).sum())
        having = n if n - having < least else having
        if column.kind == "binary":
            return {ONE: having} if having >= least else {}
        high = shared_bounds(there.value_counts().sort_index())[1]
        return {0.0: n - having, high: having} if having >= least else {}
    if column.numeric:
        if len(there) < 2 * least:
            return {}
        low, high = shared_bounds(there.value_counts().sort_index())
        return {low: n} if low == high else {low: n // 2, high: n - n // 2}
    words = there.astype(str) if column.kind == "categorical" else there.astype(float)
    return _with_rest(words.value_counts(), n, least, OTHER if column.kind == "categorical" else None)


def _with_rest(counts: "pd.Series[int]", n: int, least: int, rest: str | None) -> dict[float | str, int]:
    """Return counts of which none is small, ``n`` in all: small ones together as ``rest``, or each as ``least``."""
    big = {value: int(count) for value, count in counts.items() if count >= least}
    few = counts[counts < least]
    if len(few):
        small = dict.fromkeys(few.index, least) if rest is None else {rest: max(int(few.sum()), least)}
        big = {value: big.get(value, 0) + small.get(value, 0) for value in [*big, *small]}
    commonest = max(big, key=lambda value: (big[value], str(value)))
    big[commonest] = max(big[commonest] + n - sum(big.values()), least)
    return big  # type: ignore[return-value]


def agreed(sites: Mapping[str, Matrix], preprocess: Preprocess, generator: torch.Generator) -> Schema:
    """Return the columns that sites agree on: those of the plan of their sums.

    Args:
        sites: by name; codes may be known to some of them only, other columns should be known to all.
        preprocess: its thresholds; rows are as their sites have prepared them.
        generator: of the masks.

    Raises:
        SchemaError: sites mean different things by a column.
        TableError: nothing is left, or an outcome is constant.
    """
    least = max(LEAST, preprocess.min_count)
    told = {name: Told.of(matrix, least) for name, matrix in sites.items()}
    columns = _merged({name: one.columns for name, one in told.items()})
    specs = {name: ColumnSpec(c.kind, c.role, c.domain, c.label) for name, c in columns.items()}
    counts = _summed(list(told.values()), columns, generator)
    plan = replace(preprocess, relations=(), impute="none").plan(specs, counts, counts)
    gaps = {name for matrix in sites.values() for name in columns if _may_be_empty(matrix.schema.by_name.get(name))}
    fitted = (
        replace(c, missing=c.kind != "binary" and c.name in gaps, decimals=columns[c.name].decimals)
        for c in plan.schema.columns
    )
    return Schema(tuple(fitted))


def _may_be_empty(own: Column | None) -> bool:
    return own is None or own.missing


def _merged(told: Mapping[str, tuple[Column, ...]]) -> dict[str, Column]:
    """Return the columns of all sites, in the order in which they are first named."""
    found, by = dict[str, Column](), dict[str, str]()
    for site, columns in told.items():
        for column in columns:
            known = found.setdefault(column.name, column)
            by.setdefault(column.name, site)
            if (known.numeric, known.role, known.domain) != (column.numeric, column.role, column.domain) or (
                not known.numeric and known.kind != column.kind
            ):
                raise SchemaError(
                    f"site {site}: column {column.name!r} is {_in_words(column)}, and at site {by[column.name]}"
                    f" {_in_words(known)}; prepare them with the same features"
                )
            if known.numeric:
                kind = known.kind if known.kind == column.kind else "continuous"
                decimals = max(known.decimals or 0, column.decimals or 0)
                found[column.name] = replace(known, kind=kind, decimals=decimals)
    return found


def _in_words(column: Column) -> str:
    return f"{column.kind} ({column.role}, {column.domain})"


def _summed(told: list[Told], columns: Mapping[str, Column], generator: torch.Generator) -> Statistics:
    """Return the counts of all sites together, of which the coordinator has seen the sums alone."""
    keys = sorted({key for one in told for key in one.counts}, key=lambda key: (key[0], str(key[1])))
    words = [np.array([one.rows, *(one.counts.get(key, 0) for key in keys)], np.uint64) for one in told]
    rows, *sums = secure_sum(words, generator).tolist()
    by_column: dict[str, dict[float | str, int]] = {name: {} for name in columns}
    for (name, value), count in zip(keys, sums, strict=True):
        by_column[name][value] = count
    sparse = {name for name, column in columns.items() if column.kind == "binary" and _is_code(column)}
    codes = pd.Series({name: by_column[name].get(ONE, 0) for name in columns if name in sparse}, dtype=np.int64)
    values = {
        name: pd.Series(counts, dtype=np.int64).sort_index() for name, counts in by_column.items() if name not in sparse
    }
    return Statistics(rows, values, codes, Counter())
