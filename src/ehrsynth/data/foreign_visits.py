"""Patients through time as other tools write them, made alike so that they can be judged beside each other.

Read are folders of MEDS 0.4 and long tables ``id, time, visit_codes`` with perhaps ``labels``, as of PyHealth. Judged
is what they say: which codes a patient has at which visit, when that was, and of MEDS the last value of each number in
a visit, birth and death. A visit is what the rows of MEDS name one by (``hadm_id`` and the like);
what names none is a visit of its day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ehrsynth.constraints import Constraint
from ehrsynth.constraints.over_time import RuleOverTime
from ehrsynth.data.encoding import Encoder
from ehrsynth.data.foreign_values import measured, with_values
from ehrsynth.data.long_frames import COLUMNS, KIND, visits_of
from ehrsynth.data.row_view import COUNT
from ehrsynth.data.sources.meds.patterns import meanings, patterns_of
from ehrsynth.data.sources.meds.source import SHARDS, STAY_COLUMNS
from ehrsynth.data.table_files import read_table
from ehrsynth.disclosure import shared_bounds
from ehrsynth.errors import FileError, TableError
from ehrsynth.layout import Records
from ehrsynth.schema import CODE_DOMAINS, SUBJECT, Column, Schema
from ehrsynth.visits import UNKNOWN, Code, Visits, VisitSchema

LABELS = "labels"
BIRTH, DEATH = "MEDS_BIRTH", "MEDS_DEATH"
NO_CONTENT = frozenset(  # domains of what dates a visit, or is said of a patient once
    {"birth", "death", "subject", "static", "admission", "discharge", "visit", "visit_end", "medication_stop"}
    | {"sex", "race", "ethnicity", "language", "marital_status"}
)


@dataclass(frozen=True, eq=False)
class Foreign:
    """A set of patients, as a long table.

    Attributes:
        name: of the file or folder, for messages.
        rows: ``id, time, visit_codes``, and ``value`` of MEDS that has numbers.
        files: that were read.
        labels: of each patient, 0 or 1 by ``id``, if there are some.
        born, died: times by ``id``, as far as they are known.
        people: every ``id``, those without a row too, if more are known than the rows have.
        stays: whether visits are what the rows name them by; None of a table, which says so itself.
    """

    name: str
    rows: pd.DataFrame
    files: tuple[Path, ...] = ()
    labels: pd.Series | None = None
    born: pd.Series | None = None
    died: pd.Series | None = None
    people: pd.Series | None = None
    stays: bool | None = None

    @classmethod
    def read(cls, role: str, given: pd.DataFrame | str | Path, *, by_day: bool = False) -> "Foreign":
        """Read a folder of MEDS, a long table, or the file of one.

        Args:
            role: what messages call a table that has no file.
            given: the folder, the table or the file.
            by_day: a day of MEDS is a visit, whatever stays the rows name.

        Raises:
            FileError, TableError: missing, or something else.
        """
        if isinstance(given, pd.DataFrame):
            return cls._of_table(role, given, ())
        place = Path(given)
        if place.is_dir():
            return cls._of_meds(place, by_day)
        return cls._of_table(str(place), read_table(place, text=(COLUMNS["id"], COLUMNS["code"])), (place,))

    @classmethod
    def _of_table(cls, name: str, frame: pd.DataFrame, files: tuple[Path, ...]) -> "Foreign":
        if missing := [column for column in COLUMNS.values() if column not in frame]:
            raise TableError(f"{name}: no column {missing[0]!r}; {', '.join(COLUMNS.values())} were expected")
        rows = frame[list(COLUMNS.values())]
        if LABELS not in frame:
            return cls(name, rows, files)
        numbers = pd.to_numeric(frame[LABELS], errors="coerce")
        if not numbers.isin([0, 1]).all():
            wrong = int((~numbers.isin([0, 1])).argmax())
            raise TableError(f"{name}: column {LABELS!r}, row {wrong}: 0 or 1 of a patient was expected")
        last = frame.assign(label=numbers.astype(int)).sort_values(COLUMNS["time"], kind="stable")
        return cls(name, rows, files, labels=last.groupby(COLUMNS["id"])["label"].last())

    @classmethod
    def _of_meds(cls, folder: Path, by_day: bool) -> "Foreign":
        shards = tuple(sorted((folder / SHARDS).rglob("*.parquet")))
        if not shards:
            raise FileError(f"{folder}: no {SHARDS}/*.parquet in it; a folder of MEDS, or a long table, was expected")
        events = pd.concat([read_table(shard) for shard in shards], ignore_index=True)
        for name in ("subject_id", "time", "code"):
            if name not in events:
                raise TableError(f"{shards[0]}: no column {name!r}; MEDS asks for subject_id, time and code")
        people, events = events["subject_id"], events.dropna(subset=["time", "code"])
        events["time"] = pd.to_datetime(events["time"]).astype("datetime64[us]")
        born, died = (
            events[events["code"].str.startswith(code)].groupby("subject_id")["time"].min() for code in (BIRTH, DEATH)
        )
        domains = domains_of(list(events["code"].unique()))
        visits = events[~events["code"].map(domains).isin(NO_CONTENT)]
        stay = None if by_day else next((name for name in STAY_COLUMNS if name in events), None)
        begun = _begun(events, stay).loc[visits.index]
        rows = pd.DataFrame({"id": visits["subject_id"], "time": begun, "visit_codes": visits["code"]})
        if "numeric_value" in visits:
            rows["value"] = visits["numeric_value"].to_numpy(float)
        return cls(str(folder), rows, shards, born=born, died=died, people=people, stays=stay is not None)


def read_alike(given: Mapping[str, pd.DataFrame | str | Path]) -> dict[str, Foreign]:
    """Read sets of patients by role; where not all of MEDS name their stays, a visit is a day in every one.

    Raises:
        FileError, TableError: one is missing, or something else.
    """
    found = {role: Foreign.read(role, one) for role, one in given.items()}
    if {one.stays for one in found.values()} >= {True, False}:
        return {role: Foreign.read(role, one, by_day=True) for role, one in given.items()}
    return found


def domains_of(codes: Sequence[str]) -> dict[str, str]:
    """Return the domain of each code of MEDS, as far as its spelling tells."""
    meant = meanings(list(codes), patterns_of(None))
    return dict(zip(meant["raw"], meant["domain"], strict=True))


def _begun(events: pd.DataFrame, stay: str | None) -> pd.Series:
    """Return when the visit of each event began: the first event of its stay, or its day."""
    begun: pd.Series = events["time"].dt.floor("D")
    if stay is not None:
        named = events[stay].notna()
        begun[named] = events[named].groupby(["subject_id", stay])["time"].transform("min")
    return begun


@dataclass(frozen=True, eq=False)
class Patients:
    """Training, held-out and synthetic patients under one schema, as ``Trajectories`` gives its parts.

    Attributes:
        schema: of what is said once: the label, or where there is none the number of visits.
        visit_schema: of the codes that are common in training.
        parts: rows and visits of each role.
        strange: how many entries of each role have a code that is not common in training.
    """

    schema: Schema
    visit_schema: VisitSchema
    parts: Mapping[str, tuple[Records, Visits]]
    strange: Mapping[str, int]
    constraints: tuple[Constraint, ...] = ()
    over_time: tuple[RuleOverTime, ...] = ()

    def visits(self, part: str) -> Visits:
        """Return the visits of a part."""
        return self.parts[part][1]

    def records(self, part: str) -> Records:
        """Return what is said once of the patients of a part."""
        return self.parts[part][0]


def made_alike(given: Mapping[str, Foreign], least: int) -> Patients:
    """Bring patients under the schema of those of training.

    Args:
        given: by role; ``train`` is among them.
        least: training patients that must have a code, for reports name codes; the entries of others are left out, and
            their visits stay.

    Raises:
        TableError: no code is that common, or none of a set is, or some have labels, or dates, and others have none.
    """
    train = given["train"]
    pairs = train.rows[["id", "visit_codes"]].drop_duplicates()
    times = pairs["visit_codes"].astype(str).value_counts()
    numbers = measured(train.rows, least) if all("value" in one.rows for one in given.values()) else []
    common = sorted(set(times.index[times >= least]) - set(numbers))
    if not common:
        raise TableError(f"{train.name}: no code of at least {least} patients; nothing could be judged")
    for what in ("labels", "dates"):
        having = [name for name, one in given.items() if (one.labels is not None if what == "labels" else _dated(one))]
        if having and len(having) < len(given):
            without = next(one for name, one in given.items() if name not in having)
            other = given[having[0]].name
            raise TableError(f"{without.name}: no {what}, but {other} has some; all or none was expected")
    domains = domains_of([*common, *numbers])
    codes = [Code(name, domains[name] if domains[name] in CODE_DOMAINS else "code", name) for name in common]
    visit_schema = VisitSchema((KIND,), tuple(sorted(codes, key=lambda code: (code.domain, code.name))))
    made, people = {}, {}
    for role, one in given.items():
        visits, _, who = visits_of(one.rows, schema=visit_schema, table=one.name, unknown="leave out")
        everyone = pd.Series(np.unique((who[SUBJECT] if one.people is None else one.people).to_numpy()))
        counts = pd.Series(visits.per_patient, index=who[SUBJECT]).reindex(everyone, fill_value=0)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)  # who has no visit is a patient too
        born, died = (_times(known, everyone) for known in (one.born, one.died))
        made[role], people[role] = replace(visits, offsets=offsets, born=born, died=died), everyone
    if numbers:
        rows, of_numbers = {role: one.rows for role, one in given.items()}, {name: domains[name] for name in numbers}
        made, measurements = with_values(made, rows, people, of_numbers, least)
        visit_schema = replace(visit_schema, measurements=measurements)
    schema, cells = _told_once(given, made, people)
    encoder = Encoder(schema)
    parts = {role: (encoder.encode(cells[role]), visits) for role, visits in made.items()}
    known = {*common, *numbers}
    strange = {role: int((~one.rows["visit_codes"].astype(str).isin(known)).sum()) for role, one in given.items()}
    for role, one in given.items():
        if strange[role] == len(one.rows):
            raise TableError(
                f"{one.name}: none of its codes is common in {train.name}; codes of one spelling were expected"
            )
    return Patients(schema, visit_schema, parts, strange)


def _dated(one: Foreign) -> bool:
    return not pd.api.types.is_numeric_dtype(one.rows["time"])


def _told_once(
    given: Mapping[str, Foreign], made: Mapping[str, Visits], people: Mapping[str, pd.Series]
) -> tuple[Schema, dict[str, pd.DataFrame]]:
    if given["train"].labels is not None:
        column = Column("label", "binary", role="outcome", domain="outcome", label="Label")
        labels = {
            role: one.labels.loc[people[role]].to_numpy() for role, one in given.items() if one.labels is not None
        }
        return Schema((column,)), {role: pd.DataFrame({"label": cells}) for role, cells in labels.items()}
    low, high = shared_bounds(pd.Series(made["train"].per_patient).value_counts().sort_index())
    column = Column(COUNT, "count", bounds=(low, high), domain="utilisation", label="Number of visits", decimals=0)
    counts = {role: visits.per_patient.clip(low, high).astype(int) for role, visits in made.items()}
    return Schema((column,)), {role: pd.DataFrame({COUNT: cells}) for role, cells in counts.items()}


def _times(known: pd.Series | None, people: pd.Series) -> np.ndarray:
    if known is None:
        return np.full(len(people), UNKNOWN)
    return known.reindex(people).to_numpy("datetime64[us]").astype(np.int64)  # no time is UNKNOWN
