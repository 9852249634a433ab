"""What kind of column an undeclared one is: for the training rows to tell, and for the others to follow."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.features.table import Undeclared
from ehrsynth.data.inference import FLAGS, infer_schema
from ehrsynth.data.tables import EMPTY
from ehrsynth.data.wide import Wide
from ehrsynth.errors import TableError
from ehrsynth.schema import Column, as_text

NO_WORDS = {*EMPTY, ""}


def tell_kinds(wide: Wide, training: NDArray[np.int64]) -> tuple[Wide, list[dict[str, Any]]]:
    """Give every undeclared column the kind that its training rows show.

    Numbers, 0/1 and categories are told apart as ``ehrsynth.data.inference`` does. What no matrix can hold (dates,
    identifiers, free text, nothing at all) is left out and reported. A cell elsewhere that is not of its column's kind
    becomes missing, and is counted.

    Args:
        wide: all rows.
        training: the numbers of those to look at.

    Returns:
        The rows, and the steps for provenance.

    Raises:
        TableError: the training rows leave no column, or do not tell the kind of one that has a role.
    """
    asked = {name: spec for name, spec in wide.specs.items() if isinstance(spec, Undeclared)}
    if not asked:
        return wide, []
    train = wide.cells.iloc[training]
    cells = pd.DataFrame({name: _as_read(train[name]) for name in asked}, index=train.index)
    unfit = [name for name in asked if not _fits(cells[[name]])]
    for name in unfit:
        if asked[name].role != "feature":
            infer_schema(cells[[name]], f"column {name!r} has the role {asked[name].role}, but in training rows")
    fit = [name for name in asked if name not in unfit]
    if not fit:
        raise TableError(f"train: none of the {len(unfit)} columns holds numbers or categories")
    outcomes = [name for name in fit if asked[name].role == "outcome"]
    columns = infer_schema(cells[fit], "train", outcomes=outcomes).by_name
    new = {name: _as_kind(wide.cells[name], column) for name, column in columns.items()}
    specs = {name: _spec(spec, columns[name]) if name in columns else spec for name, spec in wide.specs.items()}
    specs = {name: spec for name, spec in specs.items() if name not in unfit}
    foreign = {name: int((cells.isna() & ~_empty(wide.cells[name])).sum()) for name, cells in new.items()}
    counted = {
        "dates, identifiers, free text": {name: int(train[name].notna().sum()) for name in unfit},
        "cells of a kind that training never has": {name: count for name, count in foreign.items() if count},
    }
    steps = [
        {"step": step, "rows": len(wide), "columns": len(specs), "detail": detail} for step, detail in counted.items()
    ]
    return replace(wide, specs=specs, cells=wide.cells.drop(columns=unfit).assign(**new)), steps


def _as_read(cells: pd.Series) -> pd.Series:
    """Return numbers if all that is not empty are numbers, else the text as it stands."""
    if not _is_text(cells):
        return cells
    numbers = pd.to_numeric(cells.mask(_empty(cells)), errors="coerce")
    return numbers if numbers.notna().any() and bool((numbers.notna() | _empty(cells)).all()) else cells


def _fits(cells: pd.DataFrame) -> bool:
    try:
        infer_schema(cells, "train")
    except TableError:
        return False
    return True


def _spec(spec: ColumnSpec, column: Column) -> ColumnSpec:
    role = column.role if spec.role == "feature" else spec.role
    levels = column.levels if set(column.levels) <= {"0", "1"} else ()  # other levels are for preprocessing to learn
    return ColumnSpec(column.kind, role, column.domain, spec.label, levels)


def _as_kind(cells: pd.Series, column: Column) -> pd.Series:
    """Return the cells as the kind of column; what is not of that kind is missing."""
    flags = column.kind == "binary" or (column.levels and set(column.levels) <= {"0", "1"})
    if flags:
        told = as_text(cells.astype(float) if is_bool_dtype(cells) else cells).str.lower().map(FLAGS)
        known = told.where(cells.notna())
        return known if column.kind == "categorical" else pd.to_numeric(known)
    if column.kind == "categorical":
        return as_text(cells).where(cells.notna())
    numbers = pd.to_numeric(cells.mask(_empty(cells)), errors="coerce").astype(float)
    finite = numbers.abs() < float("inf")
    return numbers.where(finite & (numbers % 1 == 0) if column.kind == "count" else finite)


def _empty(cells: pd.Series) -> "pd.Series[bool]":
    if not _is_text(cells):
        return cells.isna()
    return cells.isna() | cells.astype("str").str.lower().isin(NO_WORDS)


def _is_text(cells: pd.Series) -> bool:
    return not is_numeric_dtype(cells) and cells.dtype.kind not in "mM"
