"""The tables of an OMOP CDM as events."""

from collections.abc import Sequence

from ehrsynth.data.events import select
from ehrsynth.data.sources.omop_columns import CODED
from ehrsynth.data.store import text
from ehrsynth.data.store_errors import OWN

ICD_DIAGNOSES = "('ICD9CM', 'ICD10CM', 'ICD10', 'ICD10GM')"
ICD_PROCEDURES = "('ICD9Proc', 'ICD10PCS')"
MALE, FEMALE, HISPANIC = 8507, 8532, 38003563
DIED = 4216643
_DIED_WORDS = r"\b(died|dead|death|deceased|expired)\b"
_BODILY = "concept_class = 'Clinical Observation'"  # LOINC's class of blood pressure, weight, ...; else a laboratory's


def concepts() -> str:
    """Return the query of the concepts, each once; concept 0 means that there is none."""
    return """SELECT concept_id, concept_name AS name, vocabulary_id AS vocabulary, concept_code AS code,
        concept_class_id AS class FROM concept WHERE concept_id <> 0
        QUALIFY row_number() OVER (PARTITION BY concept_id ORDER BY concept_code) = 1"""


def visits(stays: Sequence[int]) -> str:
    """Return the query of the visits: whether each is a stay, its kind, where it led to, and whether to death.

    The place of discharge decides whether the subject died; where none is known, the date of death does.
    """
    to_concept = "nullif(coalesce(discharged_to_concept_id, discharge_to_concept_id), 0)"
    to_words = "nullif(coalesce(discharged_to_source_value, discharge_to_source_value), '')"
    return f"""SELECT visit_occurrence_id, person_id, visit_concept_id IN ({", ".join(map(str, stays))}) AS is_stay,
        coalesce(visit_start_datetime, visit_start_date) AS started,
        coalesce(visit_end_datetime, visit_end_date) AS ended,
        coalesce(k.name, visit_source_value) AS kind, coalesce(p.name, {to_words}) AS place,
        CASE WHEN {to_concept} = {DIED} THEN 1
        WHEN regexp_matches(lower(concat_ws(' ', p.name, {to_words})), '{_DIED_WORDS}') THEN 1
        WHEN coalesce(p.name, {to_words}) IS NOT NULL THEN 0
        ELSE coalesce(died_on <= visit_end_date::DATE, false)::INT END AS died
        FROM visit_occurrence v
        LEFT JOIN omop_concepts k ON visit_concept_id = k.concept_id
        LEFT JOIN omop_concepts p ON {to_concept} = p.concept_id
        LEFT JOIN (SELECT person_id, min(death_date)::DATE AS died_on FROM death GROUP BY ALL) USING (person_id)"""


def omop_events(source_codes: str | None) -> str:
    """Return the query that turns the tables, and what the two queries above give, into events.

    Args:
        source_codes: the vocabulary of conditions' source values, if there is one.
    """
    not_icd = f"coalesce(source_vocabulary NOT IN {ICD_DIAGNOSES} AND source_vocabulary NOT IN {ICD_PROCEDURES}, true)"
    by_source = f"source_vocabulary NOT IN {ICD_PROCEDURES}"
    said = "false" if source_codes is None else "source_vocabulary IS NULL AND source_value IS NOT NULL"
    spoken = "NULL" if source_codes is None else text(source_codes)
    measured = {"numeric_value": "value_as_number", "unit": "coalesce(unit_code, unit_source_value)"}
    named = "coalesce(name, source_value)"
    branches = [
        *_people(),
        *_stays(),
        _event(
            "condition_occurrence",
            "diagnosis",
            where=f"coalesce({by_source}, true)",
            time="coalesce(stay_ended, time)",
            vocabulary=f"CASE WHEN {said} THEN {spoken} ELSE coalesce(source_vocabulary, vocabulary) END",
            code=f"CASE WHEN {said} THEN source_value ELSE coalesce(source_code, code, source_value) END",
        ),
        _event(
            "procedure_occurrence",
            "procedure",
            where=f"coalesce(source_vocabulary NOT IN {ICD_DIAGNOSES}, true)",
            vocabulary=_as_elsewhere("coalesce(source_vocabulary, vocabulary)"),
            code="coalesce(source_code, code, source_value)",
        ),
        *(_icd_diagnoses(table) for table in ("procedure_occurrence", "observation", "measurement")),
        *(_icd_procedures(table) for table in ("condition_occurrence", "observation", "measurement")),
        _event("drug_exposure", "medication", code=named),
        _event("measurement", "vital", where=f"{not_icd} AND {_BODILY}", code=named, **measured),
        _event("measurement", "lab", where=f"{not_icd} AND coalesce(NOT {_BODILY}, true)", code=named, **measured),
        _event(
            "observation",
            "observation",
            where=not_icd,
            code=named,
            numeric_value="value_as_number",
            text_value="coalesce(value_as_string, value_name)",
        ),
    ]
    return " UNION ALL ".join(branches)


