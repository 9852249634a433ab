"""Numbers that were measured: one column of the last, mean, smallest or largest value in the window."""

from collections.abc import Sequence
from typing import Literal, get_args

from ehrsynth.data.features.base import Collected, ColumnSpec, Feature
from ehrsynth.data.store import Store, text
from ehrsynth.errors import OptionError
from ehrsynth.schema import Role

Aggregate = Literal["last", "first", "mean", "min", "max", "sum", "count"]
_WHEN = "(coalesce(time, TIMESTAMP '1500-01-01'), coalesce(stay_id, 0), numeric_value)"
_SQL = {
    "last": f"arg_max(numeric_value, {_WHEN})",
    "first": f"arg_min(numeric_value, {_WHEN})",
    "mean": "avg(numeric_value)",
    "min": "min(numeric_value)",
    "max": "max(numeric_value)",
    "sum": "sum(numeric_value)",
    "count": "count(numeric_value)",
}


class Measurement(Feature):
    """A number such as BMI.

    Of several last values at the same time the largest counts.

    Args:
        name: of the column.
        domain: of the events.
        codes: of the events.
        aggregate: how the values of the window become one.
        kind: ``continuous``, or ``count`` for whole numbers.
        plausible: smallest and largest believable value.
        role, label: of the column.
    """

    def __init__(
        self,
        *,
        name: str,
        domain: str,
        codes: Sequence[str],
        aggregate: Aggregate = "last",
        kind: Literal["continuous", "count"] = "continuous",
        plausible: Sequence[float] | None = None,
        role: Role = "feature",
        label: str = "",
    ) -> None:
        if aggregate not in get_args(Aggregate):
            raise OptionError(f"feature {name}: aggregate={aggregate}: one of {get_args(Aggregate)} was expected")
        self.name = name
        self.domain = domain
        self.codes = list(codes)
        self.aggregate = aggregate
        self.kind: Literal["continuous", "count"] = kind
        self.plausible = None if plausible is None else (float(plausible[0]), float(plausible[1]))
        self.role: Role = role
        self.label = label or name.capitalize()

    def collect(self, store: Store) -> Collected:
        """Return the values; missing for subjects without one."""
        cells = store.frame(
            f"""SELECT row, {_SQL[self.aggregate]} AS {self.name} FROM history
            WHERE domain = {text(self.domain)} AND code IN ({", ".join(map(text, self.codes))})
            AND numeric_value IS NOT NULL GROUP BY row"""
        ).set_index("row")
        return Collected(
            {self.name: ColumnSpec(self.kind, self.role, self.domain, self.label, plausible=self.plausible)}, cells
        )
