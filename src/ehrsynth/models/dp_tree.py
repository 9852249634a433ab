"""A forest over noisy counts: each column depends on one other at most, and nothing hangs on a single patient.

McKenna, Miklau and Sheldon, Winning the NIST contest: a scalable and general approach to differentially private
synthetic data, Journal of Privacy and Confidentiality 11(3), 2021 (MST): a third of rho-zCDP each for counts of
columns, for choosing pairs by the exponential mechanism on L1 errors of independence, and for counts of those pairs.

Three things are ours, for tables of thousands of rare codes. Only present codes are counted, and a patient of more
than ``most_codes`` counts less, so that noise grows with the root of the codes of a patient and not of all there are.
Only as many pairs are chosen as can be told from chance; with little noise they are a spanning tree. And pairs say
little of how many codes a patient has, so these numbers are counted too, and records of the tree weighed by theirs:

    p(record)  =  tree(record) w(number of its codes)        see ``number_of_codes``
"""

import secrets
from collections.abc import Collection
from functools import partial
from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from ehrsynth.accounting import Gaussian, ZeroConcentrated, rho_within
from ehrsynth.errors import expect
from ehrsynth.layout import Records
from ehrsynth.ledger import Look
from ehrsynth.models import options
from ehrsynth.models.chow_liu import ChowLiu
from ehrsynth.models.condition import Condition
from ehrsynth.models.noisy_looks import norm_sub, public_ranges
from ehrsynth.models.number_of_codes import (
    BINS,
    counted_weights,
    drawn_by_weight,
    law_of_number,
    number_in,
    places_of_codes,
)
from ehrsynth.models.tree import Rows, Tree, pair_counts, pairwise_errors
from ehrsynth.schema import Schema

FULL = 1 - 1e-6  # of rho that is spent
TOLD_APART = 0.01  # of the patients: an error of independence that the choice of pairs should find
ROUNDS = 50  # of fitting tables to their margins
FLOOR = 1e-3  # rows, of a cell before it is fitted
NOBODY = 1e-12


