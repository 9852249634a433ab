"""The columns of an OMOP CDM that are read, with their SQL types."""

Columns = dict[str, str]


def _clinical(start: str, prefix: str, **further: str) -> tuple[Columns, Columns]:
    """Return the columns of a table of events: when, of which visit, and what it is by three names."""
    needed = {"person_id": "BIGINT", f"{start}_date": "TIMESTAMP", f"{prefix}_concept_id": "BIGINT"}
    optional = {
        f"{start}_datetime": "TIMESTAMP",
        "visit_occurrence_id": "BIGINT",
        f"{prefix}_source_value": "VARCHAR",
        f"{prefix}_source_concept_id": "BIGINT",
    }
    return needed, {**optional, **further}


CODED = {  # start of the names of the columns that tell when and what
    "condition_occurrence": ("condition_start", "condition"),
    "procedure_occurrence": ("procedure", "procedure"),
    "drug_exposure": ("drug_exposure_start", "drug"),
    "measurement": ("measurement", "measurement"),
    "observation": ("observation", "observation"),
}
_FURTHER = {
    "measurement": {"value_as_number": "DOUBLE", "unit_concept_id": "BIGINT", "unit_source_value": "VARCHAR"},
    "observation": {"value_as_number": "DOUBLE", "value_as_string": "VARCHAR", "value_as_concept_id": "BIGINT"},
}
TABLES: dict[str, tuple[Columns, Columns]] = {  # columns that must be there, and others
    "person": (
        {"person_id": "BIGINT", "gender_concept_id": "BIGINT", "year_of_birth": "BIGINT"},
        {
            **dict.fromkeys(("month_of_birth", "day_of_birth", "race_concept_id", "ethnicity_concept_id"), "BIGINT"),
            "birth_datetime": "TIMESTAMP",
            "gender_source_value": "VARCHAR",
            "race_source_value": "VARCHAR",
        },
    ),
    "death": ({"person_id": "BIGINT", "death_date": "TIMESTAMP"}, {"death_datetime": "TIMESTAMP"}),
    "visit_occurrence": (
        {
            **dict.fromkeys(("visit_occurrence_id", "person_id", "visit_concept_id"), "BIGINT"),
            **dict.fromkeys(("visit_start_date", "visit_end_date"), "TIMESTAMP"),
        },
        {
            **dict.fromkeys(("visit_start_datetime", "visit_end_datetime"), "TIMESTAMP"),
            **dict.fromkeys(("discharge_to_concept_id", "discharged_to_concept_id"), "BIGINT"),
            **dict.fromkeys(
                ("visit_source_value", "discharge_to_source_value", "discharged_to_source_value"), "VARCHAR"
            ),
        },
    ),
    "payer_plan_period": (
        {"person_id": "BIGINT", "payer_plan_period_start_date": "TIMESTAMP"},
        {"payer_concept_id": "BIGINT", "payer_source_value": "VARCHAR"},
    ),
    **{table: _clinical(*names, **_FURTHER.get(table, {})) for table, names in CODED.items()},
    "concept": (
        {"concept_id": "BIGINT", "concept_name": "VARCHAR", "vocabulary_id": "VARCHAR", "concept_code": "VARCHAR"},
        {"concept_class_id": "VARCHAR"},
    ),
}
