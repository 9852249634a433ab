"""Inference in a tree of discrete variables: its structure, exact draws, and exact conditioning by message passing.

Chow and Liu, Approximating discrete probability distributions with dependence trees, 1968; the messages are those of
Pearl, Reverend Bayes on inference engines, 1982. Where the tables of pairs come from does not matter here: counted, or
with noise for privacy.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import xlogy
from torch import Tensor
from torch.nn.functional import pad

from ehrsynth.disclosure import LEAST
from ehrsynth.models.told import may_tell

Rows = Callable[[], Iterable[Tensor]]  # states [n, d] of all rows, int64, a block at a time; may be asked for again

BLOCK = 2048  # states of a side of a table of counts
TRACE = 1e-6  # rows that have a state that no row has


def pairwise_information(rows: Rows, sizes: Sequence[int]) -> NDArray[np.float64]:
    """Return the mutual information [d, d] of every two variables, in nats; the diagonal is zero.

    It is a sum over the cells of their table. Those that may not be told count nothing (see ``told``): two variables
    are as near as what may be known about them together says.

    The counts of all pairs of states are matrix products of indicators. The first state of a variable needs none: what
    it has is what the others leave. Variables are taken so many at a time that no table is wider than ``BLOCK``.

    Args:
        rows: states of the variables.
        sizes: how many states each has, at least 2.
    """
    found = np.zeros((len(sizes), len(sizes)))
    blocks = list(_blocks(sizes))
    for i, left in enumerate(blocks):
        for right in blocks[i:]:
            counts, n = _counted(rows, sizes, left, right)
            found[left, right] = _information(counts, n, sizes[left], sizes[right])
            found[right, left] = found[left, right].T
    np.fill_diagonal(found, 0.0)
    return found


def pairwise_errors(rows: Rows, sizes: Sequence[int], margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far [d, d] the table of every two variables is from independence, in rows, summed over cells (L1).

    Another row changes one cell of each table, and so every error by one at most.

    Args:
        rows: states of the variables.
        sizes: how many states each has, at least 2.
        margins: rows of all states of all variables, in one row; not those of the rows themselves.
    """
    found = np.zeros((len(sizes), len(sizes)))
    of_states = np.split(margins, np.cumsum(sizes)[:-1])
    total = float(of_states[0].sum())

    def error(cells: NDArray[np.float64], above: NDArray[np.float64], beside: NDArray[np.float64]) -> Any:
        return np.abs(cells - np.outer(above, beside) / total)

    blocks = list(_blocks(sizes))
    for i, left in enumerate(blocks):
        for right in blocks[i:]:
            counts, n = _counted(rows, sizes, left, right)
            told = tuple(np.concatenate([states[1:] for states in of_states[side]]) for side in (left, right))
            found[left, right] = _over_cells(counts, n, sizes[left], sizes[right], error, told, total)
            found[right, left] = found[left, right].T
    np.fill_diagonal(found, 0.0)
    return found


