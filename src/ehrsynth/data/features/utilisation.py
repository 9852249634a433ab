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
        begun = """cohort c LEFT JOIN stays s ON s.subject_id = c.subject_id
            AND coalesce(s.admitted <= c.index_time, s.stay_id <= c.stay_id) GROUP BY row"""
        spec = ColumnSpec("count", domain="utilisation", label=self.label)
        return Collected.column_of(store, self.name, spec, "count(s.stay_id)", begun)


@dataclass(kw_only=True, eq=False)
class Days(Feature):
    """Days in hospital until the index time, rounded to whole ones."""

    name: str = "days"
    label: str = "Days in hospital"

    def collect(self, store: Store) -> Collected:
        """Return the sums."""
        days = "round(sum(epoch(least(s.discharged, c.index_time)) - epoch(s.admitted)) / 86400)"
        begun = "cohort c JOIN stays s ON s.subject_id = c.subject_id AND s.admitted <= c.index_time GROUP BY row"
        spec = ColumnSpec("count", domain="utilisation", label=self.label)
        return Collected.column_of(store, self.name, spec, days, begun)