class DPTree(ChowLiu):
    """A forest over the schema columns, from which records are drawn, and conditioned, exactly.

    The schema must be public: numbers are binned by their bounds alone, counts of few values one by one, and are even
    within a bin. The number of patients is taken as known.

    Args:
        schema: columns to generate.
        seed: kept with the checkpoint; noise has a secret seed of its own.
        epsilon: that it spends.
        delta: at which; None is one over the number of patients.
        bins: of a number.
        most_codes: of a patient that count in full.
        smoothing: rows added to each table in which the two columns are independent.
        counted: share of rho for how many codes patients have; 0 takes what pairs make of it.

    Attributes:
        noise: a generator in place of the secret one, for tests alone.

    Raises:
        OptionError: an option is not a value that can work.
    """

    private = "release"
    log_tilts: Tensor  # log w of each number of codes, if they are counted

    def __init__(
        self,
        *,
        schema: Schema,
        seed: int = 0,
        epsilon: float = 3.0,
        delta: float | None = None,
        bins: int = 16,
        most_codes: int = 32,
        smoothing: float = 1.0,
        counted: float = 0.05,
    ) -> None:
        super().__init__(schema=schema, seed=seed, bins=bins, smoothing=smoothing)
        self.save_hyperparameters(ignore=["schema"])
        options.positive(epsilon=epsilon)
        options.whole(1, most_codes=most_codes)
        expect(0 <= counted < 1, "model.counted", counted, "a share, at least 0 and less than 1,")
        self.epsilon, self.delta, self.most_codes, self.counted = epsilon, delta, most_codes, counted
        if counted:
            self.register_buffer("log_tilts", torch.zeros(BINS))
        self.noise: np.random.Generator | None = None
        quantiles, edges = public_ranges(schema, bins)
        self.quantiles.copy_(quantiles)
        self.edges.copy_(edges)

    @override
    def observe(self, train: Records) -> None:
        """Spend epsilon: count the columns, choose pairs, count these, each with noise."""
        n, states = len(train), self.states
        whole = FULL * rho_within(self.epsilon, self.delta or 1 / n)
        rho = (1 - self.counted) * whole / 3
        rng = self.noise or np.random.default_rng(secrets.randbits(128))
        rows, sizes = partial(states.blocks, train), torch.tensor(states.sizes)
        alone = Tree.empty(torch.full_like(sizes, -1), sizes)
        most = min(self.most_codes, states.codes) + len(sizes) - states.codes
        told = Gaussian((2 * rho) ** -0.5, sensitivity=most**0.5)
        margins = _margins(self._counted(rows, alone, most, told, rng), alone, states.codes, n)
        edges = min(len(sizes) - 1, max(1, int(8 * rho / _least_epsilon(n, len(sizes)) ** 2)))
        errors = pairwise_errors(rows, states.sizes, margins.numpy())
        self.parents = _forest(errors, edges, (8 * rho / edges) ** 0.5, rng) if edges else alone.parents
        tree = Tree.empty(self.parents, sizes)
        counts = self._counted(rows, tree, most, told, rng)
        fitted = _fitted(tree, counts, margins, states.codes, most**0.5 * told.noise_multiplier)
        self.tables = Tree.of_counts(self.parents, sizes, fitted, self.smoothing).tables
        self.looks = (
            Look("counts of columns", told, f"a patient of more than {self.most_codes} codes counts less"),
            Look("choice of pairs", ZeroConcentrated(rho), f"exponential mechanism, {edges} pairs"),
            Look("counts of pairs", told, "of those chosen"),
        )
        if self.counted:
            self._weigh(rows, Gaussian((2 * self.counted * whole) ** -0.5), rng)

    def _weigh(self, rows: Rows, told: Gaussian, rng: np.random.Generator) -> None:
        """Count how many codes patients have, and weigh records by it."""
        law, normals = law_of_number(self.tree, self._present)[0], torch.from_numpy(rng.standard_normal(BINS))
        weights, look = counted_weights(rows(), self._codes, law, told, normals)
        self.log_tilts.copy_(weights)
        self.looks = (*self.looks, look)

    @property
    def _codes(self) -> Tensor:
        """The variables that are codes."""
        return places_of_codes(self.schema, self.layout).to(self.device)

    @property
    def _present(self) -> Tensor:
        """Which states of all variables are a code that is there, bool [S]."""
        present = torch.zeros(sum(self.states.sizes), dtype=torch.bool, device=self.device)
        present[self.tree.offsets[self._codes] + 1] = True
        return present

    @override
    def _log_chance(self, records: Records, columns: Collection[str]) -> Tensor:
        found = super()._log_chance(records, columns)
        if not (self.counted and columns):
            return found
        if all(column.name in columns for column in self.schema.columns if column.is_code):  # then so is their number
            return found + self.log_tilts[number_in(records.dense().to(self.device), self._codes)]
        evidence = self.states.evidence(Condition.of(records, columns).to(self.device))
        law = law_of_number(self.tree, self._present, evidence)
        return found + (law @ self.log_tilts.double().exp()).log().to(found.dtype)

    @override
    def sample(self, n: int, generator: torch.Generator, condition: Condition | None = None) -> Tensor:
        """Draw hard records [n, p] of the tree until they are taken by their weights."""
        if not self.counted:
            return super().sample(n, generator, condition)
        return drawn_by_weight(super().sample, self.log_tilts, self._codes, n, generator, condition)

    def _counted(self, rows: Rows, tree: Tree, most: int, noise: Gaussian, rng: np.random.Generator) -> Tensor:
        """Return noisy counts of the cells of a tree; a patient counts in ``most`` of them in full, or less in more."""
        joined, codes = tree.parents >= 0, self.states.codes
        code = torch.arange(len(tree.sizes)) < codes

        def weights(states: Tensor) -> Tensor:
            counts = (states > 0) | ~code
            if joined.any():
                counts = counts & joined & counts[:, tree.parents.clamp(min=0)]
            share: Tensor = (most / counts.sum(1, keepdim=True).clamp(min=most)).sqrt()
            return counts * share

        found = pair_counts(rows, tree.parents, tree.sizes, weights)
        noisy: Tensor = found + most**0.5 * noise.noise_multiplier * torch.from_numpy(rng.standard_normal(len(found)))
        return noisy


def _least_epsilon(n: int, variables: int) -> float:
    """Return the epsilon of one choice that finds a pair whose error is ``TOLD_APART``, among all pairs."""
    return 2 * log(max(2, variables * (variables - 1) / 2)) / (TOLD_APART * n)


