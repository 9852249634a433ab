"""Training, validation and holdout rows, by subject: a subject is one row, so no subject is in two parts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.data.wide import Wide
from ehrsynth.errors import OptionError, TableError
from ehrsynth.seeding import numpy_rng

SPLITS = ("train", "validation", "holdout")
LEAST_ROWS = 2  # of each: one row alone has no spread, and no correlation
Rows = NDArray[np.int64]
MEDS = {"train": "train", "tuning": "validation", "held_out": "holdout"}


class Split(ABC):
    """Which rows are held out.

    Args:
        seed: of what is drawn: the parts, and later what fills gaps.
    """

    def __init__(self, *, seed: int = 0) -> None:
        if type(seed) is not int:
            raise OptionError(f"split.seed={seed}: a whole number was expected")
        self.seed = seed

    def assign(self, wide: Wide, seed: int) -> dict[str, Rows]:
        """Return the row numbers of each part, each in ascending order.

        Raises:
            OptionError: a part would have less than two rows, or the rows lack what the split goes by.
            TableError: the source's own parts are incomplete.
        """
        parts = {name: np.sort(rows) for name, rows in zip(SPLITS, self._parts(wide, seed), strict=True)}
        for name, rows in parts.items():
            if len(rows) < LEAST_ROWS:
                told = ", ".join(f"{option}={value}" for option, value in self._chosen().items())
                raise OptionError(
                    f"split: {len(rows)} {name} rows in {len(wide)} subjects with {told};"
                    " at least two rows are needed in every part"
                )
        return parts

    @abstractmethod
    def _parts(self, wide: Wide, seed: int) -> Sequence[Rows]:
        """Return the rows to train on, to validate on and to hold out."""

    def options(self) -> dict[str, Any]:
        """Return class and options, for provenance; the seed stands there by itself."""
        return {"split": type(self).__name__, **self._chosen()}

    def _chosen(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "seed"}


class BySubject(Split):
    """Draw the parts.

    Args:
        holdout: share no model and no choice ever sees.
        validation: share that checkpoints are chosen on.
        seed: see ``Split``.

    Raises:
        OptionError: a share is not between 0 and 1, or nothing is left for training.
    """

    def __init__(self, *, holdout: float = 0.3, validation: float = 0.07, seed: int = 0) -> None:
        super().__init__(seed=seed)
        _require_shares(holdout, validation)
        self.holdout = holdout
        self.validation = validation

    def _parts(self, wide: Wide, seed: int) -> Sequence[Rows]:
        order = numpy_rng(seed, "split").permutation(len(wide))
        return _cut(order, self.holdout, self.validation)


class Stratified(Split):
    """Draw the parts from each stratum apart, so that its shares are kept to within a row.

    Args:
        by: columns, such as an outcome and the sex; rows alike in all of them are a stratum, gaps too.
        holdout, validation: shares as in ``BySubject``.
        seed: see ``Split``.

    Raises:
        OptionError: no column, or an impossible share.
    """

    def __init__(self, *, by: Sequence[str], holdout: float = 0.3, validation: float = 0.07, seed: int = 0) -> None:
        super().__init__(seed=seed)
        _require_shares(holdout, validation)
        if isinstance(by, str) or not by:
            raise OptionError(f"split.by={by}: a list of columns was expected, such as split.by=[died_within_year]")
        self.by = list(by)
        self.holdout = holdout
        self.validation = validation

    def _parts(self, wide: Wide, seed: int) -> Sequence[Rows]:
        for name in self.by:
            if name not in wide.specs:
                raise OptionError(f"split.by: no column {name!r}; one of the {len(wide.specs)} columns was expected")
        table = pd.DataFrame({name: wide.column(name).to_numpy() for name in self.by})
        strata = list(table.groupby(self.by, dropna=False, sort=True).indices.values())
        if len(strata) == 1:
            raise OptionError(f"split.by={self.by}: all {len(wide)} rows are alike; other columns were expected")
        parts = []
        for place, rows in enumerate(strata):
            cut = _cut(numpy_rng(seed, "split", place).permutation(rows), self.holdout, self.validation)
            if not all(map(len, cut)):
                where = ", ".join(f"{name}={self._word(wide, name, table[name].iloc[rows[0]])}" for name in self.by)
                raise OptionError(
                    f"split.by: the stratum {where} has {len(rows)} rows, too few for every part with"
                    f" holdout={self.holdout}, validation={self.validation}; leave a column out or enlarge a share"
                )
            parts.append(cut)
        return [np.concatenate(rows) for rows in zip(*parts, strict=True)]

    def _word(self, wide: Wide, name: str, value: Any) -> str:
        """Return the value of a stratum if it is one that somebody declared; another may point at a patient."""
        spec = wide.specs[name]
        return str(value) if spec.kind == "binary" or value in spec.levels else "(not told)"


class Temporal(Split):
    """Train on the past: the latest index times are held out, those just before are for validation.

    Args:
        holdout, validation: shares of the rows, or the dates (ISO 8601) that the parts begin with.
        seed: see ``Split``.

    Raises:
        OptionError: an impossible share or date, or a date and a share.
    """

    def __init__(self, *, holdout: float | str = 0.3, validation: float | str = 0.07, seed: int = 0) -> None:
        super().__init__(seed=seed)
        if isinstance(holdout, str) != isinstance(validation, str):
            raise OptionError(f"split: holdout={holdout}, validation={validation}: two shares or two dates expected")
        if isinstance(holdout, str) and isinstance(validation, str):
            if not _date("validation", validation) < _date("holdout", holdout):
                raise OptionError(f"split.validation={validation}: a date before holdout={holdout} was expected")
        else:
            _require_shares(holdout, validation)
        self.holdout = holdout
        self.validation = validation

    def _parts(self, wide: Wide, seed: int) -> Sequence[Rows]:
        times = wide.index_time
        if times is None or times.isna().any():
            without = len(wide) if times is None else int(times.isna().sum())
            raise OptionError(
                f"split: {without} of {len(wide)} rows have no index time, which a temporal split goes by; use"
                " split=by_subject, or a source and a cohort with dates"
            )
        if isinstance(self.holdout, str) and isinstance(self.validation, str):
            late = times >= _date("holdout", self.holdout)
            rest = times < _date("validation", self.validation)
            return [np.flatnonzero(rows) for rows in (rest, ~rest & ~late, late)]
        return _cut(np.argsort(times.to_numpy(), kind="stable"), float(self.holdout), float(self.validation))


class Given(Split):
    """The source's own split, such as that of MEDS.

    Args:
        names: what the source calls each part -> ``train``, ``validation`` or ``holdout``; None takes those of MEDS
            (``train, tuning, held_out``). These three names themselves are always understood.
        seed: see ``Split``.

    Raises:
        OptionError: a part is none of the three.
    """

    def __init__(self, *, names: Mapping[str, str] | None = None, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.names = dict(MEDS if names is None else names)
        unknown = sorted(set(self.names.values()) - set(SPLITS))
        if unknown:
            raise OptionError(f"split.names: {unknown[0]!r} is no part; one of {', '.join(SPLITS)} was expected")

    def _parts(self, wide: Wide, seed: int) -> Sequence[Rows]:
        given = wide.given
        if given is None or given.isna().all():
            raise OptionError("split: the source has no split of its own; use split=by_subject")
        known = {name: name for name in SPLITS} | self.names
        parts = given.map(known)
        lost = int(parts.isna().sum())
        if lost:
            raise TableError(
                f"source: {lost} of {len(wide)} subjects are in none of the parts {', '.join(known)} of its own split;"
                " add the part to split.names, or use split=by_subject"
            )
        return [np.flatnonzero(parts == name) for name in SPLITS]


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


def _date(option: str, value: str) -> pd.Timestamp:
    try:
        return pd.Timestamp(value)
    except ValueError:
        raise OptionError(f"split.{option}={value}: a share or a date such as 2015-01-01 was expected") from None
