"""Event frames written by hand, for tests of what follows from them."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ehrsynth.data.cohort.base import Cohort, FlowStep
from ehrsynth.data.events import COLUMNS, EVENTS, make_timeline
from ehrsynth.data.store import Store

Event = dict[str, Any]


def event(subject: int, domain: str, time: str | None = None, **cells: Any) -> Event:
    """Return one event."""
    return {"subject_id": subject, "domain": domain, "time": time, **cells}


def person(subject: int, sex: str = "F", birth: str = "1960-01-01", death: str | None = None) -> list[Event]:
    """Return what is known about a subject."""
    dead = [] if death is None else [event(subject, "death", death)]
    return [event(subject, "sex", code=sex), event(subject, "birth", birth), *dead]


def stay(
    subject: int, stay_id: int, admitted: str | None, discharged: str | None, died: int = 0, kind: str = "EMERGENCY"
) -> list[Event]:
    """Return admission and discharge."""
    return [
        event(subject, "admission", admitted, stay_id=stay_id, code=kind),
        event(subject, "discharge", discharged, stay_id=stay_id, numeric_value=died),
    ]


def diagnosis(subject: int, stay_id: int | None, time: str | None, code: str, vocabulary: str = "ICD9CM") -> Event:
    """Return a diagnosis."""
    return event(subject, "diagnosis", time, stay_id=stay_id, code=code, vocabulary=vocabulary)


def hold(store: Store, events: Sequence[Event]) -> None:
    """Make the view ``events`` and the timeline that follows from it."""
    table = pd.DataFrame(events, columns=list(COLUMNS))
    typed = {"subject_id": "Int64", "stay_id": "Int64", "numeric_value": "Float64", "time": "datetime64[us]"}
    store.register("written", table.astype({name: typed.get(name, "string") for name in COLUMNS}))
    store.view(EVENTS, "SELECT * FROM written")
    make_timeline(store)


def chosen(store: Store, cohort: Cohort, events: Sequence[Event]) -> tuple[list[tuple[int, int]], list[FlowStep]]:
    """Return the index stay of each subject, and the flow."""
    hold(store, events)
    flow = cohort.choose(store)
    rows = store.frame("SELECT subject_id, stay_id FROM cohort ORDER BY row").to_numpy(object)
    return [tuple(row) for row in rows], flow
