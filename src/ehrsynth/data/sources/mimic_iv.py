"""MIMIC-IV (Johnson et al., Scientific Data 2023), versions 1 to 3.

Version 1 keeps patients and admissions in ``core/``, writes race as ``ethnicity`` and has no ``omr``; from version 2 on
they lie in ``hosp/``.
"""

from pathlib import Path
from typing import Any

from ehrsynth.data.events import EVENTS, LABELS, select
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.mimic_events import (
    ADMISSIONS,
    D_LABITEMS,
    ICUSTAYS,
    LABEVENTS,
    SERVICES,
    at_discharge,
    labs,
    people,
    stays,
    titles,
)
from ehrsynth.data.sources.mimic_files import MimicFiles, RawTable
from ehrsynth.data.store import Store, text
from ehrsynth.data.store_errors import OWN

_CODED = {"subject_id": "BIGINT", "hadm_id": "BIGINT", "icd_code": "VARCHAR", "icd_version": "BIGINT"}
_TITLED = {"icd_code": "VARCHAR", "icd_version": "BIGINT", "long_title": "VARCHAR"}
TABLES = {
    "patients": RawTable(
        {
            "subject_id": "BIGINT",
            "gender": "VARCHAR",
            "anchor_age": "BIGINT",
            "anchor_year": "BIGINT",
            "dod": "TIMESTAMP",
        },
        required=True,
    ),
    "admissions": ADMISSIONS,
    "diagnoses_icd": RawTable(_CODED, required=True),
    "procedures_icd": RawTable({**_CODED, "chartdate": "TIMESTAMP"}),
    "prescriptions": RawTable(
        {"subject_id": "BIGINT", "hadm_id": "BIGINT", "starttime": "TIMESTAMP", "drug": "VARCHAR"}
    ),
    "labevents": LABEVENTS,
    "d_labitems": D_LABITEMS,
    "omr": RawTable(
        {"subject_id": "BIGINT", "chartdate": "TIMESTAMP", "result_name": "VARCHAR", "result_value": "VARCHAR"}
    ),
    "services": SERVICES,
    "icustays": ICUSTAYS,
    "d_icd_diagnoses": RawTable(_TITLED),
    "d_icd_procedures": RawTable(_TITLED),
}
PRESSURE = "Blood Pressure"


class MimicIV(Source):
    """MIMIC-IV in its official layout, as CSV (packed or not) or Parquet.

    Args:
        root: the folder that holds ``hosp`` (in version 1 also ``core``) and perhaps ``icu``.

    Raises:
        OptionError: there is no such folder.
        FileError: patients, admissions or diagnoses are not there.
    """

    name = "mimic_iv"

    def __init__(self, *, root: Path | str) -> None:
        self._files = MimicFiles(root, ("hosp", "core", "icu", "."), TABLES)

    def read(self, store: Store) -> None:
        """Create ``events`` and, if a table of ICD titles is there, ``labels``."""
        self._files.scan(store)
        store.view(EVENTS, mimic_iv_events())
        if self._files.has("d_icd_diagnoses") or self._files.has("d_icd_procedures"):
            store.view(LABELS, titles("icd_version", "icd_code"))

    def options(self) -> dict[str, Any]:
        """Return nothing: the files are known by their hashes."""
        return {}

    def inputs(self) -> dict[str, Path]:
        """Return the tables that are there, of those that can be read."""
        return self._files.inputs()


def mimic_iv_events() -> str:
    """Return the query that turns the tables of MIMIC-IV, under their own names, into events."""
    no_year = text(f"{OWN}patients: an anchor_year less its anchor_age is no year of the calendar")
    year = "anchor_year - anchor_age"
    birth = (
        f"CASE WHEN {year} IS NOT NULL THEN coalesce(try(make_timestamp({year}, 1, 1, 0, 0, 0)), error({no_year})) END"
    )
    branches = [
        *people(),
        select("patients", domain="birth", time=birth),
        *stays(),
        at_discharge("diagnoses_icd", domain="diagnosis", vocabulary="'ICD' || icd_version || 'CM'", code="icd_code"),
        select(
            "procedures_icd",
            domain="procedure",
            stay_id="hadm_id",
            time="chartdate",
            vocabulary="'ICD' || icd_version || 'PCS'",
            code="icd_code",
        ),
        select("prescriptions", domain="medication", stay_id="hadm_id", time="starttime", code="drug"),
        labs(),
        *_vitals(),
    ]
    return " UNION ALL ".join(branches)


def _vitals() -> list[str]:
    is_pressure = f"starts_with(result_name, '{PRESSURE}')"
    pressures = f"(SELECT *, string_split(result_value, '/') AS parts FROM omr WHERE {is_pressure})"
    high, low = (f"TRY_CAST(parts[{place}] AS DOUBLE)" for place in (1, 2))
    return [
        select(
            "omr",
            domain="vital",
            time="chartdate",
            code="result_name",
            numeric_value="TRY_CAST(result_value AS DOUBLE)",
            text_value="result_value",
            where=f"NOT {is_pressure}",
        ),
        *(
            select(
                pressures,
                domain="vital",
                time="chartdate",
                code=f"result_name || ', {side}'",
                numeric_value=f"CASE WHEN {high} > 0 OR {low} > 0 THEN {value} END",  # 0/0 was never measured
                text_value="result_value",
            )
            for side, value in (("systolic", high), ("diastolic", low))
        ),
    ]
