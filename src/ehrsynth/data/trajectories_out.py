"""What all forms share in which patients through time are handed out: a new folder, and some patients at a time."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.errors import OptionError, TableError
from ehrsynth.files import aside_of, put_in_place, sweep_leftovers
from ehrsynth.schema import SUBJECT
from ehrsynth.visits import UNKNOWN, Visits, VisitSchema

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
PATIENTS = 20_000  # at a time
Portion = tuple[Visits, pd.DataFrame]  # some patients: their visits, and what is said of each once


@dataclass(frozen=True, eq=False)
class Shard:
    """Some of the patients; they are numbered from 1 in their order, and so are their visits.

    Attributes:
        visits: theirs.
        schema: what these are made of.
        static: what is said of them once, without ``subject_id``.
        first: number of the first patient.
        first_visit: number of the first visit.
    """

    visits: Visits
    schema: VisitSchema
    static: pd.DataFrame
    first: int
    first_visit: int

    @property
    def people(self) -> Integers:
        """The number of each patient, [n]."""
        return self.first + np.arange(len(self.visits))

    @property
    def visit(self) -> Integers:
        """The number of each visit, [V]."""
        return self.first_visit + np.arange(self.visits.count)

    @property
    def person(self) -> Integers:
        """The number of the patient of each visit, [V]."""
        return self.first + self.visits.patient

    @cached_property
    def ambulatory(self) -> Flags:
        """Whether each visit is no stay, [V]."""
        return np.isin(self.visits.kinds, [self.schema.kinds.index(kind) for kind in self.schema.ambulatory])

    @cached_property
    def died(self) -> Flags:
        """Whether each visit ended with the death of the patient, [V]."""
        visits = self.visits
        died: Flags = (visits.ends != UNKNOWN) & (visits.ends == visits.died[visits.patient])
        return died

    @cached_property
    def times_of_content(self) -> Integers:
        """When to date what happened in each visit, [V].

        That is the end of a stay, as conversions of MIMIC date diagnoses, else the start; but never after the end of
        the patient's last stay: a patient is usually seen from that moment, and should be seen with all that is here.
        """
        visits = self.visits
        dated_at_end = (visits.ends != UNKNOWN) & ~self.ambulatory
        times = np.where(dated_at_end, visits.ends, visits.starts)
        last = np.full(len(visits), np.iinfo(np.int64).max)
        stays = np.flatnonzero(dated_at_end)
        last[visits.patient[stays]] = visits.ends[stays]  # the last of each patient is written last
        return np.where(times > last[visits.patient], visits.starts, times)


def shards(portions: Iterable[Portion], schema: VisitSchema, what: str, size: int = PATIENTS) -> Iterator[Shard]:
    """Yield patients some at a time; one empty shard where there is nobody.

    Args:
        portions: patients, asked for one portion after another; a column ``subject_id`` is left out.
        schema: what their visits are made of.
        what: the form that they are written in, for messages.
        size: patients of a shard at most.

    Raises:
        TableError: visits and static rows do not fit.
    """
    first = first_visit = 1
    for visits, static in portions:
        require_fit(visits, schema, static, what)
        told = static.drop(columns=SUBJECT, errors="ignore")
        for start in range(0, max(len(visits), 1), size):
            rows = np.arange(start, min(start + size, len(visits)))
            mine = told.iloc[rows].reset_index(drop=True)
            shard = Shard(visits.of_patients(rows), schema, mine, first, first_visit)
            first, first_visit = first + len(rows), first_visit + shard.visits.count
            yield shard


def require_fit(visits: Visits, schema: VisitSchema, static: pd.DataFrame, what: str) -> None:
    """Raise a ``TableError`` unless the visits are of the schema, with a static row for each patient."""
    if len(static) != len(visits):
        raise TableError(f"{what}: visits of {len(visits):,} patients beside {len(static):,} static rows")
    visits.check(schema, what)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that gets its name only when the block has filled it.

    Raises:
        OptionError: something of that name is there already.
    """
    if folder.exists():
        raise OptionError(f"out={folder}: something is there; name a folder that does not exist yet")
    sweep_leftovers(folder.parent, folder.name)
    aside = aside_of(folder)
    aside.mkdir(parents=True)
    try:
        yield aside
        put_in_place(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
