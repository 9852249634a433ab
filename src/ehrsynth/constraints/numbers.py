"""Rules over numbers as limits and orders, and records mended until they keep all of them."""

from collections.abc import Iterable

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ehrsynth.kinds import MOST_DECIMALS, span
from ehrsynth.layout import Layout
from ehrsynth.schema import Column, Schema

Limit = tuple[str, float, float]
"""A column, and the smallest and largest number it may hold, in its own units."""

Order = tuple[str, str]
"""A column, and another one than which it is never larger."""


class Numbers:
    """Limits of numbers and orders between them. A number that is missing keeps all.

    Args:
        limits: any number of them.
        orders: any number of them; cycles demand equal numbers.
        schema: of the records.
    """

    def __init__(self, limits: Iterable[Limit], orders: Iterable[Order], schema: Schema) -> None:
        layout = Layout.of(schema)
        limits, orders = list(limits), list(orders)
        names = list(dict.fromkeys([*(name for name, _, _ in limits), *(name for pair in orders for name in pair)]))
        columns = [schema.by_name[name] for name in names]
        self.values = [layout.places[name][-1] for name in names]
        self.gaps = [(i, gap[0]) for i, name in enumerate(names) if (gap := layout.places[name][:-1])]
        self.start, self.width = (
            torch.tensor([span(column) for column in columns], dtype=torch.float64).reshape(-1, 2).T
        )
        self.scale = 10.0 ** torch.tensor([_decimals(column) for column in columns], dtype=torch.float64)
        self.low, self.high = torch.full((2, len(names)), torch.inf, dtype=torch.float64) * torch.tensor(
            [[-1.0], [1.0]]
        )
        for name, low, high in limits:
            i = names.index(name)
            self.low[i], self.high[i] = max(float(self.low[i]), low), min(float(self.high[i]), high)
        # What is put in place of a number is one that the column could hold.
        bounds = torch.tensor([column.bounds for column in columns], dtype=torch.float64).reshape(-1, 2)
        self.lowest = self._up(torch.maximum(self.low, bounds[:, 0]), slice(None))
        self.highest = self._down(torch.minimum(self.high, bounds[:, 1]), slice(None))
        self.below = torch.eye(len(names), dtype=torch.bool)
        for one, other in orders:
            self.below[names.index(one), names.index(other)] = True
        self.parts = _connected(self.below)

    def read(self, rows: Tensor) -> Tensor:
        """Return the numbers [n, k] of records [n, p], rounded as a table holds them; NaN where missing."""
        numbers: Tensor = rows[:, self.values].double() * self.width + self.start
        numbers = (numbers * self.scale).round() / self.scale
        for i, gap in self.gaps:
            numbers[:, i].masked_fill_(rows[:, gap] > 0.5, torch.nan)
        return numbers

    def written(self, rows: Tensor, numbers: Tensor | None = None) -> Tensor:
        """Return records [n, p] with such numbers [n, k], by default their own as a table will hold them."""
        numbers = self.read(rows) if numbers is None else numbers
        scaled = ((numbers - self.start) / self.width).to(rows.dtype)
        rows = rows.clone()
        rows[:, self.values] = scaled.where(~numbers.isnan(), rows[:, self.values])
        return rows

    def mended(self, rows: Tensor, fixed: Tensor) -> Tensor:
        """Return records [n, p] whose numbers keep limits and orders, as far as they can be mended.

        Args:
            rows: hard records; they are not altered.
            fixed: bool [n, p], places that must stay as they are.
        """
        numbers, locked = self.read(rows), fixed[:, self.values]
        before = numbers.clone()
        for part in self.parts:
            there = ~numbers[:, part].isnan()
            patterns, pattern = torch.unique(there, dim=0, return_inverse=True)
            for i, present in enumerate(patterns):
                if not present.any():
                    continue
                which, columns = (pattern == i).nonzero().flatten(), part[present]
                block = (which[:, None], columns)
                numbers[block] = self._mended(numbers[block], locked[block], columns)
        changed = torch.zeros_like(fixed)
        changed[:, self.values] = (numbers != before) & ~before.isnan()
        return torch.where(changed, self.written(rows, numbers), rows)

    def _mended(self, numbers: Tensor, locked: Tensor, columns: Tensor) -> Tensor:
        """Mend numbers [n, k], none missing, of some columns; all that fail when some move then move together."""
        below = _closed(self.below[columns][:, columns])
        moved = self._assigned(numbers, self._to_move(numbers, locked, columns, below), locked, columns, below)
        failed = self._wrong(moved, columns, below)
        moved[failed] = self._assigned(numbers[failed], ~locked[failed], locked[failed], columns, below)
        return moved

    def _wrong(self, numbers: Tensor, columns: Tensor, below: Tensor) -> Tensor:
        """Return which of the numbers [n, k] do not keep limits and orders, bool [n]."""
        outside: Tensor = ((numbers < self.low[columns]) | (numbers > self.high[columns])).any(1)
        return outside | _reversed(numbers, below).flatten(1).any(1)

    def _to_move(self, numbers: Tensor, locked: Tensor, columns: Tensor, below: Tensor) -> Tensor:
        """Return numbers to change, bool [n, k]: those out of their limits, then those in most reversed pairs."""
        low = numbers.where(locked, self.low[columns])  # and what lies above one can be no lower than it
        high = numbers.where(locked, self.high[columns])
        lowest = low[:, :, None].where(below, -torch.inf).amax(1)
        highest = high[:, None, :].where(below, torch.inf).amin(2)
        move = ~locked & ((numbers < lowest) | (numbers > highest))
        for _ in range(len(columns)):
            pairs = _reversed(numbers, below) & ~(move[:, :, None] | move[:, None, :])
            count = (pairs.sum(1) + pairs.sum(2)).masked_fill(locked, 0)
            move |= torch.nn.functional.one_hot(count.argmax(1), len(columns)).bool() & (count > 0)
        return move

    def _assigned(self, numbers: Tensor, move: Tensor, locked: Tensor, columns: Tensor, below: Tensor) -> Tensor:
        """Put the nearest number that fits in place of each to be moved, from the smallest column to the largest."""
        numbers, waiting = numbers.clone(), move.clone()
        for i in below.sum(0).argsort(stable=True).tolist():  # those with fewest below them first
            low = numbers.where(~waiting, self.lowest[columns]).where(below[:, i], -torch.inf)
            high = numbers.where(~waiting, self.highest[columns]).where(below[i], torch.inf)
            low[:, i], high[:, i] = self.lowest[columns[i]], self.highest[columns[i]]
            least, most = self._up(low.amax(1), columns[i]), self._down(high.amin(1), columns[i])
            nearest = numbers[:, i].clamp(least, most)
            numbers[:, i] = nearest.where(waiting[:, i] & (least <= most), numbers[:, i])
            waiting[:, i] = False
        return numbers

    def _up(self, numbers: Tensor, column: Tensor | slice) -> Tensor:
        """Return the least number of the column's decimals that is not below."""
        return ((numbers * self.scale[column]) - 1e-6).ceil() / self.scale[column]

    def _down(self, numbers: Tensor, column: Tensor | slice) -> Tensor:
        """Return the largest number of the column's decimals that is not above."""
        return ((numbers * self.scale[column]) + 1e-6).floor() / self.scale[column]


def _decimals(column: Column) -> int:
    return 0 if column.kind == "count" else MOST_DECIMALS if column.decimals is None else column.decimals


def _reversed(numbers: Tensor, below: Tensor) -> Tensor:
    """Return which pairs of numbers [n, k] are in the wrong order, bool [n, k, k]."""
    return (numbers[:, :, None] > numbers[:, None, :]) & below


def _closed(below: Tensor) -> Tensor:
    """Return who is below whom, directly or by others in between."""
    for _ in range(len(below).bit_length()):
        below = (below.float() @ below.float()) > 0
    return below


def _connected(below: Tensor) -> list[Tensor]:
    """Return the columns that orders connect, as numbers of columns."""
    _, group = connected_components(coo_array(below.numpy()), directed=False)
    return [torch.from_numpy(np.flatnonzero(group == i)) for i in np.unique(group)]
