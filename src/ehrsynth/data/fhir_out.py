"""Visits as resources of HL7 FHIR R4, in the files of a bulk export: a resource a line, a file for each type.

    Patient, Encounter                          who, and every visit
    Condition, Procedure, MedicationRequest     diagnoses, procedures, medications
    Observation                                 values, other codes, and what is said of a patient once

Codes are names of columns, under a system of our own; no terminology is claimed for them. Every resource of synthetic
patients carries the tag ``HTEST``, test health data. Times are told to the second, in UTC.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ehrsynth.data.trajectories_out import Integers, Portion, Shard, new_folder, shards
from ehrsynth.visits import UNKNOWN, Visits, VisitSchema

SYSTEM = "urn:ehrsynth:codes"
HL7 = "http://terminology.hl7.org/CodeSystem"
RACE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
TEST_DATA = {"system": f"{HL7}/v3-ActReason", "code": "HTEST", "display": "test health data"}
TYPES = ("Patient", "Encounter", "Condition", "Procedure", "MedicationRequest", "Observation")
GENDERS = {"F": "female", "M": "male"}
OF_PATIENTS = ("sex", "race")  # of what is said once; all else is an observation
CATEGORIES = {"lab": "laboratory", "vital": "vital-signs"}
Resource = dict[str, Any]


def write_fhir(
    visits: Visits, schema: VisitSchema, static: pd.DataFrame, folder: Path, *, synthetic: bool = True
) -> Path:
    """Write ``Patient.ndjson`` and the rest; patients are called 1 to n, in their order, and their encounters too.

    Args:
        visits: of n patients.
        schema: what they are made of.
        static: what is said of the patients once, in the same order; a column ``subject_id`` is left out.
        folder: of the files; it appears under this name only when it is complete.
        synthetic: every resource is tagged as test health data.

    Returns:
        The folder.

    Raises:
        OptionError: the folder is there already.
        TableError: visits and static rows do not fit.
    """
    return stream_fhir([(visits, static)], schema, folder, synthetic=synthetic)


def stream_fhir(portions: Iterable[Portion], schema: VisitSchema, folder: Path, *, synthetic: bool = True) -> Path:
    """Write the files of patients who come some at a time; see ``write_fhir``."""
    meta = {"meta": {"tag": [TEST_DATA]}} if synthetic else {}
    with new_folder(folder) as aside, ExitStack() as open_files:
        files = {
            name: open_files.enter_context((aside / f"{name}.ndjson").open("w", encoding="utf-8")) for name in TYPES
        }
        numbers = {name: count(1) for name in TYPES}
        for shard in shards(portions, schema, "FHIR"):
            for resource in _resources(shard):
                name = resource["resourceType"]
                line = {"resourceType": name, "id": str(next(numbers[name])), **meta, **resource}
                files[name].write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
    return folder


def _resources(shard: Shard) -> Iterator[Resource]:
    """Yield the resources of some patients; those of a type come in the order of their numbers."""
    yield from _patients(shard)
    yield from _encounters(shard)
    visits, schema = shard.visits, shard.schema
    dated = _times(shard.times_of_content)
    coded = [_concept(code.name, code.label) for code in schema.codes]
    for visit, code in zip(visits.visit_of_code.tolist(), visits.codes.tolist(), strict=True):
        yield _of_code(schema.codes[code].domain, coded[code], _where(shard, visit), dated[visit])
    measured = [_concept(one.name, one.label) for one in schema.measurements]
    values = visits.values.astype(str).astype(float)  # the shortest decimal that is this float32
    for visit, place, value in zip(
        visits.visit_of_value.tolist(), visits.measured.tolist(), values.tolist(), strict=True
    ):
        one = schema.measurements[place]
        unit = {"unit": one.unit} if one.unit else {}
        told = {"valueQuantity": {"value": value, **unit}}
        yield _observation(one.domain, measured[place], _where(shard, visit), dated[visit], told)
    yield from _said_once(shard)


def _patients(shard: Shard) -> Iterator[Resource]:
    born, died = (_times(times) for times in (shard.visits.born, shard.visits.died))
    sexes, races = (_words(shard, name) for name in OF_PATIENTS)
    for birth, death, sex, race in zip(born, died, sexes, races, strict=True):
        patient: Resource = {"resourceType": "Patient", "gender": GENDERS.get(sex or "", "unknown")}
        if race is not None:
            patient["extension"] = [{"url": RACE, "extension": [{"url": "text", "valueString": race}]}]
        if birth is not None:
            patient["birthDate"] = birth[:10]
        if death is not None:
            patient["deceasedDateTime"] = death
        yield patient


def _encounters(shard: Shard) -> Iterator[Resource]:
    visits = shard.visits
    starts, ends = _times(visits.starts), _times(visits.ends)
    clinic, died = shard.ambulatory.tolist(), shard.died.tolist()
    classes = {
        False: {"system": f"{HL7}/v3-ActCode", "code": "IMP", "display": "inpatient encounter"},
        True: {"system": f"{HL7}/v3-ActCode", "code": "AMB", "display": "ambulatory"},
    }
    expired = {"coding": [{"system": f"{HL7}/discharge-disposition", "code": "exp", "display": "Expired"}]}
    for visit, kind in enumerate(visits.kinds.tolist()):
        yield {
            "resourceType": "Encounter",
            "status": "unknown" if ends[visit] is None else "finished",
            "class": classes[clinic[visit]],
            "type": [_concept(shard.schema.kinds[kind])],
            "subject": _patient(shard, int(visits.patient[visit])),
            "period": {"start": starts[visit], **({} if ends[visit] is None else {"end": ends[visit]})},
            **({"hospitalization": {"dischargeDisposition": expired}} if died[visit] else {}),
        }


def _of_code(domain: str, code: Resource, where: Resource, time: str | None) -> Resource:
    """Return the resource of a code of a domain."""
    if domain == "diagnosis":
        active = {"coding": [{"system": f"{HL7}/condition-clinical", "code": "active"}]}
        category = [{"coding": [{"system": f"{HL7}/condition-category", "code": "encounter-diagnosis"}]}]
        told = {"clinicalStatus": active, "category": category, "code": code}
        return {"resourceType": "Condition", **told, **where, "recordedDate": time}
    if domain == "procedure":
        return {
            "resourceType": "Procedure",
            "status": "completed",
            "code": code,
            **where,
            "performedDateTime": time,
        }
    if domain == "medication":
        asked = {"status": "completed", "intent": "order", "medicationCodeableConcept": code}
        return {"resourceType": "MedicationRequest", **asked, **where, "authoredOn": time}
    return _observation(domain, code, where, time, {"valueBoolean": True})


def _said_once(shard: Shard) -> Iterator[Resource]:
    """Yield an observation, of no time, for each cell of what is said of a patient once."""
    for name in map(str, shard.static):
        if name not in OF_PATIENTS:
            cells = shard.static[name]
            number = pd.api.types.is_numeric_dtype(cells)
            for patient in np.flatnonzero(cells.notna()).tolist():
                cell = cells.iloc[patient]
                told = {"valueQuantity": {"value": float(cell)}} if number else {"valueString": str(cell)}
                yield _observation("", _concept(name), {"subject": _patient(shard, patient)}, None, told)


def _observation(domain: str, code: Resource, where: Resource, time: str | None, value: Resource) -> Resource:
    category = CATEGORIES.get(domain)
    return {
        "resourceType": "Observation",
        "status": "final",
        **(
            {"category": [{"coding": [{"system": f"{HL7}/observation-category", "code": category}]}]}
            if category
            else {}
        ),
        "code": code,
        **where,
        **({} if time is None else {"effectiveDateTime": time}),
        **value,
    }


def _concept(name: str, label: str = "") -> Resource:
    return {"coding": [{"system": SYSTEM, "code": name}], "text": label or name}


def _patient(shard: Shard, patient: int) -> Resource:
    return {"reference": f"Patient/{shard.first + patient}"}


def _where(shard: Shard, visit: int) -> Resource:
    """Return to whom something happened, and in which visit."""
    encounter = {"reference": f"Encounter/{shard.first_visit + visit}"}
    return {"subject": _patient(shard, int(shard.visits.patient[visit])), "encounter": encounter}


def _times(times: Integers) -> list[str | None]:
    """Return moments as FHIR writes them; None for those that nobody knows."""
    texts = np.datetime_as_string(times.astype("datetime64[us]"), unit="s").tolist()
    return [None if time == UNKNOWN else f"{text}Z" for time, text in zip(times.tolist(), texts, strict=True)]


def _words(shard: Shard, name: str) -> Sequence[str | None]:
    if name not in shard.static:
        return [None] * len(shard.static)
    cells = shard.static[name]
    return [str(cell) if known else None for cell, known in zip(cells, cells.notna(), strict=True)]
