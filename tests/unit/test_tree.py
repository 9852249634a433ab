"""Inference in trees against the sum over all states, and the best tree against all trees there are."""

from itertools import product

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score
from torch import Tensor

from ehrsynth.models import tree as trees
from ehrsynth.models.tree import Tree, pair_counts, pairwise_information, spanning_tree

SIZES = [2, 3, 2, 4, 2]


def dependent(n: int = 3000) -> Tensor:
    """Return rows of five variables; some depend on each other."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 2, n)
    b = np.where(rng.random(n) < 0.6, a, rng.integers(0, 3, n))
    c = (rng.random(n) < 0.2 + 0.6 * (b == 2)).astype(int)
    d = np.where(rng.random(n) < 0.5, b, rng.integers(0, 4, n))
    e = (rng.random(n) < 0.1 + 0.5 * (d > 1)).astype(int)
    return torch.from_numpy(np.stack([a, b, c, d, e], 1))


def learned(smoothing: float = 1.0) -> Tree:
    rows = dependent()
    parents = torch.from_numpy(spanning_tree(pairwise_information(lambda: [rows], SIZES)))
    sizes = torch.tensor(SIZES)
    return Tree.of_counts(parents, sizes, pair_counts(lambda: rows.split(700), parents, sizes), smoothing)


def joint(tree: Tree) -> Tensor:
    """Return the chance of every combination of states."""
    found = torch.ones(SIZES, dtype=torch.float64)
    for states in product(*map(range, SIZES)):
        for node, parent in enumerate(tree.parents.tolist()):
            row = states[parent] if parent >= 0 else 0
            found[states] *= tree.tables[int(tree.starts[node]) + row * SIZES[node] + states[node]].double()
    return found


@pytest.mark.parametrize("block", [1, 3, 2048])
def test_mutual_information_is_that_of_scikit_learn(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "BLOCK", block)
    rows = dependent()
    found = pairwise_information(lambda: rows.split(900), SIZES)
    for i, j in product(range(5), repeat=2):
        expected = mutual_info_score(rows[:, i], rows[:, j]) if i != j else 0
        assert found[i, j] == pytest.approx(expected, abs=1e-9)


def test_what_few_rows_share_makes_no_two_variables_near() -> None:
    rows = torch.zeros(1000, 4, dtype=torch.int64)
    rows[:30, 0] = rows[10:40, 1] = 1  # 20 in common
    rows[:9, 2] = rows[:9, 3] = 1
    found = pairwise_information(lambda: [rows], [2] * 4)
    assert found[0, 1] > 0.05
    assert found[2, 3] < 1e-4 < mutual_info_score(rows[:, 2], rows[:, 3])


def test_the_tree_is_the_best_of_all_trees() -> None:
    weights = np.random.default_rng(1).random((5, 5))
    weights += weights.T
    best = 0.0
    for code in product(range(5), repeat=3):  # every tree of five nodes has one sequence of Pruefer
        degree = [1 + code.count(node) for node in range(5)]
        total = 0.0
        for node in code:
            leaf = degree.index(1)
            total += weights[leaf, node]
            degree[leaf], degree[node] = 0, degree[node] - 1
        total += weights[tuple(node for node in range(5) if degree[node] == 1)]
        best = max(best, total)
    parents = spanning_tree(weights)
    assert (parents == -1).sum() == 1
    assert sum(weights[node, parent] for node, parent in enumerate(parents) if parent >= 0) == pytest.approx(best)


def test_the_root_lies_in_the_middle_of_a_chain() -> None:
    weights = np.zeros((9, 9))
    for node in range(8):
        weights[node, node + 1] = weights[node + 1, node] = 1 + node
    assert spanning_tree(weights).tolist() == [1, 2, 3, 4, -1, 4, 5, 6, 7]
    assert spanning_tree(np.zeros((1, 1))).tolist() == [-1]


def test_smoothing_keeps_the_marginals_and_leaves_nothing_impossible() -> None:
    rows, tree = dependent(), learned(smoothing=20.0)
    chances = joint(tree)
    assert (chances > 0).all()
    for node, size in enumerate(SIZES):
        others = [other for other in range(5) if other != node]
        shares = torch.bincount(rows[:, node], minlength=size) / len(rows)
        torch.testing.assert_close(chances.sum(others), shares.double(), atol=1e-6, rtol=0)
    node = int((tree.parents >= 0).nonzero()[0])
    parent = int(tree.parents[node])
    both = torch.zeros(SIZES[parent], SIZES[node]).index_put_((rows[:, parent], rows[:, node]), torch.tensor(1.0), True)
    alone = both.sum(1, keepdim=True) * both.sum(0) / len(rows)
    expected = (both + 20 * alone / len(rows)) / (len(rows) + 20)
    found = chances.sum([other for other in range(5) if other not in (node, parent)])
    torch.testing.assert_close(found if parent < node else found.T, expected.double(), atol=1e-6, rtol=0)


def test_messages_are_sums_over_all_states() -> None:
    tree, rng = learned(), torch.Generator().manual_seed(0)
    evidence = torch.rand(4, sum(SIZES), generator=rng).log()
    evidence[1, [0, 4]] = -torch.inf
    chances = joint(tree)
    upward = tree.upward(evidence)
    for weights, found in zip(evidence.exp().double(), upward, strict=True):
        parts = weights.split(SIZES)
        total = torch.einsum("abcde,a,b,c,d,e->", chances, *parts)
        assert found[-1].exp() == pytest.approx(float(total), rel=1e-5)


@pytest.mark.parametrize("rows", [1, 40_000])
def test_draws_have_the_conditional_distribution(rows: int) -> None:
    tree, rng, n = learned(), torch.Generator().manual_seed(0), 40_000
    evidence = torch.rand(1, sum(SIZES), generator=rng).log()
    evidence[0, [1, 4]] = -torch.inf
    parts = evidence[0].exp().double().split(SIZES)
    expected = torch.einsum("abcde,a,b,c,d,e->abcde", joint(tree), *parts)
    expected /= expected.sum()
    drawn = tree.sample(n, rng, evidence.expand(rows, -1))
    found = torch.zeros(SIZES).index_put_(tuple(drawn.T), torch.tensor(1 / n), accumulate=True)
    assert (found[expected == 0] == 0).all()
    allowed = 4.5 * (expected * (1 - expected) / n).sqrt() + 1e-6
    assert ((found - expected).abs() <= allowed).all()
    free = tree.sample(n, rng)
    shares = torch.zeros(SIZES).index_put_(tuple(free.T), torch.tensor(1 / n), accumulate=True)
    assert ((shares - joint(tree)).abs() <= 4.5 * (joint(tree) / n).sqrt() + 1e-4).all()
