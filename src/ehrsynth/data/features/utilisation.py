"""How much of the hospital a patient has used: stays and days until the index."""

from dataclasses import dataclass

from ehrsynth.data.features.base import Collected, ColumnSpec, Feature
from ehrsynth.data.store import Store


@dataclass(kw_only=True, eq=False)
class Stays(Feature):
    """Number of stays that had begun by the index time; without dates ``stay_id`` tells."""

    name: str = "admissions"
    label: str = "Number of admissions"

    def collect(self, store: Store) -> Collected:
        """Return the numbers."""
        cells = store.frame(
            f"""SELECT c.row, count(s.stay_id) AS {self.name} FROM cohort c
            LEFT JOIN stays s ON s.subject_id = c.subject_id
            AND coalesce(s.admitted <= c.index_time, s.stay_id <= c.stay_id) GROUP BY c.row"""
        ).set_index("row")
        return Collected({self.name: ColumnSpec("count", domain="utilisation", label=self.label)}, cells)


@dataclass(kw_only=True, eq=False)
class Days(Feature):
    """Days in hospital until the index time, rounded to whole ones."""

    name: str = "days"
    label: str = "Days in hospital"

    def collect(self, store: Store) -> Collected:
        """Return the sums."""
        cells = store.frame(
            f"""SELECT c.row, round(sum(epoch(least(s.discharged, c.index_time)) - epoch(s.admitted)) / 86400)
            AS {self.name} FROM cohort c
            JOIN stays s ON s.subject_id = c.subject_id AND s.admitted <= c.index_time GROUP BY c.row"""
        ).set_index("row")
        return Collected({self.name: ColumnSpec("count", domain="utilisation", label=self.label)}, cells)
