"""UCI Diabetes 130-US hospitals, 1999-2008 (Strack et al., BioMed Research International 2014).

101,766 encounters of 71,518 patients, https://doi.org/10.24432/C5230J. One row per patient: the union of diagnoses and
medications over the encounters, which the file does not date; encounters are ordered by their id.
"""

import gzip
import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ehrsynth.data.hospital import conditions
from ehrsynth.data.sources.base import ColumnSpec, Source, event_table
from ehrsynth.data.vocabulary import UNMAPPED, Phecodes, icd9_category
from ehrsynth.errors import FileError, OptionError, TableError
from ehrsynth.files import require

SHA256 = "0689e7ec031237dc63031b938805c48377748761a3b26acab621567afa24df97"  # of diabetic_data.csv, decompressed
DIAGNOSES = ("diag_1", "diag_2", "diag_3")
DRUGS = (
    *("metformin", "repaglinide", "nateglinide", "chlorpropamide", "glimepiride", "acetohexamide", "glipizide"),
    *("glyburide", "tolbutamide", "pioglitazone", "rosiglitazone", "acarbose", "miglitol", "troglitazone"),
    *("tolazamide", "examide", "citoglipton", "insulin", "glyburide-metformin", "glipizide-metformin"),
    *("glimepiride-pioglitazone", "metformin-rosiglitazone", "metformin-pioglitazone"),
)
SUMS = {
    "time_in_hospital": "Days in hospital",
    "num_lab_procedures": "Laboratory tests",
    "num_procedures": "Procedures other than laboratory tests",
}
NEEDED = (
    *("encounter_id", "patient_nbr", "race", "gender", "age", "discharge_disposition_id", "readmitted"),
    *(*SUMS, *DIAGNOSES, *DRUGS),
)
RACES = ("AfricanAmerican", "Asian", "Caucasian", "Hispanic", "Other", "unknown")
DIED = (11, 19, 20, 21)  # discharge dispositions
OUTCOME = "readmitted_30d"


