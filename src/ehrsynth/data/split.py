"""Training, validation and holdout rows, by subject: a subject is one row, so no subject is in two parts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.data.wide import Wide
from ehrsynth.errors import OptionError, TableError, expect
from ehrsynth.seeding import numpy_rng

SPLITS = ("train", "validation", "holdout")
LEAST_ROWS = 2  # of each: one row alone has no spread, and no correlation
Rows = NDArray[np.int64]
MEDS = {"train": "train", "tuning": "validation", "held_out": "holdout"}


class TooFewRowsError(OptionError):
    """A part would have less than two rows; the flow of the cohort tells how the subjects became so few."""


@dataclass(frozen=True, kw_only=True)
class Split(ABC):
    """Which rows are held out; subclasses are dataclasses of their options.

    Attributes:
        seed: of what is drawn: the parts, and later what fills gaps.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        expect(type(self.seed) is int, "split.seed", self.seed, "a whole number")

    def assign(self, wide: Wide) -> dict[str, Rows]:
        """Return the row numbers of each part, each in ascending order.

        Raises:
            TooFewRowsError: a part would have less than two rows.
            OptionError: the rows lack what the split goes by.
            TableError: the source's own parts are incomplete.
        """
        parts = {name: np.sort(rows) for name, rows in zip(SPLITS, self._parts(wide), strict=True)}
        for name, rows in parts.items():
            if len(rows) < LEAST_ROWS:
                options = ", ".join(f"{name}={value}" for name, value in self.options().items() if name != "split")
                raise TooFewRowsError(
                    f"split: {len(rows)} {name} rows in {len(wide)} subjects with {options};"
                    " at least two rows are needed in every part"
                )
        return parts

    @abstractmethod
    def _parts(self, wide: Wide) -> Sequence[Rows]:
        """Return the rows to train on, to validate on and to hold out."""

    def options(self) -> dict[str, Any]:
        """Return class and options, for provenance; the seed stands there by itself."""
        return {"split": type(self).__name__, **{name: value for name, value in vars(self).items() if name != "seed"}}


@dataclass(frozen=True, kw_only=True)
class BySubject(Split):
    """Draw the parts.

    Args:
        holdout: share no model and no choice ever sees.
        validation: share that checkpoints are chosen on.

    Raises:
        OptionError: a share is not between 0 and 1, or nothing is left for training.
    """

    holdout: float = 0.3
    validation: float = 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_shares(self.holdout, self.validation)

    def _parts(self, wide: Wide) -> Sequence[Rows]:
        return _cut(numpy_rng(self.seed, "split").permutation(len(wide)), self.holdout, self.validation)


