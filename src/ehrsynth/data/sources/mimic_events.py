"""What MIMIC-III and MIMIC-IV have in common: tables, and the events made of them."""

from ehrsynth.data.events import select
from ehrsynth.data.sources.mimic_files import RawTable

_STAY = {"subject_id": "BIGINT", "hadm_id": "BIGINT"}

ADMISSIONS = RawTable(
    {
        **_STAY,
        "admittime": "TIMESTAMP",
        "dischtime": "TIMESTAMP",
        "deathtime": "TIMESTAMP",
        "hospital_expire_flag": "BIGINT",
    },
    optional=dict.fromkeys(
        (
            *("admission_type", "discharge_location", "insurance", "language", "marital_status"),
            *("race", "ethnicity"),  # ethnicity is what MIMIC-III and version 1 of MIMIC-IV call race
        ),
        "VARCHAR",
    ),
    required=True,
)
ICUSTAYS = RawTable(
    {
        **_STAY,
        "first_careunit": "VARCHAR",
        "last_careunit": "VARCHAR",
        "intime": "TIMESTAMP",
        "outtime": "TIMESTAMP",
    }
)
LABEVENTS = RawTable(
    {**_STAY, "itemid": "BIGINT", "charttime": "TIMESTAMP", "valuenum": "DOUBLE", "valueuom": "VARCHAR"}
)
D_LABITEMS = RawTable({"itemid": "BIGINT", "label": "VARCHAR", "fluid": "VARCHAR"})
SERVICES = RawTable({**_STAY, "transfertime": "TIMESTAMP", "curr_service": "VARCHAR"})


def people() -> list[str]:
    """Return sex and death; the death of a stay counts for patients without a date of death."""
    said_dead = "admissions ANTI JOIN (SELECT subject_id FROM patients WHERE dod IS NOT NULL) USING (subject_id)"
    return [
        select("patients", domain="sex", code="gender"),
        select("patients", domain="death", time="dod", where="dod IS NOT NULL"),
        select(said_dead, domain="death", stay_id="hadm_id", time="deathtime", where="deathtime IS NOT NULL"),
    ]


def stays() -> list[str]:
    """Return admissions and discharges, of the hospital and its intensive care units, and what admission wrote down."""
    died = "CASE WHEN deathtime IS NOT NULL OR hospital_expire_flag = 1 THEN 1 ELSE 0 END"
    written = {name: name for name in ("insurance", "language", "marital_status")} | {
        "race": "coalesce(race, ethnicity)"
    }
    return [
        select("admissions", domain="admission", stay_id="hadm_id", time="admittime", code="admission_type"),
        select(
            "admissions",
            domain="discharge",
            stay_id="hadm_id",
            time="dischtime",
            code="discharge_location",
            numeric_value=died,
        ),
        *(
            select("admissions", domain=domain, stay_id="hadm_id", time="admittime", code=word)
            for domain, word in written.items()
        ),
        select("icustays", domain="icu_admission", stay_id="hadm_id", time="intime", code="first_careunit"),
        select("icustays", domain="icu_discharge", stay_id="hadm_id", time="outtime", code="last_careunit"),
        select("services", domain="service", stay_id="hadm_id", time="transfertime", code="curr_service"),
    ]


def labs() -> str:
    """Return laboratory results, by label and fluid: a glucose of blood is none of urine."""
    items = "SELECT itemid, min(label || coalesce(', ' || fluid, '')) AS label FROM d_labitems GROUP BY itemid"
    return select(
        f"labevents LEFT JOIN ({items}) USING (itemid)",
        domain="lab",
        stay_id="hadm_id",
        time="charttime",
        code="coalesce(label, itemid::VARCHAR)",
        numeric_value="valuenum",
        unit="valueuom",
    )


def at_discharge(table: str, *, domain: str, vocabulary: str, code: str) -> str:
    """Return codes that carry no date: they count from the discharge of their stay, if that is known."""
    ends = "SELECT hadm_id, max(dischtime) AS dischtime FROM admissions GROUP BY hadm_id"
    return select(
        f"{table} LEFT JOIN ({ends}) USING (hadm_id)",
        domain=domain,
        stay_id="hadm_id",
        time="dischtime",
        vocabulary=vocabulary,
        code=code,
    )


def titles(version: str, code: str) -> str:
    """Return the query for the view ``labels``; version and code are SQL expressions over the tables of ICD titles."""
    tables = (("diagnosis", "CM", "d_icd_diagnoses"), ("procedure", "PCS", "d_icd_procedures"))
    return " UNION ALL ".join(
        f"SELECT '{domain}' AS domain, 'ICD' || {version} || '{kind}' AS vocabulary, {code} AS code,"
        f" long_title AS label FROM {table}"
        for domain, kind, table in tables
    )
