"""The raw tables of MIMIC-IV exported to MEDS and to OMOP, as conversions in the field do, by code of their own."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

Tables = dict[str, pd.DataFrame]
MEDS_TYPES = {
    "subject_id": pa.int64(),
    "time": pa.timestamp("us"),
    "code": pa.string(),
    "numeric_value": pa.float32(),
    "text_value": pa.large_string(),
    "hadm_id": pa.int64(),
    "race": pa.string(),
    "insurance": pa.string(),
}
RACES = {  # beginnings of MIMIC's words: race concept and its name
    "WHITE": (8527, "White"),
    "BLACK": (8516, "Black or African American"),
    "ASIAN": (8515, "Asian"),
    "AMERICAN INDIAN": (8657, "American Indian or Alaska Native"),
}
VITALS = {
    "BMI (kg/m2)": (3038553, "Body mass index (BMI) [Ratio]"),
    "systolic": (3004249, "Systolic blood pressure"),
    "diastolic": (3012888, "Diastolic blood pressure"),
}
VISITS = {9201: "Inpatient Visit", 262: "Emergency Room and Inpatient Visit", 9202: "Outpatient Visit"}
DIED = 4216643


def read_mimic(root: Path) -> Tables:
    """Read what the exports need of MIMIC-IV's ``hosp``; a table that is absent is empty."""
    wanted = {
        "patients": ["subject_id", "gender", "anchor_age", "anchor_year", "dod"],
        "admissions": [
            *("subject_id", "hadm_id", "admittime", "dischtime", "admission_type", "discharge_location"),
            *("insurance", "race", "hospital_expire_flag"),
        ],
        "diagnoses_icd": ["subject_id", "hadm_id", "icd_code", "icd_version"],
        "procedures_icd": ["subject_id", "hadm_id", "chartdate", "icd_code", "icd_version"],
        "prescriptions": ["subject_id", "hadm_id", "starttime", "drug"],
        "omr": ["subject_id", "chartdate", "result_name", "result_value"],
    }
    numbers = {"subject_id", "hadm_id", "anchor_age", "anchor_year", "icd_version"}
    tables = {}
    for name, columns in wanted.items():
        path = root / "hosp" / f"{name}.csv.gz"
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""]) if path.exists() else pd.DataFrame()
        table = table.reindex(columns=columns)
        for column in columns:
            if column in numbers:
                table[column] = table[column].astype("Int64")
            elif column.endswith("time") or column in ("dod", "chartdate"):
                table[column] = pd.to_datetime(table[column])
            else:
                table[column] = table[column].astype("str")
        tables[name] = table
    return tables


