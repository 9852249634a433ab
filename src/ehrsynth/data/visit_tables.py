"""The visits of a cohort as tables: which there are, and which code or value belongs to which.

A visit is a stay of the subject, or another visit that the source knows (``other_visits``). What happened outside of
all of them makes a visit of the kind ``outpatient`` for each day. What names no visit belongs to the one in which it
happened, to the last begun of several, to a stay before other visits; a time without a clock is the whole day, so it
belongs to a stay that begins later on that day.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from ehrsynth.data.cohort.base import Cohort
from ehrsynth.data.events import EVENTS, OTHER_VISITS
from ehrsynth.data.features.base import ColumnSpec, Feature
from ehrsynth.data.store import Store, text
from ehrsynth.data.times import end_of
from ehrsynth.data.visit_faults import PLACED, VISIT_LIST

ENTRIES = "visit_entries"  # of the features: row, stay_id, time, place, value
ROWS = "rows_of_parts"  # row, part, patient: the patients that are wanted, 0 is the training part
ORDERED = "visits_in_order"  # v, visit, part, patient, kind, ambulatory, started, ended
OUTPATIENT, UNNAMED = "outpatient", "unknown"


@dataclass(frozen=True)
class Concept:
    """A code or a measurement.

    Attributes:
        name: unique.
        spec: as the matrix has it.
        unit: of a measurement; empty if the source gives none, and None of a code.
    """

    name: str
    spec: ColumnSpec
    unit: str | None = None


def list_visits(store: Store, cohort: Cohort) -> None:
    """Make the table ``visit_list`` of the stays and other visits in the window of each row of the cohort."""
    store.table(
        "kinds_of_stays",
        f"""SELECT subject_id, stay_id, min(code) FILTER (trim(code) <> '') AS kind FROM {EVENTS}
        WHERE domain = 'admission' GROUP BY ALL""",
    )
    stays = "SELECT subject_id, stay_id, admitted AS started, discharged AS ended FROM stays"
    until = f"coalesce({end_of('v.ended')}, date_trunc('day', v.started) + INTERVAL 1 DAY - INTERVAL 1 MICROSECOND)"
    store.table(
        VISIT_LIST,
        f"""SELECT row_number() OVER (ORDER BY row, started, ended, stay_id, kind) - 1 AS visit, * FROM (
        SELECT c.row, v.stay_id, v.ambulatory, v.kind, v.started, v.ended, {until} AS until
        FROM cohort c JOIN (
            SELECT subject_id, stay_id, false AS ambulatory, started, ended, coalesce(kind, {text(UNNAMED)}) AS kind
            FROM ({stays}) LEFT JOIN kinds_of_stays USING (subject_id, stay_id)
            UNION ALL
            SELECT subject_id, stay_id, true, started, ended, coalesce(kind, {text(OUTPATIENT)}) FROM {OTHER_VISITS}
        ) v ON v.subject_id = c.subject_id WHERE {cohort.visits})""",
    )


def collect_entries(store: Store, features: Iterable[Feature]) -> list[Concept]:
    """Make the table ``visit_entries`` of what features find in the rows that are wanted, and return its places."""
    concepts = list[Concept]()
    store.table(
        ENTRIES,
        """SELECT 0::BIGINT AS row, 0::BIGINT AS stay_id, NULL::TIMESTAMP AS time, 0::INTEGER AS place,
        0::DOUBLE AS value WHERE false""",
    )
    for feature in features:
        found = feature.entries(store)
        store.append(
            ENTRIES,
            f"""SELECT row, stay_id, max(time), place + {len(concepts)}, {_last("value")}
            FROM ({found.query}) SEMI JOIN {ROWS} USING (row)
            GROUP BY row, stay_id, place, CASE WHEN stay_id IS NULL THEN time END""",
        )
        concepts += [Concept(name, spec, found.units.get(name)) for name, spec in found.specs.items()]
    return concepts


def patients_with(store: Store) -> dict[int, int]:
    """Return how many training patients have an entry of each place."""
    counts = store.frame(
        f"""SELECT place, count(DISTINCT row) AS n FROM {ENTRIES} JOIN {ROWS} USING (row) WHERE part = 0
        GROUP BY place"""
    )
    return dict(zip(map(int, counts["place"]), map(int, counts["n"]), strict=True))


def place_entries(store: Store, kept: Sequence[int]) -> None:
    """Make the table ``placed_entries``, and add to ``visit_list`` a visit for each day that has others.

    Args:
        store: with ``visit_list`` and ``visit_entries``.
        kept: places of entries to keep; they are then numbered in this order.
    """
    store.register("kept_places", pd.DataFrame({"place": kept, "kept": range(len(kept))}, dtype="int32"))
    store.table(
        "kept_entries", f"SELECT row, stay_id, time, kept AS place, value FROM {ENTRIES} JOIN kept_places USING (place)"
    )
    store.table(
        PLACED,
        f"""SELECT v.visit, e.row, e.time, e.place, e.value
        FROM kept_entries e JOIN {VISIT_LIST} v ON e.row = v.row AND e.stay_id = v.stay_id
        UNION ALL
        SELECT CASE WHEN r.time <= s.until THEN s.visit WHEN r.time <= o.until THEN o.visit END,
        r.row, r.time, r.place, r.value
        FROM (SELECT e.*, {end_of("e.time")} AS at
            FROM kept_entries e ANTI JOIN {VISIT_LIST} v ON e.row = v.row AND e.stay_id = v.stay_id) r
        ASOF LEFT JOIN ({_begun("NOT ambulatory")}) s ON r.row = s.row AND r.at >= s.started
        ASOF LEFT JOIN ({_begun("ambulatory")}) o ON r.row = o.row AND r.at >= o.started""",
    )
    store.table(
        "days_without_visit",
        f"""SELECT row_number() OVER (ORDER BY row, day) + (SELECT count(*) FROM {VISIT_LIST}) - 1 AS visit, *
        FROM (SELECT row, time::DATE AS day, min(time) AS started FROM {PLACED}
        WHERE visit IS NULL AND time IS NOT NULL GROUP BY ALL)""",
    )
    store.append(
        VISIT_LIST, f"SELECT visit, row, NULL, true, {text(OUTPATIENT)}, started, NULL, NULL FROM days_without_visit"
    )
    store.table(
        PLACED,
        f"""SELECT * FROM {PLACED} WHERE visit IS NOT NULL UNION ALL
        SELECT d.visit, p.row, p.time, p.place, p.value FROM {PLACED} p LEFT JOIN days_without_visit d
        ON p.row = d.row AND p.time::DATE = d.day WHERE p.visit IS NULL""",
    )


def order_visits(store: Store) -> None:
    """Make the table ``visits_in_order``: by part, patient and time."""
    store.table(
        ORDERED,
        f"""SELECT row_number() OVER (ORDER BY part, patient, started, ambulatory, ended NULLS LAST, stay_id, visit) - 1
        AS v, visit, part, patient, kind, ambulatory, started, ended FROM {VISIT_LIST} JOIN {ROWS} USING (row)""",
    )


def entries_of_visits(store: Store, places: range) -> pd.DataFrame:
    """Return ``v, place, value`` of the entries with these places, in order; of several of a visit the last."""
    return store.frame(
        f"""SELECT v, (place - {places.start})::INTEGER AS place, {_last("value")} AS value
        FROM {PLACED} JOIN {ORDERED} USING (visit) WHERE place BETWEEN {places.start} AND {places.stop - 1}
        GROUP BY v, place ORDER BY v, place"""
    )


def _last(value: str) -> str:
    return f"arg_max({value}, (coalesce(time, TIMESTAMP '1500-01-01'), {value}))"


def _begun(which: str) -> str:
    """Return the visits that have a beginning; of several at one time that which lasts longest."""
    return f"""FROM {VISIT_LIST} WHERE {which} AND started IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY row, started ORDER BY until DESC, visit) = 1"""
