"""Rules over 0/1 columns as clauses, and records mended until they keep all of them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn.functional import one_hot

from ehrsynth.layout import Layout

Clause = Sequence[tuple[int, bool]]
"""Pairs of an encoded 0/1 column and a value; a record that keeps the rule has the value in one of them at least."""

_States = dict[str, frozenset[int]]  # of a clause: those that make it true, by cell

WIDTH = 64  # ways to mend a record that are followed at a time, shared among the clauses that it breaks
CELLS = 2**24  # truths of clauses that are held at a time

OFF, ON, OTHER_LEVEL, GAP = range(4)  # which change is taken of several that mend as much: the first of these


class Propositions:
    """Clauses over cells: 0/1 columns, categories, and whether a number is missing.

    A cell has one state: 0 or 1; the number of its level, or that behind the last for a table from elsewhere that has
    none. Cells that no chain of clauses connects are mended on their own.

    Args:
        clauses: any number of them.
        layout: of the records.
    """

    def __init__(self, clauses: Iterable[Clause], layout: Layout) -> None:
        self.layout = layout
        self.parts = [_Part(group, layout) for group in _connected(clauses, layout)]

    def mended(self, rows: Tensor, fixed: Tensor) -> Tensor:
        """Return hard records [n, p] that keep the clauses, as far as they can be mended.

        Args:
            rows: hard records; they are not altered.
            fixed: bool [n, p], places that must stay as they are.
        """
        rows = rows.clone()
        for part in self.parts:
            for block in torch.arange(len(rows)).split(max(1, CELLS // len(part.cell))):
                states = part.states(rows[block])
                wrong = (part.true(states) == 0).any(1)
                if wrong.any():
                    part.write(rows, block[wrong], part.mended(states[wrong], part.locked(fixed[block[wrong]])))
        return rows


class _Part:
    """Clauses that are connected by their cells.

    Attributes:
        places: encoded columns of each cell: one for a bit, all indicators of a category.
        grouped: which of the cells are categories.
        clause: int64 [m], of each literal, which is one cell of one clause.
        cell: int64 [m], likewise.
        true_in: bool [m, states], which states of the cell make the clause true.
    """

    def __init__(self, clauses: Sequence[_States], layout: Layout) -> None:
        names = list(dict.fromkeys(name for clause in clauses for name in clause))
        self.places = [_places(layout, name) for name in names]
        self.grouped = [name in layout.groups for name in names]
        literals = [(i, names.index(name), states) for i, of in enumerate(clauses) for name, states in of.items()]
        self.clauses = len(clauses)
        self.clause, self.cell = (torch.tensor([literal[k] for literal in literals]) for k in (0, 1))
        counts = torch.tensor([_count(layout, name) for name in names])
        self.true_in = torch.zeros(len(literals), int(counts.max()), dtype=torch.bool)
        for row, (_, _, states) in enumerate(literals):
            self.true_in[row, list(states)] = True
        self.cost = torch.full((len(names), self.true_in.shape[1]), GAP)
        self.key = torch.randint(-(2**62), 2**62, self.cost.shape, generator=torch.Generator().manual_seed(0))
        for cell, places in enumerate(self.places):
            fields = [layout.fields[place] for place in places]
            if self.grouped[cell]:
                self.cost[cell, : sum(field.name != f"{field.column}:missing" for field in fields)] = OTHER_LEVEL
            elif fields[0].kind == "bit":
                self.cost[cell, :2] = torch.tensor([OFF, ON])
        # The ways to make a clause true, cells and states, those of one clause after those of another. No category
        # loses its level, and no number is made up where one is missing.
        usable = torch.arange(self.true_in.shape[1]) < (counts - torch.tensor(self.grouped).long())[:, None]
        usable[:, 0] &= torch.tensor([layout.fields[places[0]].kind != "missing" for places in self.places])
        ways = self.true_in & usable[self.cell]
        literal, self.way_state = ways.nonzero(as_tuple=True)
        self.way_cell = self.cell[literal]
        self.ways_of_literal = ways.sum(1)
        self.ways = torch.bincount(self.clause[literal], minlength=self.clauses)
        self.first_way = self.ways.cumsum(0) - self.ways
        self.by_absence = self.true_in[:, 0] & (self.cost[:, 0] == OFF)[self.cell]
        # the literals of each cell
        self.by_cell = torch.sort(self.cell, stable=True).indices
        self.literals = torch.bincount(self.cell, minlength=len(names))
        self.first_literal = self.literals.cumsum(0) - self.literals

    def states(self, rows: Tensor) -> Tensor:
        """Return the states int16 [n, cells] of records [n, p]."""
        found = []
        for places, grouped in zip(self.places, self.grouped, strict=True):
            ones = rows[:, places] > 0.5
            level = ones.int().argmax(1).where(ones.sum(1) == 1, len(places))
            found.append(level if grouped else ones[:, 0])
        return torch.stack([states.to(torch.int16) for states in found], dim=1)

    def locked(self, fixed: Tensor) -> Tensor:
        """Return which cells [n, cells] have places among the fixed ones [n, p]."""
        return torch.stack([fixed[:, places].any(1) for places in self.places], dim=1)

    def write(self, rows: Tensor, which: Tensor, states: Tensor) -> None:
        """Put states [m, cells] into some of the rows; a cell without a level stays as it is."""
        for cell, (places, grouped) in enumerate(zip(self.places, self.grouped, strict=True)):
            level = states[:, cell].long()
            if grouped:
                has = level < len(places)
                rows[which[has][:, None], torch.tensor(places)] = one_hot(level[has], len(places)).to(rows.dtype)
            else:
                rows[which, places[0]] = level.to(rows.dtype)

    def true(self, states: Tensor) -> Tensor:
        """Return how many cells make each clause true in states [n, cells], int16 [n, clauses]."""
        of_literals = self.true_in[torch.arange(len(self.cell)), states[:, self.cell].long()]
        return self._per_clause(of_literals.to(torch.int16))

    def _per_clause(self, of_literals: Tensor) -> Tensor:
        return of_literals.new_zeros(len(of_literals), self.clauses).index_add_(1, self.clause, of_literals)

    def mended(self, states: Tensor, locked: Tensor) -> Tensor:
        """Return states [n, cells] of which all clauses are true, where that can be had without the locked cells.

        Records that break many clauses are searched less widely. Where there are more of them than ``WIDTH``, or a
        search has run into a dead end, codes are taken away first wherever that helps: it costs more changes, but what
        is absent breaks few rules.
        """
        states, before = states.clone(), states
        thin = (self.true(states) == 0).sum(1) > WIDTH
        states[thin] = self._thinned(states[thin], locked[thin])
        found = self._searched(states, locked)
        stuck = (self.true(found) == 0).any(1)
        found[stuck] = self._searched(self._thinned(before[stuck], locked[stuck]), locked[stuck])
        return found

    def _thinned(self, states: Tensor, locked: Tensor) -> Tensor:
        """Return states [n, cells] without a code of every clause that is not true and would be without it."""
        states, literals = states.clone(), torch.arange(len(self.cell))
        while True:
            able = ~locked[:, self.cell] & self.by_absence & (self.true(states) == 0)[:, self.clause]
            first = torch.full((len(states), self.clauses), len(literals))
            first.scatter_reduce_(1, self.clause.expand(able.shape), literals.where(able, len(literals)), "amin")
            record, clause = (first < len(literals)).nonzero(as_tuple=True)
            if not len(record):
                return states
            states[record, self.cell[first[record, clause]]] = 0

    def _searched(self, states: Tensor, locked: Tensor) -> Tensor:
        """Search as widely as the number of broken clauses lets us, some records at a time."""
        found = states.clone()
        broken = (self.true(states) == 0).sum(1)
        width = 2 ** (WIDTH / broken.clamp(1, WIDTH)).log2().long()
        for wide in width.unique().tolist():
            for which in (width == wide).nonzero().flatten().split(max(1, CELLS // (self.clauses * wide))):
                found[which] = self._in_breadth(states[which], locked[which], wide)
        return found

    def _in_breadth(self, before: Tensor, locked: Tensor, width: int) -> Tensor:
        """Mend each record by a search in breadth, one more changed cell a step, so that the first to succeed is short.

        A clause that is not true needs a change of one of its own cells, so it is enough to try these: all ways are
        found, in the order of their number of changes, until there are more of them than ``width``. Then those go on
        that leave fewest clauses broken.
        """
        found = before.clone()
        start = self._per_clause((self.ways_of_literal * ~locked[:, self.cell]).to(torch.int16))
        zero = torch.zeros(len(before), dtype=torch.int64)
        nodes = _Nodes(torch.arange(len(before)), before, locked, self.true(before), start, zero, zero)
        while len(nodes.owner):
            broken = (nodes.true == 0).sum(1)
            order = _sorted_by(nodes.owner, broken, nodes.cost)
            owner, first = nodes.owner[order], _starts(nodes.owner[order])
            done = order[first & (broken[order] == 0)]
            found[nodes.owner[done]] = nodes.states[done]
            going = torch.ones(len(before), dtype=torch.bool).index_fill_(0, nodes.owner[done], False)[owner]
            rank = torch.arange(len(first)) - first.nonzero().flatten()[first.cumsum(0) - 1]
            nodes = self._grown(nodes, order[going & (rank < width)])
        return found

    def _grown(self, nodes: "_Nodes", which: Tensor) -> "_Nodes":
        """Return what one more change of a cell leads to, for some nodes: all that make their tightest clause true."""
        none = torch.iinfo(nodes.open.dtype).max
        clause = nodes.open[which].where(nodes.true[which] == 0, none).argmin(1)
        parent, way = _expanded(self.ways[clause], self.first_way[clause])
        parent, cell, state = which[parent], self.way_cell[way], self.way_state[way]
        cost, key = nodes.cost[parent] + self.cost[cell, state], nodes.key[parent] + self.key[cell, state]
        new = _distinct(nodes.owner[parent], key)
        new = new[~nodes.locked[parent, cell][new]]
        parent, cell, state = parent[new], cell[new], state[new]
        grown = _Nodes(*(part[parent] for part in nodes))._replace(cost=cost[new], key=key[new])
        number = torch.arange(len(cell))
        child, literal = _expanded(self.literals[cell], self.first_literal[cell])
        literal = self.by_cell[literal]
        at = (child, self.clause[literal])
        before = grown.states[number, cell].long()
        was, now = (self.true_in[literal, of[child]].to(torch.int16) for of in (before, state))
        grown.true.index_put_(at, now - was, accumulate=True)
        grown.open.index_put_(at, -self.ways_of_literal[literal].to(torch.int16), accumulate=True)
        grown.states[number, cell], grown.locked[number, cell] = state.to(torch.int16), True
        return grown


class _Nodes(NamedTuple):
    """Where a search has come to, for each of a number of ways to mend records.

    Attributes:
        owner: which record it is that is mended.
        states: of its cells [nodes, cells].
        locked: which of them must not change any more: they are given, or were changed.
        true: how many cells make each clause true [nodes, clauses].
        open: in how many ways each clause could still be made true.
        cost: of the changes.
        key: a number that only the same changes have.
    """

    owner: Tensor
    states: Tensor
    locked: Tensor
    true: Tensor
    open: Tensor
    cost: Tensor
    key: Tensor


def _connected(clauses: Iterable[Clause], layout: Layout) -> Iterator[list[_States]]:
    """Yield clauses as the states that each cell may have to make them true, those that share cells together."""
    found: list[_States] = []
    for clause in clauses:
        states: _States = {}
        for place, value in clause:
            name = layout.fields[place].column
            states[name] = states.get(name, frozenset()) | _states(layout, name, place, value)
        always = any(len(of) == _count(layout, name) for name, of in states.items())
        if not always:  # as it is that two levels of a category exclude one another
            found.append(states)
    number = {name: i for i, name in enumerate(dict.fromkeys(name for states in found for name in states))}
    pairs = [(number[next(iter(states))], number[name]) for states in found for name in states]
    ones, (rows, columns) = np.ones(len(pairs)), np.array(pairs, dtype=int).reshape(-1, 2).T
    _, group = connected_components(coo_array((ones, (rows, columns)), (len(number), len(number))), directed=False)
    groups: dict[int, list[_States]] = {}
    for states in found:
        groups.setdefault(int(group[number[next(iter(states))]]), []).append(states)
    yield from groups.values()


def _places(layout: Layout, name: str) -> list[int]:
    """Return the 0/1 places of a column: a bit, whether a number is missing, or the indicators of a category."""
    return [place for place in layout.places[name] if layout.fields[place].kind != "value"]


def _count(layout: Layout, name: str) -> int:
    """Return how many states a cell can have."""
    return len(layout.places[name]) + 1 if name in layout.groups else 2


def _states(layout: Layout, name: str, place: int, value: bool) -> frozenset[int]:
    """Return the states of a cell in which one of its places has a value."""
    if name not in layout.groups:
        return frozenset([int(value)])
    level = place - layout.groups[name].start
    return frozenset([level]) if value else frozenset(range(_count(layout, name))) - {level}


def _sorted_by(*keys: Tensor) -> Tensor:
    """Return the order of rows by the first key, then the second, and so on; rows that are equal stay in order."""
    order = torch.arange(len(keys[0]))
    for key in reversed(keys):
        order = order[torch.sort(key[order], stable=True).indices]
    return order


def _starts(groups: Tensor) -> Tensor:
    """Return where in sorted numbers [n] another one begins, bool [n]."""
    return torch.cat([groups.new_ones(min(len(groups), 1)), groups.diff()]) != 0


def _distinct(*keys: Tensor) -> Tensor:
    """Return the first of all rows that agree in their keys, in order."""
    order = _sorted_by(*keys)
    return torch.sort(order[torch.stack([_starts(key[order]) for key in keys]).any(0)]).values


def _expanded(counts: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each of ``counts`` so many numbers from ``starts`` on, and whose they are."""
    whose = torch.arange(len(counts)).repeat_interleave(counts)
    return whose, torch.arange(len(whose)) + (starts - counts.cumsum(0) + counts)[whose]
