"""From long events to one row per subject."""

import numpy as np
import pandas as pd

from ehrsynth.data.sources.base import Source
from ehrsynth.errors import TableError
from ehrsynth.schema import SUBJECT


def widen(source: Source) -> pd.DataFrame:
    """Return one row per subject with ``subject_id`` and every column of ``source.columns()``.

    A binary column without an event is 0, a measurement without one is NaN; of several, the last counts.

    Raises:
        TableError: no subjects, a repeated subject, or an event without a code, of an undeclared code or of an unknown
            subject.
    """
    specs, subjects, events = source.columns(), source.subjects(), source.events()
    ids = pd.Index(subjects[SUBJECT])
    if ids.empty or not ids.is_unique:
        what = f"{int(ids.duplicated().sum())} subjects appear twice" if len(ids) else "there are no subjects"
        raise TableError(f"source {source.name}: {what}; one row per subject was expected")
    declared = pd.Index([name for name in specs if name not in subjects.columns])
    codes = events["code"].cat
    if (codes.codes < 0).any():
        raise TableError(
            f"source {source.name}: {int((codes.codes < 0).sum())} of {len(events)} events have no code;"
            " each event needs the name of a column"
        )
    row, column = ids.get_indexer(events[SUBJECT]), declared.get_indexer(codes.categories)[codes.codes]
    if (row < 0).any() or (column < 0).any():
        what = "an unknown subject" if (row < 0).any() else "an undeclared code"
        raise TableError(f"source {source.name}: an event of {what}; columns() and subjects() must cover the events")
    binary = np.array([specs[name].kind == "binary" for name in declared], bool)
    bits = np.zeros((len(ids), len(declared)), np.int8)
    bits[row, column] = 1
    table = pd.DataFrame(bits[:, binary], columns=declared[binary])
    measured = np.flatnonzero(~binary[column])
    measured = measured[np.argsort(events["time"].to_numpy()[measured], kind="stable")]
    numbers = {}
    for j in np.flatnonzero(~binary).tolist():
        mine = measured[column[measured] == j]
        numbers[declared[j]] = cells = np.full(len(ids), np.nan)
        cells[row[mine]] = events["numeric_value"].to_numpy()[mine]  # in order of time, so the last one stays
    wide = pd.concat([subjects.reset_index(drop=True), table, pd.DataFrame(numbers, index=table.index)], axis=1)
    return wide[[SUBJECT, *specs]]
