"""Whether something is known of a patient at all: one binary column for an event."""

from dataclasses import dataclass

from ehrsynth.data.features.base import Collected, ColumnSpec, Feature
from ehrsynth.data.store import Store, text
from ehrsynth.schema import Role


@dataclass(kw_only=True, eq=False)
class Flag(Feature):
    """1 if the window holds such an event, else 0; an event with a number counts if the number is above zero.

    Attributes:
        name: of the column.
        domain, code: of the event.
        role, label: of the column.
    """

    name: str
    domain: str
    code: str
    role: Role = "feature"
    label: str = ""

    def __post_init__(self) -> None:
        self.label = self.label or self.name.capitalize()

    def collect(self, store: Store) -> Collected:
        """Return the flags of all rows."""
        mine = f"history WHERE domain = {text(self.domain)} AND code = {text(self.code)}"
        rows = f"""cohort LEFT JOIN (SELECT row, coalesce(numeric_value, 1) > 0 AS happened FROM {mine})
            USING (row) GROUP BY row"""
        spec = ColumnSpec("binary", self.role, self.domain, self.label)
        return Collected.column_of(store, self.name, spec, "CAST(coalesce(bool_or(happened), false) AS TINYINT)", rows)
