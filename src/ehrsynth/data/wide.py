"""One row per subject: dense cells beside sparse codes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.chunks import rows_of
from ehrsynth.data.coverage import Coverage
from ehrsynth.data.events import GIVEN
from ehrsynth.data.features.base import ColumnSpec, Feature, Place
from ehrsynth.data.store import Store
from ehrsynth.errors import OptionError, TableError
from ehrsynth.schema import SUBJECT


@dataclass(frozen=True, eq=False)
class Wide:
    """Rows as they are split and cleaned, before they are encoded; codes are never dense but for a few rows at a time.

    Attributes:
        subjects: [n] the subject of each row.
        specs: every column, in the order of the matrix.
        cells: [n rows] the columns that are no codes.
        codes: uint8 [n, m] of 0 and 1, the other columns, in the order of ``code_names``.
        code_names: names of the columns of ``codes``.
        remarks: counts worth telling.
        index_time: [n] the moment each row is seen from; missing where the source has no dates.
        given: [n] the part that the source puts each row in; missing where it does not say.
        told: where trajectories tell each column.
    """

    subjects: pd.Series = field(repr=False)
    specs: Mapping[str, ColumnSpec] = field(repr=False)
    cells: pd.DataFrame = field(repr=False)
    codes: sparse.csr_array = field(repr=False)
    code_names: Sequence[str] = field(repr=False)
    remarks: Mapping[str, int] = field(default_factory=dict)
    index_time: pd.Series | None = field(default=None, repr=False)
    given: pd.Series | None = field(default=None, repr=False)
    told: Mapping[str, Place] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.subjects)

    @property
    def dense_names(self) -> list[str]:
        """Names of the columns of ``cells``."""
        return [str(name) for name in self.cells]

    @property
    def sexes(self) -> dict[str, str]:
        """The sex, F or M, of every column that only one sex can have."""
        return {name: spec.sex for name, spec in self.specs.items() if spec.sex is not None}

    def __getitem__(self, rows: NDArray[np.int64]) -> "Wide":
        return replace(
            self,
            subjects=self.subjects.iloc[rows],
            cells=self.cells.iloc[rows],
            codes=self.codes[rows],
            index_time=None if self.index_time is None else self.index_time.iloc[rows],
            given=None if self.given is None else self.given.iloc[rows],
        )

    def only(self, specs: Mapping[str, ColumnSpec]) -> "Wide":
        """Return the rows with these of the columns, under these specs."""
        if specs.keys() == self.specs.keys():
            return replace(self, specs=specs)
        kept = [place for place, name in enumerate(self.code_names) if name in specs]
        names = [self.code_names[place] for place in kept]
        codes = self.codes if len(kept) == len(self.code_names) else self.codes[:, kept]
        cells = self.cells[[name for name in self.cells if name in specs]]
        return replace(self, specs=specs, cells=cells, codes=codes, code_names=names)

    def beside(self, other: "Wide") -> "Wide":
        """Return the rows with the columns of ``other`` after their own.

        Raises:
            OptionError: both have a column of the same name.
        """
        _require_distinct(self.specs, other.specs)
        return replace(
            self,
            specs={**self.specs, **other.specs},
            cells=pd.concat([self.cells, other.cells], axis=1),
            codes=sparse.csr_array(sparse.hstack([self.codes, other.codes], format="csr")),
            code_names=[*self.code_names, *other.code_names],
            remarks={**self.remarks, **other.remarks},
            told={**self.told, **other.told},
        )

    def column(self, name: str) -> pd.Series:
        """Return one column."""
        if name in self.cells:
            return self.cells[name]
        place = list(self.code_names).index(name)
        return pd.Series(self.codes[:, [place]].toarray().ravel(), index=self.cells.index, name=name)

    def having(self, names: Sequence[str]) -> sparse.csr_array:
        """Return who has each of these codes, float64 [n, len(names)]: a flat table has its codes among the cells."""
        places = {name: place for place, name in enumerate(self.code_names)}
        coded, dense = [n for n in names if n in places], [n for n in names if n not in places]
        codes = self.codes[:, [places[name] for name in coded]].astype(np.float64)
        cells = sparse.csr_array(self.cells[dense].apply(pd.to_numeric).gt(0).to_numpy(np.float64))
        both = sparse.csr_array(sparse.hstack([codes, cells], format="csr"))
        return both[:, [[*coded, *dense].index(name) for name in names]]

    def chunks(self, rows: int | None = None) -> Iterator[pd.DataFrame]:
        """Yield the rows as tables of at most that many rows; None takes as many as memory is reckoned to hold."""
        most = rows or rows_of(len(self.specs))
        for start in range(0, len(self), most):
            yield self[np.arange(start, min(start + most, len(self)))].frame()

    def frame(self) -> pd.DataFrame:
        """Return everything as one table with ``subject_id`` first; codes take a byte a cell."""
        codes = pd.DataFrame(self.codes.toarray().view(np.int8), columns=list(self.code_names), index=self.cells.index)
        table = pd.concat([self.subjects.rename(SUBJECT), self.cells, codes], axis=1)
        return table[[SUBJECT, *self.specs]]


def widen(store: Store, features: Sequence[Feature]) -> Wide:
    """Collect the features of the chosen cohort.

    Raises:
        OptionError: two features make a column of the same name.
        TableError: the events are not what a feature expects.
    """
    rows = _rows(store)
    n = len(rows)
    specs: dict[str, ColumnSpec] = {}
    cells, blocks, names, remarks, told = [], [], list[str](), dict[str, int](), dict[str, Place]()
    for feature in features:
        found = feature.collect(store)
        _require_distinct(specs, found.specs)
        specs |= found.specs
        remarks |= found.remarks
        told |= dict.fromkeys(found.specs, feature.in_trajectories)
        if found.cells is not None:
            cells.append(found.cells.reindex(range(n)))
        else:
            ones = np.ones(len(found.row), np.uint8)
            places = found.row.astype(np.int32), found.column.astype(np.int32)  # half the memory of int64
            blocks.append(sparse.csr_array((ones, places), shape=(n, len(found.specs))))
            names += found.specs
    empty = sparse.csr_array(np.zeros((n, 0), np.uint8))
    codes = sparse.csr_array(sparse.hstack([empty, *blocks], format="csr"))
    dense = pd.concat(cells, axis=1) if cells else pd.DataFrame(index=range(n))
    return Wide(rows["subject_id"], specs, dense, codes, names, remarks, rows["index_time"], rows["given"], told)


def reconsidered(store: Store, wide: Wide, features: Iterable[Feature]) -> tuple[Wide, list[Coverage]]:
    """Return the rows with what features change once they know the training rows, and what they say of it."""
    coverage = list[Coverage]()
    for feature in features:
        found, lines = feature.reconsidered(store)
        coverage += lines
        if found is not None and found.cells is not None:
            cells = found.cells.reindex(range(len(wide)))
            wide = replace(wide, specs={**wide.specs, **found.specs}, cells=wide.cells.assign(**cells))
    return wide, coverage


def _require_distinct(specs: Mapping[str, ColumnSpec], more: Mapping[str, ColumnSpec]) -> None:
    doubled = sorted(set(specs) & set(more))
    if doubled:
        raise OptionError(f"features: column {doubled[0]!r} is made twice; give one of them another name or prefix")


def _rows(store: Store) -> pd.DataFrame:
    """Return subject, index time and part of every row of the cohort; the part is missing unless the source has one."""
    if not store.has(GIVEN):
        return store.frame("SELECT subject_id, index_time, NULL AS given FROM cohort ORDER BY row")
    twice = store.value(
        f"SELECT count(*) FROM (SELECT subject_id FROM {GIVEN} GROUP BY ALL HAVING min(part) <> max(part))"
    )
    if twice:
        raise TableError(f"source: {twice} subjects are in two parts of its own split; a subject must be in one")
    return store.frame(
        f"""SELECT c.subject_id, any_value(index_time) AS index_time, min(part) AS given FROM cohort c
        LEFT JOIN {GIVEN} s ON s.subject_id = c.subject_id GROUP BY row, c.subject_id ORDER BY row"""
    )
