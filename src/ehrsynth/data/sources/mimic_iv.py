"""MIMIC-IV (Johnson et al., Scientific Data 2023), versions 1 to 3: ``hosp/`` and, if it is there, ``icu/``."""

from pathlib import Path
from typing import Any

from ehrsynth.data.events import EVENTS, select
from ehrsynth.data.sources.base import Source
from ehrsynth.data.store import Store

TABLES = {
    "patients": {
        "subject_id": "BIGINT",
        "gender": "VARCHAR",
        "anchor_age": "BIGINT",
        "anchor_year": "BIGINT",
        "dod": "TIMESTAMP",
    },
    "admissions": {
        "subject_id": "BIGINT",
        "hadm_id": "BIGINT",
        "admittime": "TIMESTAMP",
        "dischtime": "TIMESTAMP",
        "race": "VARCHAR",
    },
    "diagnoses_icd": {
        "subject_id": "BIGINT",
        "hadm_id": "BIGINT",
        "icd_code": "VARCHAR",
        "icd_version": "BIGINT",
    },
    "omr": {"subject_id": "BIGINT", "chartdate": "TIMESTAMP", "result_name": "VARCHAR", "result_value": "VARCHAR"},
}
PRESSURE = "Blood Pressure"


class MimicIV(Source):
    """MIMIC-IV in its official layout.

    Args:
        root: the folder that holds ``hosp``.
    """

    name = "mimic_iv"

    def __init__(self, *, root: Path | str) -> None:
        self.root = Path(root)

    def read(self, store: Store) -> None:
        """Create ``events``."""
        for table, columns in TABLES.items():
            store.scan(table, self._file(table), columns)
        store.view(EVENTS, mimic_iv_events())

    def options(self) -> dict[str, Any]:
        """Return nothing: the files are known by their hashes."""
        return {}

    def inputs(self) -> dict[str, Path]:
        """Return the tables that are read."""
        return {f"hosp/{table}.csv.gz": self._file(table) for table in TABLES}

    def _file(self, table: str) -> Path:
        return self.root / "hosp" / f"{table}.csv.gz"


def mimic_iv_events() -> str:
    """Return the query that turns the tables of MIMIC-IV, under their own names, into events."""
    coded = "diagnoses_icd JOIN (SELECT hadm_id, dischtime FROM admissions) USING (hadm_id)"
    measured = f"omr WHERE result_name <> '{PRESSURE}'"
    pressure = f"(SELECT *, string_split(result_value, '/') AS parts FROM omr WHERE result_name = '{PRESSURE}')"
    branches = [
        select("patients", domain="sex", code="gender"),
        select("patients", domain="birth", time="make_timestamp(anchor_year - anchor_age, 1, 1, 0, 0, 0)"),
        select("patients", domain="death", time="dod", where="dod IS NOT NULL"),
        select("admissions", domain="admission", stay_id="hadm_id", time="admittime"),
        select("admissions", domain="discharge", stay_id="hadm_id", time="dischtime", numeric_value="0"),
        select("admissions", domain="race", stay_id="hadm_id", time="admittime", code="race"),
        select(
            coded,
            domain="diagnosis",
            stay_id="hadm_id",
            time="dischtime",
            vocabulary="'ICD' || icd_version || 'CM'",
            code="icd_code",
        ),
        select(
            f"(SELECT * FROM {measured})",
            domain="vital",
            time="chartdate",
            code="result_name",
            numeric_value="TRY_CAST(result_value AS DOUBLE)",
        ),
        *(
            select(
                pressure,
                domain="vital",
                time="chartdate",
                code=f"'{PRESSURE}, {side}'",
                numeric_value=f"TRY_CAST(parts[{place}] AS DOUBLE)",
            )
            for place, side in ((1, "systolic"), (2, "diastolic"))
        ),
    ]
    return " UNION ALL ".join(branches)
