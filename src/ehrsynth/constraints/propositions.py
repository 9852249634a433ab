"""Rules over 0/1 columns as clauses, and records mended until they keep all of them."""

from collections.abc import Iterable, Iterator, Sequence

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

WIDTH = 256  # ways to mend a record that are followed at a time, shared among the clauses that it breaks
CELLS = 2**24  # truths of literals that are worked out at a time

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
            states = part.states(rows)
            wrong = part.broken(states).any(1).nonzero().flatten()
            if len(wrong):
                part.write(rows, wrong, part.mended(states[wrong], part.locked(fixed[wrong])))
        return rows


class _Part:
    """Clauses that are connected by their cells.

    Attributes:
        places: encoded columns of each cell: one for a bit, all indicators of a category.
        grouped: which of the cells are categories.
        clause: int64 [m], of each literal, which is one cell of one clause.
        cell: int64 [m], likewise.
        true: bool [m, states], which states of the cell make the clause true.
    """

    def __init__(self, clauses: Sequence[_States], layout: Layout) -> None:
        names = list(dict.fromkeys(name for clause in clauses for name in clause))
        self.places = [_places(layout, name) for name in names]
        self.grouped = [name in layout.groups for name in names]
        literals = [(i, names.index(name), states) for i, of in enumerate(clauses) for name, states in of.items()]
        self.clauses = len(clauses)
        self.clause, self.cell = (torch.tensor([literal[k] for literal in literals]) for k in (0, 1))
        counts = torch.tensor([_count(layout, name) for name in names])
        self.true = torch.zeros(len(literals), int(counts.max()), dtype=torch.bool)
        for row, (_, _, states) in enumerate(literals):
            self.true[row, list(states)] = True
        self.cost = torch.full((len(names), self.true.shape[1]), GAP)
        for cell, places in enumerate(self.places):
            fields = [layout.fields[place] for place in places]
            if self.grouped[cell]:
                self.cost[cell, : sum(field.name != f"{field.column}:missing" for field in fields)] = OTHER_LEVEL
            elif fields[0].kind == "bit":
                self.cost[cell, :2] = torch.tensor([OFF, ON])
        # The ways to make a clause true, cells and states, those of one clause after those of another. No category
        # loses its level, and no number is made up where one is missing.
        usable = torch.arange(self.true.shape[1]) < (counts - torch.tensor(self.grouped).long())[:, None]
        usable[:, 0] &= torch.tensor([layout.fields[places[0]].kind != "missing" for places in self.places])
        ways = self.true & usable[self.cell]
        literal, self.way_state = ways.nonzero(as_tuple=True)
        self.way_cell = self.cell[literal]
        self.ways_of_literal = ways.sum(1)
        self.ways = torch.bincount(self.clause[literal], minlength=self.clauses)
        self.first_way = self.ways.cumsum(0) - self.ways

    def states(self, rows: Tensor) -> Tensor:
        """Return the states [n, cells] of records [n, p]."""
        found = []
        for places, grouped in zip(self.places, self.grouped, strict=True):
            ones = rows[:, places] > 0.5
            level = ones.int().argmax(1).where(ones.sum(1) == 1, len(places))
            found.append(level if grouped else ones[:, 0].long())
        return torch.stack(found, dim=1)

    def locked(self, fixed: Tensor) -> Tensor:
        """Return which cells [n, cells] have places among the fixed ones [n, p]."""
        return torch.stack([fixed[:, places].any(1) for places in self.places], dim=1)

    def write(self, rows: Tensor, which: Tensor, states: Tensor) -> None:
        """Put states [m, cells] into some of the rows; a cell without a level stays as it is."""
        for cell, (places, grouped) in enumerate(zip(self.places, self.grouped, strict=True)):
            level = states[:, cell]
            if grouped:
                has = level < len(places)
                rows[which[has][:, None], torch.tensor(places)] = one_hot(level[has], len(places)).to(rows.dtype)
            else:
                rows[which, places[0]] = level.to(rows.dtype)

    def broken(self, states: Tensor) -> Tensor:
        """Return which clauses are not true of states [n, cells], bool [n, clauses]."""
        return self._per_clause(self.true[torch.arange(len(self.cell)), states[:, self.cell]].int()) == 0

    def _per_clause(self, of_literals: Tensor) -> Tensor:
        return of_literals.new_zeros(len(of_literals), self.clauses).index_add_(1, self.clause, of_literals)

    def mended(self, states: Tensor, locked: Tensor) -> Tensor:
        """Return states [n, cells] of which all clauses are true, where that can be had without the locked cells."""
        both, back = torch.unique(torch.cat([states, locked.long()], dim=1), dim=0, return_inverse=True)
        before, fixed = both[:, : states.shape[1]], both[:, states.shape[1] :].bool()
        at_a_time = max(1, CELLS // (len(self.cell) * WIDTH))
        parts = zip(before.split(at_a_time), fixed.split(at_a_time), strict=True)
        return torch.cat([self._searched(*part) for part in parts])[back]

    def _searched(self, before: Tensor, fixed: Tensor) -> Tensor:
        """Mend each record by a search in breadth, one more changed cell a step, so that the first to succeed is short.

        A clause that is not true needs a change of one of its own cells, so it is enough to try these: all ways are
        found, in the order of their number of changes, until there are more of them than ``width``. Then those go on
        that leave fewest clauses broken.
        """
        found, owner, states = before.clone(), torch.arange(len(before)), before
        width = (WIDTH // self.broken(before).sum(1)).clamp(min=1)
        while len(owner):
            changed = states != before[owner]
            broken = self.broken(states)
            costs = self.cost[torch.arange(self.cost.shape[0]), states].where(changed, 0).sum(1)
            order = _sorted_by(owner, broken.sum(1), costs)
            owner, states, broken, changed = owner[order], states[order], broken[order], changed[order]
            first = _starts(owner)
            done = first & ~broken.any(1)
            found[owner[done]] = states[done]
            finished = torch.zeros(len(before), dtype=torch.bool)
            finished[owner[done]] = True
            rank = torch.arange(len(owner)) - first.nonzero().flatten()[first.cumsum(0) - 1]
            going = ~finished[owner] & (rank < width[owner])
            owner, states = self._grown(owner[going], states[going], broken[going], (changed | fixed[owner])[going])
        return found

    def _grown(self, owner: Tensor, states: Tensor, broken: Tensor, locked: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states that one more change of a cell leads to: all that make the tightest broken clause true."""
        if not len(owner):
            return owner, states
        ways = self._per_clause(self.ways_of_literal * ~locked[:, self.cell])
        clause = ways.where(broken, ways.max() + 1).argmin(1)
        ways = self.ways[clause]
        parent = torch.arange(len(owner)).repeat_interleave(ways)
        way = torch.arange(len(parent)) + (self.first_way[clause] - ways.cumsum(0) + ways)[parent]
        free = ~locked[parent, self.way_cell[way]]
        parent, way = parent[free], way[free]
        grown = states[parent]
        grown[torch.arange(len(parent)), self.way_cell[way]] = self.way_state[way]
        both = torch.unique(torch.cat([owner[parent][:, None], grown], dim=1), dim=0)
        return both[:, 0], both[:, 1:]


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
