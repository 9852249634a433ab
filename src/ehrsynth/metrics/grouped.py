"""Nearest neighbours by groups of records, so that a group can be left out without measuring again.

Who is nearest to whom depends on everybody else, so the records of a table are no independent
trials: whether R or H happens to have a record where many of S lie decides about all of those. The
intervals therefore come from leaving out one of twenty random groups of records of all tables at a
time (a delete-a-group jackknife, too wide rather than too narrow: Efron and Stein, Annals of
Statistics 1981), and every distance is kept per group of the table it leads to.
"""

from itertools import pairwise

import torch
from torch import Tensor

from ehrsynth.metrics.neighbours import Points, References, nearest

GROUPS = 20
BLOCK = 2048  # records whose mutual distances are held at a time


def groups_of(m: int, groups: int = GROUPS) -> list[slice]:
    """Cut ``m`` rows, which lie in random order, in groups of nearly equal size, or in ``m`` if there are fewer."""
    groups = min(groups, m)
    edges = [m * i // groups for i in range(groups + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def nearest_by_group(left: Points, right: Points) -> tuple[Tensor, Tensor]:
    """Return the squared distance from each record [m] to the nearest of each group of the other table [m].

    Returns:
        [m, g] from left to the groups of right, and [m, g] from right to the groups of left.
    """
    groups = groups_of(len(left))
    to_right, to_left = (torch.full((len(left), len(groups)), torch.inf) for _ in range(2))
    for i, rows in enumerate(groups):
        for j, columns in enumerate(groups):
            to_right[rows, j], to_left[columns, i] = nearest(left[rows], right[columns])
    return to_right, to_left


def nearest_other_by_group(points: Points) -> Tensor:
    """Return the squared distance [m, g] from each record to the nearest other one of each group of its own table.

    Each pair of groups is measured once; ``inf`` where the record is alone in its group.
    """
    groups = groups_of(len(points))
    found = torch.full((len(points), len(groups)), torch.inf)
    for i, rows in enumerate(groups):
        found[rows, i] = nearest_other(points[rows])
        for j, columns in enumerate(groups[:i]):
            found[rows, j], found[columns, i] = nearest(points[rows], points[columns])
    return found


def nearest_other(points: Points) -> Tensor:
    """Return the squared distance [n] of each record to the nearest other one; ``inf`` if it is alone."""
    if len(points) <= BLOCK:
        distances = References(points).squared_distances(points)
        return distances.fill_diagonal_(torch.inf).amin(1).cpu()
    halves = points[: len(points) // 2], points[len(points) // 2 :]
    return torch.minimum(torch.cat(nearest(*halves)), torch.cat([nearest_other(half) for half in halves]))


def smallest(distances: Tensor, without: int | None) -> Tensor:
    """Return the distance to the nearest [m] of all groups, or [m - m_g] when the records of a group are left out."""
    if without is None:
        return distances.amin(1)
    left_out = groups_of(len(distances))[without]
    kept = torch.cat([distances[: left_out.start], distances[left_out.stop :]])
    return torch.cat([kept[:, :without], kept[:, without + 1 :]], dim=1).amin(1)
