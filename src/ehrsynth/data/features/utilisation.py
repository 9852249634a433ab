"""How much of the hospital a patient has used: stays and days until the index."""

from dataclasses import dataclass

from ehrsynth.data.features.base import Collected, ColumnSpec, Feature
from ehrsynth.data.store import Store
from ehrsynth.data.times import days_between, end_of


@dataclass(kw_only=True, eq=False)
class Stays(Feature):
    """Number of stays that had begun by the index time; without dates ``stay_id`` tells."""

    in_trajectories = "nowhere"

    name: str = "admissions"
    label: str = "Number of admissions"

    def collect(self, store: Store) -> Collected:
        """Return the numbers."""
        begun = """cohort c LEFT JOIN stays s ON s.subject_id = c.subject_id
            AND coalesce(s.admitted <= c.seen_until, s.stay_id <= c.stay_id) GROUP BY row"""
        spec = ColumnSpec("count", domain="utilisation", label=self.label)
        return Collected.column_of(store, self.name, spec, "count(s.stay_id)", begun)


@dataclass(kw_only=True, eq=False)
class Days(Feature):
    """Days in hospital until the index time, rounded to whole ones; without dates they are missing."""

    in_trajectories = "nowhere"

    name: str = "days"
    label: str = "Days in hospital"

    def collect(self, store: Store) -> Collected:
        """Return the sums."""
        until = f"CASE WHEN {end_of('s.discharged')} <= c.seen_until THEN s.discharged ELSE c.index_time END"
        begun = f"""(SELECT row, index_time, s.stay_id, s.admitted, {until} AS until FROM cohort c LEFT JOIN stays s
            ON s.subject_id = c.subject_id AND s.admitted <= c.seen_until) GROUP BY row"""
        none = "CASE WHEN count(stay_id) = 0 AND max(index_time) IS NOT NULL THEN 0 END"
        days = f"coalesce(round(sum({days_between('admitted', 'until')})), {none})"
        spec = ColumnSpec("count", domain="utilisation", label=self.label)
        return Collected.column_of(store, self.name, spec, days, begun)
