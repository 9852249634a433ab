"""The event frame every source yields, and what follows from it: people and stays.

An event is a row of ``subject_id, time, code, numeric_value, text_value``, the columns of MEDS, and of
``stay_id, domain, vocabulary, unit`` beside them:

    domain          code, and what else it holds
    birth, death    none; ``time``
    subject         none; there is such a subject (a provider without any of the next three needs it)
    sex             F or M; time is missing
    race, insurance, language, marital_status, ...    as the provider writes it
    admission       kind of admission; ``stay_id``, ``time``
    discharge       where to; ``stay_id``, ``time``, ``numeric_value`` 1 if the subject died in hospital, else 0
    diagnosis       as the provider writes it, of ``vocabulary`` ICD9CM or ICD10CM; at the discharge of its stay
    procedure       of ``vocabulary`` ICD9PCS or ICD10PCS
    medication      name of the drug
    lab, vital      name of what was measured; ``numeric_value``, ``unit``
    visit           kind of a visit that is no stay; ``stay_id``, ``time``; ``visit_end`` likewise (trajectories alone)
    other           as the provider writes it, for want of knowing what it is; perhaps ``numeric_value``

A provider may have further domains. ``time`` is missing where the provider has no dates; ``stay_id`` then orders. What
a time without a clock means stands in ``ehrsynth.data.times``.
"""

from collections.abc import Sequence

from ehrsynth.data.store import Store, text
from ehrsynth.data.times import end_of
from ehrsynth.errors import TableError

EVENTS = "events"
LABELS = "labels"  # a view a source may add: domain, vocabulary, code, label
GIVEN = "splits"  # another: subject_id, part
VISITS = "visits"  # another, of whoever knows more than stays: subject_id, started, ended of visits of any kind
OTHER_VISITS = "other_visits"  # of whoever knows visits that are no stays: subject_id, stay_id, started, ended, kind
OBSERVED = "observed"  # another, of periods in which whatever happened was written down: subject_id, started, ended
COLUMNS = ("subject_id", "stay_id", "time", "domain", "vocabulary", "code", "numeric_value", "text_value", "unit")
# SQL types of these columns; that of subject_id is the provider's.
TYPES = dict.fromkeys(COLUMNS[1:], "VARCHAR") | {"stay_id": "BIGINT", "time": "TIMESTAMP", "numeric_value": "DOUBLE"}


def select(relation: str, *, where: str = "true", **cells: str) -> str:
    """Return the query that turns the rows of a raw table into events.

    A constant domain in each branch of a union lets a query for one domain read that domain's tables only.

    Args:
        relation: the table, or another relation.
        where: which of its rows.
        cells: an SQL expression over ``relation`` for each column of an event; without one ``subject_id`` is the column
            of that name, and the others are NULL.
    """
    if unknown := cells.keys() - set(COLUMNS):
        raise TypeError(f"an event has no {min(unknown)}")
    typed = (f"CAST({cells.get(name, 'NULL')} AS {kind}) AS {name}" for name, kind in TYPES.items())
    subject = cells.get("subject_id", "subject_id")
    return f"SELECT {subject} AS subject_id, {', '.join(typed)} FROM {relation} WHERE {where}"


def make_timeline(store: Store) -> None:
    """Make the tables ``people`` and ``stays`` of the events.

    ``people``: ``subject_id, sex, birth, death``; ``known``, whether the provider has a row of the subject itself;
    ``conflicting``, whether such rows contradict each other, and ``repeats``, how many say the same again. ``stays``:
    ``subject_id, stay_id, admitted, discharged, died``, and of its rows ``stay_conflicting`` and ``stay_repeats``.

    A source without ``other_visits`` gets an empty one.

    Raises:
        TableError: there is no subject, or a row names none.
    """
    store.table(
        "people",
        f"""SELECT subject_id, min(code) FILTER (domain = 'sex') AS sex, min(time) FILTER (domain = 'birth') AS birth,
            min(time) FILTER (domain = 'death') AS death, bool_or(domain IN ('subject', 'sex', 'birth')) AS known,
            {_differ("sex", "code")} OR {_differ("birth", "time::DATE")} OR {_differ("death", "time::DATE")}
            AS conflicting, greatest(count(*) FILTER (domain = 'birth') - 1, 0) AS repeats
            FROM {EVENTS} WHERE domain IN ('subject', 'sex', 'birth', 'death', 'admission') GROUP BY subject_id""",
    )
    store.table(
        "stays",
        f"""SELECT subject_id, stay_id, min(time) FILTER (domain = 'admission') AS admitted,
            max(time) FILTER (domain = 'discharge') AS discharged,
            coalesce(bool_or(numeric_value = 1) FILTER (domain = 'discharge'), false) AS died,
            {_moments_differ("admission")} OR {_moments_differ("discharge")} AS stay_conflicting,
            greatest(count(*) FILTER (domain = 'admission') - 1, 0) AS stay_repeats
            FROM {EVENTS} WHERE domain IN ('admission', 'discharge') GROUP BY subject_id, stay_id""",
    )
    if not store.has(OTHER_VISITS):
        cells = "subject_id, stay_id, admitted AS started, discharged AS ended, NULL::VARCHAR AS kind"
        store.table(OTHER_VISITS, f"SELECT {cells} FROM stays WHERE false")
    if store.value("SELECT bool_or(subject_id IS NULL) FROM people"):
        raise TableError("the source has people or admissions without a subject; each row must name its subject")
    if not store.value("SELECT count(*) FROM people"):
        raise TableError("the source has no subjects; at least one was expected")


def coded(prefixes: Sequence[str], vocabulary: str | None = None) -> str:
    """Return the SQL condition that an event's code begins with one of ``prefixes``, whatever its dots and case.

    Args:
        prefixes: such as ``I21`` or ``410``.
        vocabulary: of the events; None takes any.
    """
    code = "upper(replace(code, '.', ''))"
    starts = " OR ".join(f"starts_with({code}, {text(prefix.replace('.', '').upper())})" for prefix in prefixes)
    return f"({starts})" if vocabulary is None else f"({starts}) AND vocabulary = {text(vocabulary)}"


def _differ(domain: str, cell: str) -> str:
    """Return whether the events of a domain disagree."""
    mine = f"FILTER (domain = '{domain}')"
    return f"coalesce(min({cell}) {mine} <> max({cell}) {mine}, false)"


def _moments_differ(domain: str) -> str:
    """Return whether the events of a domain are at times that cannot be the same one."""
    mine = f"FILTER (domain = '{domain}')"
    return f"coalesce(min({end_of('time')}) {mine} < max(time) {mine}, false)"
