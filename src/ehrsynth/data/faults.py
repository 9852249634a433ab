"""What can be wrong inside tables that can be read, and what becomes of it: left out and counted, or refused.

What is left out is the smallest thing at fault: the event, the stay with its events, or the subject if its own row is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ehrsynth.data.events import EVENTS
from ehrsynth.data.store import Store
from ehrsynth.data.times import end_of
from ehrsynth.data.visit_faults import VISIT_FAULTS, Policy
from ehrsynth.errors import OptionError, TableError

Thing = Literal["subject", "stay", "event", "unit", "repeat"]
OLDEST = 120  # years; nobody has been older than 122
OVER_89 = (300, 320)  # MIMIC-III writes ages over 89 as 300 at the first admission
_KEYS = {
    "subject": "subject_id",
    "stay": "subject_id, stay_id",
    "event": "vocabulary",
    "unit": "domain, code, unit",
    "repeat": "subject_id",
}
_ICD = "regexp_full_match(vocabulary, 'ICD(9|10)([^0-9].*)?')"


@dataclass(frozen=True)
class Fault:
    """One thing that can be wrong.

    Attributes:
        name: in ``cohort.faults``.
        words: what is counted, for people.
        thing: what ``exclude`` leaves out; ``unit`` leaves out the measurements of a code in its rarer units, and
            ``repeat`` nothing, since what stands twice in the same words counts once anyway.
        keys: SQL query of the keys of the things at fault, with ``times`` where a key stands for several; over
            ``people``, ``stays`` and ``mentions``, the diagnoses and procedures counted by ``subject_id, stay_id,
            vocabulary``.
        usual: the policy where the user names none.
    """

    name: str
    words: str
    thing: Thing
    keys: str
    usual: Policy = "exclude"


def _stay_where(condition: str) -> str:
    return f"SELECT subject_id, stay_id FROM stays JOIN people USING (subject_id) WHERE {condition}"


FAULTS = (
    Fault(
        "subject_twice",
        "subjects with two sexes, dates of birth or dates of death",
        "subject",
        "SELECT subject_id FROM people WHERE conflicting",
    ),
    Fault(
        "death_before_birth",
        "subjects who die before they are born",
        "subject",
        "SELECT subject_id FROM people WHERE death::DATE < birth::DATE",
    ),
    Fault(
        "unknown_subject",
        "subjects of events or stays who have no row of their own",
        "subject",
        """SELECT subject_id FROM people WHERE NOT known AND (SELECT bool_or(known) FROM people)
        UNION SELECT subject_id FROM mentions ANTI JOIN people USING (subject_id)""",
    ),
    Fault(
        "stay_twice",
        "stays with two admissions or two discharges",
        "stay",
        _stay_where("stay_conflicting"),
    ),
    Fault(
        "subject_repeated",
        "further rows of a subject, in the same words",
        "repeat",
        "SELECT subject_id, repeats AS times FROM people WHERE repeats > 0 AND NOT conflicting",
    ),
    Fault(
        "stay_repeated",
        "further rows of a stay, in the same words",
        "repeat",
        "SELECT subject_id, stay_repeats AS times FROM stays WHERE stay_repeats > 0 AND NOT stay_conflicting",
    ),
    Fault(
        "discharge_before_admission",
        "stays that end before they begin",
        "stay",
        _stay_where(f"{end_of('discharged')} < admitted AND NOT stay_conflicting"),
    ),
    Fault(
        "admission_before_birth",
        "stays that begin before the subject is born, a negative age",
        "stay",
        _stay_where("admitted::DATE < birth::DATE"),
    ),
    Fault(
        "implausible_age",
        f"stays at an age above {OLDEST} years",
        "stay",
        _stay_where(
            f"date_sub('year', birth, admitted) > {OLDEST}"
            f" AND date_sub('year', birth, admitted) NOT BETWEEN {OVER_89[0]} AND {OVER_89[1]}"
        ),
    ),
    Fault(
        "death_before_discharge",
        "stays that end more than a day after the subject's death",
        "stay",
        _stay_where("coalesce(discharged, admitted)::DATE > death::DATE + 1 AND coalesce(death >= birth, true)"),
    ),
    Fault(
        "unknown_stay",
        "diagnoses and procedures of a stay that is unknown or another subject's",
        "stay",
        """SELECT subject_id, stay_id, sum(times)::BIGINT AS times FROM mentions SEMI JOIN people USING (subject_id)
        ANTI JOIN stays USING (subject_id, stay_id) ANTI JOIN other_visits USING (subject_id, stay_id)
        WHERE stay_id IS NOT NULL AND (SELECT count(*) FROM stays) > 0 GROUP BY ALL""",
    ),
    Fault(
        "unknown_version",
        "diagnoses and procedures of an ICD version other than 9 and 10",
        "event",
        f"""SELECT vocabulary, sum(times)::BIGINT AS times FROM mentions
        WHERE coalesce(starts_with(vocabulary, 'ICD') AND NOT {_ICD}, false)
        OR (vocabulary IS NULL AND (SELECT bool_or(starts_with(vocabulary, 'ICD')) FROM mentions)) GROUP BY ALL""",
    ),
    Fault(
        "mixed_units",
        "measurements in a unit that is not the usual one of their code",
        "unit",
        f"""WITH used AS (SELECT domain, code, unit, lower(trim(unit)) AS alike, count(*) AS times FROM {EVENTS}
        WHERE domain IN ('lab', 'vital') AND trim(unit) <> '' AND numeric_value IS NOT NULL GROUP BY ALL),
        rarer AS (SELECT domain, code, alike, sum(times) AS of_unit FROM used GROUP BY domain, code, alike
        QUALIFY row_number() OVER (PARTITION BY domain, code ORDER BY of_unit DESC, alike) > 1)
        SELECT domain, code, unit, times FROM used SEMI JOIN rarer USING (domain, code, alike)""",
        usual="keep",
    ),
    Fault(
        "no_stay",
        "subjects without an admission",
        "subject",
        "SELECT subject_id FROM people ANTI JOIN stays USING (subject_id) WHERE known",
        usual="keep",
    ),
)


def policies(chosen: str | Mapping[str, str] | None) -> dict[str, Policy]:
    """Return what becomes of each fault, of those of visits too, which trajectories alone look for.

    Args:
        chosen: a policy for all faults, or by the name of a fault; those without one have their usual one. What cannot
            be kept keeps its own when all are to be.

    Raises:
        OptionError: an unknown fault or policy.
    """
    usual: dict[str, Policy] = {fault.name: fault.usual for fault in (*FAULTS, *VISIT_FAULTS)}
    known = list(usual)
    given = dict.fromkeys(known, chosen) if isinstance(chosen, str) else dict(chosen or {})
    for name, policy in given.items():
        if name not in known:
            raise OptionError(f"cohort.faults.{name}: no such fault; one of {', '.join(known)} was expected")
        if policy not in get_args(Policy):
            where = "cohort.faults" if isinstance(chosen, str) else f"cohort.faults.{name}"
            raise OptionError(f"{where}={policy}: one of {', '.join(get_args(Policy))} was expected")
    for fault in VISIT_FAULTS:
        if given.get(fault.name) == "keep" and not fault.can_stay:
            if not isinstance(chosen, str):
                found = f"cohort.faults.{fault.name}=keep"
                raise OptionError(f"{found}: a visit has a date; exclude or refuse was expected")
            given[fault.name] = fault.usual
    return {name: given.get(name, policy) for name, policy in usual.items()}  # type: ignore[misc]


def settle(store: Store, chosen: Mapping[str, Policy]) -> dict[str, int]:
    """Look for faults in ``events``, ``people`` and ``stays``, and take from them what is to be excluded.

    Returns:
        How often each fault was found, of those that were.

    Raises:
        TableError: a fault was found that is refused.
    """
    store.table(
        "mentions",
        f"""SELECT subject_id, stay_id, vocabulary, count(*) AS times FROM {EVENTS}
        WHERE domain IN ('diagnosis', 'procedure') GROUP BY ALL""",
    )
    found: dict[str, int] = {}
    some_keys: dict[str, str] = {fault.thing: fault.keys for fault in FAULTS}  # of the types that the tables have
    for thing, keys in _KEYS.items():
        store.table(f"faulty_{thing}", f"SELECT {keys} FROM ({some_keys[thing]}) LIMIT 0")
    for fault in FAULTS:
        if chosen[fault.name] == "keep":
            continue
        store.table("at_fault", f"SELECT *, {'1' if 'times' not in fault.keys else 'times'} AS n FROM ({fault.keys})")
        count = int(store.value("SELECT coalesce(sum(n), 0) FROM at_fault"))
        if not count:
            continue
        if chosen[fault.name] == "refuse":
            raise TableError(
                f"source: {fault.words}: {count:,}; correct the tables, or leave them out with"
                f" cohort.faults.{fault.name}=exclude"
            )
        found[fault.name] = count
        keys, target = _KEYS[fault.thing], f"faulty_{fault.thing}"
        store.table(target, f"SELECT {keys} FROM {target} UNION SELECT {keys} FROM at_fault")
    if found:
        _leave_out(store)
    return found


def _leave_out(store: Store) -> None:
    """Take what is at fault from the tables and from the events."""
    store.table("people", "SELECT * FROM people ANTI JOIN faulty_subject USING (subject_id)")
    store.table(
        "stays",
        """SELECT * FROM stays ANTI JOIN faulty_subject USING (subject_id)
        ANTI JOIN faulty_stay USING (subject_id, stay_id)""",
    )
    joins = {
        "subject": "ANTI JOIN faulty_subject USING (subject_id)",
        "stay": "ANTI JOIN faulty_stay USING (subject_id, stay_id)",
        "event": """ANTI JOIN faulty_event v
            ON e.domain IN ('diagnosis', 'procedure') AND e.vocabulary IS NOT DISTINCT FROM v.vocabulary""",
        "unit": "ANTI JOIN faulty_unit USING (domain, code, unit)",
    }
    needed = [join for thing, join in joins.items() if store.value(f"SELECT count(*) FROM faulty_{thing}")]
    store.rename(EVENTS, "events_with_faults")
    store.view(EVENTS, f"SELECT e.* FROM events_with_faults e {' '.join(needed)}")
