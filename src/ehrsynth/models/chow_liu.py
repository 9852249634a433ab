"""Chow-Liu tree: every column depends on one other, the best such distribution there is.

Chow and Liu, Approximating discrete probability distributions with dependence trees, IEEE Transactions on Information
Theory 14(3), 1968: among all trees, the one of the largest sum of mutual information I(x_i; x_parent(i)) has the
largest likelihood, and its tables are those of the training rows. Here both are those of what may be told of them.
"""

from collections.abc import Collection
from functools import partial

import torch
from torch import Tensor
from typing_extensions import override

from ehrsynth.layout import Records
from ehrsynth.models import options
from ehrsynth.models.condition import Condition
from ehrsynth.models.gradient_free import GradientFree
from ehrsynth.models.quantiles import GRID, quantiles
from ehrsynth.models.states import States, edges_of
from ehrsynth.models.told import told
from ehrsynth.models.tree import Tree, pair_counts, pairwise_information, spanning_tree
from ehrsynth.schema import Schema

SCRATCH = 2**25  # numbers that a draw holds at a time, for each of the states of its rows


class ChowLiu(GradientFree):
    """A tree over the schema columns, learned in one look, drawn from and conditioned exactly.

    A vocabulary is one variable of many states. A number is one of its ranges, missing among them; within a range it
    is drawn from its law there, alone. So every column has its training marginal, and each pair that the tree joins its
    joint one, as far as that may be told: what travels with a checkpoint of such a pair are counts of ten training rows
    or more, and that there are none (see ``told``); of a column alone what ``independent`` keeps.

    Args:
        schema: columns to generate.
        seed: kept with the checkpoint; learning draws nothing.
        bins: about how many ranges of equal share a number has, each of ten training rows or more.
        smoothing: training rows added to each table in which the two columns are independent: it keeps the marginals.

    Raises:
        OptionError: an option is not a value that can work.
    """

    quantiles: Tensor  # see States
    edges: Tensor
    parents: Tensor  # see Tree
    tables: Tensor

    def __init__(self, *, schema: Schema, seed: int = 0, bins: int = 16, smoothing: float = 1.0) -> None:
        super().__init__(schema=schema, seed=seed)
        self.save_hyperparameters(ignore=["schema"])
        options.whole(2, bins=bins)
        options.positive(smoothing=smoothing)
        self.bins, self.smoothing = bins, smoothing
        numbers = self.layout.width - self.layout.values.start
        self.register_buffer("quantiles", torch.zeros(GRID, numbers))
        self.register_buffer("edges", torch.ones(numbers, 2 * bins + 1))
        self.register_buffer("parents", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("tables", torch.zeros(0))

    def observe(self, train: Records) -> None:
        """Learn the structure, then the tables, each in a pass or more over the rows in blocks."""
        self.quantiles.copy_(quantiles(train))
        self.edges.copy_(edges_of(train, self.quantiles, self.bins))
        states = self.states
        sizes, rows = torch.tensor(states.sizes), partial(states.blocks, train)
        self.parents = torch.from_numpy(spanning_tree(pairwise_information(rows, states.sizes)))
        counts = pair_counts(rows, self.parents, sizes).double()
        for step in Tree.empty(self.parents, sizes).steps:
            counts[step.table] = told(counts[step.table])
        self.tables = Tree.of_counts(self.parents, sizes, counts, self.smoothing).tables

    @property
    def states(self) -> States:
        """The columns as variables of the tree."""
        return States(self.layout, self.quantiles, self.edges)

    @property
    def tree(self) -> Tree:
        """The distribution of the states."""
        return Tree(self.parents, torch.tensor(self.states.sizes, device=self.device), self.tables)

    @property
    @override
    def conditionable(self) -> Collection[str]:
        return self.schema.names

    @override
    def log_likelihood(self, records: Records, known: Collection[str] = ()) -> Tensor:
        every = self.schema.names
        size = max(1, SCRATCH // sum(self.states.sizes))
        parts = [self._log_chance(part, every) - self._log_chance(part, known) for part in records.blocks(size)]
        return torch.cat(parts)

    def _log_chance(self, records: Records, columns: Collection[str]) -> Tensor:
        """Return the log of the chance [n] of what records have in some columns."""
        return self.tree.upward(self.states.evidence(Condition.of(records, columns).to(self.device)))[:, -1]

    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw hard records [n, p] from the root down, given the evidence at and below each column."""
        states, tree = self.states, self.tree
        if condition is not None and not condition.given.any():
            condition = None
        drawn = torch.empty(n, self.layout.width, device=self.device)
        size = max(1, SCRATCH // sum(states.sizes))
        for start in range(0, n, size):
            rows = slice(start, min(start + size, n))
            part = None if condition is None else condition.of_rows(rows)
            evidence = None if part is None else states.evidence(part)
            found = tree.sample(rows.stop - start, generator, evidence)
            drawn[rows] = states.records(found, generator, part)
        return drawn
