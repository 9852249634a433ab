"""What kind of column an undeclared one is: training rows decide, and the other rows follow.

For tables of other people the guess becomes their schema, which is shown and which ``schema=`` overrides; in
``prepare`` it is the kind of each column of a flat table.
"""

import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import infer_dtype, is_bool_dtype, is_numeric_dtype

from ehrsynth import words
from ehrsynth.data import parsing
from ehrsynth.data.coverage import UNFIT
from ehrsynth.data.encoding import fit_numbers
from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.features.table import Undeclared
from ehrsynth.data.notation import coded, dated, decimal_of, unclear
from ehrsynth.data.wide import Wide
from ehrsynth.errors import OptionError, TableError
from ehrsynth.schema import SUBJECT, Column, Kind, Schema, as_text

MOST_LEVELS = 100  # of a text column that nobody has declared; with more it would hold names, numbers or sentences
ENOUGH_ROWS = 20  # to tell from the share of distinct values
ENOUGH_CODES = 10  # so many 0/1 columns beside one another are codes, not answers to a few questions
DEMOGRAPHICS = re.compile(r"(sex|gender|race|ethnicity)([_=:].*)?|age", re.IGNORECASE)

DATES = "dates or times, which no metric here can judge"
_DATES = ("date", "datetime", "datetime64", "time", "timedelta", "timedelta64", "period")
_DATE = r"\d{4}-\d{1,2}-\d{1,2}([ T].*)?|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}( .*)?|\d{1,2}:\d{2}(:\d{2})?"
_IDENTIFIER = re.compile(r"(.*[_ .-])?(id|mrn|ssn|nbr|uuid|guid)", re.IGNORECASE)


class Unclear(str):
    """Why a column cannot be judged, if it may well hold quantities: nobody would leave it out unasked."""

    __slots__ = ()


def infer_schema(frame: pd.DataFrame, table: str, *, outcomes: Collection[str] = ()) -> Schema:
    """Guess the schema of a training table.

    Booleans and columns of 0 and 1 are binary; with empty cells they are categorical with the levels 0 and 1, since
    binary columns are never missing. Text is categorical, whole numbers are counts, other numbers continuous. Columns
    named sex, gender, race, ethnicity or age are demographics; ten or more other binary columns are codes.

    Args:
        frame: decoded values; a ``subject_id`` column is left out.
        table: what to call it in an error, usually its file name.
        outcomes: columns that get the role ``outcome``.

    Raises:
        TableError: no columns, a name that is there twice, or columns that cannot be judged: empty in every row, dates,
            numbers that are not finite, identifiers, and text that looks like an identifier or free text, which would
            make patients' own values the levels of a schema. All of them are named.
        OptionError: an outcome that the table does not have.
    """
    names = frame.columns.drop(SUBJECT, errors="ignore")
    if names.empty:
        raise TableError(f"{table}: no columns besides the subject; at least one is needed")
    if doubled := sorted(set(names[names.duplicated()])):
        raise TableError(f"{table}: column {doubled[0]!r} is there more than once; names must be unique")
    if absent := sorted(set(outcomes) - set(names)):
        raise OptionError(f"outcomes=[{absent[0]}]: {table} has no such column")
    found = {str(name): _column(str(name), frame[name]) for name in names}
    unfit = {name: reason for name, reason in found.items() if isinstance(reason, str)}
    if unfit:
        listed = "; ".join(f"column {name!r}: {reason}" for name, reason in unfit.items())
        raise TableError(
            f"{table}: {listed}; leave {'it' if len(unfit) == 1 else 'them'} out with {dropping(unfit)}"
            " (subject=NAME if it names the patient), or declare every column in schema="
        )
    columns = [column for column in found.values() if isinstance(column, Column)]
    return Schema(tuple(_meaning(columns, set(outcomes))))


