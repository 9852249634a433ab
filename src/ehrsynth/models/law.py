"""The law of a number as training rows have it: values that many share stay what they are, all others lie between.

Ascending knots (place, value), with a straight line from each to the next. A value of ``LEAST`` training rows or more
is an *atom*: two knots of one value, as far apart as it has rows. Between atoms lie *runs* of rarer values, told by
groups of ``LEAST`` rows or more: where each ends, and its mean, which the line through it keeps. A run begins and ends
half a step of the column's last decimal beside the atoms, so that rounding gives no atom more than its rows. The values
of the outermost group are exponential beyond the others, of its mean, and end at the schema's bound. So what travels
with a checkpoint are counts and means of ten training rows or more, and values that as many share or lie beyond.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.disclosure import LEAST
from ehrsynth.kinds import decimals_of, span
from ehrsynth.layout import Records
from ehrsynth.schema import Schema

MOST = 500  # atoms of a number, and groups of its other values
KNOTS = 4_096  # no more come of them
LARGE = 3 * LEAST  # rows of an outermost atom that stays one when a few rarer values lie beyond it
BEYOND = np.array([1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 0.0])  # shares of the outermost rows beyond a knot
HALVINGS = 50  # until a mean is met

Floats = NDArray[np.float64]
Knots = list[tuple[float, float]]  # rows up to a value, and the value


def law_of(train: Records, schema: Schema) -> Tensor:
    """Return the law [2, KNOTS, C] of the observed values of every column, places and values; zero if there is none."""
    values = train.with_gaps().values.numpy()
    found = torch.zeros(2, KNOTS, values.shape[1])
    found[0, 1:] = 1
    for i, field in enumerate(train.layout.fields[train.layout.values]):
        column = schema.by_name[field.column]
        observed, (low, high) = np.sort(values[~np.isnan(values[:, i]), i].astype(float)), column.bounds or (0.0, 0.0)
        if len(observed) and low < high:
            knots = _knots(observed, 10.0 ** -decimals_of(column) / span(column)[1])
            found[:, :, i] = torch.from_numpy(np.pad(knots, ((0, 0), (0, KNOTS - knots.shape[1])), "edge"))
    return found


@dataclass(frozen=True)
class _Piece:
    """Rows ``first`` to ``last``, exclusive, of the sorted ones: of one value, or of several that are rare.

    Attributes:
        begins, ends: whether enough rows share the first value of a run, or the last, for it to be told.
    """

    first: int
    last: int
    atom: bool
    begins: bool = False
    ends: bool = False

    def __len__(self) -> int:
        return self.last - self.first


def _knots(values: Floats, step: float) -> Floats:
    """Return places and values [2, k] of sorted values, of which a table tells two apart that differ by a ``step``."""
    pieces = _pieces(values, step)
    size = max(LEAST, -(-sum(len(piece) for piece in pieces if not piece.atom) // MOST))
    shared = [float(values[(piece.first + piece.last) // 2]) for piece in pieces]
    found: Knots = []
    for i, piece in enumerate(pieces):
        if piece.atom:
            found += [(piece.first, shared[i]), (piece.last, shared[i])]
        else:  # an atom lies on each side, or nothing
            low = shared[i - 1] + step / 2 if i else None
            high = shared[i + 1] - step / 2 if i + 1 < len(pieces) else None
            low = float(values[piece.first]) - step / 2 if piece.begins else low
            high = float(values[piece.last - 1]) + step / 2 if piece.ends else high
            found += _run(values, piece, size, low, high)
    rows, ends = np.array(found, dtype=float).T
    return np.stack([rows / len(values), np.maximum.accumulate(ends.clip(0, 1))])


def _pieces(values: Floats, step: float) -> list[_Piece]:
    """Return atoms and runs in order, each of ``LEAST`` rows if there are as many, and no run beside another."""
    starts = np.flatnonzero(np.diff(values, prepend=-np.inf))
    counts = np.diff(starts, append=len(values))
    least = max(LEAST, int(np.sort(counts)[-MOST]) + 1) if len(counts) > MOST else LEAST
    atoms = counts >= least
    alone = np.flatnonzero(atoms | np.r_[True, atoms[:-1]])  # all others go on where a run began
    cells = zip(starts[alone].tolist(), [*starts[alone[1:]].tolist(), len(values)], atoms[alone].tolist(), strict=True)
    waiting = deque(_Piece(*cell) for cell in cells)
    found: list[_Piece] = []
    while waiting:
        piece = waiting.popleft()
        if found and not (found[-1].atom or piece.atom):
            before = found.pop()
            piece = replace(piece, first=before.first, begins=before.begins)
        if len(piece) >= LEAST or not (found or waiting):
            found.append(piece)
        elif waiting and (not found or len(waiting[0]) < len(found[-1])):
            other = waiting[0]
            atom = _stays(values, piece, other, [*found[-1:], waiting.popleft()], step)
            waiting.appendleft(_Piece(piece.first, other.last, atom, ends=True))
        else:
            other = found[-1]
            atom = _stays(values, piece, other, [found.pop(), *islice(waiting, 1)], step)
            waiting.appendleft(_Piece(other.first, piece.last, atom, begins=True))
    return found


def _stays(values: Floats, few: _Piece, atom: _Piece, beside: Sequence[_Piece], step: float) -> bool:
    """Return whether a few rows are told as the value of the atom next to them, and not both as values around it.

    So it is where the atom has many more rows than the steps between the atoms ``beside`` have.
    """
    if len(beside) < 2:
        return len(atom) >= LARGE
    low, high = (values[(piece.first + piece.last) // 2] for piece in beside)
    return bool(4 * len(few) < len(atom) * ((high - low) / step - 1))


def _run(values: Floats, piece: _Piece, size: int, low: float | None, high: float | None) -> Knots:
    """Return the knots of a run of values between ``low`` and ``high``; None where no more values follow."""
    if len(piece) < LEAST:  # there are no more rows at all
        return [(piece.first, 0.0), (piece.last, 1.0)]
    ends = _ends(piece, size, low is None, high is None)
    told = [float(values[end - 1 : end + 1].mean()) for end in ends[1:-1]]
    found: Knots = []
    for i, (first, last) in enumerate(pairwise(ends)):
        mean, start, end = float(values[first:last].mean()), low, high
        if i > 0:
            start = told[i - 1]
        if i < len(told):
            end = told[i]
        if end is None and start is not None:
            found += [(last - share * (last - first), value) for share, value in _beyond(start, mean)]
        elif start is None and end is not None:
            mirrored = reversed(_beyond(1 - end, 1 - mean))
            found += [(first + share * (last - first), 1 - value) for share, value in mirrored]
        else:
            start, end = 0.0 if start is None else start, 1.0 if end is None else end
            if told and i == 0 and not piece.begins:  # where the values beside an atom begin is not told
                start = float(np.clip(2 * mean - end, start, end))
            elif told and i == len(told) and not piece.ends:
                end = float(np.clip(2 * mean - start, start, end))
            middle = float(np.clip(2 * mean - (start + end) / 2, start, end))
            found += [(first, start), ((first + last) / 2, middle), (last, end)]
    return list(dict.fromkeys(found))


def _ends(piece: _Piece, size: int, lowest: bool, highest: bool) -> list[int]:
    """Return where the groups of a run end, all of about ``size`` rows, but smaller and smaller in tails."""
    groups = max(1, len(piece) // size)
    found = set((piece.first + np.arange(groups + 1) * len(piece) // groups).tolist())
    rows = LEAST
    while 2 * rows <= len(piece) // groups:
        found |= {piece.first + rows} if lowest else set()
        found |= {piece.last - rows} if highest else set()
        rows *= 2
    return sorted(found)


def _beyond(start: float, mean: float) -> Knots:
    """Return values from ``start`` to 1, exponential and of this mean, each after the share of rows beyond it."""
    depth = -np.log(np.maximum(BEYOND, BEYOND[-2] / 2))
    low, high = 0.0, 100.0  # the scale
    for _ in range(HALVINGS):
        values = np.minimum(start + (low + high) / 2 * depth, 1.0)
        if (-np.diff(BEYOND) * (values[1:] + values[:-1]) / 2).sum() < mean:
            low = (low + high) / 2
        else:
            high = (low + high) / 2
    return list(zip(BEYOND.tolist(), values.tolist(), strict=True))
