"""What categories and numbers have in common two by two, as training rows have it, so that no network must find it out.

Each variable gets a few of those before it, one after another: the one that tells most of what the ones before it left
untold. What it tells are log ratios of observed and expected rows, as in iterative proportional fitting. They are those
of rectangles, halved where that tells most, as long as both halves have ten training rows or more, or have none where
five were expected: no count below ten can be read off them. A rectangle's ratio is drawn to that of the one it came of.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.special import xlogy
from torch import Tensor

from ehrsynth.layout import Records
from ehrsynth.models.departures.variables import Variables
from ehrsynth.models.told import Floats, may_tell

MOST_PARENTS = 3
ROWS = 20_000  # that are looked at, of more
COARSE = 8  # groups of states by which a parent is chosen
LEAST_GAIN = 0.003  # nats of a row, for which a parent is worth having
PRIOR = 10.0  # rows, with which a rectangle is as the one it came of
COST = 3.0  # nats of all rows, that halving a rectangle must tell


@dataclass(frozen=True, eq=False)
class Pairs:
    """Log ratios that the states of variables before it add to those of a variable.

    Attributes:
        parents: int64 [v, MOST_PARENTS], of each category and number the places of such variables, or -1.
        tables: the log ratios of all of them one after another: of each a row for each state of the parent.
    """

    parents: Tensor = field(repr=False)
    tables: Tensor = field(repr=False)

    @classmethod
    def none(cls, alone: int) -> "Pairs":
        """Return what is known of variables before training rows were seen."""
        return cls(torch.full((alone, MOST_PARENTS), -1), torch.zeros(0))

    def of(self, sizes: list[int]) -> dict[int, list[tuple[int, Tensor]]]:
        """Return the parents of each place, and with each a table [states of the parent, states], which is a view."""
        found: dict[int, list[tuple[int, Tensor]]] = {}
        start = 0
        for place, parents in enumerate(self.parents.tolist()):
            for parent in (one for one in parents if one >= 0):
                stop = start + sizes[parent] * sizes[place]
                table = self.tables[start:stop].view(sizes[parent], sizes[place])
                found.setdefault(place, []).append((parent, table))
                start = stop
        return found


def pairs_of(variables: Variables, train: Records) -> Pairs:
    """Return what the training rows say of categories and numbers two by two."""
    alone, sizes, starts = variables.alone, variables.sizes[: variables.alone], variables.starts[: variables.alone]
    if not alone:
        return Pairs.none(0)
    some = train[:: -(-len(train) // ROWS)]
    x = torch.cat([variables.of_states(block)[:, :alone] for block in variables.states.blocks(some)])
    held = torch.zeros(len(x), sum(sizes)).scatter(1, x + starts, 1.0)
    parents, tables = torch.full((alone, MOST_PARENTS), -1), [torch.zeros(0)]
    for place in range(1, alone):
        before, own = held[:, : starts[place]], held[:, starts[place] : starts[place] + sizes[place]]
        observed = (before.T @ own).double().split(sizes[:place])
        logits = (own.sum(0) + 0.5).log().expand(len(x), -1)
        for rank in range(MOST_PARENTS):
            expected = (before.T @ logits.softmax(1)).double().split(sizes[:place])
            gains = np.array([_coarse_gain(o.numpy(), e.numpy()) for o, e in zip(observed, expected, strict=True)])
            gains[parents[place, :rank]] = -np.inf
            best = int(gains.argmax())
            if gains[best] < LEAST_GAIN * len(x):
                break
            table = torch.from_numpy(_log_ratios(observed[best].numpy(), expected[best].numpy())[1]).float()
            parents[place, rank] = best
            tables.append(table.flatten())
            logits = logits + table[x[:, best]]
    return Pairs(parents, torch.cat(tables))


def _coarse_gain(observed: Floats, expected: Floats) -> float:
    """Return the nats that the ratios of groups of states would tell, less one for each."""
    for axis in (0, 1):
        size = observed.shape[axis]
        bounds = np.unique(np.arange(COARSE) * size // COARSE)
        observed, expected = (np.add.reduceat(table, bounds, axis=axis) for table in (observed, expected))
    return float(_nats(observed, expected).sum()) - observed.size


def _log_ratios(observed: Floats, expected: Floats, ratio: float = 1.0) -> tuple[float, Floats]:
    """Return the nats that rectangles of a table tell, less ``COST`` for each, and the log ratio [I, J] of each cell.

    Args:
        observed: rows [I, J] of the two variables.
        expected: the same, by what was known before.
        ratio: of the rectangle that this one comes of.
    """
    ratio = (float(observed.sum()) + PRIOR * ratio) / (float(expected.sum()) + PRIOR)
    alone = 0.0, np.full(observed.shape, np.log(ratio))
    ways = [_split(observed.sum(1 - axis), expected.sum(1 - axis), axis) for axis in (0, 1)]
    evenness, gain, axis, size = max(ways, key=lambda way: (way[1] >= COST and way[1], way[0]))
    if not evenness:
        return alone
    halves = [np.split(table, [size], axis) for table in (observed, expected)]
    (first, above), (rest, below) = (_log_ratios(o, e, ratio) for o, e in zip(*halves, strict=True))
    told = gain + first + rest - COST
    return (told, np.concatenate([above, below], axis)) if told > 0 else alone


def _split(observed: Floats, expected: Floats, axis: int) -> tuple[float, float, int, int]:
    """Return how to halve some rows or columns.

    Returns:
        The rows of the smaller half, zero if none can be told; the nats that halving tells; the axis; and how many come
        first then. It is where that tells most, or, where nothing does by itself, in the middle.
    """
    first, expected_first = observed.cumsum()[:-1], expected.cumsum()[:-1]
    rest, expected_rest = observed.sum() - first, expected.sum() - expected_first
    told = may_tell(first, expected_first) & may_tell(rest, expected_rest)
    if not told.any():
        return 0.0, 0.0, axis, 0
    gain = _nats(first, expected_first) + _nats(rest, expected_rest) - _nats(observed.sum(), expected.sum())
    even = np.minimum(expected_first, expected_rest)
    best = int(np.where(told, gain, -np.inf).argmax())
    if gain[best] < COST:
        best = int(np.where(told, even, -np.inf).argmax())
    return float(even[best]), float(gain[best]), axis, best + 1


def _nats(observed: Any, expected: Any) -> Any:
    """Return what a rectangle of so many rows tells."""
    return xlogy(observed, observed / np.maximum(expected, 1e-9))
