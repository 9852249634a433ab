"""What can be wrong with the visits of patients through time, and what becomes of it: left out and counted, or refused.

Stays that begin before birth or end after death are faults of the tables (``ehrsynth.data.faults``) and gone by now.
A visit stays one visit across midnight, however long a record is, and without any code or value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ehrsynth.data.store import Store
from ehrsynth.errors import TableError

Policy = Literal["exclude", "refuse", "keep"]
VISIT_LIST = "visit_list"  # visit, row, stay_id, ambulatory, kind, started, ended, until
PLACED = "placed_entries"  # of visits: visit, row, time, place, value; visit is missing where there is no time


@dataclass(frozen=True)
class VisitFault:
    """One thing that can be wrong.

    Attributes:
        name: in ``cohort.faults``.
        words: what is counted, for people.
        at_fault: SQL query of the ``visit`` of each that is at fault; of an event without one it is missing.
        usual: the policy where the user names none.
        can_stay: whether it can be kept.
    """

    name: str
    words: str
    at_fault: str
    usual: Policy = "exclude"
    can_stay: bool = True


def _visits_where(condition: str) -> str:
    return f"SELECT visit FROM {VISIT_LIST} v JOIN cohort c USING (row) WHERE {condition}"


VISIT_FAULTS = (
    VisitFault("undated_visit", "visits without a beginning", _visits_where("started IS NULL"), can_stay=False),
    VisitFault(
        "undated_event",
        "codes and values of no visit and without a time",
        f"SELECT visit FROM {PLACED} WHERE visit IS NULL",
        can_stay=False,
    ),
    VisitFault(
        "visit_before_birth",
        "visits without a stay on a day before the patient's birth",
        _visits_where("ambulatory AND started::DATE < birth::DATE"),
    ),
    VisitFault(
        "visit_after_death",
        "visits without a stay that begin more than a day after the patient's death",
        _visits_where("ambulatory AND started::DATE > death::DATE + 1"),
    ),
    VisitFault(
        "equal_times",
        "visits that begin at the time at which another of the patient does",
        f"""SELECT visit FROM {VISIT_LIST} WHERE started IS NOT NULL QUALIFY row_number() OVER (
        PARTITION BY row, started ORDER BY ambulatory, ended NULLS LAST, stay_id, visit) > 1""",
        usual="keep",
    ),
)


def settle_visits(store: Store, chosen: Mapping[str, Policy]) -> dict[str, int]:
    """Look for faults in ``visit_list`` and ``placed_entries``, and take from them what is to be excluded.

    Returns:
        How often each fault was found, in words, of those that were; also of those that are kept.

    Raises:
        TableError: a fault was found that is refused.
    """
    found = dict[str, int]()
    for fault in VISIT_FAULTS:
        store.table("visits_at_fault", fault.at_fault)
        count = int(store.value("SELECT count(*) FROM visits_at_fault"))
        policy = chosen[fault.name]
        if not count:
            continue
        if policy == "refuse":
            raise TableError(
                f"source: {fault.words}: {count:,}; correct the tables, or leave them out with"
                f" cohort.faults.{fault.name}=exclude"
            )
        found[fault.words + (", kept" if policy == "keep" else "")] = count
        if policy == "exclude":
            store.table(VISIT_LIST, f"FROM {VISIT_LIST} ANTI JOIN visits_at_fault USING (visit)")
    return found
