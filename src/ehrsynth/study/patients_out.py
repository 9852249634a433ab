"""In which form patients through time are handed out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ehrsynth.data.fhir_out import write_fhir
from ehrsynth.data.meds_out import write_meds
from ehrsynth.data.omop_out import without_standard_concept, write_omop
from ehrsynth.errors import expect
from ehrsynth.visits import Visits, VisitSchema

Writer = Callable[[Visits, VisitSchema, pd.DataFrame, Path], Path]
FORMATS: dict[str, tuple[str, Writer]] = {
    "meds": ("MEDS 0.4", write_meds),
    "omop": ("OMOP CDM 5.4", write_omop),
    "fhir": ("FHIR R4, bulk NDJSON", write_fhir),
}


def require_format(name: str) -> str:
    """Return the name of a format; an ``OptionError`` says which there are."""
    expect(isinstance(name, str) and name in FORMATS, "out_format", name, f"one of {', '.join(FORMATS)}")
    return name


def write_patients(
    name: str, visits: Visits, schema: VisitSchema, static: pd.DataFrame, folder: Path
) -> dict[str, Any]:
    """Write synthetic patients in a format; return what provenance is to say of it."""
    standard, write = FORMATS[require_format(name)]
    write(visits, schema, static, folder)
    unmapped = {"without_standard_concept": without_standard_concept(visits, schema)} if name == "omop" else {}
    return {"format": standard, **unmapped}