def _margins(counts: Tensor, alone: Tree, codes: int, n: int) -> Tensor:
    """Return the rows [S] of each state of each variable: not negative, and ``n`` of each variable."""
    found = counts.clone()
    present = alone.starts[:codes] + 1
    told = norm_sub(found[present], float(found[present].sum().clamp(0, codes * n))).clamp(max=n)
    found[present], found[present - 1] = told, n - told
    for start, size in zip(alone.starts[codes:].tolist(), alone.sizes[codes:].tolist(), strict=True):
        found[start : start + size] = norm_sub(found[start : start + size], float(n))
    return found


def _forest(errors: NDArray[np.float64], edges: int, epsilon: float, rng: np.random.Generator) -> Tensor:
    """Return the parent [d] of each variable, or -1, by so many choices of epsilon among pairs that join two trees.

    Each is an exponential mechanism: a patient changes an error by one at most, so the largest of epsilon / 2 times the
    error plus Gumbel noise is drawn as it asks for. Kruskal's order: any pair of all trees may come next.
    """
    first, second = np.triu_indices(len(errors), 1)
    scores = epsilon / 2 * errors[first, second]
    tree = np.arange(len(errors))
    neighbours: list[list[int]] = [[] for _ in errors]
    for _ in range(edges):
        chosen = int((scores + rng.gumbel(size=len(scores))).argmax())
        one, other = int(first[chosen]), int(second[chosen])
        neighbours[one].append(other)
        neighbours[other].append(one)
        tree[tree == tree[other]] = tree[one]
        left = tree[first] != tree[second]
        first, second, scores = first[left], second[left], scores[left]
    parents = torch.full((len(errors),), -1)
    seen = np.zeros(len(errors), bool)
    for root in range(len(errors)):
        order = [] if seen[root] else [root]
        seen[root] = True
        for node in order:
            for child in (near for near in neighbours[node] if not seen[near]):
                seen[child], parents[child] = True, node
                order.append(child)
    return parents


def _fitted(tree: Tree, counts: Tensor, margins: Tensor, codes: int, deviation: float) -> Tensor:
    """Return tables of rows whose margins are those given.

    What noisy counts say beyond independence is shrunk by how much of it noise explains: James and Stein, 1961.

    Args:
        tree: its structure.
        counts: noisy, of cells in which every code is present; the others are told by the margins.
        margins: rows of each state.
        codes: how many of the variables are codes, which come first.
        deviation: of the noise.
    """
    found = torch.zeros(len(tree.tables), dtype=torch.float64)
    ends = torch.nn.functional.pad(margins, (0, 1), value=1.0)
    for step in tree.steps:
        beside = margins[step.states]
        if int(step.above[0]) == len(tree.parents):
            found[step.table] = beside.unsqueeze(1)
            continue
        above = ends[step.states_above]
        total = beside.sum(1)[:, None, None]
        expected = above.unsqueeze(2) * beside.unsqueeze(1) / total
        for code_above in (False, True):
            for code in (False, True):
                mine = ((step.above < codes) == code_above) & ((step.nodes < codes) == code)
                if mine.any():
                    tables = step.table[mine]
                    found[tables] = _joint(
                        counts[tables], expected[mine], above[mine], beside[mine], code_above, code, deviation
                    )
    return found


def _joint(
    counts: Tensor, expected: Tensor, above: Tensor, beside: Tensor, code_above: bool, code: bool, deviation: float
) -> Tensor:
    """Return tables [e, I, J] of variables of one kind, see ``_fitted``."""
    told = slice(int(code_above), None), slice(int(code), None)
    beyond = (counts - expected)[:, told[0], told[1]]
    cells = beyond[0].numel()
    kept = (1 - cells * deviation**2 / beyond.square().sum((1, 2)).clamp(min=1e-9)).clamp(min=0)
    both = expected.clone()
    both[:, told[0], told[1]] += kept[:, None, None] * beyond
    if code:
        both[:, told[0], 0] = above[:, told[0]] - both[:, told[0], 1]
    if code_above:
        both[:, 0] = beside - both[:, 1]
    both.clamp_(min=FLOOR)
    for _ in range(ROUNDS):
        both *= (above / both.sum(2).clamp(min=NOBODY)).unsqueeze(2)
        both *= (beside / both.sum(1).clamp(min=NOBODY)).unsqueeze(1)
    return both