def write_meds(mimic: Tables, root: Path, *, shards: int = 3, stays: bool = True) -> Path:
    """Write a MEDS dataset: sorted shards by subject, splits and code metadata.

    Args:
        mimic: as of ``read_mimic``.
        root: of the dataset.
        shards: number of files.
        stays: keep ``hadm_id`` as an extra column.
    """
    people, admissions = mimic["patients"], mimic["admissions"]
    discharged = admissions[["hadm_id", "dischtime"]]
    born = pd.to_datetime((people["anchor_year"] - people["anchor_age"]).astype(str) + "-01-01")
    dead = people.dropna(subset=["dod"])
    diagnoses = mimic["diagnoses_icd"].merge(discharged, on="hadm_id", how="left")
    procedures, drugs, omr = mimic["procedures_icd"], mimic["prescriptions"], mimic["omr"]
    version = {name: table["icd_version"].astype(str) for name, table in mimic.items() if "icd_version" in table}
    rows = [
        pd.DataFrame({"subject_id": people["subject_id"], "time": pd.NaT, "code": "GENDER//" + people["gender"]}),
        pd.DataFrame({"subject_id": people["subject_id"], "time": born, "code": "MEDS_BIRTH"}),
        pd.DataFrame({"subject_id": dead["subject_id"], "time": dead["dod"], "code": "MEDS_DEATH"}),
        _rows(
            admissions,
            "admittime",
            "HOSPITAL_ADMISSION//" + admissions["admission_type"].fillna("UNK"),
            race=admissions["race"],
            insurance=admissions["insurance"],
        ),
        _rows(admissions, "dischtime", "HOSPITAL_DISCHARGE//" + admissions["discharge_location"].fillna("UNK")),
        _rows(diagnoses, "dischtime", "DIAGNOSIS//ICD//" + version["diagnoses_icd"] + "//" + diagnoses["icd_code"]),
        _rows(procedures, "chartdate", "PROCEDURE//ICD//" + version["procedures_icd"] + "//" + procedures["icd_code"]),
        _rows(drugs, "starttime", "MEDICATION//" + drugs["drug"]),
        pd.DataFrame(
            {
                "subject_id": omr["subject_id"],
                "time": omr["chartdate"],
                "code": omr["result_name"],
                "numeric_value": pd.to_numeric(omr["result_value"], errors="coerce"),
                "text_value": omr["result_value"],
            }
        ),
    ]
    data = pd.concat([part.dropna(subset=["code"]) for part in rows], ignore_index=True).reindex(columns=[*MEDS_TYPES])
    data = data.sort_values(["subject_id", "time"], na_position="first", kind="stable")
    kinds = {name: kind for name, kind in MEDS_TYPES.items() if stays or name != "hadm_id"}
    subjects = np.sort(people["subject_id"].to_numpy(dtype=np.int64))
    for number, mine in enumerate(np.array_split(subjects, shards)):
        part = root / "data" / ("train" if number else "held_out") / f"{number}.parquet"
        part.parent.mkdir(parents=True, exist_ok=True)
        shard = data[data["subject_id"].isin(mine)][list(kinds)]
        pq.write_table(pa.Table.from_pandas(shard, schema=pa.schema(kinds), preserve_index=False), part)
    metadata = root / "metadata"
    metadata.mkdir()
    split = np.where(np.arange(len(subjects)) % 10 < 7, "train", "held_out")
    split[np.arange(len(subjects)) % 10 == 7] = "tuning"
    pd.DataFrame({"subject_id": subjects, "split": split}).to_parquet(metadata / "subject_splits.parquet", index=False)
    codes = pa.table({"code": sorted(data["code"].unique())})
    pq.write_table(codes, metadata / "codes.parquet")
    (metadata / "dataset.json").write_text(json.dumps({"dataset_name": "export", "meds_version": "0.4.1"}))
    return root


def _rows(table: pd.DataFrame, time: str, code: pd.Series, **further: pd.Series) -> pd.DataFrame:
    kept = {"subject_id": table["subject_id"], "time": table[time], "hadm_id": table["hadm_id"]}
    return pd.DataFrame({**kept, "code": code, **further})


