"""Which cell of a table each visit or code counts in, and what may be told of such counts."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.disclosure import LEAST
from ehrsynth.models.told import told
from ehrsynth.visits import Integers, Visits

SOME = 0.5  # visits added to each cell, so that nothing is impossible
FIRSTS, CAME, STAYED, WENT = range(4)  # what codes do from visit to visit


@dataclass(frozen=True, eq=False)
class Counted:
    """In which cell of a table each of some visits or codes counts, and whose it is.

    Attributes:
        rows: int64 [k].
        columns: int64 [k].
        shape: of the table.
        patients: int64 [k].
    """

    rows: Integers = field(repr=False)
    columns: Integers = field(repr=False)
    shape: tuple[int, int]
    patients: Integers = field(repr=False)

    @property
    def cells(self) -> Integers:
        """The cell of each in the table, row by row, [k]."""
        cells: Integers = self.rows * self.shape[1] + self.columns
        return cells

    def of(self, which: NDArray[np.bool_]) -> "Counted":
        """Return it of some of them."""
        return Counted(self.rows[which], self.columns[which], self.shape, self.patients[which])

    def visits_or_patients(self) -> NDArray[np.float64]:
        """Return how many visits each cell has, or how many patients where these are fewer than ten."""
        visits = np.bincount(self.cells, minlength=self.shape[0] * self.shape[1])
        among = int(self.patients.max(initial=0)) + 1
        people = np.bincount(np.unique(self.cells * among + self.patients) // among, minlength=len(visits))
        return np.where(people < LEAST, people, visits).reshape(self.shape).astype(float)

    def chances(self) -> Tensor:
        """Return the share of each column [I, J] in each row, as far as it may be told."""
        counts = told(torch.from_numpy(self.visits_or_patients())[None])[0] + SOME
        return (counts / counts.sum(1, keepdim=True)).float()


def codes_in_time(visits: Visits, codes: int) -> Counted:
    """Return the codes of visits as ``Markov.tables`` has them; one that goes counts at the visit that had it last."""
    key, number = visits.visit_of_code * codes + visits.codes, visits.number[visits.visit_of_code]
    row = np.where(number == 0, FIRSTS, np.where(np.isin(key - codes, key), STAYED, CAME))
    whose = visits.patient[visits.visit_of_code]
    followed = visits.offsets[1:][whose] - 1 > visits.visit_of_code
    went = followed & ~np.isin(key + codes, key)
    rows, columns = np.append(row, np.full(went.sum(), WENT)), np.append(visits.codes, visits.codes[went])
    return Counted(rows, columns.astype(np.int64), (WENT + 1, codes), np.append(whose, whose[went]))


def ends_of(exactly: NDArray[Any], least: float) -> Tensor:
    """Return the chance that a record ends after 1, 2, ... visits; the last is that after any number beyond.

    Args:
        exactly: how many patients have 1, 2, ... visits.
        least: a number counts alone if so many patients have it and so many have more.
    """
    reached = exactly[::-1].cumsum()[::-1]
    alone = (exactly >= least) & (reached - exactly >= least)
    upto = len(alone) if alone.all() else int(np.argmin(alone))
    beyond = exactly[upto:].sum() / max((exactly[upto:] * np.arange(1, len(exactly) - upto + 1)).sum(), 1)
    return torch.tensor([*(exactly[:upto] / reached[:upto]), beyond or 1.0], dtype=torch.float32)
