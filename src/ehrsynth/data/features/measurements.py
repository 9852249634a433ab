"""Numbers that were measured: one column of the last, mean, smallest or largest value in the window."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ehrsynth.data.features.base import Collected, ColumnSpec, Entries, Feature
from ehrsynth.data.store import Store, text
from ehrsynth.data.vocabulary.base import OWN
from ehrsynth.errors import OptionError, TableError
from ehrsynth.schema import Role

Aggregate = Literal["last", "first", "mean", "min", "max", "sum", "count"]
NumberKind = Literal["continuous", "count"]
UNIT = "lower(trim(coalesce(unit, '')))"


def aggregated(aggregate: Aggregate, value: str = "numeric_value") -> str:
    """Return the SQL that makes one number of many; of several at a time ``last`` takes the largest."""
    when = "(coalesce(time, TIMESTAMP '1500-01-01'), coalesce(stay_id, 0)"
    functions = {
        "last": f"arg_max({value}, {when}, {value}))",
        "first": f"arg_min({value}, {when}, {value}))",
        "mean": f"avg({value} ORDER BY {value})",  # a sum of floats depends on its order
        "sum": f"sum({value} ORDER BY {value})",
        "min": f"min({value})",
        "max": f"max({value})",
        "count": f"count({value})",
    }
    return functions[aggregate]


def require_aggregate(feature: str, aggregate: str) -> None:
    """Raise an ``OptionError`` if it is unknown."""
    if aggregate not in get_args(Aggregate):
        raise OptionError(f"feature {feature}: aggregate={aggregate}: one of {get_args(Aggregate)} was expected")


@dataclass(kw_only=True, eq=False)
class Measurement(Feature):
    """A number such as BMI.

    Attributes:
        name: of the column.
        domain: of the events.
        codes: of the events.
        aggregate: how the values of the window become one.
        kind: ``continuous``, or ``count`` for whole numbers, to which values are rounded.
        plausible: smallest and largest believable value, in the first of the units.
        units: of the events, in any case, each with the factor that brings it to the first, such as ``{kg: 1, g:
            0.001}``; a missing unit is written ``""``. None takes values as they are, as long as they come in one unit.
        role, label: of the column.

    Raises:
        OptionError: an unknown aggregate, an impossible factor or range.
    """

    in_trajectories = "visits"

    name: str
    domain: str
    codes: Sequence[str]
    aggregate: Aggregate = "last"
    kind: NumberKind = "continuous"
    plausible: tuple[float, float] | None = None
    units: Mapping[str, float] | None = None
    role: Role = "feature"
    label: str = ""

    def __post_init__(self) -> None:
        require_aggregate(self.name, self.aggregate)
        if isinstance(self.codes, str) or not self.codes:
            raise OptionError(f"feature {self.name}: codes={self.codes}: a list of codes was expected")
        if (range_ := self.plausible) is not None and not (len(range_) == 2 and range_[0] <= range_[1]):
            raise OptionError(f"feature {self.name}: plausible={list(range_)}: [smallest, largest] was expected")
        for unit, factor in (self.units or {}).items():
            if not (isinstance(factor, int | float) and factor > 0):
                raise OptionError(f"feature {self.name}: units.{unit}={factor}: a factor above zero was expected")
        if self.units is not None and next(iter(self.units.values()), None) != 1:
            units = dict(self.units)
            raise OptionError(f"feature {self.name}: units={units}: the first unit, with factor 1, was expected")
        self.codes = list(self.codes)
        self.plausible = None if range_ is None else (float(range_[0]), float(range_[1]))
        self.label = self.label or self.name.capitalize()

    def collect(self, store: Store) -> Collected:
        """Return the values; missing for subjects without one.

        Raises:
            TableError: the values come in several units, or in one that ``units`` does not name.
        """
        self._check_units(store, self._events)
        cell = aggregated(self.aggregate, self._in_first_unit())
        cell = f"round({cell})" if self.kind == "count" else cell
        return Collected.column_of(store, self.name, self._spec, cell, f"{self._events} GROUP BY row")

    def entries(self, store: Store) -> Entries:
        """Return which value was measured when, whatever the aggregate; ``Raises`` as ``collect``."""
        self._check_units(store, self._events)
        units = list(self.units or ()) or [store.value(f"SELECT min(nullif(trim(unit), '')) FROM {self._events}") or ""]
        query = f"SELECT row, stay_id, time, 0 AS place, {self._in_first_unit()} AS value FROM {self._events}"
        return Entries({self.name: self._spec}, query, {self.name: units[0]})

    @property
    def _spec(self) -> ColumnSpec:
        return ColumnSpec(self.kind, self.role, self.domain, self.label, plausible=self.plausible)

    @property
    def _events(self) -> str:
        """The events that count, as SQL behind FROM."""
        named = (
            f"(code IN ({', '.join(map(text, self.codes))}) OR (vocabulary = {text(OWN)} AND code = {text(self.name)}))"
        )
        return f"history WHERE domain = {text(self.domain)} AND {named} AND isfinite(numeric_value)"

    def _in_first_unit(self) -> str:
        """Return the SQL of a value in the first unit."""
        if self.units is None or len(self.units) == 1:
            return "numeric_value"
        cases = " ".join(f"WHEN {text(unit.strip().lower())} THEN {factor!r}" for unit, factor in self.units.items())
        return f"numeric_value * CASE {UNIT} {cases} END"

    def _check_units(self, store: Store, events: str) -> None:
        """Raise a ``TableError`` if events have a unit without a factor, or without factors several units."""
        found = store.frame(f"SELECT {UNIT} AS unit, count(*) AS times FROM {events} GROUP BY ALL ORDER BY ALL")
        times = dict(zip(found["unit"], found["times"], strict=True))
        listed = ", ".join(f"{unit or 'none'} ({count:,})" for unit, count in times.items())
        if self.units is None:
            if len([unit for unit in times if unit]) > 1:
                raise TableError(
                    f"feature {self.name}: events in several units: {listed}; give the factors to the first, such as"
                    " units={kg: 1, g: 0.001}, or leave out the rarer with cohort.faults.mixed_units=exclude"
                )
        elif unknown := sorted(set(times) - {unit.strip().lower() for unit in self.units}):
            named = ", ".join(unit or "none" for unit in unknown)
            raise TableError(
                f"feature {self.name}: events in units that have no factor: {named} (found: {listed}); add them to"
                f" units, now {', '.join(unit or 'none' for unit in self.units)}"
            )
