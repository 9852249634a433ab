"""From plausible to encodable: every step is fitted on training rows only, applied to all, and counted.

The steps are those of the JMIR AI 2024 tutorial on synthetic EHR data, which fitted some of them before its split.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ehrsynth.data.encoding import as_decoded, fit_numbers
from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.split import require_rows
from ehrsynth.errors import OptionError, TableError
from ehrsynth.schema import SUBJECT, Column, Schema

Tables = Mapping[str, pd.DataFrame]

OTHER = "other"  # the level that takes what training rows have never shown


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
    """Tables that fit a schema.

    Attributes:
        schema: the columns, fitted on training rows.
        tables: train, validation and holdout rows, with ``subject_id``.
        rare: the codes left out.
        steps: rows and columns after each step, with the counts behind them.
    """

    schema: Schema
    tables: dict[str, pd.DataFrame]
    rare: tuple[RareCode, ...]
    steps: list[dict[str, Any]]


class Preprocess:
    """The steps between the wide table and the matrix.

    Args:
        outliers: what happens to numbers outside the source's plausible range: ``clip`` them to it, or ``drop`` the
            record, as the tutorial does.
        max_missing: columns with a larger missing share in training are left out.
        min_prevalence: codes with a smaller share of the training rows are left out, and kept aside.
        min_count: and so are codes of fewer training rows than this.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(
        self, *, outliers: str = "clip", max_missing: float = 0.5, min_prevalence: float = 5e-5, min_count: int = 1
    ) -> None:
        if outliers not in ("clip", "drop"):
            raise OptionError(f"preprocess.outliers={outliers}: clip or drop was expected")
        for name, share in (("max_missing", max_missing), ("min_prevalence", min_prevalence)):
            if not (isinstance(share, float | int) and 0 <= share <= 1):
                raise OptionError(f"preprocess.{name}={share}: a share from 0 to 1 was expected")
        if not isinstance(min_count, int) or min_count < 0:
            raise OptionError(f"preprocess.min_count={min_count}: a whole number of training rows was expected")
        self.outliers = outliers
        self.max_missing = max_missing
        self.min_prevalence = min_prevalence
        self.min_count = min_count

    def apply(self, tables: Tables, specs: Mapping[str, ColumnSpec]) -> Prepared:
        """Fit on ``tables["train"]`` and apply to all.

        Args:
            tables: the wide rows of each part of the split; they are not changed.
            specs: what the source knows about the columns.

        Raises:
            TableError: less than two rows are left in a part, or an outcome is constant in training.
        """
        steps: list[dict[str, Any]] = []

        def done(step: str, columns: Mapping[str, ColumnSpec], detail: Mapping[str, int]) -> None:
            rows = sum(len(table) for table in tables.values())
            steps.append({"step": step, "rows": rows, "columns": len(columns), "detail": dict(detail)})

        tables, outliers = self._without_outliers(tables, specs)
        done(f"outliers: {self.outliers}", specs, outliers)
        empty = self._mostly_missing(tables["train"], specs)
        specs = {name: spec for name, spec in specs.items() if name not in empty}
        done("columns mostly missing", specs, empty)
        rare = self._rare_codes(tables["train"], specs)
        counts = {code.column.name: round(code.prevalence * len(tables["train"])) for code in rare}
        specs = {name: spec for name, spec in specs.items() if name not in counts}
        done("rare codes", specs, counts)
        tables, gaps = _without_new_gaps(tables, specs)
        done("rows with gaps that training never has", specs, gaps)
        tables, specs, unseen = _known_levels(tables, specs)
        done("levels that training never has", specs, unseen)
        for name, table in tables.items():
            require_rows(table, f"{name}, after preprocessing")
        schema = Schema(tuple(_fitted(name, spec, tables["train"][name]) for name, spec in specs.items()))
        fitting = {name: as_decoded(table[[SUBJECT, *schema.names]], schema) for name, table in tables.items()}
        return Prepared(schema, fitting, rare, steps)

    def _without_outliers(self, tables: Tables, specs: Mapping[str, ColumnSpec]) -> tuple[Tables, dict[str, int]]:
        found: Counter[str] = Counter()
        cleaned = {}
        for part, table in tables.items():
            implausible = np.zeros(len(table), bool)
            clipped = {}
            for name, spec in specs.items():
                if spec.plausible is not None:
                    low, high = spec.plausible
                    outside = ((table[name] < low) | (table[name] > high)).to_numpy()
                    found[name] += int(outside.sum())
                    implausible |= outside
                    clipped[name] = table[name].clip(low, high)
            cleaned[part] = table.assign(**clipped) if self.outliers == "clip" else table[~implausible]
        return cleaned, dict(+found)

    def _mostly_missing(self, train: pd.DataFrame, specs: Mapping[str, ColumnSpec]) -> dict[str, int]:
        gaps = train[list(specs)].isna().sum()
        return {str(name): int(count) for name, count in gaps.items() if count > self.max_missing * len(train)}

    def _rare_codes(self, train: pd.DataFrame, specs: Mapping[str, ColumnSpec]) -> tuple[RareCode, ...]:
        binary = (_column(name, spec) for name, spec in specs.items() if spec.kind == "binary")
        codes = [column for column in binary if column.is_code]
        counts = train[[column.name for column in codes]].sum()
        least = max(self.min_count, self.min_prevalence * len(train))
        return tuple(RareCode(c, float(counts[c.name] / len(train))) for c in codes if counts[c.name] < least)


def _without_new_gaps(tables: Tables, specs: Mapping[str, ColumnSpec]) -> tuple[Tables, dict[str, int]]:
    """Leave out validation and holdout rows with a gap in a column that is complete in training: they have no code."""
    complete = [name for name in specs if not tables["train"][name].isna().any()]
    gaps = {part: table[complete].isna().any(axis=1) for part, table in tables.items()}
    counts = {part: int(gap.sum()) for part, gap in gaps.items() if gap.any()}
    return {part: table[~gaps[part]] if part in counts else table for part, table in tables.items()}, counts


def _known_levels(
    tables: Tables, specs: Mapping[str, ColumnSpec]
) -> tuple[Tables, dict[str, ColumnSpec], dict[str, int]]:
    """Learn undeclared levels from training, with one more, ``OTHER``, for what it has never shown."""
    specs, unseen = dict(specs), Counter[str]()
    for name, spec in specs.items():
        if spec.kind == "categorical" and not spec.levels:
            seen = sorted(tables["train"][name].dropna().astype(str).unique())
            specs[name] = replace(spec, levels=tuple(dict.fromkeys([*seen, OTHER])))
            for part, table in tables.items():
                new = table[name].notna() & ~table[name].astype(str).isin(seen)
                unseen[name] += int(new.sum())
                tables = {**tables, part: table.assign(**{name: table[name].mask(new, OTHER)})}
    return tables, specs, dict(+unseen)


def _fitted(name: str, spec: ColumnSpec, train: pd.Series) -> Column:
    column = replace(_column(name, spec), missing=bool(train.isna().any()))
    if column.role == "outcome" and train.nunique() < 2:
        raise TableError(f"train: column {name!r}: a constant outcome; nothing can be learned from it")
    return fit_numbers(column, train) if column.numeric else column


def _column(name: str, spec: ColumnSpec) -> Column:
    bounds = (0.0, 0.0) if spec.kind in ("continuous", "count") else None  # replaced by the training rows' own
    return Column(name, spec.kind, spec.levels, bounds, role=spec.role, domain=spec.domain, label=spec.label)
