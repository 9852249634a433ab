"""From plausible to encodable: every step is fitted on training rows only, applied to all, and counted.

The steps are those of the JMIR AI 2024 tutorial on synthetic EHR data, which fitted some of them before its split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from ehrsynth.data.cleaning import (
    Outliers,
    Parts,
    Relation,
    imputed,
    mostly_missing,
    with_known_levels,
    without_contradictions,
    without_new_gaps,
    without_outliers,
)
from ehrsynth.data.encoding import as_decoded, fit_numbers
from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.split import require_rows
from ehrsynth.data.wide import Wide
from ehrsynth.errors import OptionError, TableError
from ehrsynth.schema import Column, Schema

Impute = Literal["none", "marginal"]


@dataclass(frozen=True)
class RareCode:
    """A code too rare to train on, kept so that it can be brought back at generation.

    Attributes:
        column: what the code would have been in the schema.
        prevalence: its share of the training rows.
    """

    column: Column
    prevalence: float


@dataclass(frozen=True, eq=False)
class Prepared:
    """Rows that fit a schema.

    Attributes:
        schema: the columns, fitted on training rows.
        parts: train, validation and holdout rows, codes as sparse as they came.
        rare: the codes left out.
        steps: rows and columns after each step, with the counts behind them.
    """

    schema: Schema
    parts: dict[str, Wide]
    rare: tuple[RareCode, ...]
    steps: list[dict[str, Any]]


class Preprocess:
    """The steps between the wide rows and the matrix.

    Args:
        outliers: what happens to numbers outside the plausible range of their column: ``clip`` them to it, ``drop`` the
            record, make them ``missing``, or ``keep`` them.
        relations: numbers of a record in a fixed order, such as ``diastolic < systolic``. A record that breaks one is
            dropped; with ``outliers=missing`` both numbers become missing instead.
        max_missing: columns with a larger missing share in training are left out, and those without any value.
        impute: ``none`` keeps gaps, for models to learn; ``marginal`` fills each with an observed value of the training
            rows, drawn at random.
        min_prevalence: codes with a smaller share of the training rows are left out, and kept aside.
        min_count: and so are codes of fewer training rows than this; 0 keeps also codes that no training row has, so
            that other rows decide which columns there are.
        min_level: levels of a category that nobody declared become ``other`` if fewer training rows have them, since a
            rare word may point at a patient; 1 keeps all. Those of an outcome stay.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(
        self,
        *,
        outliers: Outliers = "clip",
        relations: Sequence[str] = (),
        max_missing: float = 0.5,
        impute: Impute = "none",
        min_prevalence: float = 5e-5,
        min_count: int = 1,
        min_level: int = 10,
    ) -> None:
        for name, choice, known in (("outliers", outliers, get_args(Outliers)), ("impute", impute, get_args(Impute))):
            if choice not in known:
                raise OptionError(f"preprocess.{name}={choice}: one of {', '.join(known)} was expected")
        if isinstance(relations, str):
            raise OptionError("preprocess.relations: a list such as ['diastolic < systolic'] was expected")
        for name, share in (("max_missing", max_missing), ("min_prevalence", min_prevalence)):
            if not (isinstance(share, float | int) and 0 <= share <= 1):
                raise OptionError(f"preprocess.{name}={share}: a share from 0 to 1 was expected")
        if not isinstance(min_count, int) or min_count < 0:
            raise OptionError(f"preprocess.min_count={min_count}: a whole number of training rows was expected")
        if not isinstance(min_level, int) or min_level < 1:
            raise OptionError(f"preprocess.min_level={min_level}: a whole number of training rows, 1 or more, expected")
        self.outliers: Outliers = outliers
        self.relations = [str(Relation.read(words)) for words in relations]
        self.max_missing = max_missing
        self.impute: Impute = impute
        self.min_prevalence = min_prevalence
        self.min_count = min_count
        self.min_level = min_level

    def apply(self, parts: Parts, *, seed: int = 0) -> Prepared:
        """Fit on ``parts["train"]`` and apply to all.

        Args:
            parts: the rows of each part of the split; they are not changed.
            seed: of imputation.

        Raises:
            OptionError: a relation is between columns that are not numbers.
            TableError: a part has less than two rows, before or after, or an outcome is constant or mostly missing.
        """
        steps: list[dict[str, Any]] = []

        def done(step: str, found: tuple[Parts, dict[str, int]]) -> Parts:
            parts, detail = found
            rows = sum(map(len, parts.values()))
            steps.append({"step": step, "rows": rows, "columns": len(parts["train"].specs), "detail": detail})
            for name, part in parts.items():
                require_rows(part.cells, f"{name}, after preprocessing")
            return parts

        relations = [Relation.read(words) for words in self.relations]
        for relation in relations:
            relation.check(parts["train"].specs)
        parts = done(f"outliers: {self.outliers}", without_outliers(parts, self.outliers))
        if relations:
            parts = done("relations", without_contradictions(parts, relations, self.outliers))
        empty = mostly_missing(parts["train"], self.max_missing)
        parts = done("columns mostly missing", (_without(parts, empty), empty))
        few = self._rare_codes(parts["train"])
        rare = _kept_aside(few, parts["train"])
        told = {"codes of too few training rows": len(rare), "codes that no training row has": len(few) - len(rare)}
        parts = done("rare codes", (_without(parts, few), {what: count for what, count in told.items() if count}))
        if self.impute == "marginal":
            left = [relation for relation in relations if {relation.one, relation.other} <= set(parts["train"].specs)]
            parts = done("gaps filled", imputed(parts, left, seed))
            if left:
                parts = done("relations, gaps filled", without_contradictions(parts, left, "drop"))
        parts = done("rows with gaps that training never has", without_new_gaps(parts))
        parts = done("levels that training rarely or never has", with_known_levels(parts, self.min_level))
        train = parts["train"]
        if not train.specs:
            raise TableError("train, after preprocessing: no column is left")
        schema = Schema(tuple(_fitted(name, spec, train) for name, spec in train.specs.items()))
        return Prepared(schema, {name: _typed(part, schema) for name, part in parts.items()}, rare, steps)

    def _rare_codes(self, train: Wide) -> dict[str, int]:
        """Return the codes that are left out, and how many training rows have each."""
        sums = train.codes.sum(axis=0, dtype=np.int64)
        counts = dict(zip(train.code_names, map(int, sums), strict=True))
        least = max(self.min_count, self.min_prevalence * len(train))
        rare = {}
        for name, spec in train.specs.items():
            if spec.kind == "binary" and _column(name, spec).is_code:
                count = counts[name] if name in counts else int(train.cells[name].sum())
                if count < least:
                    rare[name] = count
        return rare


