"""Trajectories of events written by hand, and visits as lists, for tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ehrsynth.data.cohort.base import Cohort
from ehrsynth.data.events import EVENTS, GIVEN, TYPES
from ehrsynth.data.features.base import Feature
from ehrsynth.data.features.codes import Codes
from ehrsynth.data.features.demographics import Attribute
from ehrsynth.data.features.measurements import Measurement
from ehrsynth.data.prepare import Recipe
from ehrsynth.data.prepare_trajectories import prepare_trajectories
from ehrsynth.data.preprocess import Preprocess
from ehrsynth.data.sources.base import Source
from ehrsynth.data.split import Given
from ehrsynth.data.store import Store
from ehrsynth.data.trajectories import Trajectories
from ehrsynth.data.vocabulary.icd import AsIs
from ehrsynth.visits import UNKNOWN, Visits, VisitSchema
from tests.events import Event, diagnosis, person, stay
from tests.matrices import recipe

EVERYTHING = Preprocess(min_count=1, min_prevalence=0, min_level=1, bounds="exact", max_missing=1)
DX = Codes(domain="diagnosis", vocabulary=AsIs(), prefix="dx_")
FEATURES: dict[str, Feature | None] = {
    "sex": Attribute(name="sex", domain="sex", levels={"F": ["F"], "M": ["M"]}, role="sensitive"),
    "dx": DX,
    "glucose": Measurement(name="glucose", domain="lab", codes=["glucose"]),
}
Told = tuple[str, str, str | None, list[str], dict[str, float]]  # kind, start, end, codes, values


@dataclass(kw_only=True, eq=False)
class ByHand(Source):
    """Events as they stand; subjects from 100 on are held out or for validation, and plain."""

    name = "by_hand"
    events: Sequence[Event]

    def read(self, store: Store) -> None:
        """Create ``events`` and ``splits``."""
        plain = [row for subject in range(100, 104) for row in plain_patient(subject)]
        frame = pd.DataFrame([*self.events, *plain], columns=["subject_id", *TYPES])
        kinds = {"subject_id": "int64", "stay_id": "Int64", "numeric_value": "Float64", "time": "datetime64[us]"}
        store.register("by_hand", frame.astype({name: kinds.get(name, "string") for name in frame}))
        store.view(EVENTS, "SELECT * FROM by_hand")
        part = "CASE WHEN subject_id < 100 THEN 'train' WHEN subject_id < 102 THEN 'validation' ELSE 'holdout' END"
        store.view(GIVEN, f"SELECT DISTINCT subject_id, {part} AS part FROM by_hand")

    def options(self) -> dict[str, Any]:
        """Return how many events there are."""
        return {"events": len(self.events)}


def plain_patient(subject: int) -> list[Event]:
    """Return a patient with a stay and a diagnosis."""
    number = 10 * subject
    return [
        *person(subject),
        *stay(subject, number, "2012-01-01 10:00", "2012-01-03 10:00"),
        diagnosis(subject, number, "2012-01-03 10:00", "4019"),
    ]


def made_by_hand(out: Path, events: Sequence[Event], **changes: Any) -> Trajectories:
    """Prepare trajectories of events; ``changes`` of the recipe, or of the cohort by ``cohort_...``."""
    cohort = {name.removeprefix("cohort_"): value for name, value in changes.items() if name.startswith("cohort_")}
    others = {name: value for name, value in changes.items() if not name.startswith("cohort_")}
    usual: dict[str, Any] = {"features": FEATURES, "preprocess": EVERYTHING, "split": Given(), "constraints": "none"}
    made = Recipe(source=ByHand(events=events), cohort=Cohort(**cohort), form="trajectories", **usual | others)
    return prepare_trajectories(made, out)


def prepared(out: Path, *overrides: str) -> Trajectories:
    """Prepare trajectories as the command line would."""
    return prepare_trajectories(replace(recipe(*overrides), form="trajectories"), out)


def found_in(trajectories: Trajectories) -> Mapping[str, int]:
    """Return what was found in visits."""
    counts: dict[str, int] = next(s for s in trajectories.provenance["steps"] if s["step"] == "visits")["detail"]
    return counts


def told(visits: Visits, schema: VisitSchema, patient: int) -> list[Told]:
    """Return the visits of a patient, written out."""
    lines = list[Told]()
    for v in range(visits.offsets[patient], visits.offsets[patient + 1]):
        codes = visits.codes[visits.code_offsets[v] : visits.code_offsets[v + 1]]
        places = range(visits.value_offsets[v], visits.value_offsets[v + 1])
        values = {schema.measurements[visits.measured[i]].name: round(float(visits.values[i]), 4) for i in places}
        lines.append(
            (
                schema.kinds[visits.kinds[v]],
                moment(visits.starts[v]) or "",
                moment(visits.ends[v]),
                [schema.codes[code].name for code in codes],
                values,
            )
        )
    return lines


def moment(time: np.int64) -> str | None:
    """Return a time in words; None if it is unknown."""
    return None if time == UNKNOWN else str(np.datetime64(int(time), "us").astype("datetime64[m]")).replace("T", " ")


def assert_equal(one: Visits, other: Visits) -> None:
    """Assert that two are the same, array by array and bit by bit."""
    for name in Visits.__dataclass_fields__:
        first, second = getattr(one, name), getattr(other, name)
        assert first.dtype == second.dtype, name
        np.testing.assert_array_equal(first, second, err_msg=name)
