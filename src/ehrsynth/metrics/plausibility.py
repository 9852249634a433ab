"""Cells of S that R gives no reason to expect: unknown levels, numbers out of range, broken groups of indicators."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ehrsynth.bits import Cells, ones
from ehrsynth.layout import Records

SEPARATORS = re.compile(r"[_=:]")


def unseen_levels(train: Records, table: Records) -> dict[str, Tensor]:
    """Return which rows of ``table`` [n, bool] have a level that R never has, per categorical column.

    No level at all counts as one that R never has; an empty cell does where no cell of R is empty.
    """
    seen = ones(train.bits) > 0
    return {
        name: table.bits[:, group][:, seen[group]].sum(1, dtype=torch.int64) == 0
        for name, group in train.layout.groups.items()
    }


def outside_range(train: Records, table: Records) -> dict[str, Tensor]:
    """Return which rows of ``table`` [n, bool] are below R's minimum or above its maximum, per numeric column.

    An empty cell counts where no cell of R is empty.
    """
    found = {}
    for i, name in enumerate(train.layout.names[train.layout.values]):
        known, cells = train.values[:, i], table.values[:, i]
        gaps = known.isnan()
        low = known.masked_fill(gaps, torch.inf).min()
        high = known.masked_fill(gaps, -torch.inf).max()
        outside = (cells < low) | (cells > high)
        found[name] = outside if gaps.any() else outside | cells.isnan()
    return found


def any_of(columns: Mapping[str, Tensor], n: int) -> Tensor:
    """Return which of ``n`` rows are marked in any column."""
    marked = torch.zeros(n, dtype=torch.bool)
    for column in columns.values():
        marked |= column
    return marked


def one_hot_groups(names: Sequence[str], bits: Cells) -> dict[str, list[int]]:
    """Find 0/1 columns that are the indicators of one question: exactly one of them is set in every row of R.

    Columns are tried together if their names begin alike up to an underscore, an equals sign or a colon. A group has
    at least two columns, and none that is set in every row, since any column of zeros would go with it.

    Args:
        names: of the columns.
        bits: uint8 [n, b] of R.

    Returns:
        What the names have in common -> positions of the columns.
    """
    n, counts = len(bits), ones(bits).tolist()
    tried: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        for separator in SEPARATORS.finditer(name):
            if separator.start():
                tried.setdefault(name[: separator.start()], []).append(i)
    found: dict[str, list[int]] = {}
    for prefix, columns in sorted(tried.items()):
        sums = [counts[i] for i in columns]
        if len(columns) < 2 or sum(sums) != n or max(sums) == n or columns in found.values():
            continue  # most are told by their counts alone
        if (bits[:, columns].sum(1, dtype=torch.int64) == 1).all():
            found[prefix] = columns
    return found