def infer_kinds(wide: Wide, training: NDArray[np.int64]) -> tuple[Wide, list[dict[str, Any]]]:
    """Give every undeclared column the kind that its training rows show.

    What no matrix can hold (dates, identifiers, free text, nothing at all) is left out and reported. A cell elsewhere
    that is not of its column's kind becomes missing, and is counted.

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
    table = parsing.decimal_sign(train[name] for name in asked)
    cells = pd.DataFrame({name: parsing.quantities(train[name], table) for name in asked}, index=train.index)
    found = {name: _column(name, cells[name]) for name in asked}
    if unclear := {name: reason for name, reason in found.items() if isinstance(reason, Unclear)}:
        listed = "; ".join(f"column {name!r}: {reason}" for name, reason in unclear.items())
        raise TableError(
            f"train: {listed}; mend the file, or leave columns out with {dropping(unclear, 'source.drop')}"
        )
    unfit = [name for name, column in found.items() if isinstance(column, str)]
    for name in unfit:
        if asked[name].role != "feature":
            infer_schema(cells[[name]], f"column {name!r} has the role {asked[name].role}, but in training rows")
    fit = [name for name in asked if name not in unfit]
    if not fit:
        raise TableError(f"train: none of the {len(unfit)} columns holds numbers or categories")
    outcomes = [name for name in fit if asked[name].role == "outcome"]
    columns = infer_schema(cells[fit], "train", outcomes=outcomes).by_name
    signs = {name: decimal_of(train[name], table) for name in columns}
    new = {name: _as_kind(wide.cells[name], column, signs[name]) for name, column in columns.items()}
    specs = {name: _spec(spec, columns[name]) if name in columns else spec for name, spec in wide.specs.items()}
    specs = {name: spec for name, spec in specs.items() if name not in unfit}
    foreign = {name: int((cells.isna() & ~parsing.gaps(wide.cells[name])).sum()) for name, cells in new.items()}
    counted = {
        UNFIT: {name: int(train[name].notna().sum()) for name in unfit},
        "cells of a kind that training never has": {name: count for name, count in foreign.items() if count},
    }
    steps = [
        {"step": step, "rows": len(wide), "columns": len(specs), "detail": detail} for step, detail in counted.items()
    ]
    return replace(wide, specs=specs, cells=wide.cells.drop(columns=unfit).assign(**new)), steps


def _spec(spec: ColumnSpec, column: Column) -> ColumnSpec:
    role = column.role if spec.role == "feature" else spec.role
    levels = column.levels if set(column.levels) <= {"0", "1"} else ()  # other levels are for preprocessing to learn
    return ColumnSpec(column.kind, role, column.domain, spec.label, levels)


def _as_kind(cells: pd.Series, column: Column, decimal: str) -> pd.Series:
    """Return the cells as the kind of column; what is not of that kind is missing."""
    if column.kind == "binary":
        return pd.to_numeric(parsing.known_flags(cells))
    if column.kind == "categorical":
        return parsing.known_flags(cells) if set(column.levels) <= {"0", "1"} else as_text(cells).where(cells.notna())
    numbers = parsing.numbers(cells, decimal).astype(float)
    finite = numbers.abs() < float("inf")
    return numbers.where(finite & (numbers % 1 == 0) if column.kind == "count" else finite)


def require_values(frame: pd.DataFrame, table: str, option: str = "drop") -> None:
    """Raise a ``TableError`` if a column holds lists, structures or bytes; ``option`` leaves columns out."""
    for name in frame.columns:
        if parsing.is_nested(frame[name]):
            raise TableError(
                f"{table}: column {name!r}: lists, structures or bytes; one value a cell was expected. Leave it out"
                f" with {dropping([name], option)}"
            )


def dropping(names: Collection[str], option: str = "drop") -> str:
    """Return the option that leaves the columns out, ready to be pasted into a shell."""
    return words.option(option, list(names))


def _column(name: str, cells: pd.Series) -> Column | str:
    """Return the column, or why it cannot be judged."""
    seen = cells.dropna()
    if seen.empty:
        return f"empty in all {len(cells)} rows"
    missing = len(seen) < len(cells)
    if infer_dtype(seen) in _DATES:
        return DATES
    if _is_flag(seen):
        return Column(name, "categorical", ("0", "1"), missing=True) if missing else Column(name, "binary")
    if not is_numeric_dtype(seen):
        return _text(name, seen, missing)
    numbers = seen.to_numpy(float)
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(np.isinf(cells.to_numpy(float, na_value=np.nan)))[0])
        return f"row {row} holds a number that is not finite"
    whole = bool((numbers % 1 == 0).all())
    if whole and (np.abs(numbers) < 1e15).all() and dated(seen.astype(np.int64).astype(str)):
        return DATES
    if whole and not missing and _numbers_rows(name, numbers):
        return f"looks like an identifier ({len(seen)} distinct whole numbers in {len(seen)} rows)"
    kind: Kind = "count" if whole else "continuous"
    return fit_numbers(Column(name, kind, bounds=(0, 0), missing=missing), seen)


def _text(name: str, seen: pd.Series, missing: bool) -> Column | str:
    text = seen.astype(str)
    if text.str.fullmatch(_DATE).all() or dated(text):
        return DATES
    if not isinstance(seen.dtype, pd.CategoricalDtype) and (reason := unclear(text)) is not None:
        return Unclear(reason)
    levels = text.unique()
    if len(levels) <= MOST_LEVELS and (len(seen) < ENOUGH_ROWS or len(levels) <= len(seen) / 2):
        return Column(name, "categorical", tuple(sorted(levels)), missing=missing)
    if coded(text):
        return f"looks like codes of digits with zeros before them ({len(levels)} distinct ones in {len(seen)} rows)"
    words = pd.to_numeric(text, errors="coerce").isna().to_numpy()
    if 2 * words.sum() < len(seen):
        first = seen.index[np.flatnonzero(words)[0]]
        return f"numbers, but {int(words.sum())} of {len(seen)} cells are text (row {first} the first)"
    return f"looks like an identifier or free text ({len(levels)} distinct values in {len(seen)} rows)"


def _is_flag(seen: pd.Series) -> bool:
    if is_bool_dtype(seen.infer_objects()) or (is_numeric_dtype(seen) and seen.isin((0, 1)).all()):
        return True
    return not is_numeric_dtype(seen) and bool(seen.astype(str).str.lower().isin(parsing.FLAGS).all())


def _numbers_rows(name: str, numbers: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> bool:
    """Tell whether the numbers name the rows: all distinct, and in a row or under the name of an identifier."""
    if len(numbers) < ENOUGH_ROWS or len(np.unique(numbers)) < len(numbers):
        return False
    return _IDENTIFIER.fullmatch(name) is not None or bool((np.diff(numbers) == 1).all())


def _meaning(columns: list[Column], outcomes: Collection[str]) -> list[Column]:
    people = {column.name for column in columns if DEMOGRAPHICS.fullmatch(column.name)} - set(outcomes)
    codes = {column.name for column in columns if column.kind == "binary"} - people - set(outcomes)
    if len(codes) < ENOUGH_CODES:
        codes = set()
    meant = []
    for column in columns:
        if column.name in outcomes:
            column = replace(column, role="outcome", domain="outcome")
        elif column.name in people:
            column = replace(column, role="demographic", domain="demographics")
        elif column.name in codes:
            column = replace(column, domain="code")
        meant.append(column)
    return meant
