"""What each record is asked for, and which of the records drawn answer it."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehrsynth.kinds import decimals_of, unscaled
from ehrsynth.models.condition import Condition
from ehrsynth.schema import Schema

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Questions:
    """What some records, one after another, are asked for.

    Attributes:
        distinct: conditions [m].
        of: which of them each record has, [n].
    """

    distinct: Condition
    of: Indices = field(repr=False)

    def __len__(self) -> int:
        return len(self.of)


@dataclass(frozen=True)
class Demand:
    """What all records are asked for, some of them at a time, so that a million rows need little memory.

    Attributes:
        columns: of which something is asked of some record.
        windows: from a number of rows to questions of about as many records each, in order.
        named: what to call the question of a record, by its number, in a message.
    """

    columns: Collection[str]
    windows: Callable[[int], Iterator[Questions]]
    named: Callable[[int], str]


class Answering:
    """Which questions the records of a model answer, for one window of them.

    What a model is given, its records have. The rest decides: bits, levels and numbers as a table shows them, or
    ranges. A record is offered to the question it was drawn for, and to those that differ from it in the values of the
    rest only. It answers one of them at most, and none can take it from another, so whoever is answered gets a draw of
    the distribution that they asked for.

    Args:
        schema: of the records.
        given: what of each question the model is given, [m].
        rest: what is to be met by rejection, [m].
    """

    def __init__(self, schema: Schema, given: Condition, rest: Condition) -> None:
        self.schema, self.layout, self.rest = schema, rest.layout, rest
        self.exact = rest.fixed.any(0).nonzero().flatten()
        self.ranged = (rest.given & ~rest.fixed).any(0).nonzero().flatten()
        self.steps = self._keyed(rest.low, np.arange(len(rest)))
        apart = [part.to(torch.float32) for part in (given.low, given.high, given.given, rest.given & ~rest.fixed)]
        apart += [(bound * (rest.given & ~rest.fixed)) for bound in (rest.low, rest.high)] + [rest.fixed.float()]
        used = (given.given | rest.given).any(0)
        self.group = _numbered(torch.cat([part[:, used] for part in apart], dim=1).numpy())
        self.first: dict[bytes, int] = {}
        keys = self._bytes(self.steps, np.arange(len(rest)))
        self.same = np.array([self.first.setdefault(key, place) for place, key in enumerate(keys)])

    @cached_property
    def alone(self) -> bool:
        """Whether no record could answer another question than the one it was drawn for."""
        return len(np.unique(self.group)) == len(self.first)

    def answered(self, rows: Tensor, asked: Indices) -> Indices:
        """Return which question each of the records [n, p], drawn for the questions ``asked`` [n], answers, or -1."""
        steps = self._keyed(rows, asked)
        found = np.where((steps == self.steps[asked]).all(1), self.same[asked], -1)
        if not self.alone:
            others = np.flatnonzero(found < 0)
            keys = self._bytes(steps[others], asked[others])
            found[others] = [self.first.get(key, -1) for key in keys]
        if len(self.ranged):
            places, question = self.ranged, torch.from_numpy(asked)
            low, high, free = (part[question][:, places] for part in (self.rest.low, self.rest.high, ~self.rest.given))
            cells = rows[:, places]
            free |= self.rest.fixed[question][:, places]
            found[~(((low <= cells) & (cells <= high)) | free).all(1).numpy()] = -1
        return found

    def _keyed(self, rows: Tensor, asked: Indices) -> NDArray[np.int64]:
        """Return cells [n, k] as whole numbers: numbers as steps of their last decimal; zero where nothing is asked."""
        start = self.layout.values.start
        found = np.empty((len(rows), len(self.exact)), np.int64)
        for i, place in enumerate(self.exact.tolist()):
            cells = rows[:, place].numpy()
            if place >= start:
                column = self.schema.by_name[self.layout.fields[place].column]
                cells = np.rint(unscaled(column, cells) * 10.0 ** decimals_of(column))
            found[:, i] = cells
        found[~self.rest.fixed[:, self.exact].numpy()[asked]] = 0
        return found

    def _bytes(self, steps: NDArray[np.int64], asked: Indices) -> list[bytes]:
        whole = np.ascontiguousarray(np.column_stack([self.group[asked], steps]))
        return [row.tobytes() for row in whole]


def assigned(answered: Indices, wanted: Indices) -> tuple[Indices, Indices]:
    """Hand records to those who wait: each to the first who has not one yet of whom ask what it answers.

    Args:
        answered: question that each of the records [n] answers, or -1.
        wanted: question of each who waits, [w].

    Returns:
        Records and those they are for, pair by pair, in the order of those who wait.
    """
    records, waiting = np.argsort(answered, kind="stable"), np.argsort(wanted, kind="stable")
    answers, questions = answered[records], wanted[waiting]
    first, last = np.searchsorted(questions, answers, "left"), np.searchsorted(questions, answers, "right")
    turn = np.arange(len(answers)) - np.searchsorted(answers, answers, "left")
    taken = (answers >= 0) & (turn < last - first)
    pairs = records[taken], waiting[first[taken] + turn[taken]]
    order = np.argsort(pairs[1], kind="stable")
    return pairs[0][order], pairs[1][order]


def distinct_rows(cells: NDArray[np.float64]) -> tuple[Indices, Indices]:
    """Return the first place of each distinct row of [n, k], NaN being equal to NaN, and which of these each row is."""
    _, first, which = np.unique(_as_bytes(cells), return_index=True, return_inverse=True)
    return first, which


def _numbered(cells: NDArray[np.float32]) -> Indices:
    """Return a number for each row [n, k], the same for equal rows."""
    _, which = np.unique(_as_bytes(cells), return_inverse=True)
    return which.astype(np.int64)


def _as_bytes(cells: NDArray[np.floating]) -> NDArray[np.void]:
    if not cells.shape[1]:
        return np.zeros(len(cells), "V1")
    flat = np.ascontiguousarray(cells + 0.0)  # no minus zero
    return flat.view(f"V{flat.itemsize * flat.shape[1]}").ravel()
