"""In which form patients through time are handed out."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ehrsynth.data.fhir_out import stream_fhir
from ehrsynth.data.meds_out import stream_meds
from ehrsynth.data.omop_out import stream_omop
from ehrsynth.data.trajectories_out import Portion
from ehrsynth.errors import expect
from ehrsynth.visits import VisitSchema

FORMATS = {"meds": "MEDS 0.4", "omop": "OMOP CDM 5.4", "fhir": "FHIR R4, bulk NDJSON"}


def require_format(name: str) -> str:
    """Return the name of a format; an ``OptionError`` says which there are."""
    expect(isinstance(name, str) and name in FORMATS, "out_format", name, f"one of {', '.join(FORMATS)}")
    return name


def write_patients(
    name: str, portions: Iterable[Portion], schema: VisitSchema, folder: Path, *, keeps_rows: bool
) -> dict[str, Any]:
    """Write patients in a format, a portion at a time; return what provenance is to say of it.

    Args:
        name: of the format.
        portions: of patients, asked for one after another.
        schema: what their visits are made of.
        folder: to be made.
        keeps_rows: they are training patients, so that nothing may call them synthetic.
    """
    about: dict[str, Any] = {"format": FORMATS[require_format(name)]}
    if name == "meds":
        stream_meds(portions, schema, folder)
    elif name == "omop":
        about["without_standard_concept"] = stream_omop(portions, schema, folder, synthetic=not keeps_rows)
    else:
        stream_fhir(portions, schema, folder, synthetic=not keeps_rows)
    return about
