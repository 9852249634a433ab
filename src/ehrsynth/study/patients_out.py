"""In which form patients through time are handed out."""

from pathlib import Path
from typing import Any

import pandas as pd

from ehrsynth.data.fhir_out import write_fhir
from ehrsynth.data.meds_out import write_meds
from ehrsynth.data.omop_out import without_standard_concept, write_omop
from ehrsynth.errors import expect
from ehrsynth.visits import Visits, VisitSchema

FORMATS = {"meds": "MEDS 0.4", "omop": "OMOP CDM 5.4", "fhir": "FHIR R4, bulk NDJSON"}


def require_format(name: str) -> str:
    """Return the name of a format; an ``OptionError`` says which there are."""
    expect(isinstance(name, str) and name in FORMATS, "out_format", name, f"one of {', '.join(FORMATS)}")
    return name


def write_patients(
    name: str, visits: Visits, schema: VisitSchema, static: pd.DataFrame, folder: Path, *, keeps_rows: bool
) -> dict[str, Any]:
    """Write patients in a format; return what provenance is to say of it.

    Args:
        name: of the format.
        visits: theirs.
        schema: what these are made of.
        static: what is said of them once.
        folder: to be made.
        keeps_rows: they are training patients, so that nothing may call them synthetic.
    """
    about: dict[str, Any] = {"format": FORMATS[require_format(name)]}
    if name == "meds":
        write_meds(visits, schema, static, folder)
        return about
    write = write_omop if name == "omop" else write_fhir
    write(visits, schema, static, folder, synthetic=not keeps_rows)
    return about | ({"without_standard_concept": without_standard_concept(visits, schema)} if name == "omop" else {})
