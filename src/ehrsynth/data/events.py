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

A provider may have further domains. ``time`` is missing where the provider has no dates; ``stay_id`` then orders.
"""

from ehrsynth.data.store import Store
from ehrsynth.errors import TableError

EVENTS = "events"
LABELS = "labels"  # a view a source may add: domain, vocabulary, code, label
COLUMNS = ("subject_id", "stay_id", "time", "domain", "vocabulary", "code", "numeric_value", "text_value", "unit")
_TYPES = {"time": "TIMESTAMP", "numeric_value": "DOUBLE"}


def select(
    relation: str,
    *,
    domain: str,
    subject_id: str = "subject_id",
    stay_id: str = "NULL",
    time: str = "NULL",
    vocabulary: str = "NULL",
    code: str = "NULL",
    numeric_value: str = "NULL",
    text_value: str = "NULL",
    unit: str = "NULL",
    where: str = "true",
) -> str:
    """Return the query that turns the rows of a raw table into events.

    ``domain`` is a name, every other argument an SQL expression over ``relation``. A constant domain in each branch of
    a union lets a query for one domain read that domain's tables only.
    """
    cells = {
        "stay_id": stay_id,
        "time": time,
        "domain": f"'{domain}'",
        "vocabulary": vocabulary,
        "code": code,
        "numeric_value": numeric_value,
        "text_value": text_value,
        "unit": unit,
    }
    typed = ", ".join(f"CAST({cell} AS {_type(name)}) AS {name}" for name, cell in cells.items())
    return f"SELECT {subject_id} AS subject_id, {typed} FROM {relation} WHERE {where}"


def _type(column: str) -> str:
    return "BIGINT" if column == "stay_id" else _TYPES.get(column, "VARCHAR")


def tell_timeline(store: Store) -> None:
    """Make the tables ``people`` and ``stays`` of the events.

    ``people``: ``subject_id, sex, birth, death``. ``stays``: ``subject_id, stay_id, admitted, discharged, died``.

    Raises:
        TableError: there is no subject.
    """
    store.table(
        "people",
        f"""SELECT subject_id, min(code) FILTER (domain = 'sex') AS sex, min(time) FILTER (domain = 'birth') AS birth,
            min(time) FILTER (domain = 'death') AS death
            FROM {EVENTS} WHERE domain IN ('subject', 'sex', 'birth', 'death', 'admission') GROUP BY subject_id""",
    )
    store.table(
        "stays",
        f"""SELECT subject_id, stay_id, min(time) FILTER (domain = 'admission') AS admitted,
            max(time) FILTER (domain = 'discharge') AS discharged,
            coalesce(bool_or(numeric_value = 1) FILTER (domain = 'discharge'), false) AS died
            FROM {EVENTS} WHERE domain IN ('admission', 'discharge') GROUP BY subject_id, stay_id""",
    )
    if not store.value("SELECT count(*) FROM people"):
        raise TableError("the source has no subjects; at least one was expected")