def _kept_aside(few: Mapping[str, int], train: Wide) -> tuple[RareCode, ...]:
    """Return the codes that may come back; of one that no training row has, only the other parts could tell."""
    return tuple(RareCode(_column(name, train.specs[name]), count / len(train)) for name, count in few.items() if count)


def _without(parts: Parts, names: Mapping[str, int]) -> Parts:
    if not names:
        return parts
    specs = {name: spec for name, spec in parts["train"].specs.items() if name not in names}
    return {part: wide.only(specs) for part, wide in parts.items()}


def _fitted(name: str, spec: ColumnSpec, train: Wide) -> Column:
    if name not in train.cells:
        return _column(name, spec)
    cells = train.cells[name]
    column = replace(_column(name, spec), missing=bool(cells.isna().any()))
    if column.role == "outcome" and cells.nunique() < 2:
        raise TableError(f"train: column {name!r}: a constant outcome; nothing can be learned from it")
    return fit_numbers(column, cells) if column.numeric else column


def _column(name: str, spec: ColumnSpec) -> Column:
    bounds = (0.0, 0.0) if spec.kind in ("continuous", "count") else None  # replaced by the training rows' own
    return Column(name, spec.kind, spec.levels, bounds, role=spec.role, domain=spec.domain, label=spec.label)


def _typed(part: Wide, schema: Schema) -> Wide:
    """Return the rows with their cells in the types that decoding returns."""
    dense = tuple(column for column in schema.columns if column.name in part.cells)
    cells = (
        as_decoded(part.cells[[column.name for column in dense]], Schema(dense))
        if dense
        else pd.DataFrame(index=part.cells.index)
    )
    return replace(part, cells=cells)
