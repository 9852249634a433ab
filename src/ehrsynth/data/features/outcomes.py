"""What utility models predict: it happens after the index time, so it never comes from the window."""

from ehrsynth.data.features.base import Collected, ColumnSpec, Feature
from ehrsynth.data.store import Store


class Death(Feature):
    """Death within some days after the index time.

    Args:
        days: how far to look.
        name, label: of the column.
    """

    def __init__(self, *, days: int = 365, name: str = "died_within_year", label: str = "Died within a year") -> None:
        self.days = days
        self.name = name
        self.label = label

    def collect(self, store: Store) -> Collected:
        """Return 1 for those who died in time, else 0."""
        cells = store.frame(
            f"""SELECT row, CAST(coalesce(date_diff('day', index_time, death) <= {self.days}, false) AS TINYINT)
            AS {self.name} FROM cohort"""
        ).set_index("row")
        return Collected({self.name: ColumnSpec("binary", "outcome", "outcome", self.label)}, cells)