def omop_tables(mimic: Tables, *, version: str = "5.4") -> Tables:
    """Return the tables of an OMOP CDM, with an outpatient visit for every measurement of ``omr``."""
    people, admissions, omr = mimic["patients"], mimic["admissions"], mimic["omr"]
    names = [(concept, name, "Visit", f"V{concept}", "Visit") for concept, name in VISITS.items()]
    names += [(concept, name, "Race", f"R{concept}", "Race") for concept, name in RACES.values()]
    names += [(concept, name, "LOINC", f"L{concept}", "Clinical Observation") for concept, name in VITALS.values()]
    names += [
        (38003563, "Hispanic or Latino", "Ethnicity", "Hispanic", "Ethnicity"),
        (0, "No matching concept", "None", "0", ""),
    ]
    names += [
        (DIED, "Patient died", "SNOMED", "419099009", "Clinical Finding"),
        (8536, "Home", "CMS Place of Service", "12", "Visit"),
    ]
    last = admissions.sort_values(["admittime", "hadm_id"]).groupby("subject_id")["race"].last()
    race = people["subject_id"].map(last)
    race_concept = [next((c for start, (c, _) in RACES.items() if str(word).startswith(start)), 0) for word in race]
    person = pd.DataFrame(
        {
            "person_id": people["subject_id"],
            "gender_concept_id": people["gender"].map({"M": 8507, "F": 8532}),
            "year_of_birth": people["anchor_year"] - people["anchor_age"],
            "month_of_birth": pd.NA,
            "day_of_birth": pd.NA,
            "birth_datetime": pd.NaT,
            "race_concept_id": race_concept,
            "ethnicity_concept_id": np.where(race.fillna("").str.startswith("HISPANIC"), 38003563, 0),
            "race_source_value": race,
        }
    )
    dead = people.dropna(subset=["dod"])
    death = pd.DataFrame({"person_id": dead["subject_id"], "death_date": dead["dod"], "death_datetime": dead["dod"]})
    emergency = admissions["admission_type"].fillna("").str.contains("EMER|EW")
    died = admissions["hospital_expire_flag"].fillna("0") == "1"
    to = "discharged_to" if version == "5.4" else "discharge_to"
    visits = pd.DataFrame(
        {
            "visit_occurrence_id": admissions["hadm_id"],
            "person_id": admissions["subject_id"],
            "visit_concept_id": np.where(emergency, 262, 9201),
            "visit_start_date": admissions["admittime"].dt.normalize(),
            "visit_start_datetime": admissions["admittime"],
            "visit_end_date": admissions["dischtime"].dt.normalize(),
            "visit_end_datetime": admissions["dischtime"],
            "visit_source_value": admissions["admission_type"],
            f"{to}_concept_id": np.where(died, DIED, np.where(admissions["discharge_location"] == "HOME", 8536, 0)),
            f"{to}_source_value": admissions["discharge_location"].fillna("HOME"),
        }
    )
    clinic = omr[["subject_id", "chartdate"]].drop_duplicates().reset_index(drop=True)
    clinic["visit"] = 1 + clinic.index
    outpatient = pd.DataFrame(
        {
            "visit_occurrence_id": clinic["visit"],
            "person_id": clinic["subject_id"],
            "visit_concept_id": 9202,
            **{
                f"visit_{end}": clinic["chartdate"]
                for end in ("start_date", "start_datetime", "end_date", "end_datetime")
            },
        }
    )
    discharged = admissions[["hadm_id", "admittime", "dischtime"]]
    diagnoses = mimic["diagnoses_icd"].merge(discharged, on="hadm_id", how="left")
    kinds = ("diagnoses_icd", "procedures_icd")
    vocabularies = {kinds[0]: {9: "ICD9CM", 10: "ICD10CM"}, kinds[1]: {9: "ICD9Proc", 10: "ICD10PCS"}}
    source: dict[str, pd.Series] = {}
    for kind in kinds:
        table = mimic[kind]
        pairs = table[["icd_version", "icd_code"]].drop_duplicates().sort_values(["icd_version", "icd_code"])
        pairs = pairs.assign(concept=44_000_000 + 1_000_000 * kinds.index(kind) + np.arange(len(pairs)))
        source[kind] = table.merge(pairs, on=["icd_version", "icd_code"], how="left")["concept"]
        for old, code, concept in pairs.itertuples(index=False):
            names.append((concept, f"ICD {code}", vocabularies[kind][old], _dotted(kind, old, code), "code"))
    conditions = _coded(diagnoses, "condition", source["diagnoses_icd"], diagnoses["admittime"], "condition_start")
    elsewhere = diagnoses["icd_code"].str[0].isin(["V", "Z"])  # what is no condition lies in observation
    procedures = mimic["procedures_icd"]
    measured = [omr[omr["result_name"] == "BMI (kg/m2)"].assign(what="BMI (kg/m2)", number=lambda t: t["result_value"])]
    pressure = omr[omr["result_name"] == "Blood Pressure"]
    for place, side in enumerate(("systolic", "diastolic")):
        measured.append(pressure.assign(what=side, number=pressure["result_value"].str.split("/").str[place]))
    vitals = pd.concat(measured, ignore_index=True).merge(clinic, on=["subject_id", "chartdate"])
    payers = admissions.dropna(subset=["insurance"])
    drugs = mimic["prescriptions"]
    return {
        "person": person,
        "death": death,
        "visit_occurrence": pd.concat([visits, outpatient], ignore_index=True),
        "condition_occurrence": conditions[~elsewhere],
        "observation": _coded(diagnoses, "observation", source["diagnoses_icd"], diagnoses["admittime"], "observation")[
            elsewhere
        ].assign(value_as_number=np.nan, value_as_string=pd.NA, value_as_concept_id=0),
        "procedure_occurrence": _coded(
            procedures, "procedure", source["procedures_icd"], procedures["chartdate"], "procedure"
        ),
        "drug_exposure": pd.DataFrame(
            {
                "person_id": drugs["subject_id"],
                "drug_concept_id": 0,
                "drug_exposure_start_date": drugs["starttime"].dt.normalize(),
                "drug_exposure_start_datetime": drugs["starttime"],
                "visit_occurrence_id": drugs["hadm_id"],
                "drug_source_value": drugs["drug"],
            }
        ),
        "measurement": pd.DataFrame(
            {
                "person_id": vitals["subject_id"],
                "measurement_concept_id": vitals["what"].map({what: concept for what, (concept, _) in VITALS.items()}),
                "measurement_date": vitals["chartdate"],
                "measurement_datetime": vitals["chartdate"],
                "value_as_number": vitals["number"].astype(float),
                "unit_concept_id": 0,
                "visit_occurrence_id": vitals["visit"],
                "measurement_source_value": vitals["result_name"],
            }
        ),
        "payer_plan_period": pd.DataFrame(
            {
                "person_id": payers["subject_id"],
                "payer_plan_period_start_date": payers["admittime"].dt.normalize(),
                "payer_plan_period_end_date": payers["dischtime"].dt.normalize(),
                "payer_source_value": payers["insurance"],
            }
        ),
        "concept": pd.DataFrame(
            names, columns=["concept_id", "concept_name", "vocabulary_id", "concept_code", "concept_class_id"]
        ),
    }


