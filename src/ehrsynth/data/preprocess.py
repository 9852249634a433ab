"""From plausible to encodable: every step is fitted on training rows only, applied to all, and counted.

The steps are those of the JMIR AI 2024 tutorial on synthetic EHR data, which fitted some of them before its split.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ehrsynth.data.encoding import as_decoded, fit_numbers
from ehrsynth.data.sources.base import ColumnSpec
from ehrsynth.data.split import SPLITS
from ehrsynth.errors import OptionError, TableError
from ehrsynth.schema import Column, Schema

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
            if not 0 <= share <= 1:
                raise OptionError(f"preprocess.{name}={share}: a share from 0 to 1 was expected")
        if min_count < 0:
            raise OptionError(f"preprocess.min_count={min_count}: a whole number of training rows was expected")
        self.outliers = outliers
        self.max_missing = max_missing
        self.min_prevalence = min_prevalence
        self.min_count = min_count

    def apply(self, tables: Mapping[str, pd.DataFrame], specs: Mapping[str, ColumnSpec]) -> Prepared:
        """Fit on ``tables["train"]`` and apply to all.

        Args:
            tables: the wide rows of each part of the split; they are not changed.
            specs: what the source knows about the columns.

        Raises:
            TableError: no rows are left in a part, or an outcome is constant in training.
        """
        work = _Work({name: tables[name] for name in SPLITS}, dict(specs))
        self._outliers(work)
        self._mostly_missing(work)
        rare = self._rare_codes(work)
        _gaps(work)
        schema = _fit(work)
        parts = {name: as_decoded(table, schema) for name, table in work.tables.items()}
        return Prepared(schema, parts, rare, work.steps)

    def _outliers(self, work: "_Work") -> None:
        found: dict[str, int] = {}
        wrong = {name: np.zeros(len(table), bool) for name, table in work.tables.items()}
        for column, spec in work.specs.items():
            if spec.plausible is None:
                continue
            low, high = spec.plausible
            for name, table in work.tables.items():
                outside = ((table[column] < low) | (table[column] > high)).to_numpy()
                found[column] = found.get(column, 0) + int(outside.sum())
                wrong[name] |= outside
                if self.outliers == "clip" and outside.any():
                    work.tables[name] = table = table.assign(**{column: table[column].clip(low, high)})
        if self.outliers == "drop":
            work.tables = {name: table[~wrong[name]] for name, table in work.tables.items()}
        work.done(f"outliers ({self.outliers})", {column: count for column, count in found.items() if count})

    def _mostly_missing(self, work: "_Work") -> None:
        share = work.train[list(work.specs)].isna().mean()
        dropped = share[share > self.max_missing]
        work.leave_out(list(dropped.index))
        work.done("mostly missing columns", {name: round(len(work.train) * s) for name, s in dropped.items()})

    def _rare_codes(self, work: "_Work") -> tuple[RareCode, ...]:
        codes = [name for name, spec in work.specs.items() if _column(name, spec).is_code]
        counts = work.train[codes].sum()
        prevalence = counts / len(work.train)
        rare = counts.index[(prevalence < self.min_prevalence) | (counts < self.min_count)]
        kept = tuple(RareCode(_column(name, work.specs[name]), float(prevalence[name])) for name in rare)
        work.leave_out(list(rare))
        work.done("rare codes", {name: int(counts[name]) for name in rare})
        return kept
