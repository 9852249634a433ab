"""From plausible to encodable: every step is fitted on training rows only, applied to all, and counted.

The steps are those of the JMIR AI 2024 tutorial on synthetic EHR data, which fitted some of them before its split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import get_args

import pandas as pd

from ehrsynth.data.cleaning import OTHER, Outliers, Relation, between, imputed, without_contradictions, without_outliers
from ehrsynth.data.encoding import fit_numbers
from ehrsynth.data.features.base import ColumnSpec
from ehrsynth.data.plan import Bounds, Impute, Plan, Prepared, RareCode
from ehrsynth.data.split import require_rows
from ehrsynth.data.statistics import Statistics
from ehrsynth.data.wide import Wide
from ehrsynth.disclosure import LEAST, shared_bounds
from ehrsynth.errors import OptionError, TableError, expect
from ehrsynth.schema import CODE_DOMAINS, Column, Schema

Specs = Mapping[str, ColumnSpec]


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """The steps between the wide rows and the matrix.

    What is learned leaves with schemas, checkpoints and reports. So by default it holds nothing that fewer than ten
    training rows share: no code, no level, no bound of a number; and filling gaps does not multiply a row.

    Args:
        outliers: what happens to numbers outside the plausible range of their column: ``clip`` them to it, ``drop`` the
            record, make them ``missing``, or ``keep`` them.
        relations: numbers of a record in a fixed order, such as ``diastolic < systolic``. A record that breaks one is
            dropped; with ``outliers=missing`` both numbers become missing instead.
        max_missing: columns with a larger missing share in training are left out, and those without any value.
        impute: ``none`` keeps gaps, for models to learn; ``marginal`` fills each with an observed value of the training
            rows, drawn at random.
        min_prevalence: codes with a smaller share of the training rows are left out.
        min_count: and so are codes of fewer training rows than this; 0 keeps also codes that no training row has, so
            that other rows decide which columns there are.
        min_aside: codes that are left out are kept aside by name, to be brought back at generation, if so many training
            rows have them.
        min_level: levels of a category that nobody declared become ``other`` if fewer training rows have them, since a
            rare word may point at a patient; 1 keeps all.
        bounds: ``shared`` takes the plausible range of a number, or its tenth most extreme training values rounded
            outwards, and clips what lies beyond; ``exact`` tells the smallest and the largest training value.

    Raises:
        OptionError: an option is out of range.
    """

    outliers: Outliers = "clip"
    relations: Sequence[str] = ()
    max_missing: float = 0.5
    impute: Impute = "none"
    min_prevalence: float = 5e-5
    min_count: int = LEAST
    min_aside: int = LEAST
    min_level: int = LEAST
    bounds: Bounds = "shared"

    def __post_init__(self) -> None:
        if isinstance(self.relations, str):
            raise OptionError("preprocess.relations: a list such as ['diastolic < systolic'] was expected")
        choices = {"outliers": Outliers, "impute": Impute, "bounds": Bounds}
        for name, known in ((name, get_args(choice)) for name, choice in choices.items()):
            expect((value := getattr(self, name)) in known, f"preprocess.{name}", value, f"one of {', '.join(known)}")
        for name in ("max_missing", "min_prevalence"):
            fits = isinstance(value := getattr(self, name), float | int) and 0 <= value <= 1
            expect(fits, f"preprocess.{name}", value, "a share from 0 to 1")
        fits = isinstance(self.min_count, int) and self.min_count >= 0
        expect(fits, "preprocess.min_count", self.min_count, "a whole number of training rows")
        for name in ("min_aside", "min_level"):
            if not isinstance(value := getattr(self, name), int) or value < 1:
                found = f"preprocess.{name}={value}"
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
            TableError: no column or no code is left, or an outcome is constant or mostly missing.
        """
        empty, few, kept = self._choice(specs, cleaned)
        few = {name: count for name, count in few.items() if count}  # the others are never named, nor counted
        if few and not any(map(_is_code, kept.values())):
            raise TableError(
                f"train, after preprocessing: none of {len(few)} codes is left; preprocess.min_count={self.min_count}"
                f" and min_prevalence={self.min_prevalence:g} leave out those of few of the {cleaned.rows} rows, and"
                " preprocess.min_count=1 preprocess.min_prevalence=0 keeps them"
            )
        if not kept:
            raise TableError("train, after preprocessing: no column is left")
        levels = {
            name: self._levels(name, spec, cleaned.values[name])
            for name, spec in kept.items()
            if spec.kind == "categorical" and not spec.levels
        }
        rare = {
            name: count / cleaned.rows
            for name, count in few.items()
            if count >= self.min_aside and specs[name].kind == "binary"
        }
        relations = between(kept, [Relation.read(words) for words in self.relations])
        return Plan(
            outliers=self.outliers,
            relations=tuple(self.relations),
            impute=self.impute,
            bounds=self.bounds,
            plausible=_plausible(specs),
            mostly_missing=empty,
            few=len(few),
            rare=tuple(RareCode(_column(name, specs[name]), share) for name, share in rare.items()),
            together=_together(kept, relations, cleaned) if self.impute == "marginal" else (),
            levels=levels,
            schema=Schema(tuple(self._fitted(name, spec, levels, cleaned, filled) for name, spec in kept.items())),
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
            elif _is_code(spec):
                rows = cleaned.ones(name)
                if rows < max(self.min_count, self.min_prevalence * n):
                    few[name] = rows
        return empty, few, {name: spec for name, spec in specs.items() if name not in empty and name not in few}

    def _levels(self, name: str, spec: ColumnSpec, counts: "pd.Series[int]") -> tuple[str, ...]:
        """Return the words that are frequent enough to stay."""
        enough = counts >= self.min_level
        if spec.role == "outcome" and enough.sum() + (not enough.all()) < 2 <= len(counts):
            raise TableError(
                f"train: column {name!r}: a constant outcome once levels of fewer than {self.min_level} training rows"
                " become one; preprocess.min_level=1 keeps them"
            )
        return tuple(sorted(counts.index[enough]))

    def _fitted(
        self, name: str, spec: ColumnSpec, levels: Mapping[str, Sequence[str]], cleaned: Statistics, filled: Statistics
    ) -> Column:
        """Return the column with the levels, bounds, decimals and gaps that training shows."""
        if name in levels:
            merged = [OTHER] if len(levels[name]) < len(cleaned.values[name]) else []  # no level that nobody has
            spec = replace(spec, levels=tuple(dict.fromkeys([*levels[name], *merged])))
        column = replace(_column(name, spec), missing=filled.gaps(name) > 0)
        if name not in filled.values:
            return column
        if column.role == "outcome" and len(filled.values[name]) < 2:
            raise TableError(f"train: column {name!r}: a constant outcome; nothing can be learned from it")
        return self._numbers(column, spec, cleaned.values[name]) if column.numeric else column

    def _numbers(self, column: Column, spec: ColumnSpec, counts: "pd.Series[int]") -> Column:
        """Return the column with bounds, and the decimals of what lies between them."""
        values = pd.Series(counts.index)
        if self.bounds == "exact":
            return fit_numbers(column, values)
        low, high = shared_bounds(counts)
        if spec.plausible is not None and self.outliers != "keep":  # nothing lies beyond
            low, high = (a if isfinite(a) else b for a, b in zip(spec.plausible, (low, high), strict=True))
        return replace(fit_numbers(column, values[values.between(low, high)]), bounds=(low, high))


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


def _is_code(spec: ColumnSpec) -> bool:
    return spec.kind in ("binary", "count") and spec.domain in CODE_DOMAINS


def _column(name: str, spec: ColumnSpec) -> Column:
    bounds = (0.0, 0.0) if spec.kind in ("continuous", "count") else None  # replaced by the training rows' own
    return Column(name, spec.kind, spec.levels, bounds, role=spec.role, domain=spec.domain, label=spec.label)
