"""Who may be chosen: subjects with each of their stays, or where no stay is asked for, as an index dates them."""

from ehrsynth.data.cohort.index import Index, first_seen
from ehrsynth.data.store import Store
from ehrsynth.data.times import end_of

COLUMNS = "people.subject_id, stay_id, sex, birth, death, admitted, discharged"
MINE = "PARTITION BY people.subject_id"
STAYS_SO_FAR = f"count(stay_id) OVER ({MINE} ORDER BY admitted, discharged, stay_id ROWS UNBOUNDED PRECEDING)"


def of_stays(moment: str) -> str:
    """Return the query of the candidates that are stays.

    Args:
        moment: ``discharge`` or ``admission``, the index.
    """
    admission = moment == "admission"
    index = "admitted" if admission else "discharged"
    first = f"min(admitted) OVER ({MINE})"
    return f"""SELECT {COLUMNS}, died, {index} AS index_time, {first} AS first_admitted, {first} AS known_since,
        {STAYS_SO_FAR} AS stays_so_far, admitted AS aged_at, {index if admission else end_of(index)} AS seen_until
        FROM people JOIN stays USING (subject_id)"""


def of_subjects(store: Store, index: Index, *, undated: bool) -> str:
    """Return the query of the candidates that are subjects, beside each of the stays that had begun by the index.

    Args:
        store: has ``people`` and ``stays``.
        index: what dates them.
        undated: keep those whom it cannot date.
    """
    store.table("moments", index.moments(store))
    until = end_of("index_time")
    return f"""SELECT {COLUMNS}, coalesce(death <= {until}, bool_or(died) OVER ({MINE}), false) AS died, index_time,
        min(admitted) OVER ({MINE}) AS first_admitted, first_seen AS known_since, {STAYS_SO_FAR} AS stays_so_far,
        index_time AS aged_at, {until} AS seen_until
        FROM people {"LEFT JOIN" if undated else "JOIN"} moments USING (subject_id)
        LEFT JOIN ({first_seen(store)}) USING (subject_id)
        LEFT JOIN stays ON people.subject_id = stays.subject_id AND coalesce(admitted <= {until}, true)"""
