"""The data contract on one screen: what a column is, and whether a table fits.

A schema is frozen, ordered and round-trips through JSON. It travels with the matrix folder, with
every checkpoint and with every synthetic table, so that any two of them can be compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_float_dtype, is_numeric_dtype

from ehrsynth.errors import SchemaError, TableError
from ehrsynth.files import read_json, write_json

Kind = Literal["binary", "categorical", "continuous", "count"]
Role = Literal["feature", "outcome", "demographic", "sensitive", "quasi_identifier"]
Unseen = Literal["refuse", "zero"]  # what to do with a level the schema lacks, or a gap it does not allow

SUBJECT = "subject_id"  # names the patient in a matrix folder; no model and no metric sees it
CODE_DOMAINS = frozenset({"diagnosis", "procedure", "medication", "code"})  # what "codes per record" counts


@dataclass(frozen=True)
class Column:
    """One column of the EHR matrix.

    Attributes:
        name: unique name, as in the table's header.
        kind: ``binary`` (0/1), ``categorical`` (one of ``levels``), ``continuous`` or ``count``
            (a whole number, scaled like a continuous one).
        levels: the allowed values of a categorical column, in the order of its indicators.
        bounds: smallest and largest training value of a continuous or count column.
        missing: whether cells may be empty. A binary column is never empty: declare such a column
            categorical.
        role: what the column is to the study; ``outcome`` is what utility models predict.
        domain: where it comes from (``demographics``, ``diagnosis``, ``medication``, ``vital``, ...).
        label: plain words for people.
        decimals: digits after the point in the training data, so that decoding is an exact inverse.
    """

    name: str
    kind: Kind
    levels: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    missing: bool = False
    role: Role = "feature"
    domain: str = "other"
    label: str = ""
    decimals: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise SchemaError(f"column {self.name!r}: kind {self.kind!r} is none of {get_args(Kind)}")
        if self.role not in get_args(Role):
            raise SchemaError(f"column {self.name!r}: role {self.role!r} is none of {get_args(Role)}")
        if self.kind == "categorical" and len(set(self.levels)) != max(len(self.levels), 1):
            raise SchemaError(f"column {self.name!r}: a categorical column needs distinct levels")
        if self.numeric and (self.bounds is None or not self.bounds[0] <= self.bounds[1]):
            raise SchemaError(f"column {self.name!r}: a {self.kind} column needs bounds [low, high]")
        if self.kind == "binary" and self.missing:
            raise SchemaError(f"column {self.name!r}: binary columns cannot be missing; make it categorical")

    @property
    def numeric(self) -> bool:
        """Whether the column holds numbers to be scaled (continuous or count)."""
        return self.kind in ("continuous", "count")

    @property
    def is_code(self) -> bool:
        """Whether the column is a clinical code, counted by "codes per record"."""
        return self.kind == "binary" and self.domain in CODE_DOMAINS

    def check(self, cells: pd.Series, table: str, unseen: Unseen = "refuse", first_row: int = 0) -> None:
        """Raise a ``TableError`` naming table, column and first bad row unless ``cells`` fit."""
        whole = isinstance(cells.dtype, np.dtype) and cells.dtype.kind == "i"
        if self.kind == "binary" and whole and not (cells.to_numpy() & -2).any():
            return  # quick, for there may be thousands of columns
        bad, expected = self._misfit(cells, unseen == "zero")
        if bad.any():
            row = first_row + int(np.flatnonzero(bad.to_numpy())[0])
            count = f"{int(bad.sum())} of {len(cells)} rows do not fit"
            raise TableError(f"{table}: column {self.name!r}, row {row}: {expected} ({count})")

    def _misfit(self, cells: pd.Series, lenient: bool) -> tuple["pd.Series[bool]", str]:
        empty = cells.isna()
        if empty.any() and not self.missing and (self.kind == "binary" or not lenient):
            return empty, f"the cell is empty, but the schema declares the {self.kind} column never missing"
        if self.kind == "categorical":
            unknown = empty & False if lenient else ~(empty | as_text(cells).isin(self.levels))
            return unknown, f"not one of the schema's {len(self.levels)} levels; see schema.json"
        if is_bool_dtype(cells):
            cells = cells.astype(float)
        numbers = cells if is_numeric_dtype(cells) else pd.to_numeric(cells, errors="coerce")
        text = numbers.isna() & ~empty
        if text.any():
            return text, f"text where a {self.kind} column needs a number"
        if self.kind == "binary":
            return ~numbers.isin((0, 1)), "a binary column holds 0 or 1"
        if not np.isfinite(numbers[~empty].to_numpy(float)).all():
            return ~(empty | np.isfinite(numbers.to_numpy(float))), "the number is not finite"
        whole = ~(empty | (numbers % 1 == 0)) if self.kind == "count" else empty & False
        return whole, "a count column holds whole numbers, else it is continuous"


@dataclass(frozen=True)
class Schema:
    """The ordered columns of an EHR matrix."""

    columns: tuple[Column, ...]
    version: int = 1

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        doubled = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if doubled or not names:
            raise SchemaError(f"schema: duplicate columns {in_words(doubled)}" if doubled else "schema: no columns")

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Columns by their names."""
        return {column.name: column for column in self.columns}

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [column.name for column in self.columns]

    @property
    def text_columns(self) -> list[str]:
        """Columns to read from a file as the text that stands there: subjects and categorical columns."""
        return [SUBJECT, *(column.name for column in self.columns if column.kind == "categorical")]

    @property
    def outcomes(self) -> list[Column]:
        """Columns whose role is ``outcome``."""
        return [column for column in self.columns if column.role == "outcome"]

    def validate(self, frame: pd.DataFrame, table: str, unseen: Unseen = "refuse", first_row: int = 0) -> pd.DataFrame:
        """Check that ``frame`` fits and return its schema columns in schema order.

        Args:
            frame: decoded values; a ``subject_id`` column is allowed and left out of the result.
            table: what to call the table in an error, usually its file name.
            unseen: ``zero`` lets unknown levels pass, and gaps that no column but a binary one should have.
            first_row: the number, in the whole table, of the first row of a part of it.

        Raises:
            TableError: no row, a missing, extra or repeated column, or a cell that does not fit.
        """
        if not len(frame):
            raise TableError(f"{table}: the table has no rows; at least one is needed")
        if not frame.columns.is_unique:
            doubled = frame.columns[frame.columns.duplicated()]
            raise TableError(f"{table}: repeated columns {in_words(list(doubled))}; names must be unique")
        absent = [name for name in self.names if name not in frame.columns]
        if absent:
            raise TableError(f"{table}: missing columns {in_words(absent)}; the schema has {len(self.names)} columns")
        extra = [str(name) for name in frame.columns if name not in self.by_name and name != SUBJECT]
        if extra:
            raise TableError(f"{table}: extra columns {in_words(extra)}; the schema does not have them")
        for column in self.columns:
            column.check(frame[column.name], table, unseen, first_row)
        return frame[self.names]

    def require_outcomes(self, frame: pd.DataFrame, table: str) -> None:
        """Raise a ``TableError`` if an outcome has the same value in every row: nothing can be learned of it."""
        for column in self.outcomes:
            if frame[column.name].nunique() < 2:
                raise TableError(
                    f"{table}: column {column.name!r}: a constant outcome; rows of both classes are needed"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and dictionaries, as ``schema.json`` holds them."""
        return {"version": self.version, "columns": [_plain(asdict(column)) for column in self.columns]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Schema":
        """Inverse of ``to_dict``.

        Raises:
            SchemaError: an unknown version, key, kind or role, or a value of the wrong type.
        """
        if not isinstance(content, Mapping) or not isinstance(content.get("columns"), list | tuple):
            raise SchemaError("schema: an object with version and a list of columns was expected")
        if content.get("version") != 1:
            raise SchemaError(f"schema: version {content.get('version')!r} is unknown; this program reads version 1")
        return cls(tuple(_read_column(entry, number) for number, entry in enumerate(content["columns"])))

    def save(self, path: Path) -> None:
        """Write ``schema.json``."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> "Schema":
        """Read ``schema.json``; a ``SchemaError`` names the file."""
        try:
            return cls.from_dict(read_json(path))
        except SchemaError as error:
            raise SchemaError(f"{path}: {error}") from None


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in entry.items()}


