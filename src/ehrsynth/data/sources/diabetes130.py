"""UCI Diabetes 130-US hospitals, 1999-2008 (Strack et al., BioMed Research International 2014).

101,766 encounters of 71,518 patients, https://doi.org/10.24432/C5230J. The file does not date the encounters; their ids
give an order. ``ordered`` puts them on a calendar that says no more than the file does: see ``Diabetes130``.
"""

import gzip
import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ehrsynth.data.events import LABELS
from ehrsynth.data.hospital import conditions
from ehrsynth.data.sources.base import Source
from ehrsynth.data.sources.declared import declaration
from ehrsynth.data.store import Store, quoted
from ehrsynth.errors import FileError, TableError
from ehrsynth.files import require

SHA256 = "0689e7ec031237dc63031b938805c48377748761a3b26acab621567afa24df97"  # of diabetic_data.csv, decompressed
DIAGNOSES = ("diag_1", "diag_2", "diag_3")
DRUGS = (
    *("metformin", "repaglinide", "nateglinide", "chlorpropamide", "glimepiride", "acetohexamide", "glipizide"),
    *("glyburide", "tolbutamide", "pioglitazone", "rosiglitazone", "acarbose", "miglitol", "troglitazone"),
    *("tolazamide", "examide", "citoglipton", "insulin", "glyburide-metformin", "glipizide-metformin"),
    *("glimepiride-pioglitazone", "metformin-rosiglitazone", "metformin-pioglitazone"),
)
SUMS = ("time_in_hospital", "num_lab_procedures", "num_procedures")
NEEDED = (
    *("encounter_id", "patient_nbr", "race", "gender", "age", "discharge_disposition_id", "readmitted"),
    *(*SUMS, *DIAGNOSES, *DRUGS),
)
OPENING = "2000-01-01"  # on which every patient's first encounter begins, if they are ordered
SOON, LATER = 15, 90  # days from discharge to the next encounter: readmitted within 30 days, or after them
_SHORT = r"^(\d{1,2})(?=\.|$)"  # an ICD-9 category that has lost its leading zeros


@dataclass(kw_only=True, eq=False)
class Diabetes130(Source):
    """The UCI file; ``diabetes130.yaml`` says what its rows mean.

    Beside the usual domains there are ``demographics`` (code ``age``: the middle of a band of ten years),
    ``utilisation`` (days, laboratory tests and procedures of an encounter), ``disposition`` (``died``) and ``outcome``
    (``readmitted_30d``), each with a number. The sex of three patients is unknown.

    Nothing is dated. With ``ordered`` the encounters of a patient follow each other by their ids from ``OPENING`` on: a
    stay is as long as the file says, and the next begins ``SOON`` days after its end where it says that the patient was
    readmitted within 30 days, else ``LATER``. Order, days in hospital and readmission are those of the file; years,
    seasons and the length of gaps mean nothing. A patient is born by the first encounter's band of age.

    Attributes:
        path: ``diabetic_data.csv``, the same as .csv.gz, or the zip as downloaded.
        verify: refuse a file whose checksum is not the published one's.
        ordered: put encounters in order on such a calendar, for ``form=trajectories``.
    """

    name = "diabetes130"
    not_options = ("path",)

    path: Path | str
    verify: bool = True
    ordered: bool = False

    def read(self, store: Store) -> None:
        """Create ``events`` and ``labels``."""
        store.register("encounters", _on_calendar(self._encounters(), self.ordered))
        declaration("diabetes130").create(store, labels=False, drugs=", ".join(map(quoted, DRUGS)))
        words = conditions()
        diagnoses = pd.DataFrame({"domain": "diagnosis", "code": words["icd9"], "label": words["label"]})
        drugs = pd.DataFrame({"domain": "medication", "code": DRUGS, "label": [drug.capitalize() for drug in DRUGS]})
        both = pd.concat([diagnoses.assign(vocabulary="ICD9CM"), drugs.assign(vocabulary="")])
        store.register(LABELS, both[["domain", "vocabulary", "code", "label"]])

    def inputs(self) -> dict[str, Path]:
        """Return the file."""
        return {"diabetic_data": Path(self.path)}

    def _encounters(self) -> pd.DataFrame:
        content = _decompressed(require(Path(self.path)))
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
        for name in DIAGNOSES:
            table[name] = table[name].str.replace(_SHORT, lambda found: found[1].zfill(3), regex=True)
        return table


def _on_calendar(encounters: pd.DataFrame, ordered: bool) -> pd.DataFrame:
    """Add when each encounter begins and ends, and when its patient was born; nobody knows unless they are ordered."""
    if not ordered:
        nothing = pd.Series(pd.NaT, index=encounters.index, dtype="datetime64[us]")
        return encounters.assign(began=nothing, ended=nothing, born=nothing)
    table = encounters.sort_values(["patient_nbr", "encounter_id"], ignore_index=True)
    patient, stay = table["patient_nbr"], table["time_in_hospital"]
    until_next = stay + np.where(table["readmitted"] == "<30", SOON, LATER)
    began = until_next.groupby(patient).cumsum() - until_next
    age = table["age"].groupby(patient).transform("first") + 5
    days = {"began": began, "ended": began + stay, "born": -(age * 365.25 // 1)}
    opening = pd.Timestamp(OPENING)
    return table.assign(
        **{name: (opening + pd.to_timedelta(day, unit="D")).astype("datetime64[us]") for name, day in days.items()}
    )


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