@dataclass(frozen=True, kw_only=True)
class Stratified(Split):
    """Draw the parts from each stratum apart, so that its shares are kept to within a row.

    Args:
        by: columns, such as an outcome and the sex; rows alike in all of them are a stratum, gaps too.
        holdout, validation: shares as in ``BySubject``.

    Raises:
        OptionError: no column, or an impossible share.
    """

    by: Sequence[str]
    holdout: float = 0.3
    validation: float = 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_shares(self.holdout, self.validation)
        if isinstance(self.by, str) or not self.by:
            raise OptionError(
                f"split.by={self.by}: a list of columns was expected, such as split.by=[died_within_year]"
            )

    def _parts(self, wide: Wide) -> Sequence[Rows]:
        by = list(self.by)
        for name in by:
            if name not in wide.specs:
                raise OptionError(f"split.by: no column {name!r}; one of the {len(wide.specs)} columns was expected")
        table = pd.DataFrame({name: wide.column(name).to_numpy() for name in by})
        strata = list(table.groupby(by, dropna=False, sort=True).indices.values())
        if len(strata) == 1:
            raise OptionError(f"split.by={by}: all {len(wide)} rows are alike; other columns were expected")
        parts = []
        for place, rows in enumerate(strata):
            cut = _cut(numpy_rng(self.seed, "split", place).permutation(rows), self.holdout, self.validation)
            if not all(map(len, cut)):
                where = ", ".join(f"{name}={_declared(wide, name, table[name].iloc[rows[0]])}" for name in by)
                raise OptionError(
                    f"split.by: the stratum {where} has {len(rows)} rows, too few for every part with"
                    f" holdout={self.holdout}, validation={self.validation}; leave a column out or enlarge a share"
                )
            parts.append(cut)
        return [np.concatenate(rows) for rows in zip(*parts, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Temporal(Split):
    """Train on the past: the latest index times are held out, those just before are for validation.

    Args:
        holdout, validation: shares of the rows, or the dates (ISO 8601) that the parts begin with.

    Raises:
        OptionError: an impossible share or date, or a date and a share.
    """

    holdout: float | str = 0.3
    validation: float | str = 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        dates = [isinstance(at, str) for at in (self.holdout, self.validation)]
        if not any(dates):
            _require_shares(self.holdout, self.validation)
        elif not all(dates):
            raise OptionError(
                f"split: holdout={self.holdout}, validation={self.validation}: two shares or two dates expected"
            )
        elif not self._date("validation") < self._date("holdout"):
            raise OptionError(f"split.validation={self.validation}: a date before holdout={self.holdout} was expected")

    def _parts(self, wide: Wide) -> Sequence[Rows]:
        times = wide.index_time
        if times is None or times.isna().any():
            without = len(wide) if times is None else int(times.isna().sum())
            raise OptionError(
                f"split: {without} of {len(wide)} rows have no index time, which a temporal split goes by; use"
                " split=by_subject, or a source and a cohort with dates"
            )
        if isinstance(self.holdout, str):
            early, late = times < self._date("validation"), times >= self._date("holdout")
            return [np.flatnonzero(rows) for rows in (early, ~early & ~late, late)]
        return _cut(np.argsort(times.to_numpy(), kind="stable"), self.holdout, float(self.validation))

    def _date(self, option: str) -> pd.Timestamp:
        value = getattr(self, option)
        try:
            day = pd.Timestamp(value)
            return day if day.tz is None else day.tz_convert(None)
        except ValueError:
            raise OptionError(f"split.{option}={value}: a share or a date such as 2015-01-01 was expected") from None


@dataclass(frozen=True, kw_only=True)
class Given(Split):
    """The source's own split, such as that of MEDS.

    Args:
        names: what the source calls each part -> ``train``, ``validation`` or ``holdout``; None takes those of MEDS
            (``train, tuning, held_out``). These three names themselves are always understood.

    Raises:
        OptionError: a part is none of the three.
    """

    names: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        names = dict(MEDS if self.names is None else self.names)
        if unknown := sorted(set(names.values()) - set(SPLITS)):
            raise OptionError(f"split.names: {unknown[0]!r} is no part; one of {', '.join(SPLITS)} was expected")
        object.__setattr__(self, "names", names)  # as provenance tells them

    def _parts(self, wide: Wide) -> Sequence[Rows]:
        given = wide.given
        if given is None or given.isna().all():
            raise OptionError("split: the source has no split of its own; use split=by_subject")
        known = {name: name for name in SPLITS} | dict(self.names or {})
        parts = given.map(known)
        lost = int(parts.isna().sum())
        if lost:
            raise TableError(
                f"source: {lost} of {len(wide)} subjects are in none of the parts {', '.join(known)} of its own split;"
                " add the part to split.names, or use split=by_subject"
            )
        return [np.flatnonzero(parts == name) for name in SPLITS]


def _declared(wide: Wide, name: str, value: Any) -> str:
    """Return the value of a stratum if it is one that somebody declared; another may point at a patient."""
    spec = wide.specs[name]
    return str(value) if spec.kind == "binary" or value in spec.levels else "(not told)"


def require_rows(frame: pd.DataFrame, table: str) -> None:
    """Raise a ``TableError`` that names ``table`` if it has less than two rows."""
    if len(frame) < LEAST_ROWS:
        raise TableError(f"{table}: the number of rows is {len(frame)}; at least two rows are needed")


def _cut(order: Rows, holdout: float, validation: float) -> list[Rows]:
    """Return the rows in their order, the last of them held out and those before for validation."""
    n = len(order)
    held, validating = round(n * holdout), round(n * validation)
    return np.split(order, [n - held - validating, n - held])


def _require_shares(holdout: object, validation: object) -> None:
    for name, share in (("holdout", holdout), ("validation", validation)):
        if not (isinstance(share, float | int) and 0 < share < 1):
            raise OptionError(f"split.{name}={share}: a share between 0 and 1 was expected")
    if float(str(holdout)) + float(str(validation)) >= 1:
        raise OptionError(
            f"split.holdout={holdout} and split.validation={validation} leave no training rows;"
            " their sum must be below 1"
        )
