"""The seam between a provider's raw tables and the matrix."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from ehrsynth.schema import Kind, Role


@dataclass(frozen=True)
class ColumnSpec:
    """What a provider knows about a column before any patient is seen.

    Attributes:
        kind, role, domain, label: as in ``ehrsynth.schema.Column``.
        levels: the values a categorical column can take; empty to learn them from the training rows.
        plausible: smallest and largest believable number; what lies outside is an outlier.
    """

    kind: Kind
    role: Role = "feature"
    domain: str = "other"
    label: str = ""
    levels: tuple[str, ...] = ()
    plausible: tuple[float, float] | None = None


class Source(ABC):
    """A provider of patients. One row of the matrix is one subject.

    Attributes:
        name: short name, as in provenance.
    """

    name: str

    @abstractmethod
    def columns(self) -> Mapping[str, ColumnSpec]:
        """Return every column the matrix may have, in its order."""

    @abstractmethod
    def subjects(self) -> pd.DataFrame:
        """Return one row per subject: ``subject_id`` and the columns that are known once per subject."""

    @abstractmethod
    def events(self) -> pd.DataFrame:
        """Return what happened, as a table made by ``event_table``.

        ``code`` is the name of a column. A binary column is 1 for the subjects who have an event of its code; another
        one holds the ``numeric_value`` of the subject's last event of its code.
        """

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Return the options that decide what the tables hold, as plain data; files stand in ``inputs``."""

    def inputs(self) -> list[Path]:
        """Return the files that are read, for their hashes."""
        return []

    def remarks(self) -> dict[str, int]:
        """Return counts worth telling, such as subjects left out or codes that could not be mapped."""
        return {}


def event_table(*, subject_id: Any, time: Any, code: Any, numeric_value: Any = np.nan) -> pd.DataFrame:
    """Return events in the long form of MEDS: ``subject_id, time, code, numeric_value, text_value``.

    Args:
        subject_id: of each event.
        time: of each event, or None where the source has no dates.
        code: column name of each event, or one for all of them. Kept as a categorical, so that millions stay small.
        numeric_value: what was measured, or NaN for a clinical code.
    """
    n = len(subject_id)
    nothing = pd.Categorical.from_codes(np.full(n, -1, np.int8), pd.Index([], dtype=str))
    one_code = pd.Categorical.from_codes(np.zeros(n, np.int8), pd.Index([code])) if isinstance(code, str) else None
    return pd.DataFrame(
        {
            "subject_id": np.asarray(subject_id),
            "time": np.full(n, np.datetime64("NaT", "s")) if time is None else np.asarray(time, "datetime64[s]"),
            "code": pd.Categorical(code) if one_code is None else one_code,
            "numeric_value": np.broadcast_to(np.asarray(numeric_value, float), n),
            "text_value": nothing,
        }
    )


def union(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate event tables without turning their codes into text."""
    code = union_categoricals([table["code"] for table in tables])
    return pd.concat(tables, ignore_index=True).assign(code=code)
