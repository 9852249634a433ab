"""Numbers that were measured: one column of the last, mean, smallest or largest value in the window."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from ehrsynth.data.features.base import Collected, ColumnSpec, Feature
from ehrsynth.data.features.units import Units
from ehrsynth.data.store import Store, quoted, text
from ehrsynth.errors import OptionError
from ehrsynth.schema import Role

Aggregate = Literal["last", "first", "mean", "min", "max", "sum", "count"]
NumberKind = Literal["continuous", "count"]


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


class Measurement(Feature):
    """A number such as BMI.

    Args:
        name: of the column.
        domain: of the events.
        codes: of the events.
        aggregate: how the values of the window become one.
        kind: ``continuous``, or ``count`` for whole numbers, to which values are rounded.
        plausible: smallest and largest believable value, in the first of the units.
        units: of the events, each with the factor that brings it to the first, such as ``{kg: 1, g: 0.001}``; a missing
            unit is written ``""``. None takes values as they are, as long as they come in one unit.
        role, label: of the column.

    Raises:
        OptionError: an unknown aggregate, an impossible factor or range.
    """

    def __init__(
        self,
        *,
        name: str,
        domain: str,
        codes: Sequence[str],
        aggregate: Aggregate = "last",
        kind: NumberKind = "continuous",
        plausible: Sequence[float] | None = None,
        units: Mapping[str, float] | None = None,
        role: Role = "feature",
        label: str = "",
    ) -> None:
        require_aggregate(name, aggregate)
        if isinstance(codes, str) or not codes:
            raise OptionError(f"feature {name}: codes={codes}: a list of codes was expected")
        if plausible is not None and not (len(plausible) == 2 and plausible[0] <= plausible[1]):
            raise OptionError(f"feature {name}: plausible={list(plausible)}: [smallest, largest] was expected")
        self.name = name
        self.domain = domain
        self.codes = list(codes)
        self.aggregate: Aggregate = aggregate
        self.kind: NumberKind = kind
        self.plausible = None if plausible is None else (float(plausible[0]), float(plausible[1]))
        self.units = Units(name, units)
        self.role: Role = role
        self.label = label or name.capitalize()

    def collect(self, store: Store) -> Collected:
        """Return the values; missing for subjects without one.

        Raises:
            TableError: the values come in several units, or in one that ``units`` does not name.
        """
        mine = f"""history WHERE domain = {text(self.domain)} AND code IN ({", ".join(map(text, self.codes))})
            AND isfinite(numeric_value)"""
        self.units.check(store, mine)
        cell = aggregated(self.aggregate, self.units.converted())
        cell = f"round({cell})" if self.kind == "count" else cell
        cells = store.frame(f"SELECT row, {cell} AS {quoted(self.name)} FROM {mine} GROUP BY row").set_index("row")
        spec = ColumnSpec(self.kind, self.role, self.domain, self.label, plausible=self.plausible)
        return Collected({self.name: spec}, cells)
