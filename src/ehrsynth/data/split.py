"""Training, validation and holdout rows, by subject."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ehrsynth.errors import OptionError, TableError
from ehrsynth.seeding import numpy_rng

SPLITS = ("train", "validation", "holdout")
LEAST_ROWS = 2  # of each: one row alone has no spread, and no correlation


class Split:
    """Draw which subjects are held out; a subject is one row, so no subject is in two parts.

    Args:
        holdout: share no model and no choice ever sees.
        validation: share that checkpoints are chosen on.

    Raises:
        OptionError: a share is not between 0 and 1, or nothing is left for training.
    """

    def __init__(self, *, holdout: float = 0.3, validation: float = 0.07) -> None:
        for name, share in (("holdout", holdout), ("validation", validation)):
            if not (isinstance(share, float | int) and 0 < share < 1):
                raise OptionError(f"split.{name}={share}: a share between 0 and 1 was expected")
        if holdout + validation >= 1:
            raise OptionError(
                f"split.holdout={holdout} and split.validation={validation} leave no training rows;"
                " their sum must be below 1"
            )
        self.holdout = holdout
        self.validation = validation

    def assign(self, n: int, seed: int) -> dict[str, NDArray[np.int64]]:
        """Return the row numbers of each part, each in ascending order.

        Raises:
            OptionError: a part would have less than two rows.
        """
        held, validating = round(n * self.holdout), round(n * self.validation)
        order = numpy_rng(seed, "split").permutation(n)
        sizes = np.split(order, [n - held - validating, n - held])
        parts = {name: np.sort(rows) for name, rows in zip(SPLITS, sizes, strict=True)}
        for name, rows in parts.items():
            if len(rows) < LEAST_ROWS:
                raise OptionError(
                    f"split: {len(rows)} {name} rows in {n} subjects with holdout={self.holdout},"
                    f" validation={self.validation}; at least two rows are needed in every part"
                )
        return parts


def require_rows(frame: pd.DataFrame, table: str) -> None:
    """Raise a ``TableError`` that names ``table`` if it has less than two rows."""
    if len(frame) < LEAST_ROWS:
        raise TableError(f"{table}: the number of rows is {len(frame)}; at least two rows are needed")