def _coded(table: pd.DataFrame, prefix: str, source: pd.Series, time: pd.Series, start: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "person_id": table["subject_id"],
            f"{prefix}_concept_id": 0,
            f"{start}_date": time.dt.normalize(),
            f"{start}_datetime": time,
            "visit_occurrence_id": table["hadm_id"],
            f"{prefix}_source_value": table["icd_code"],
            f"{prefix}_source_concept_id": source,
        }
    )


def _dotted(kind: str, version: int, code: str) -> str:
    """Return a code as the OMOP vocabularies write it."""
    head = 2 if kind == "procedures_icd" else 4 if version == 9 and code.startswith("E") else 3
    return code if (kind == "procedures_icd" and version == 10) or len(code) <= head else f"{code[:head]}.{code[head:]}"


def write_folder(tables: Tables, root: Path, *, suffix: str = ".parquet", upper: bool = False) -> Path:
    """Write tables as files of a folder."""
    root.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        path = root / f"{name.upper() if upper else name}{suffix}"
        table.to_parquet(path, index=False) if suffix == ".parquet" else table.to_csv(path, index=False)
    return root


def write_database(tables: Tables, path: Path, *, schema: str = "cdm") -> Path:
    """Write tables into a schema of a new DuckDB file."""
    with duckdb.connect(str(path)) as database:
        database.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        for name, table in tables.items():
            database.register("frame", table)
            database.execute(f"CREATE TABLE {schema}.{name} AS SELECT * FROM frame")
            database.unregister("frame")
    return path
