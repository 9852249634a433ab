"""The rows of a MEDS dataset as events."""

from collections.abc import Collection

from ehrsynth.data.events import select

DATA, CODES = "meds_data", "meds_codes"
WRITTEN = ("race", "ethnicity", "insurance", "language", "marital_status")  # extra columns of an admission
_STAYS = "('admission', 'discharge')"
_DIED_WORDS = r"\b(died|dead|death|deceased|expired)\b"
# The standard holds numbers as float32; the shortest decimal that is that number is the one that was written.
_NUMBER = "coalesce(numeric_value::VARCHAR::DOUBLE, TRY_CAST(text_value AS DOUBLE))"


def pairs() -> str:
    """Return the query that numbers the stays of a dataset without a column for them.

    An admission and the next discharge of the subject are a stay; a discharge at the minute of an admission ends the
    stay before. Every other discharge has the number NULL.
    """
    return f"""SELECT subject_id, time, domain, code,
        CASE WHEN number > 0 AND row_number() OVER (PARTITION BY subject_id, number, domain ORDER BY time, code) = 1
        THEN number END AS stay_id
        FROM (SELECT d.subject_id, d.time, k.domain, k.code, count(*) FILTER (k.domain = 'admission')
            OVER (PARTITION BY d.subject_id ORDER BY d.time, k.domain = 'admission', k.code ROWS UNBOUNDED PRECEDING)
            AS number FROM {DATA} d JOIN {CODES} k ON d.code = k.raw WHERE k.domain IN {_STAYS})"""


def meds_events(*, paired: bool, written: Collection[str]) -> str:
    """Return the query that turns the rows into events.

    Args:
        paired: stays were numbered by ``pairs`` as the table ``meds_stays``.
        written: those of ``WRITTEN`` that the data have as columns.
    """
    rows = f"(SELECT d.* EXCLUDE (code), k.* EXCLUDE (raw) FROM {DATA} d JOIN {CODES} k ON d.code = k.raw)"
    kept = {"stay_id": "stay_id", "time": "time"}
    told = {**kept, "vocabulary": "vocabulary", "unit": "unit", "text_value": "text_value"}
    stays = "meds_stays" if paired else f"(SELECT * FROM {rows} WHERE domain IN {_STAYS})"
    deaths = f"(SELECT subject_id, min(time)::DATE AS died_on FROM {rows} WHERE domain = 'death' GROUP BY ALL)"
    branches = [
        _of_any_domain(rows),
        select(stays, domain="admission", code="code", where="domain = 'admission'", **kept),
        select(
            f"{stays} LEFT JOIN {deaths} USING (subject_id)",
            domain="discharge",
            code="code",
            numeric_value=f"""CASE WHEN regexp_matches(lower(code), '{_DIED_WORDS}') THEN 1 WHEN code IS NOT NULL THEN 0
                ELSE coalesce(died_on <= time::DATE, false)::INT END""",
            where="domain = 'discharge' AND stay_id IS NOT NULL",
            **kept,
        ),
        *(
            select(f"{rows}", domain=name, code=name, where=f"domain = 'admission' AND {name} IS NOT NULL", **kept)
            for name in written
        ),
    ]
    if paired:  # nothing is lost
        branches.append(select(stays, domain="other", time="time", code="code", where="stay_id IS NULL"))
    high, low = (f"TRY_CAST(split_part(text_value, '/', {place}) AS DOUBLE)" for place in (1, 2))
    for half, value in (("first", high), ("second", low)):
        number = f"CASE WHEN {high} > 0 OR {low} > 0 THEN {value} END"  # 0/0 was never measured
        name = f"code || ', ' || {half}"
        branches.append(
            select(rows, domain="vital", code=name, numeric_value=number, where="first IS NOT NULL", **told)
        )
    return " UNION ALL ".join(branches)


def _of_any_domain(rows: str) -> str:
    """Return the events whose domain is the code's alone."""
    return f"""SELECT subject_id, stay_id, time, domain, vocabulary, code, {_NUMBER} AS numeric_value, text_value, unit
        FROM {rows} WHERE domain NOT IN {_STAYS} AND first IS NULL"""
