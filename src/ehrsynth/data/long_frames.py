"""Visits as the long tables that other tools of the field exchange: a row for each code of each visit.

PyHealth's generators and metrics have such tables, with the columns ``id, time, visit_codes`` and the number of the
visit as its time. They hold no kind, no end and no value of a visit, and no visit without a code.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from ehrsynth.errors import TableError
from ehrsynth.schema import SUBJECT
from ehrsynth.visits import DAY, UNKNOWN, Code, Visits, VisitSchema

COLUMNS = {"id": "id", "time": "time", "code": "visit_codes"}
KIND = "visit"
NONE = -1  # the place of a code that a schema does not have


def long_frame(visits: Visits, schema: VisitSchema, *, dated: bool = False) -> pd.DataFrame:
    """Return ``id, time, visit_codes``, by patient and visit.

    Args:
        visits: of n patients, who are called 0 to n - 1, as text.
        schema: what they are made of.
        dated: give the beginning of a visit as its time; else its number from 0, as PyHealth does.
    """
    owner = visits.visit_of_code
    names = np.array([code.name for code in schema.codes], object)
    times = visits.starts.astype("datetime64[us]") if dated else visits.number
    return pd.DataFrame(
        {"id": visits.patient[owner].astype(str), "time": times[owner], "visit_codes": names[visits.codes]}
    )


def visits_of(
    frame: pd.DataFrame,
    *,
    schema: VisitSchema | None = None,
    columns: Mapping[str, str] = COLUMNS,
    table: str = "table",
    unknown: Literal["refuse", "leave out"] = "refuse",
) -> tuple[Visits, VisitSchema, pd.DataFrame]:
    """Read a long table.

    Args:
        frame: a row for each code of each visit, in any order; a code that a visit has twice counts once. Times are
            dates, or numbers of visits, which then lie a day apart.
        schema: of the codes; its first kind is that of all visits. None takes the codes that there are, as they are.
        columns: what the columns of patient, time and code are called.
        table: what messages call it.
        unknown: of a code that is not of the schema; where it is left out, its visit stays.

    Returns:
        The visits, what they are made of, and ``subject_id`` of each patient, in ascending order.

    Raises:
        TableError: a column is missing or has an empty cell, a time is none, or a code is refused.
    """
    for name in columns.values():
        if name not in frame:
            raise TableError(f"{table}: no column {name!r}; {', '.join(columns.values())} were expected")
        if (empty := frame[name].isna()).any():
            raise TableError(f"{table}: column {name!r}, row {int(empty.argmax())}: the cell is empty")
    people, patients = np.unique(frame[columns["id"]].to_numpy(), return_inverse=True)
    if schema is None:
        known = sorted(frame[columns["code"]].astype(str).unique())
        schema = VisitSchema((KIND,), tuple(Code(name, "code") for name in known))
    places = pd.Series({code.name: place for place, code in enumerate(schema.codes)}, dtype=float)
    code = frame[columns["code"]].astype(str).map(places).fillna(NONE).to_numpy(np.int64)
    if unknown == "refuse" and (strange := code == NONE).any():
        raise TableError(
            f"{table}: column {columns['code']!r}, row {int(strange.argmax())}: none of the {len(places)} codes of the"
            f" schema ({int(strange.sum())} of {len(frame)} are none)"
        )
    rows = pd.DataFrame({"patient": patients, "time": _moments(frame[columns["time"]], table), "code": code})
    rows = rows.drop_duplicates().sort_values(["patient", "time", "code"], ignore_index=True)
    begins = ~rows.duplicated(["patient", "time"]).to_numpy()
    first = np.flatnonzero(begins)
    starts = rows["time"].to_numpy(np.int64)[first]
    known = rows["code"].to_numpy() != NONE
    unknown_times = np.full(len(people), UNKNOWN)
    visits = Visits(
        _offsets(rows["patient"].to_numpy()[first], len(people)),
        starts,
        np.full(len(starts), UNKNOWN),
        np.zeros(len(starts), np.int16),
        _offsets((begins.cumsum() - 1)[known], len(starts)),
        rows["code"].to_numpy(np.int32)[known],
        np.zeros(len(starts) + 1, np.int64),
        np.zeros(0, np.int32),
        np.zeros(0, np.float32),
        unknown_times,
        unknown_times.copy(),
    )
    return visits, schema, pd.DataFrame({SUBJECT: people})


def _moments(times: pd.Series, table: str) -> "pd.Series[int]":
    """Return microseconds since 1970."""
    if pd.api.types.is_numeric_dtype(times):
        return (times.astype(float) * DAY).round().astype(np.int64)
    moments = pd.to_datetime(times, errors="coerce", utc=True, format="ISO8601")
    if (wrong := moments.isna()).any():
        raise TableError(
            f"{table}: column {times.name!r}, row {int(wrong.argmax())}: no number of a visit and no date as 2024-12-31"
        )
    return moments.dt.tz_localize(None).astype("datetime64[us]").astype(np.int64)


def _offsets(owners: np.ndarray, n: int) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(owners, minlength=n), dtype=np.int64)])
