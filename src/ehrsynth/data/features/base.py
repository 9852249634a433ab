"""The seam between a cohort and the columns of the matrix."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.data.coverage import Coverage
from ehrsynth.data.store import Store, quoted
from ehrsynth.schema import Kind, Role

TRAINING = "training"  # the table of training rows: row
Place = Literal["patient", "visits", "nowhere"]


@dataclass(frozen=True)
class ColumnSpec:
    """What is known about a column before any patient is seen.

    Attributes:
        kind, role, domain, label: as in ``ehrsynth.schema.Column``.
        levels: the values a categorical column can take; empty to learn them from the training rows.
        plausible: smallest and largest believable number; what lies outside is an outlier.
        sex: F or M for a code that only one sex can have.
    """

    kind: Kind
    role: Role = "feature"
    domain: str = "other"
    label: str = ""
    levels: tuple[str, ...] = ()
    plausible: tuple[float, float] | None = None
    sex: str | None = None


@dataclass(frozen=True, eq=False)
class Collected:
    """The cells of one feature for all rows of the cohort.

    A feature has either ``cells`` (numbers and text, one column each) or codes, which are mostly absent and therefore
    given as the pairs that are present.

    Attributes:
        specs: the columns, in their order.
        cells: indexed by row of the cohort; rows that are left out are missing.
        row, column: of every code that is present, no pair twice; ``column`` counts in ``specs``.
        remarks: counts worth telling, such as codes that could not be mapped.
    """

    specs: dict[str, ColumnSpec]
    cells: pd.DataFrame | None = None
    row: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    column: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    remarks: dict[str, int] = field(default_factory=dict)

    @classmethod
    def column_of(cls, store: Store, name: str, spec: ColumnSpec, cell: str, rows: str) -> "Collected":
        """Return one column: the SQL expression ``cell`` over the relation ``rows``, which has a column ``row``."""
        return cls({name: spec}, store.frame(f"SELECT row, {cell} AS {quoted(name)} FROM {rows}").set_index("row"))


@dataclass(frozen=True, eq=False)
class Entries:
    """What a feature is made of, visit by visit.

    Attributes:
        specs: of the codes or measurements; numbers have the kind ``continuous`` or ``count``.
        units: of measurements that have any.
        query: SQL of ``row, stay_id, time, place, value``: an entry of the place ``place`` in ``specs``, dated or with
            a stay; of a code the value is missing.
    """

    specs: dict[str, ColumnSpec]
    query: str
    units: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True, eq=False)
class Feature(ABC):
    """One or many columns of the matrix, made of the tables ``cohort``, ``history``, ``stays`` and ``events``.

    Subclasses are dataclasses whose fields are the options.

    Attributes:
        after_split: whether training rows decide which columns there are; they are then in the table ``training``.
        in_trajectories: where it is told of a patient through time: once, visit by visit (``entries``), or nowhere,
            since the visits tell it themselves.
    """

    after_split: ClassVar[bool] = False
    in_trajectories: ClassVar[Place] = "patient"

    @abstractmethod
    def collect(self, store: Store) -> Collected:
        """Return the cells.

        Raises:
            TableError: the events are not what the feature expects.
        """

    def reconsidered(self, store: Store) -> "tuple[Collected | None, Sequence[Coverage]]":
        """Return what the training rows change about the cells, if anything, and what is to be told of them.

        Called after the split, with the table ``training``; the columns keep their names and places.
        """
        return None, ()

    def entries(self, store: Store) -> Entries:
        """Return what visits have of it; asked of features that are told there, after the split.

        Raises:
            TableError: the events are not what the feature expects.
        """
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """Return class and options, for provenance."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {name: value.options() if hasattr(value, "options") else value for name, value in values.items()}
        return {"feature": type(self).__name__, **plain}

    def inputs(self) -> dict[str, Path]:
        """Return the files that are read beside the source's, by the name they have in provenance."""
        return {}
