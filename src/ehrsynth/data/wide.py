"""One row per subject: dense cells beside sparse codes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.data.features.base import ColumnSpec, Feature
from ehrsynth.data.store import Store
from ehrsynth.errors import OptionError
from ehrsynth.schema import SUBJECT


@dataclass(frozen=True, eq=False)
class Wide:
    """Rows that have not been split, cleaned or encoded yet.

    Attributes:
        subjects: [n] the subject of each row.
        specs: every column, in the order of the matrix.
        cells: [n rows] the columns that are no codes.
        codes: uint8 [n, m] of 0 and 1, the other columns, in the order of ``code_names``.
        code_names: names of the columns of ``codes``.
        remarks: counts worth telling.
    """

    subjects: pd.Series = field(repr=False)
    specs: Mapping[str, ColumnSpec] = field(repr=False)
    cells: pd.DataFrame = field(repr=False)
    codes: sparse.csr_array = field(repr=False)
    code_names: Sequence[str] = field(repr=False)
    remarks: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.subjects)

    def __getitem__(self, rows: NDArray[np.int64]) -> "Wide":
        return Wide(
            self.subjects.iloc[rows],
            self.specs,
            self.cells.iloc[rows],
            self.codes[rows],
            self.code_names,
            self.remarks,
        )

    def chunks(self, rows: int = 50_000) -> Iterator[pd.DataFrame]:
        """Yield the rows as tables of at most that many rows."""
        for start in range(0, len(self), rows):
            yield self[np.arange(start, min(start + rows, len(self)))].frame()

    def frame(self) -> pd.DataFrame:
        """Return everything as one table with ``subject_id`` first; codes take a byte a cell."""
        codes = pd.DataFrame(
            self.codes.toarray().astype(np.int8), columns=list(self.code_names), index=self.cells.index
        )
        table = pd.concat([self.subjects.rename(SUBJECT), self.cells, codes], axis=1)
        return table[[SUBJECT, *self.specs]]


def widen(store: Store, features: Sequence[Feature]) -> Wide:
    """Collect the features of the chosen cohort.

    Raises:
        OptionError: two features make a column of the same name.
        TableError: the events are not what a feature expects.
    """
    subjects = store.frame("SELECT subject_id FROM cohort ORDER BY row")["subject_id"]
    n = len(subjects)
    specs: dict[str, ColumnSpec] = {}
    cells, blocks, names, remarks = [], [], list[str](), dict[str, int]()
    for feature in features:
        found = feature.collect(store)
        doubled = sorted(set(found.specs) & set(specs))
        if doubled:
            raise OptionError(f"features: column {doubled[0]!r} is made twice; give one of them another name or prefix")
        specs |= found.specs
        remarks |= found.remarks
        if found.cells is not None:
            cells.append(found.cells.reindex(range(n)))
        else:
            ones = np.ones(len(found.row), np.uint8)
            blocks.append(sparse.csr_array((ones, (found.row, found.column)), shape=(n, len(found.specs))))
            names += found.specs
    codes = sparse.csr_array(sparse.hstack(blocks, format="csr") if blocks else (n, 0), dtype=np.uint8)
    return Wide(
        subjects, specs, pd.concat(cells, axis=1) if cells else pd.DataFrame(index=range(n)), codes, names, remarks
    )