def labels() -> str:
    """Return the query of the words for diagnoses and procedures."""
    icd = (("diagnosis", ICD_DIAGNOSES), ("procedure", ICD_PROCEDURES))
    coded = (("diagnosis", "condition"), ("procedure", "procedure"))
    words = f"{_as_elsewhere('vocabulary')} AS vocabulary, code, name AS label FROM omop_concepts"
    return " UNION ".join(
        [
            *(f"SELECT '{domain}' AS domain, {words} WHERE vocabulary IN {known}" for domain, known in icd),
            *(
                f"SELECT '{domain}' AS domain, {words}"
                f" WHERE concept_id IN (SELECT {prefix}_concept_id FROM {prefix}_occurrence)"
                for domain, prefix in coded
            ),
        ]
    )


def _people() -> list[str]:
    """Return what is known of a subject; where race is unknown and the subject is Hispanic, that is the race."""
    person = {"subject_id": "person_id"}
    sex = (
        f"CASE gender_concept_id WHEN {MALE} THEN 'M' WHEN {FEMALE} THEN 'F'"
        " ELSE regexp_extract(upper(gender_source_value), '^(F|M)(EMALE|ALE)?$', 1) END"
    )
    no_day = "person: a year_of_birth, month_of_birth and day_of_birth are together no day of the calendar"
    day = "make_timestamp(year_of_birth, coalesce(month_of_birth, 1), coalesce(day_of_birth, 1), 0, 0, 0)"
    born = f"CASE WHEN year_of_birth IS NOT NULL THEN coalesce(try({day}), error({text(OWN + no_day)})) END"
    race = (
        "(SELECT p.*, r.name AS race, e.name AS ethnicity FROM person p"
        " LEFT JOIN omop_concepts r ON race_concept_id = r.concept_id"
        " LEFT JOIN omop_concepts e ON ethnicity_concept_id = e.concept_id)"
    )
    hispanic = f"CASE WHEN ethnicity_concept_id = {HISPANIC} THEN 'Hispanic or Latino' END"
    payer = "payer_plan_period LEFT JOIN omop_concepts ON payer_concept_id = concept_id"
    return [
        select("person", domain="subject", **person),
        select("person", domain="sex", code=f"nullif({sex}, '')", **person),
        select("person", domain="birth", time=f"coalesce(birth_datetime, {born})", **person),
        select(race, domain="race", code=f"coalesce(race, {hispanic}, race_source_value)", **person),
        select(race, domain="ethnicity", code="ethnicity", **person),
        select("death", domain="death", time="coalesce(death_datetime, death_date)", **person),
        select(
            payer,
            domain="insurance",
            time="payer_plan_period_start_date",
            code="coalesce(name, payer_source_value)",
            **person,
        ),
    ]


def _stays() -> list[str]:
    stay = {"subject_id": "person_id", "stay_id": "visit_occurrence_id", "where": "is_stay"}
    return [
        select("omop_visits", domain="admission", time="started", code="kind", **stay),
        select("omop_visits", domain="discharge", time="ended", code="place", numeric_value="died", **stay),
    ]


def _event(table: str, domain: str, **cells: str) -> str:
    """Return the events of a table, with its own time unless ``cells`` has another."""
    given = {"time": "time", **cells}
    return select(_told(table), domain=domain, subject_id="person_id", stay_id="stay_id", **given)


def _icd_diagnoses(table: str) -> str:
    return _event(
        table,
        "diagnosis",
        where=f"source_vocabulary IN {ICD_DIAGNOSES}",
        time="coalesce(stay_ended, time)",
        vocabulary="source_vocabulary",
        code="source_code",
    )


def _icd_procedures(table: str) -> str:
    return _event(
        table,
        "procedure",
        where=f"source_vocabulary IN {ICD_PROCEDURES}",
        vocabulary=_as_elsewhere("source_vocabulary"),
        code="source_code",
    )


def _as_elsewhere(vocabulary: str) -> str:
    """Return a vocabulary under the name that other sources use: OMOP calls ICD-9's procedures ICD9Proc."""
    return f"CASE {vocabulary} WHEN 'ICD9Proc' THEN 'ICD9PCS' ELSE {vocabulary} END"


def _told(table: str) -> str:
    """Return a table with the words of its concepts, its time, and its stay; a visit that is no stay is none."""
    start, prefix = CODED[table]
    further, joins = "", ""
    if table == "measurement":
        further = ", value_as_number, unit_source_value, u.code AS unit_code"
        joins = "LEFT JOIN omop_concepts u ON unit_concept_id = u.concept_id"
    if table == "observation":
        further = ", value_as_number, value_as_string, w.name AS value_name"
        joins = "LEFT JOIN omop_concepts w ON value_as_concept_id = w.concept_id"
    return f"""(SELECT t.person_id, coalesce({start}_datetime, {start}_date) AS time,
        {prefix}_source_value AS source_value, s.vocabulary AS source_vocabulary, s.code AS source_code,
        c.vocabulary, c.code, c.name, c.class AS concept_class,
        CASE WHEN coalesce(is_stay, true) THEN visit_occurrence_id END AS stay_id, stay_ended{further}
        FROM {table} t LEFT JOIN omop_concepts s ON {prefix}_source_concept_id = s.concept_id
        LEFT JOIN omop_concepts c ON {prefix}_concept_id = c.concept_id
        LEFT JOIN (SELECT visit_occurrence_id, bool_or(is_stay) AS is_stay, max(ended) FILTER (is_stay) AS stay_ended
        FROM omop_visits GROUP BY ALL) USING (visit_occurrence_id) {joins})"""
