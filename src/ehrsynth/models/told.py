"""What a table of counts may tell: no number of training rows below ten.

A cell of one to nine rows is told only together with others: rows or columns of the table that differ least are put
together until every cell has ten rows or more, or has none where five or more were expected. Within what was put
together the two variables are independent, so the told table is

    told_ij = n_gh (n_i / n_g) (n_j / n_h),    g and h the groups of i and j,

whose margins n_i and n_j are those of the counts. Margins and counts n_gh are all that can be read off it.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import xlogy
from torch import Tensor

from ehrsynth.disclosure import LEAST

EXPECTED = 5  # rows that a cell would have if its two variables were independent; then that it has none tells something

Floats = NDArray[np.float64]


def may_tell(counts: Floats, expected: Floats) -> NDArray[np.bool_]:
    """Return which cells can be told alone."""
    return np.where(counts == 0, expected >= EXPECTED, counts >= LEAST)


def told(counts: Tensor) -> Tensor:
    """Return what may be told of tables [e, I, J] of counts, float64 of the same shape."""
    found = counts.double().numpy().copy()
    above, beside = found.sum(2), found.sum(1)
    alone = above[:, :, None] * beside[:, None] / np.maximum(above.sum(1), 1)[:, None, None]
    untold = (~may_tell(found, alone)).any((1, 2))
    if min(found.shape[1:]) <= 2 == max(found.shape[1:]):  # nothing but both rows, or both columns, can go together
        found[untold] = alone[untold]
    else:
        for table in np.flatnonzero(untold):
            found[table] = _put_together(found[table])
    return torch.from_numpy(found)


def _put_together(counts: Floats) -> Floats:
    margins = [counts.sum(1), counts.sum(0)]
    groups = [np.arange(size) for size in counts.shape]  # of each row, and of each column
    while min(counts.shape) > 1:
        totals = counts.sum(1), counts.sum(0)
        untold = ~may_tell(counts, np.outer(*totals) / totals[0].sum())
        if not untold.any():
            break
        ways = [_cheapest(counts, untold), _cheapest(counts.T, untold.T)]
        axis = int(ways[1][0] < ways[0][0])
        _, line, other = ways[axis]
        first, second = sorted((line, other))
        joining = counts.take(second, axis)
        counts = np.delete(counts, second, axis)
        counts.swapaxes(0, axis)[first] += joining
        joined = np.where(groups[axis] == second, first, groups[axis])
        groups[axis] = joined - (joined > second)
    parts = [
        margin / np.maximum(np.bincount(group, margin), 1)[group] for margin, group in zip(margins, groups, strict=True)
    ]
    found: Floats = counts[np.ix_(*groups)] * np.outer(*parts)
    return found


def _cheapest(counts: Floats, untold: NDArray[np.bool_]) -> tuple[float, int, int]:
    """Return what information is lost if the smallest row with an untold cell joins the most alike, and these two."""
    totals = counts.sum(1)
    row = int(np.where(untold.any(1), totals, np.inf).argmin())
    apart = xlogy(counts, counts).sum(1) - xlogy(totals, totals)
    joined, sums = counts + counts[row], totals + totals[row]
    lost = apart + apart[row] - xlogy(joined, joined).sum(1) + xlogy(sums, sums)
    lost[row] = np.inf
    other = int(lost.argmin())
    return float(lost[other]), row, other
