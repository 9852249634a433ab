"""From plausible to encodable: every step is fitted on training rows only, applied to all, and counted.

The steps are those of the JMIR AI 2024 tutorial on synthetic EHR data, which fitted some of them before its split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import pandas as pd

from ehrsynth.data.cleaning import OTHER, Outliers, Relation, between, imputed, without_contradictions, without_outliers
from ehrsynth.data.encoding import fit_numbers
from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.plan import Impute, Plan, Prepared, RareCode
from ehrsynth.data.split import require_rows
from ehrsynth.data.statistics import Statistics
from ehrsynth.data.wide import Wide
from ehrsynth.errors import OptionError, TableError, expect
from ehrsynth.schema import CODE_DOMAINS, Column, Schema

Specs = Mapping[str, ColumnSpec]


@dataclass(frozen=True, kw_only=True)
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

    outliers: Outliers = "clip"
    relations: Sequence[str] = ()
    max_missing: float = 0.5
    impute: Impute = "none"
    min_prevalence: float = 5e-5
    min_count: int = 1
    min_level: int = 10

    def __post_init__(self) -> None:
        if isinstance(self.relations, str):
            raise OptionError("preprocess.relations: a list such as ['diastolic < systolic'] was expected")
        for name, known in (("outliers", get_args(Outliers)), ("impute", get_args(Impute))):
            expect((value := getattr(self, name)) in known, f"preprocess.{name}", value, f"one of {', '.join(known)}")
        for name in ("max_missing", "min_prevalence"):
            fits = isinstance(value := getattr(self, name), float | int) and 0 <= value <= 1
            expect(fits, f"preprocess.{name}", value, "a share from 0 to 1")
        fits = isinstance(self.min_count, int) and self.min_count >= 0
        expect(fits, "preprocess.min_count", self.min_count, "a whole number of training rows")
        if not isinstance(self.min_level, int) or self.min_level < 1:
            found = f"preprocess.min_level={self.min_level}"
            raise OptionError(f"{found}: a whole number of training rows, 1 or more, expected")
        object.__setattr__(self, "relations", [str(Relation.read(words)) for words in self.relations])

    def apply(self, parts: Mapping[str, Wide], *, seed: int = 0) -> Prepared:
        """Fit on ``parts["train"]`` and apply to all (see ``fit`` and ``Plan.apply``)."""
        return self.fit(parts["train"], seed=seed).apply(parts, seed=seed)

    def fit(self, train: Wide, *, seed: int = 0) -> Plan:
        """Learn from training rows: they are cleaned, counted, filled if gaps are to be, and then counted again.

        Args:
            train: the rows; they are not changed.
            seed: of what fills gaps.

        Raises:
            OptionError: a relation is between columns that are not numbers.
            TableError: less than two rows or no column is left, or an outcome is constant or mostly missing.
        """
        relations = [Relation.read(words) for words in self.relations]
        for relation in relations:
            relation.check(train.specs)
        rows, _ = without_outliers(train, _plausible(train.specs), self.outliers)
        rows, _ = without_contradictions(rows, relations, self.outliers)
        require_rows(rows.cells, "train, after preprocessing")
        cleaned = filled = Statistics.of(rows, _columns_of(relations))
        if self.impute == "marginal":
            _, _, kept = self._choice(train.specs, cleaned)
            rows, relations = rows.only(kept), between(kept, relations)
            rows, _ = imputed(rows, rows.cells, _together(kept, relations, cleaned), relations, seed, "train")
            rows, _ = without_contradictions(rows, relations, "drop")
            require_rows(rows.cells, "train, after preprocessing")
            filled = Statistics.of(rows)
        return self.plan(train.specs, cleaned, filled)

    def plan(self, specs: Specs, cleaned: Statistics, filled: Statistics) -> Plan:
        """Learn from counts of training rows alone; those of several sites, added, give the plan of all their rows.

        Args:
            specs: every column, in the order of the matrix.
            cleaned: of the rows without outliers and contradictions.
            filled: of these rows once their gaps are filled; the same if gaps stay.

        Raises:
            TableError: no column is left, or an outcome is constant or mostly missing.
        """
        empty, few, kept = self._choice(specs, cleaned)
        if not kept:
            raise TableError("train, after preprocessing: no column is left")
        levels = {
            name: self._levels(spec, filled.values[name])
            for name, spec in kept.items()
            if spec.kind == "categorical" and not spec.levels
        }
        rare = {name: count / cleaned.rows for name, count in few.items() if count}  # the others are never named
        relations = between(kept, [Relation.read(words) for words in self.relations])
        return Plan(
            outliers=self.outliers,
            relations=tuple(self.relations),
            impute=self.impute,
            plausible=_plausible(specs),
            mostly_missing=empty,
            rare=tuple(RareCode(_column(name, specs[name]), share) for name, share in rare.items()),
            together=_together(kept, relations, cleaned) if self.impute == "marginal" else (),
            levels=levels,
            schema=Schema(tuple(_fitted(name, spec, levels, filled) for name, spec in kept.items())),
        )

    def _choice(self, specs: Specs, cleaned: Statistics) -> tuple[dict[str, int], dict[str, int], Specs]:
        """Return the columns that are mostly missing and their gaps, the rare codes and their rows, and what stays."""
        n, empty, few = cleaned.rows, dict[str, int](), dict[str, int]()
        for name, spec in specs.items():
            gaps = cleaned.gaps(name)
            if gaps > self.max_missing * n or gaps == n:
                if spec.role == "outcome":
                    raise TableError(f"train: column {name!r}: an outcome that is missing in {gaps} of {n} rows")
                empty[name] = gaps
            elif spec.kind == "binary" and spec.domain in CODE_DOMAINS:
                rows = cleaned.ones(name)
                if rows < max(self.min_count, self.min_prevalence * n):
                    few[name] = rows
        return empty, few, {name: spec for name, spec in specs.items() if name not in empty and name not in few}

    def _levels(self, spec: ColumnSpec, counts: "pd.Series[int]") -> tuple[str, ...]:
        """Return the words that are frequent enough to stay; those of an outcome stay however rare."""
        return tuple(sorted(counts.index[counts >= (1 if spec.role == "outcome" else self.min_level)]))


def _plausible(specs: Specs) -> dict[str, tuple[float, float]]:
    ranges = {name: spec.plausible for name, spec in specs.items()}
    return {name: (range_[0], range_[1]) for name, range_ in ranges.items() if range_ is not None}


def _columns_of(relations: Sequence[Relation]) -> list[str]:
    return [name for relation in relations for name in (relation.one, relation.other)]


def _together(kept: Specs, relations: Sequence[Relation], cleaned: Statistics) -> tuple[tuple[str, ...], ...]:
    """Return the columns that share a relation, if some row has a value in each."""
    groups: list[tuple[str, ...]] = [(name,) for name in kept if name in _columns_of(relations)]
    for relation in relations:
        joined = [group for group in groups if relation.one in group or relation.other in group]
        together = tuple(name for group in joined for name in group)
        if len(joined) > 1 and cleaned.joint(together):
            groups = [*[group for group in groups if group not in joined], together]
    return tuple(group for group in groups if len(group) > 1)


def _fitted(name: str, spec: ColumnSpec, levels: Mapping[str, Sequence[str]], filled: Statistics) -> Column:
    """Return the column with the levels, bounds, decimals and gaps that training shows."""
    if name in levels:
        spec = replace(spec, levels=tuple(dict.fromkeys([*levels[name], OTHER])))
    column = replace(_column(name, spec), missing=filled.gaps(name) > 0)
    if name not in filled.values:
        return column
    values = filled.values[name]
    if column.role == "outcome" and len(values) < 2:
        raise TableError(f"train: column {name!r}: a constant outcome; nothing can be learned from it")
    return fit_numbers(column, pd.Series(values.index)) if column.numeric else column


def _column(name: str, spec: ColumnSpec) -> Column:
    bounds = (0.0, 0.0) if spec.kind in ("continuous", "count") else None  # replaced by the training rows' own
    return Column(name, spec.kind, spec.levels, bounds, role=spec.role, domain=spec.domain, label=spec.label)