class Diabetes130(Source):
    """The UCI file.

    The sex of three patients is unknown, and missing in the table; ``remarks`` counts them.

    Args:
        path: ``diabetic_data.csv``, the same as .csv.gz, or the zip as downloaded.
        codes: ``icd3`` (ICD-9 categories) or ``phecode``.
        phecode_map: the phecode map of ICD-9; needed for ``phecode``.
        verify: refuse a file whose checksum is not the published one's.

    Raises:
        OptionError: an unknown vocabulary, or no map for phecodes.
    """

    name = "diabetes130"

    def __init__(
        self, *, path: Path | str, codes: str = "icd3", phecode_map: Path | str | None = None, verify: bool = True
    ) -> None:
        if codes not in ("icd3", "phecode"):
            raise OptionError(f"source.codes={codes}: icd3 or phecode was expected")
        if (codes == "phecode") != (phecode_map is not None):
            raise OptionError(f"source.codes={codes}: source.phecode_map is needed for codes=phecode, and only for it")
        self.path = Path(path)
        self.codes = codes
        self.phecodes = None if phecode_map is None else Phecodes(Path(phecode_map))
        self.verify = verify

    @cached_property
    def encounters(self) -> pd.DataFrame:
        """The encounters in the order of their ids."""
        content = _decompressed(require(self.path))
        found = hashlib.sha256(content).hexdigest()
        if self.verify and found != SHA256:
            raise FileError(
                f"{self.path}: wrong checksum (sha256 {found[:12]}... of the csv, {SHA256[:12]}... was expected);"
                " download it again, or set source.verify=false"
            )
        header = content[: content.find(b"\n")].decode(errors="replace").strip().split(",")
        absent = [name for name in NEEDED if name not in header]
        if absent:
            raise TableError(f"{self.path}: missing column {absent[0]!r} and {len(absent) - 1} more of {len(NEEDED)}")
        table = pd.read_csv(
            io.BytesIO(content), usecols=list(NEEDED), dtype=str, na_values=["?"], keep_default_na=False
        )
        table["age"] = table["age"].str.extract(r"^\[(\d+)-\d+\)$", expand=False)  # "[70-80)"
        for name in ("encounter_id", "patient_nbr", "age", "discharge_disposition_id", *SUMS):
            numbers = pd.to_numeric(table[name], errors="coerce")
            if numbers.isna().any():
                row = int(np.flatnonzero(numbers.isna())[0])
                raise TableError(f"{self.path}: column {name!r}, row {row}: not the whole number that was expected")
            table[name] = numbers.astype(np.int64)
        return table.sort_values("encounter_id", ignore_index=True)

    @cached_property
    def _diagnoses(self) -> pd.DataFrame:
        """Patient and column name of every diagnosis."""
        long = self.encounters.melt("patient_nbr", list(DIAGNOSES), value_name="icd9").dropna(subset=["icd9"])
        if self.phecodes is None:
            named = long["icd9"].map({code: f"icd9_{icd9_category(code)}" for code in long["icd9"].unique()})
        else:
            phecode = self.phecodes.map(long["icd9"])
            named = phecode.where(phecode.str.startswith(UNMAPPED), "phe_" + phecode)
        return pd.DataFrame({"patient_nbr": long["patient_nbr"], "code": named})

    def columns(self) -> Mapping[str, ColumnSpec]:
        """Return demographics, utilisation, one column per diagnosis code and per drug, death and the outcome."""
        labels = self._labels()
        return {
            "sex": ColumnSpec("categorical", "sensitive", "demographics", "Sex", ("F", "M")),
            "race": ColumnSpec("categorical", "sensitive", "demographics", "Race", RACES),
            "age": ColumnSpec("count", "quasi_identifier", "demographics", "Age, middle of a band of ten years"),
            **{name: ColumnSpec("count", domain="utilisation", label=label) for name, label in SUMS.items()},
            "encounters": ColumnSpec("count", domain="utilisation", label="Encounters"),
            **{
                code: ColumnSpec("binary", domain="diagnosis", label=labels.get(code, code.replace("_", " ")))
                for code in sorted(self._diagnoses["code"].unique())
            },
            **{f"drug_{drug}": ColumnSpec("binary", domain="medication", label=drug.capitalize()) for drug in DRUGS},
            "died": ColumnSpec("binary", domain="disposition", label="Died in hospital or in hospice"),
            OUTCOME: ColumnSpec("binary", "outcome", "outcome", "Readmitted within 30 days"),
        }

    def subjects(self) -> pd.DataFrame:
        """Return what is known once per patient: first sex and age, first known race, and sums over the encounters."""
        table = self.encounters
        table = table.assign(
            sex=table["gender"].map({"Female": "F", "Male": "M"}),  # three patients' is unknown
            age=table["age"] + 5,
            died=table["discharge_disposition_id"].isin(DIED).astype(np.int8),
            **{OUTCOME: (table["readmitted"] == "<30").astype(np.int8)},
        )
        sums = {name: (name, "sum") for name in SUMS}
        firsts = {name: (name, "first") for name in ("sex", "race", "age")}  # "first" skips what is missing
        ever = {name: (name, "max") for name in ("died", OUTCOME)}
        patients = table.groupby("patient_nbr").agg(**firsts, **sums, encounters=("encounter_id", "size"), **ever)
        return patients.assign(race=patients["race"].fillna("unknown")).rename_axis("subject_id").reset_index()

    def events(self) -> pd.DataFrame:
        """Return diagnoses and medications; the file has no dates, so their time is missing."""
        table = self.encounters
        taken = [
            pd.DataFrame({"patient_nbr": table.loc[table[drug] != "No", "patient_nbr"], "code": f"drug_{drug}"})
            for drug in DRUGS
        ]
        all_events = pd.concat([self._diagnoses, *taken], ignore_index=True)
        return event_table(subject_id=all_events["patient_nbr"], time=None, code=all_events["code"])

    def options(self) -> dict[str, Any]:
        """Return the vocabulary; the file itself is known by its hash."""
        return {"codes": self.codes, "verify": self.verify}

    def inputs(self) -> list[Path]:
        """Return the file, and the phecode map if one is used."""
        return [self.path] if self.phecodes is None else [self.path, self.phecodes.map_file]

    def remarks(self) -> dict[str, int]:
        """Return the patients of unknown sex, and the diagnoses without a phecode."""
        counts = {"patients of unknown sex": int(self.subjects()["sex"].isna().sum())}
        if self.phecodes is not None:
            diagnoses = self._diagnoses["code"]
            unmapped = diagnoses[diagnoses.str.startswith(UNMAPPED)]
            counts |= {"diagnoses without a phecode": len(unmapped), "codes without a phecode": unmapped.nunique()}
        return counts

    def _labels(self) -> dict[str, str]:
        if self.phecodes is not None:
            return {f"phe_{code}": label for code, label in self.phecodes.labels.items()}
        known = conditions()
        return {f"icd9_{code}": label for code, label in zip(known["icd9"], known["label"], strict=True)}


def _decompressed(path: Path) -> bytes:
    """Return the bytes of the csv in a .csv, .csv.gz or .zip file."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                inside = [name for name in archive.namelist() if name.endswith("diabetic_data.csv")]
                if not inside:
                    raise FileError(f"{path}: no diabetic_data.csv in the zip")
                return archive.read(inside[0])
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise FileError(f"{path}: not readable as csv, csv.gz or zip ({type(error).__name__})") from None
