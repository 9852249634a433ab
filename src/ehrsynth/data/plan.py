"""What was learned from training rows, as JSON, and what it makes of any rows: nothing else is looked at."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from ehrsynth.data.cleaning import (
    OTHER,
    Counts,
    Outliers,
    Relation,
    between,
    imputed,
    with_known_levels,
    without_contradictions,
    without_gaps,
    without_outliers,
)
from ehrsynth.data.coverage import CLIPPED, EMPTY, RARE_WORDS
from ehrsynth.data.encoding import as_decoded
from ehrsynth.data.split import require_rows
from ehrsynth.data.wide import Wide
from ehrsynth.errors import FileError, OptionError, SchemaError, TableError
from ehrsynth.files import read_object, write_json
from ehrsynth.schema import Column, Schema

Impute = Literal["none", "marginal"]
Bounds = Literal["shared", "exact"]
PLAN = "plan.json"


@dataclass(frozen=True)
class RareCode:
    """A code too rare to train on, kept so that it can be brought back at generation.

    Attributes:
        column: what the code would have been in the schema.
        prevalence: its share of the training rows.
    """

    column: Column
    prevalence: float


@dataclass(frozen=True)
class Plan:
    """How rows become rows of a schema.

    A plan holds names, counts, levels and bounds, and no row: it says no more about patients than ``schema.json`` and
    ``low_prevalence.json`` do. So it has no values to fill gaps with: they are drawn from the training rows themselves,
    which whoever applies a plan with ``impute=marginal`` must have at hand.

    Attributes:
        outliers, relations, impute, bounds: as declared (see ``Preprocess``).
        plausible: the declared range of every number that has one.
        mostly_missing: columns left out, and their gaps in training.
        few: how many codes are left out that too few training rows have; those that none has are left out too.
        rare: those of them that enough rows have to be named.
        together: columns that are filled from one training row, since a relation joins them.
        levels: of columns that declare none, the levels that stay; all others become ``other``, or a gap where training
            has no others, so that no column has a level that no training row has.
        schema: the columns that stay, with the levels and bounds of training.
    """

    outliers: Outliers
    relations: tuple[str, ...]
    impute: Impute
    bounds: Bounds
    plausible: Mapping[str, tuple[float, float]]
    mostly_missing: Mapping[str, int]
    few: int
    rare: tuple[RareCode, ...]
    together: tuple[tuple[str, ...], ...]
    levels: Mapping[str, tuple[str, ...]]
    schema: Schema

    def apply(self, parts: Mapping[str, Wide], *, seed: int = 0) -> "Prepared":
        """Bring rows into the schema, each by itself, but for gaps that are filled.

        Args:
            parts: the rows of each part of a split, or of some; they are not changed.
            seed: of what fills gaps.

        Raises:
            OptionError: gaps are to be filled, and there is no part ``train`` to draw from.
            TableError: a part lacks a column, or has less than two rows, before or after.
        """
        steps, parts = list[dict[str, Any]](), dict(parts)

        def step(name: str, clean: Callable[[str, Wide], tuple[Wide, Counts]], detail: Counts | None = None) -> None:
            counts, columns = Counter[str](), 0
            for part, rows in parts.items():
                parts[part], found = clean(part, rows)
                require_rows(parts[part].cells, f"{part}, after preprocessing")
                counts.update(found)
                columns = len(parts[part].specs)
            found = dict(+counts) if detail is None else detail
            steps.append({"step": name, "rows": sum(map(len, parts.values())), "columns": columns, "detail": found})

        step(f"outliers: {self.outliers}", lambda _, rows: without_outliers(rows, self.plausible, self.outliers))
        if self.bounds == "shared":
            step(CLIPPED, self._within_bounds)
        relations = [Relation.read(words) for words in self.relations]
        if relations:
            step("relations", lambda _, rows: without_contradictions(rows, relations, self.outliers))
        step(EMPTY, self._without_empty, dict(self.mostly_missing))
        others = max(len(rows.specs) for rows in parts.values()) - len(self.schema.columns) - self.few
        codes = {"codes of too few training rows": self.few, "codes that no training row has": others}
        step("rare codes", self._with_schema, {what: count for what, count in codes.items() if count})
        if self.impute == "marginal":
            if "train" not in parts:
                raise OptionError("preprocess.impute=marginal: gaps are filled with values of training rows; none here")
            donors, left = parts["train"].cells, between(self.schema.names, relations)
            step("gaps filled", lambda part, rows: imputed(rows, donors, self.together, left, seed, part))
            if left:
                step("relations, gaps filled", lambda _, rows: without_contradictions(rows, left, "drop"))
        complete = {column.name for column in self.schema.columns if not column.missing}
        closed = {name for name in self.levels if OTHER not in self.schema.by_name[name].levels}
        step(RARE_WORDS, lambda _, rows: with_known_levels(rows, self.levels, closed))
        step("rows with gaps that training never has", lambda part, rows: without_gaps(rows, complete, part))
        return Prepared(self, {part: self._typed(rows) for part, rows in parts.items()}, steps)

    def _within_bounds(self, _: str, rows: Wide) -> tuple[Wide, Counts]:
        numbers = (column for column in self.schema.columns if column.name in rows.cells)
        return without_outliers(rows, {c.name: c.bounds for c in numbers if c.bounds is not None}, "clip")

    def _without_empty(self, _: str, rows: Wide) -> tuple[Wide, Counts]:
        return rows.only({name: spec for name, spec in rows.specs.items() if name not in self.mostly_missing}), {}

    def _with_schema(self, part: str, rows: Wide) -> tuple[Wide, Counts]:
        absent = [name for name in self.schema.names if name not in rows.specs]
        if absent:
            raise TableError(f"{part}: no column {absent[0]!r}, which the plan asks for")
        return rows.only({name: rows.specs[name] for name in self.schema.names}), {}

    def _typed(self, rows: Wide) -> Wide:
        """Return the rows under the levels of the schema, with their cells in the types that decoding returns."""
        specs = {name: replace(spec, levels=self.schema.by_name[name].levels) for name, spec in rows.specs.items()}
        dense = tuple(column for column in self.schema.columns if column.name in rows.cells)
        cells = rows.cells[[column.name for column in dense]]
        return replace(rows, specs=specs, cells=as_decoded(cells, Schema(dense)) if dense else cells)

    def save(self, path: Path) -> None:
        """Write ``plan.json``."""
        rare = [asdict(code) for code in self.rare]
        write_json(path, {"version": 1, **vars(self), "rare": rare, "schema": self.schema.to_dict()})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read ``plan.json``.

        Raises:
            FileError: it is missing, or no plan.
        """
        content = read_object(path, schema=dict, rare=list, plausible=dict, levels=dict)
        try:
            if content.pop("version") != 1:
                raise ValueError
            read = {
                "relations": tuple(content["relations"]),
                "plausible": {name: (low, high) for name, (low, high) in content["plausible"].items()},
                "rare": rare_codes(content["rare"]),
                "together": tuple(map(tuple, content["together"])),
                "levels": {name: tuple(levels) for name, levels in content["levels"].items()},
                "schema": Schema.from_dict(content["schema"]),
            }
            return cls(**content | read)
        except (SchemaError, KeyError, TypeError, ValueError) as error:
            raise FileError(f"{path}: not a plan of this program ({type(error).__name__})") from None


@dataclass(frozen=True, eq=False)
class Prepared:
    """Rows that fit a schema.

    Attributes:
        plan: what was learned from training rows.
        parts: train, validation and holdout rows, codes as sparse as they came.
        steps: rows and columns after each step, with the counts behind them.
    """

    plan: Plan
    parts: dict[str, Wide]
    steps: list[dict[str, Any]]


def rare_codes(entries: list[Any]) -> tuple[RareCode, ...]:
    """Read the entries of ``low_prevalence.json``.

    Raises:
        SchemaError, KeyError, TypeError, ValueError: one is malformed.
    """
    columns = Schema.from_dict({"version": 1, "columns": [e["column"] for e in entries]}).columns if entries else ()
    return tuple(RareCode(c, float(e["prevalence"])) for c, e in zip(columns, entries, strict=True))
