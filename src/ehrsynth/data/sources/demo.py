"""The demo source: the simulated hospital of ``ehrsynth.data.hospital``, read like MIMIC-IV."""

from collections.abc import Mapping
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ehrsynth.data.hospital import RACES, conditions
from ehrsynth.data.mimic_tables import BMI, MIMIC_RACE, PRESSURE, HospitalTables, simulate
from ehrsynth.data.sources.base import ColumnSpec, Source, event_table, union
from ehrsynth.errors import OptionError
from ehrsynth.files import write_table

OUTCOME = "died_within_year"
SECONDS_PER_DAY = 86_400


class Demo(Source):
    """A simulated hospital that ships with the package.

    Args:
        n: patients, 100 to a million or so.
        seed: of the simulation.
        write_raw: a folder to write the raw tables to, in MIMIC-IV's layout (``hosp/patients.csv.gz``, ...).

    Raises:
        OptionError: too few patients, or a seed that is no whole number.
    """

    name = "demo"

    def __init__(self, *, n: int = 10_000, seed: int = 0, write_raw: Path | str | None = None) -> None:
        if not isinstance(n, int) or n < 100:
            raise OptionError(f"source.n={n}: a whole number of at least 100 patients was expected")
        if not isinstance(seed, int):
            raise OptionError(f"source.seed={seed}: a whole number was expected")
        self.n = n
        self.seed = seed
        self.write_raw = write_raw

    @cached_property
    def tables(self) -> HospitalTables:
        """The raw tables."""
        tables = simulate(self.n, self.seed)
        if self.write_raw is not None:
            for table in fields(HospitalTables):
                write_table(Path(self.write_raw) / "hosp" / f"{table.name}.csv.gz", getattr(tables, table.name))
        return tables

    def columns(self) -> Mapping[str, ColumnSpec]:
        """Return demographics, vital signs, utilisation, one column per condition, and the outcome."""
        return {
            "sex": ColumnSpec("categorical", "sensitive", "demographics", "Sex", ("F", "M")),
            "race": ColumnSpec("categorical", "sensitive", "demographics", "Race", tuple(RACES)),
            "age": ColumnSpec("count", "quasi_identifier", "demographics", "Age in years", plausible=(0, 120)),
            "bmi": ColumnSpec("continuous", domain="vital", label="Body mass index", plausible=(10, 60)),
            "systolic": ColumnSpec("count", domain="vital", label="Systolic blood pressure", plausible=(50, 260)),
            "diastolic": ColumnSpec("count", domain="vital", label="Diastolic blood pressure", plausible=(30, 160)),
            "admissions": ColumnSpec("count", domain="utilisation", label="Number of admissions"),
            "days": ColumnSpec("count", domain="utilisation", label="Days in hospital"),
            **{
                f"dx_{code}": ColumnSpec("binary", domain="diagnosis", label=label)
                for code, label in zip(conditions()["icd9"], conditions()["label"], strict=True)
            },
            OUTCOME: ColumnSpec("binary", "outcome", "outcome", "Died within a year of the last discharge"),
        }

    def subjects(self) -> pd.DataFrame:
        """Return demographics, utilisation and outcome of each patient."""
        patients, admissions = self.tables.patients.set_index("subject_id"), self.tables.admissions
        stay = (admissions["dischtime"] - admissions["admittime"]).dt.total_seconds() / SECONDS_PER_DAY
        stays = admissions.assign(days=stay).groupby("subject_id")
        race = admissions.drop_duplicates("subject_id").set_index("subject_id")["race"]
        survived = patients["dod"] - stays["dischtime"].max()
        table = {
            "sex": patients["gender"],
            "race": race.map({MIMIC_RACE.get(race, race.upper()): race for race in RACES}),
            "age": patients["anchor_age"],
            "admissions": stays.size(),
            "days": stays["days"].sum().round(),
            OUTCOME: (survived <= pd.Timedelta(days=365)).astype(np.int8),
        }
        return pd.DataFrame(table).reset_index()

    def events(self) -> pd.DataFrame:
        """Return diagnoses, BMI and blood pressure."""
        return union([self._diagnoses(), *self._vitals()])

    def options(self) -> dict[str, Any]:
        """Return number of patients and seed, and where the raw tables were written."""
        write_raw = None if self.write_raw is None else str(self.write_raw)
        return {"n": self.n, "seed": self.seed, "write_raw": write_raw}

    def _diagnoses(self) -> pd.DataFrame:
        diagnoses, admissions = self.tables.diagnoses_icd, self.tables.admissions
        stay = diagnoses["hadm_id"].to_numpy() - admissions["hadm_id"].iloc[0]
        code, table = diagnoses["icd_code"].cat, conditions()
        old, new = (pd.Index(table[key]).get_indexer(code.categories)[code.codes] for key in ("icd9", "icd10"))
        return event_table(
            subject_id=diagnoses["subject_id"],
            time=admissions["admittime"].to_numpy()[stay],
            code=pd.Categorical.from_codes(
                np.where(diagnoses["icd_version"] == 9, old, new), pd.Index("dx_" + table["icd9"])
            ),
        )

    def _vitals(self) -> list[pd.DataFrame]:
        omr = self.tables.omr
        bmi, pressure = omr[omr["result_name"] == BMI], omr[omr["result_name"] == PRESSURE]
        systolic, diastolic = (pressure["result_value"].str.split("/").str[i] for i in (0, 1))
        return [
            event_table(
                subject_id=rows["subject_id"], time=rows["chartdate"], code=code, numeric_value=text.astype(float)
            )
            for code, rows, text in (
                ("bmi", bmi, bmi["result_value"]),
                ("systolic", pressure, systolic),
                ("diastolic", pressure, diastolic),
            )
        ]
