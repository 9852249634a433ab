"""Every column of a table that has a row per patient or stay, as it is."""

from dataclasses import dataclass

from ehrsynth.data.features.base import Collected, ColumnSpec, Feature
from ehrsynth.data.store import Store


@dataclass(frozen=True)
class Undeclared(ColumnSpec):
    """A column about which nothing is known but its name and role: its kind is for the training rows to tell."""


class Columns(Feature):
    """The columns of a wide flat table; none if the source is no such table.

    Of several rows of a subject the last until the index time counts (of its index stay, if the cohort asks for stays).
    """

    def collect(self, store: Store) -> Collected:
        """Return the cells as they stand in the file."""
        if not store.has("table_columns"):
            return Collected({})
        columns = store.frame("SELECT name, role FROM table_columns ORDER BY place")
        rows = store.frame(
            """SELECT c.row, t.* EXCLUDE (place, subject_id, stay_id, time), count(*) OVER (PARTITION BY c.row) AS of
            FROM cohort c JOIN table_rows t ON t.subject_id = c.subject_id
            AND (c.stay_id IS NULL OR t.stay_id = c.stay_id)
            AND (c.index_time IS NULL OR t.time IS NULL OR t.time <= c.seen_until)
            QUALIFY row_number() OVER (PARTITION BY c.row ORDER BY t.time DESC NULLS LAST, t.place DESC) = 1
            ORDER BY c.row"""
        )
        replaced = int(rows["of"].sum()) - len(rows)
        cells = rows.drop(columns=["row", "of"]).set_axis(columns["name"].to_list(), axis=1).set_axis(rows["row"])
        specs: dict[str, ColumnSpec] = {
            name: Undeclared("categorical", role, label=name)
            for name, role in zip(columns["name"], columns["role"], strict=True)
        }
        return Collected(specs, cells, remarks={"earlier rows of the same subject": replaced} if replaced else {})
