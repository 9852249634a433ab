"""MIMIC-III version 1.4 (Johnson et al., Scientific Data 2016): one folder, ICD-9 only.

The births of patients older than 89 are shifted to about 300 years before; the option ``most`` of the feature ``Age``
gives them one age.
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
from ehrsynth.data.store import Store

_CODED = {"subject_id": "BIGINT", "hadm_id": "BIGINT", "icd9_code": "VARCHAR"}
_TITLED = {"icd9_code": "VARCHAR", "long_title": "VARCHAR"}
TABLES = {
    "patients": RawTable(
        {"subject_id": "BIGINT", "gender": "VARCHAR", "dob": "TIMESTAMP", "dod": "TIMESTAMP"}, required=True
    ),
    "admissions": ADMISSIONS,
    "diagnoses_icd": RawTable(_CODED, required=True),
    "procedures_icd": RawTable(_CODED),
    "prescriptions": RawTable(
        {"subject_id": "BIGINT", "hadm_id": "BIGINT", "startdate": "TIMESTAMP", "drug": "VARCHAR"}
    ),
    "labevents": LABEVENTS,
    "d_labitems": D_LABITEMS,
    "services": SERVICES,
    "icustays": ICUSTAYS,
    "d_icd_diagnoses": RawTable(_TITLED),
    "d_icd_procedures": RawTable(_TITLED),
}


class MimicIII(Source):
    """MIMIC-III in its official layout, as CSV (packed or not) or Parquet; names in either case.

    Args:
        root: the folder that holds ``PATIENTS.csv.gz`` and the others.

    Raises:
        OptionError: there is no such folder.
        FileError: patients, admissions or diagnoses are not there.
    """

    name = "mimic_iii"

    def __init__(self, *, root: Path | str) -> None:
        self._files = MimicFiles(root, (".",), TABLES)

    def read(self, store: Store) -> None:
        """Create ``events`` and, if a table of ICD titles is there, ``labels``."""
        self._files.scan(store)
        branches = [
            *people(),
            select("patients", domain="birth", time="dob"),
            *stays(),
            *(
                at_discharge(table, domain=domain, vocabulary=f"'{vocabulary}'", code="icd9_code")
                for table, domain, vocabulary in (
                    ("diagnoses_icd", "diagnosis", "ICD9CM"),
                    ("procedures_icd", "procedure", "ICD9PCS"),
                )
            ),
            select("prescriptions", domain="medication", stay_id="hadm_id", time="startdate", code="drug"),
            labs(),
        ]
        store.view(EVENTS, " UNION ALL ".join(branches))
        if self._files.has("d_icd_diagnoses") or self._files.has("d_icd_procedures"):
            store.view(LABELS, titles("9", "icd9_code"))

    def options(self) -> dict[str, Any]:
        """Return nothing: the files are known by their hashes."""
        return {}

    def inputs(self) -> dict[str, Path]:
        """Return the tables that are there, of those that can be read."""
        return self._files.inputs()
