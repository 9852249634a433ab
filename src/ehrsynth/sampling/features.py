"""What is looked at in a record when tables are compared: its states, pairs of them, how many codes, which class."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ehrsynth.bits import as_sparse
from ehrsynth.layout import Records
from ehrsynth.models.states import States

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
Sparse = sparse.csr_array  # zeros and ones, a row for each record

BLOCK = 16_384  # rows whose distances to all centres are held at a time
PAIRED = 64  # pairs looked at together


@dataclass(frozen=True, eq=False)
class Features:
    """Features that a record has or has not, in this order: ``singles``, ``pairs``, ``cells``, ``classes``.

    The states are numbered column by column: each code, that it is there, then all levels of the categories, then all
    ranges and gaps of the numbers.

    Attributes:
        states: the columns as variables.
        singles: single states, [s].
        pairs: two states that a record has together, [k, 2].
        counted: which codes are counted together, 0/1 [q, codes].
        caps: from how many codes on they are not told apart, [q].
        strides: of histograms of these numbers, [t, q]: in each a record is in the cell ``numbers @ strides``.
        cells: histogram and cell, [c, 2], in order.
        centres: of latent classes, [m, states]: a record is of the class whose centre is nearest.
        classes: those of them that are looked at.
    """

    states: States
    singles: Indices = field(repr=False)
    pairs: Indices = field(repr=False)
    counted: Indices = field(repr=False)
    caps: Indices = field(repr=False)
    strides: Indices = field(repr=False)
    cells: Indices = field(repr=False)
    centres: Floats = field(repr=False)
    classes: Indices = field(repr=False)

    def __len__(self) -> int:
        return sum(self.parts)

    @property
    def parts(self) -> list[int]:
        """How many singles, pairs, cells and classes there are."""
        return [len(part) for part in (self.singles, self.pairs, self.cells, self.classes)]

    def of(self, records: Records) -> Sparse:
        """Return the features of records, [n, j]."""
        states = states_of(self.states, records)
        columns = states.tocsc()
        found: list[sparse.sparray] = [columns[:, self.singles].astype(np.float64)]
        for start in range(0, len(self.pairs), PAIRED):
            first, second = self.pairs[start : start + PAIRED].T
            found.append(columns[:, first].multiply(columns[:, second]).astype(np.float64))
        found.append(self._cells(states[:, : self.states.codes]))
        found.append(one_of(self.classes, self.class_of(states)))
        return sparse.csr_array(sparse.hstack(found, format="csr"))

    def class_of(self, states: Sparse) -> Indices:
        """Return the latent class [n] of records by their states [n, S]; -1 if there are none."""
        if not len(self.centres):
            return np.full(states.shape[0], -1)
        off = (self.centres**2).sum(1) / 2
        blocks = [states[start : start + BLOCK] for start in range(0, states.shape[0], BLOCK)]
        return np.concatenate([(block @ self.centres.T - off).argmax(1) for block in blocks])

    def histograms(self, codes: Sparse) -> Indices:
        """Return the cell of each histogram in which records are by their codes, [n, t]."""
        numbers = np.minimum((codes.astype(np.int64) @ self.counted.T), self.caps)
        found: Indices = numbers @ self.strides.T
        return found

    def _cells(self, codes: Sparse) -> Sparse:
        found = self.histograms(codes)
        tables = [one_of(self.cells[self.cells[:, 0] == t, 1], found[:, t]) for t in range(len(self.strides))]
        empty = sparse.csr_array((codes.shape[0], 0))
        return sparse.csr_array(sparse.hstack([empty, *tables], format="csr"))

    def only(self, kept: NDArray[np.bool_]) -> Self:
        """Return some of the features, in the same order."""
        parts = np.split(kept, np.cumsum(self.parts)[:-1])
        names = ("singles", "pairs", "cells", "classes")
        return replace(self, **{name: getattr(self, name)[part] for name, part in zip(names, parts, strict=True)})

    @cached_property
    def variables(self) -> Indices:
        """The variable that each state is of, [S]."""
        sizes = self.states.sizes
        return np.repeat(np.arange(len(sizes)), [1] * self.states.codes + sizes[self.states.codes :])

    def name(self, feature: int) -> str:
        """Say what a feature is."""
        singles, pairs, cells, _ = np.cumsum(self.parts).tolist()
        if feature < singles:
            return self._state(int(self.singles[feature]))
        if feature < pairs:
            return " with ".join(self._state(int(state)) for state in self.pairs[feature - singles])
        return "number of codes" if feature < cells else "latent class"

    def _state(self, state: int) -> str:
        variable = int(self.variables[state])
        place, column = state - int(np.searchsorted(self.variables, variable)), self.states.columns[variable]
        if variable < self.states.codes:
            return column
        if (group := self.states.layout.groups.get(column)) is not None:
            return self.states.layout.names[int(group.start) + place]
        ranges = self.states.ranges[variable - len(self.states.columns) + len(self.states.ranges)]
        return f"{column}:missing" if place == ranges else f"{column} in range {place + 1} of {ranges}"


def states_of(states: States, records: Records) -> Sparse:
    """Return the states of records as zeros and ones, [n, S]."""
    codes = as_sparse(records.bits, slice(0, states.codes))
    sizes = states.sizes[states.codes :]
    if not sizes:
        return codes
    starts = np.cumsum([0, *sizes[:-1]])
    places = np.concatenate([block[:, states.codes :].numpy() for block in states.blocks(records)]) + starts
    up_to = np.arange(len(places) + 1) * len(sizes)
    others = sparse.csr_array((np.ones(places.size, np.uint8), places.ravel(), up_to), (len(places), sum(sizes)))
    return sparse.csr_array(sparse.hstack([codes, others], format="csr"))


def one_of(cells: Indices, found: Indices) -> Sparse:
    """Return which of the cells [c], in ascending order, each record is in, [n, c]; ``found`` [n] may be in none."""
    if not len(cells):
        return sparse.csr_array((len(found), 0))
    place = np.minimum(np.searchsorted(cells, found), len(cells) - 1)
    there = cells[place] == found
    up_to = np.concatenate([[0], np.cumsum(there)])
    return sparse.csr_array((np.ones(int(there.sum())), place[there], up_to), (len(found), len(cells)))
