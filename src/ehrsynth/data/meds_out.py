"""Visits as a dataset of MEDS 0.4, which ``prepare source=meds`` reads back as they were.

    data/0.parquet, ...             ``subject_id, time, code, numeric_value, text_value, hadm_id``
    metadata/codes.parquet          the words of every code
    metadata/dataset.json           who wrote it
    metadata/subject_splits.parquet which part each patient is in, if that is told

Codes are the names of the columns, behind a domain and ``EHRSYNTH`` (``DIAGNOSIS//EHRSYNTH//dx_428``), so that no
vocabulary maps them again. A stay is an admission and a discharge, another visit has codes of its own; what happened in
a stay is dated at its discharge, as conversions of MIMIC date diagnoses.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from ehrsynth.data.sources.meds.source import CODES_FILE, DATASET_FILE, SHARDS, SPLITS_FILE
from ehrsynth.data.sources.meds.standard import validated
from ehrsynth.data.split import MEDS
from ehrsynth.data.trajectories_out import PATIENTS, Integers, Portion, Shard, new_folder, shards
from ehrsynth.data.vocabulary.base import OWN
from ehrsynth.errors import TableError
from ehrsynth.files import write_json
from ehrsynth.visits import UNKNOWN, Visits, VisitSchema

STANDARD = "0.4.1"
ATTRIBUTES = {"sex": "GENDER", **{name: name.upper() for name in ("race", "ethnicity", "insurance", "language")}}
ATTRIBUTES["marital_status"] = "MARITAL_STATUS"
TYPES = pa.schema(
    [
        ("subject_id", pa.int64()),
        ("time", pa.timestamp("us")),
        ("code", pa.string()),
        ("numeric_value", pa.float32()),
        ("text_value", pa.string()),
        ("hadm_id", pa.int64()),
    ]
)


def write_meds(
    visits: Visits, schema: VisitSchema, static: pd.DataFrame, folder: Path, *, parts: Sequence[str] | None = None
) -> Path:
    """Write a MEDS dataset; its patients have fresh numbers, 1 to n, in their order, and its stays too.

    Args:
        visits: of n patients.
        schema: what they are made of.
        static: what is said of the patients once, in the same order; a column ``subject_id`` is left out.
        folder: of the dataset; it appears under this name only when it is complete.
        parts: of each patient ``train``, ``validation`` or ``holdout``, for ``split=given``.

    Returns:
        The folder.

    Raises:
        OptionError: the folder is there already.
        TableError: visits and static rows do not fit, or a file is not as ``meds`` asks, where that is installed.
    """
    if parts is not None and len(parts) != len(visits):
        raise TableError(f"MEDS: {len(visits):,} patients beside the parts of {len(parts):,}")
    return stream_meds([(visits, static)], schema, folder, parts=parts)


def stream_meds(
    portions: Iterable[Portion], schema: VisitSchema, folder: Path, *, parts: Sequence[str] | None = None
) -> Path:
    """Write a MEDS dataset of patients who come some at a time; see ``write_meds``."""
    with new_folder(folder) as aside:
        (aside / SHARDS).mkdir()
        (aside / CODES_FILE).parent.mkdir()
        words = _Words(schema)
        for number, shard in enumerate(shards(portions, schema, "MEDS", PATIENTS)):
            rows = _Rows.of(shard, words)
            rows.say_once(shard.static)
            parquet.write_table(rows.table(), aside / SHARDS / f"{number}.parquet")
        parquet.write_table(words.table(), aside / CODES_FILE)
        about = {"etl_name": "ehrsynth", "etl_version": version("ehrsynth"), "meds_version": STANDARD}
        write_json(aside / DATASET_FILE, {"dataset_name": "trajectories of ehrsynth", **about})
        if parts is not None:
            names = {ours: theirs for theirs, ours in MEDS.items()}
            split = {"subject_id": np.arange(1, len(parts) + 1), "split": [names[part] for part in parts]}
            parquet.write_table(pa.table(split), aside / SPLITS_FILE)
        if find_spec("meds") is not None:
            for path, kind in _kinds(aside):
                validated(path, kind)
    return folder


def _kinds(folder: Path) -> Iterator[tuple[Path, str]]:
    """Return every Parquet file with the schema that it must keep to."""
    yield from ((path, "DataSchema") for path in sorted((folder / SHARDS).iterdir()))
    yield folder / CODES_FILE, "CodeMetadataSchema"
    if (folder / SPLITS_FILE).is_file():
        yield folder / SPLITS_FILE, "SubjectSplitSchema"


class _Words:
    """The codes of a dataset and their descriptions; a code is known by its place."""

    def __init__(self, schema: VisitSchema) -> None:
        self.codes: list[str] = []
        self.labels: list[str | None] = []
        self.places: dict[str, int] = {}
        clinics = set(schema.ambulatory)
        self.kinds = self._all(
            f"VISIT//{OWN}//{kind}" if kind in clinics else f"HOSPITAL_ADMISSION//{kind.replace('//', '/')}"
            for kind in schema.kinds
        )
        self.named = self._all(
            (f"{_domain(code.domain)}//{OWN}//{code.name}" for code in schema.codes),
            [code.label for code in schema.codes],
        )
        self.measured = self._all(
            (f"{_domain(one.domain, 'LAB', 'VITAL')}//{OWN}//{one.unit}//{one.name}" for one in schema.measurements),
            [one.label for one in schema.measurements],
        )

    def place(self, code: str, label: str = "") -> int:
        """Return the place of a code, a new one if it is new."""
        if code not in self.places:
            self.places[code] = len(self.codes)
            self.codes.append(code)
            self.labels.append(label or None)
        return self.places[code]

    def _all(self, codes: Iterator[str], labels: Sequence[str] | None = None) -> Integers:
        listed = list(codes)
        return np.array(
            [self.place(*pair) for pair in zip(listed, labels or [""] * len(listed), strict=True)], np.int64
        )

    def table(self) -> pa.Table:
        """Return the metadata of the codes."""
        none = pa.array([None] * len(self.codes), pa.list_(pa.string()))
        return pa.table({"code": self.codes, "description": pa.array(self.labels, pa.string()), "parent_codes": none})


def _domain(domain: str, *known: str) -> str:
    known = known or ("DIAGNOSIS", "PROCEDURE", "MEDICATION")
    return domain.upper() if domain.upper() in known else ("CODE" if known[0] == "DIAGNOSIS" else "VALUE")


@dataclass
class _Rows:
    """The rows of some patients, as they gather; a row says nothing where a column has its filler.

    Attributes:
        patients: how many.
        first: number of the first.
        words: of the dataset.
        rows: patient, time, code, number, stay of each piece.
    """

    patients: int
    first: int
    words: _Words
    rows: list[tuple[Integers, Integers, Integers, NDArray[np.float32], Integers]] = field(default_factory=list)
    texts: dict[int, NDArray[np.object_]] = field(default_factory=dict)

    @classmethod
    def of(cls, shard: Shard, words: _Words) -> "_Rows":
        """Return what visits say, birth and death too."""
        visits, clinic, died = shard.visits, shard.ambulatory, shard.died
        rows, everyone = cls(len(visits), shard.first, words), np.arange(len(visits))
        rows.add(everyone, None, words.place(f"SUBJECT//{OWN}"))
        for code, times in (("MEDS_BIRTH", visits.born), ("MEDS_DEATH", visits.died)):
            known = times != UNKNOWN
            rows.add(everyone[known], times[known], words.place(code))
        patient, stay = visits.patient, shard.visit
        rows.add(patient, visits.starts, words.kinds[visits.kinds], stay=stay)
        ended = visits.ends != UNKNOWN
        for which, code in (
            (ended & clinic, f"VISIT_END//{OWN}"),
            (~clinic & died, "HOSPITAL_DISCHARGE//DIED"),
            (ended & ~clinic & ~died, "HOSPITAL_DISCHARGE//UNKNOWN"),
        ):
            rows.add(patient[which], visits.ends[which], words.place(code), stay=stay[which])
        times = shard.times_of_content
        owner = visits.visit_of_code
        rows.add(patient[owner], times[owner], words.named[visits.codes], stay=stay[owner])
        owner = visits.visit_of_value
        rows.add(patient[owner], times[owner], words.measured[visits.measured], stay=stay[owner], number=visits.values)
        return rows

    def add(
        self,
        patient: Integers,
        time: Integers | None,
        code: Integers | int,
        *,
        stay: Integers | None = None,
        number: NDArray[np.float32] | None = None,
        text: NDArray[np.object_] | None = None,
    ) -> None:
        """Add rows; what is None is missing in all of them."""
        n = len(patient)
        if text is not None:
            self.texts[len(self.rows)] = text
        self.rows.append(
            (
                patient,
                np.full(n, UNKNOWN) if time is None else time,
                np.full(n, code, np.int64) if isinstance(code, int) else code,
                np.full(n, np.nan, np.float32) if number is None else number,
                np.zeros(n, np.int64) if stay is None else stay,
            )
        )

    def say_once(self, static: pd.DataFrame) -> None:
        """Add what is said of the patients once: attributes under the codes of MEDS conversions, all else by name."""
        for name in map(str, static):
            cells = static[name]
            known = np.flatnonzero(cells.notna())
            if name in ATTRIBUTES:
                words = cells[known].astype(str)
                places = {word: self.words.place(f"{ATTRIBUTES[name]}//{word}") for word in words.unique()}
                self.add(known, None, words.map(places).to_numpy(np.int64))
                continue
            code = self.words.place(f"STATIC//{OWN}//{name}")
            if pd.api.types.is_numeric_dtype(cells):
                self.add(known, None, code, number=cells[known].to_numpy(np.float32))
            else:
                self.add(known, None, code, text=cells[known].astype(str).to_numpy(object))

    def table(self) -> pa.Table:
        """Return the rows, by patient and time; what has no time comes first."""
        patient, time, code, number, stay = (np.concatenate(column) for column in zip(*self.rows, strict=True))
        text = np.full(len(patient), None, object)
        starts = np.cumsum([0, *(len(piece[0]) for piece in self.rows)])
        for piece, words in self.texts.items():
            text[starts[piece] : starts[piece + 1]] = words
        order = np.lexsort((time, patient))  # stable, and UNKNOWN is the least of all times
        time, stay, number = time[order], stay[order], number[order]
        codes = pa.DictionaryArray.from_arrays(pa.array(code[order].astype(np.int32)), pa.array(self.words.codes))
        return pa.table(
            {
                "subject_id": pa.array(self.first + patient[order]),
                "time": pa.array(time, pa.timestamp("us"), mask=time == UNKNOWN),
                "code": codes.cast(pa.string()),
                "numeric_value": pa.array(number, mask=np.isnan(number)),
                "text_value": pa.array(text[order], pa.string()),
                "hadm_id": pa.array(stay, mask=stay == 0),
            },
            schema=TYPES,
        )