def spanning_tree(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the parent of each variable [d] in a spanning tree of the largest sum of ``weights`` [d, d]; Prim, 1957.

    The root, whose parent is -1, lies in the middle: a flat tree takes fewer steps to draw from.
    """
    d = len(weights)
    parents, best = np.zeros(d, np.int64), weights[0].copy()
    outside = np.ones(d, bool)
    outside[0], parents[0] = False, -1
    for _ in range(d - 1):
        new = int(np.where(outside, best, -np.inf).argmax())
        outside[new] = False
        nearer = outside & (weights[new] > best)
        best[nearer], parents[nearer] = weights[new][nearer], new
    return _rooted_in_the_middle(parents)


def pair_counts(
    rows: Rows, parents: Tensor, sizes: Tensor, weights: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Return how often each variable has each state beside each of its parent's, int64, laid out as ``Tree.tables``.

    Args:
        rows: states of the variables.
        parents: of the tree.
        sizes: of the tree.
        weights: by which rows of states [n, d] count in the table of each variable, [n, d]; sums are then float64.
    """
    tree = Tree.empty(parents, sizes)
    counts = torch.zeros(len(tree.tables), dtype=torch.int64 if weights is None else torch.float64)
    for states in rows():
        cells = tree.starts + pad(states, (0, 1))[:, tree.above] * sizes + states
        weighed = None if weights is None else weights(states).double().flatten()
        counts += torch.bincount(cells.flatten(), weighed, minlength=len(counts))
    return counts


@dataclass(frozen=True)
class Step:
    """Variables of one depth whose tables have one shape, so that they are handled together.

    Attributes:
        nodes, above: the variables [e] and their parents.
        table: places [e, K of the parent, K] in ``Tree.tables``.
        states, states_above: places of their states [e, K] and their parents', all variables' states in one row.
    """

    nodes: Tensor
    above: Tensor
    table: Tensor = field(repr=False)
    states: Tensor = field(repr=False)
    states_above: Tensor = field(repr=False)


@dataclass(frozen=True, eq=False)
class Tree:
    """A distribution of d discrete variables of which each depends on one other, its parent.

    Attributes:
        parents: int64 [d]; -1 for what depends on none.
        sizes: int64 [d], how many states each variable has.
        tables: chances of a variable's states in each state of its parent, row by row, one variable after the other;
            what depends on none has one row.
    """

    parents: Tensor
    sizes: Tensor
    tables: Tensor = field(repr=False)

    @classmethod
    def empty(cls, parents: Tensor, sizes: Tensor) -> "Tree":
        """Return a tree whose tables are zero."""
        rows = torch.where(parents >= 0, sizes[parents], 1)
        return cls(parents, sizes, torch.zeros(int((rows * sizes).sum())))

    @classmethod
    def of_counts(cls, parents: Tensor, sizes: Tensor, counts: Tensor, smoothing: float) -> "Tree":
        """Return the tree with the marginal shares that ``counts`` have, and their pairs but for the smoothing.

        Args:
            parents: of the tree.
            sizes: of the tree.
            counts: of pairs of states, as ``pair_counts`` returns them.
            smoothing: rows added to each table, in which the two variables are independent.
        """
        tree = cls.empty(parents, sizes)
        for step in tree.steps:
            both = counts[step.table].double()
            shares_above, shares = (_shares(both.sum(axis)) for axis in (2, 1))
            both += smoothing * shares_above.unsqueeze(2) * shares.unsqueeze(1)
            tree.tables[step.table] = (both / both.sum(2, keepdim=True)).float()
        return tree

    @cached_property
    def above(self) -> Tensor:
        """The parents [d]; one more variable, of one state, is that of all that depends on none."""
        return torch.where(self.parents >= 0, self.parents, len(self.parents))

    @cached_property
    def heights(self) -> Tensor:
        """How many rows each table has, [d]."""
        return torch.where(self.parents >= 0, self.sizes[self.parents], 1)

    @cached_property
    def starts(self) -> Tensor:
        """Where the table of each variable starts, [d]."""
        cells = self.heights * self.sizes
        return cells.cumsum(0) - cells

    @cached_property
    def offsets(self) -> Tensor:
        """Where the states of each variable start if those of all lie in one row, [d + 1]; the last is their number."""
        return pad(self.sizes.cumsum(0), (1, 0))

    @cached_property
    def steps(self) -> list[Step]:
        """All variables, parents before children."""
        found = []
        waiting = torch.full((1,), len(self.parents), device=self.parents.device)
        while len(level := torch.isin(self.above, waiting).nonzero().flatten()):
            shapes = self.heights[level] * (int(self.sizes.max()) + 1) + self.sizes[level]
            found += [self._step(level[shapes == shape]) for shape in shapes.unique()]
            waiting = level
        return found

    def _step(self, nodes: Tensor) -> Step:
        above, height, size = self.above[nodes], int(self.heights[nodes[0]]), int(self.sizes[nodes[0]])
        columns, rows = (torch.arange(k, device=nodes.device) for k in (size, height))
        return Step(
            nodes,
            above,
            self.starts[nodes][:, None, None] + rows[:, None] * size + columns,
            self.offsets[nodes][:, None] + columns,
            self.offsets[above][:, None] + rows,
        )

    def sample(self, n: int, generator: torch.Generator, evidence: Tensor | None = None) -> Tensor:
        """Draw states [n, d], from the root down, a depth at a time for all rows.

        Args:
            n: rows.
            generator: of the draws.
            evidence: log weights [1 or n, S] of the states of all variables, in one row; what is drawn is then
                proportional to the tree's chance of a row times the weights of its states. A weight is 0 for what may
                be, and minus infinity for what may not.
        """
        weights = None if evidence is None else self.upward(evidence)
        states = torch.zeros(n, len(self.parents) + 1, dtype=torch.int64, device=self.tables.device)
        for step in self.steps:
            tables, of_parents = self.tables[step.table], states[:, step.above]
            place = torch.rand(of_parents.shape, generator=generator, device=tables.device)
            each = torch.arange(len(step.nodes), device=tables.device)
            if weights is not None and len(weights) == 1:
                tables = tables * _scaled(weights[0, step.states]).unsqueeze(1)
            if weights is None or len(weights) == 1:
                sums = tables.cumsum(2)
                # The last place is left out: nothing is left for any state after it.
                drawn = sums[..., :-1] / sums[..., -1:].clamp(min=torch.finfo(sums.dtype).tiny)
                chances = drawn[each, of_parents]
            else:
                sums = (tables[each, of_parents] * _scaled(weights[:, step.states])).cumsum(2)
                chances = sums[..., :-1] / sums[..., -1:]
            states[:, step.nodes] = (place.unsqueeze(-1) >= chances).sum(-1)
        return states[:, :-1]

    def upward(self, evidence: Tensor) -> Tensor:
        """Return log weights [m, S + 1] of each state by all evidence at it and below it; the last is that of all.

        Weights may be complex: those of a characteristic function are.

        The last column is the log of the chance of the evidence, log sum of P(row) times its weights over all rows.
        """
        weights = pad(evidence, (0, 1))
        for step in reversed(self.steps):
            below = weights[:, step.states]
            top = below.real.amax(2, keepdim=True)
            tables = self.tables[step.table].to(below.dtype)
            message = torch.einsum("mek,ejk->mej", (below - top).exp(), tables).log() + top
            weights.index_add_(1, step.states_above.flatten(), message.flatten(1))
        return weights


def _shares(counts: Tensor) -> Tensor:
    """Return shares [..., K]; what was never seen keeps a trace, so that it can be asked for."""
    traced = counts + TRACE
    return traced / traced.sum(-1, keepdim=True)


def _scaled(log_weights: Tensor) -> Tensor:
    """Return weights [..., K] of which the largest is one."""
    return (log_weights - log_weights.amax(-1, keepdim=True)).exp()


def _blocks(sizes: Sequence[int]) -> Iterator[slice]:
    """Yield variables in order, as many at a time as have no more than ``BLOCK`` states."""
    start, states = 0, 0
    for node, size in enumerate(sizes):
        if node > start and states + size - 1 > BLOCK:
            yield slice(start, node)
            start, states = node, 0
        states += size - 1
    yield slice(start, len(sizes))


def _indicators(states: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return float32 indicators [n, sum of K - 1] of all but the first states."""
    starts = torch.tensor([0, *np.cumsum([size - 1 for size in sizes])])
    found = torch.zeros(len(states), int(starts[-1]))
    return found.scatter_add_(1, starts[:-1] + (states - 1).clamp(min=0), (states > 0).float())


def _counted(
    rows: Rows, sizes: Sequence[int], left: slice, right: slice
) -> tuple[tuple[NDArray[np.float64], ...], int]:
    """Return how often each state occurs, and each two together, [l], [r] and [l, r], and of how many rows."""
    total: tuple[Tensor, ...] | None = None
    n = 0
    for states in rows():
        a = _indicators(states[:, left], sizes[left])
        b = a if left == right else _indicators(states[:, right], sizes[right])
        parts = a.sum(0).double(), b.sum(0).double(), (a.T @ b).double()
        total = parts if total is None else tuple(x + y for x, y in zip(total, parts, strict=True))
        n += len(states)
    assert total is not None
    return tuple(part.numpy() for part in total), n


def _information(
    counts: tuple[NDArray[np.float64], ...], n: int, left: Sequence[int], right: Sequence[int]
) -> NDArray[np.float64]:
    """Return information [a, b] from counts of all but the first states; see ``_counted``."""

    def told(
        cells: NDArray[np.float64], above: NDArray[np.float64], beside: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return x log(x / e) - x + e of the cells that may be told, none of them negative; zero of the others."""
        expected = np.outer(above, beside) / n
        surprise = xlogy(cells, cells / np.maximum(expected, np.finfo(float).tiny)) - cells + expected
        # Who has a state of fewer rows is in other cells, untold, so an empty one says nothing either.
        states = np.logical_and.outer(above >= LEAST, beside >= LEAST)
        return np.where(may_tell(cells, expected) & states, surprise, 0.0)

    informed: NDArray[np.float64] = _over_cells(counts, n, left, right, told, counts[:2], n).clip(min=0) / n
    return informed


def _over_cells(
    counts: tuple[NDArray[np.float64], ...],
    n: int,
    left: Sequence[int],
    right: Sequence[int],
    value: Callable[..., NDArray[np.float64]],
    margins: tuple[NDArray[np.float64], ...],
    total: float,
) -> NDArray[np.float64]:
    """Return sums [a, b] over the cells of each table, from counts of all but the first states; see ``_counted``.

    Args:
        counts: of states, and of pairs.
        n: rows.
        left: sizes of the variables.
        right: likewise.
        value: of cells [l, r], given rows [l] and [r] of their states.
        margins: these rows, of all but the first states.
        total: of all.
    """
    of_left, of_right, both = counts
    i, j = (np.cumsum([0, *[size - 1 for size in sizes[:-1]]]) for sizes in (left, right))
    first_left = of_right - np.add.reduceat(both, i, 0)  # the first state on the left beside others on the right
    first_right = of_left[:, None] - np.add.reduceat(both, j, 1)
    neither = n - np.add.reduceat(of_left, i)[:, None] - np.add.reduceat(first_left, j, 1)
    above, beside = margins
    firsts_above, firsts_beside = total - np.add.reduceat(above, i), total - np.add.reduceat(beside, j)
    found: NDArray[np.float64] = np.add.reduceat(np.add.reduceat(value(both, above, beside), i, 0), j, 1)
    found += np.add.reduceat(value(first_left, firsts_above, beside), j, 1)
    found += np.add.reduceat(value(first_right, above, firsts_beside), i, 0)
    found += value(neither, firsts_above, firsts_beside)
    return found


def _rooted_in_the_middle(parents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the same tree with the root in the middle of one of its longest paths."""
    neighbours: list[list[int]] = [[] for _ in parents]
    for node, parent in enumerate(parents.tolist()):
        if parent >= 0:
            neighbours[node].append(parent)
            neighbours[parent].append(node)

    def walked(start: int) -> tuple[list[int], NDArray[np.int64]]:
        found, order = np.full(len(parents), -1), [start]
        for node in order:
            for other in neighbours[node]:
                if other != found[node]:
                    found[other] = node
                    order.append(other)
        return order, found

    end = walked(0)[0][-1]
    order, back = walked(end)
    path = [order[-1]]
    while path[-1] != end:
        path.append(int(back[path[-1]]))
    return walked(path[len(path) // 2])[1]