_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {  # people write schemas by hand
    **dict.fromkeys(("name", "kind", "role", "domain", "label"), ("text", lambda value: isinstance(value, str))),
    "levels": ("a list of text", lambda value: _each(value, (str, int, bool))),
    "bounds": (
        "[low, high]",
        lambda value: _each(value, (int, float)) and len(value) == 2 and all(map(isfinite, value)),
    ),
    "missing": ("true or false", lambda value: isinstance(value, bool)),
    "decimals": ("a whole number", lambda value: type(value) is int and value >= 0),
}


def _read_column(entry: Any, number: int) -> Column:
    """Read one entry of ``schema.json``; ``number`` names it where its own name cannot."""
    if not isinstance(entry, Mapping):
        raise SchemaError(f"schema: column {number}: an object with name and kind was expected")
    column = f"schema: column {entry.get('name', number)!r}"
    unknown = sorted(set(entry) - set(_TYPES))
    if unknown or entry.get("name") is None or entry.get("kind") is None:
        raise SchemaError(f"{column}: needs name and kind; unknown keys {unknown}")
    given = {key: value for key, value in entry.items() if value is not None}
    for key, value in given.items():
        words, fits = _TYPES[key]
        if not fits(value):
            raise SchemaError(f"{column}: {key}: {words} was expected")
    levels, bounds = tuple(map(str, given.get("levels", ()))), given.get("bounds")
    return Column(**{**given, "levels": levels, "bounds": None if bounds is None else tuple(bounds)})


def _each(values: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(values, list) and all(type(value) in kinds for value in values)


def as_text(cells: pd.Series) -> pd.Series:
    """Return cells as the text of levels; whole numbers lose the point that pandas gives them beside gaps."""
    text = cells.astype(str)
    return text.str.removesuffix(".0") if is_float_dtype(cells) else text


def in_words(names: Sequence[str], most: int = 5) -> str:
    """Return names for a message, not all of many."""
    shown = ", ".join(map(repr, names[:most]))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
