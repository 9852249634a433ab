"""How many codes the records of a tree have: the law of that, exactly, and weights by which it becomes another one.

The number of codes N of a record is a sum over the variables of the tree. So its characteristic function is a pass of
messages in which each present code weighs exp(2 pi i j / K), and the law is a Fourier transform of that:

    P(N = k)  =  1 / K  sum over j < K of  E[exp(2 pi i j N / K)] exp(-2 pi i j k / K)
"""

import torch
from torch import Tensor

from ehrsynth.models.tree import Tree

BINS = 64  # numbers of codes told apart; the last is of more, too
MOST = 512  # codes: K at most, for no record has as many
LEAST_WEIGHT, MOST_WEIGHT = 0.01, 8.0  # of a number; draws take as many tries as the largest
NOBODY = 1e-6  # a chance below which a number is not drawn, whatever its weight
SCRATCH = 2**24  # complex numbers held at a time


def law_of_number(tree: Tree, present: Tensor, evidence: Tensor | None = None) -> Tensor:
    """Return the chances [m, BINS] of numbers of codes.

    Args:
        tree: of the records.
        present: bool [S], which states of all variables are a code that is there.
        evidence: log weights [m, S] of the states, see ``Tree.sample``; of nothing, m = 1, by default.
    """
    exact = Tree(tree.parents, tree.sizes, tree.tables.double())
    evidence = torch.zeros(1, len(present), device=present.device) if evidence is None else evidence
    size = min(int(present.sum()) + 1, MOST)
    turned = 2j * torch.pi / size * torch.outer(torch.arange(size, device=present.device), present).double()
    found = []
    for part in evidence.double().split(max(1, SCRATCH // (size * len(present)))):
        logs = exact.upward((part[:, None] + turned).flatten(0, 1))[:, -1].view(len(part), size)
        found.append(torch.fft.fft((logs - logs[:, :1].real).exp()).real.clamp(min=0) / size)
    law = torch.cat(found)
    first = law.new_zeros(len(law), BINS)
    first[:, : min(size, BINS)] = law[:, :BINS]
    first[:, -1] += law[:, BINS:].sum(1)
    return first


def number_in(states: Tensor, codes: Tensor) -> Tensor:
    """Return how many codes records of states [n, d] have, at most ``BINS`` - 1; ``codes`` are their variables."""
    return (states[:, codes] > 0).sum(1).clamp(max=BINS - 1)


def weights_towards(wanted: Tensor, law: Tensor) -> Tensor:
    """Return log weights [BINS] under which a law [BINS] of numbers is nearly the wanted one, and whose mean is one."""
    weights = (wanted / law.clamp(min=NOBODY)).clamp(LEAST_WEIGHT, MOST_WEIGHT).where(law > NOBODY, 1.0)
    return (weights / (law * weights).sum()).log()
